"""The refit of smooth losses by Newton's method."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp
from scipy.linalg.blas import dsymv, dsyr2, dsyrk
from scipy.linalg.lapack import dpotrf, dpotri

from mtpfast import _core
from mtpfast.arrays.growing import Growing
from mtpfast.arrays.rounding import EPS
from mtpfast.arrays.rows import SLICE, slices
from mtpfast.arrays.threads import in_chunks
from mtpfast.kernels import kernel_of

from .codes import PATTERNS, row_codes
from .solver import Solver
from .training_set import TrainingSet, squares

__all__ = ["SmoothSolver", "squares"]


#: Above this many features the Hessian is not formed; Newton's equations go to conjugate gradients.
DENSE_HESSIAN = 2500
#: Nor where forming and inverting it takes so many operations for each entry of sparse rows: conjugate gradients read
#: these some hundred times, at a tenth of the speed of a matrix product.
SPARSE_HESSIAN = 20_000


#: By so much of itself may the objective rise in a step: more than rounding makes of it, less than a step that fails.
RISE = 1e-10


#: So many steps that do not shrink the gradient well may a training take, for each pass that a new Hessian costs.
SLOW = 0.05


#: After this many added points the rows of a table of so many entries are coded, where that pays (it costs some
#: 200 reads of them).
CODE_AFTER, CODE_FROM = 100, 2**18


class SmoothSolver(Solver):
    """Newton's method with a kept inverse of the Hessian, for differentiable losses.

    A step of an attack takes a few evaluations, each of them one read of the rows. The first Newton
    step needs none: at the old model only the pull of the new point and k have changed. Every step
    teaches the kept inverse how the gradient changes (BFGS); once that is no longer enough, the
    Hessian is computed anew. Above `DENSE_HESSIAN` features, and for rows much sparser than
    it, conjugate gradients stand in for it.

    In a long attack the rows of a table, whose columns take few values, are read by their codes
    (`_encode`): a twentieth of the bytes and less than half of the time.
    """

    def __init__(self, training: TrainingSet, tol, theta0):
        super().__init__(training, tol)
        objective = training.objective
        loss, d = objective.loss, training.n_features
        self.y = np.ascontiguousarray(training.y, dtype=np.float64)
        self.weight = None  # those of the clean rows, from solve on
        self.kernel = kernel_of(loss)
        # what the sums of an evaluation are off by, in units of the sum of the sizes of their terms
        compiled = self.kernel is not None
        self.rounding_of_rows = EPS * (64 if compiled else SLICE + 4 + training.n_clean / SLICE)
        self.rounding = self.rounding_of_rows
        self.rounding_of_balance = EPS * (128 if compiled else 4)
        self.coded, self.n_added = None, 0
        self.free = objective.fit_intercept and not objective.penalize_intercept
        self.norm, self.added_norm = _row_norms(training.X), Growing()
        self.inverse = None
        self.direct = d <= DENSE_HESSIAN
        if sp.issparse(training.X):
            self.direct &= d * d * (training.n_clean + d) <= SPARSE_HESSIAN * training.X.nnz
        self.age = self.extra = self.recent = 0
        self.patience = d / 16 + 4  # a new Hessian, in passes: it runs at the speed of a matrix product
        self.theta = np.zeros(d + 1) if theta0 is None else np.array(theta0, dtype=float)
        if not objective.fit_intercept:
            self.theta[-1] = 0.0

    def solve(self, theta=None):
        """From the current model (which ``theta`` is), with all points added so far."""
        self.weight = np.ascontiguousarray(self.training.weight, dtype=np.float64)
        self._prepare()
        self._move(self._evaluate(self.theta))
        self._newton()

    def reweigh(self, theta, near=None, enough=-math.inf):
        """The weights of the clean rows, and k, are others, and so is the Hessian."""
        self.inverse = None
        self.theta = next((given for given in (theta, near) if given is not None), self.theta)
        self.solve()

    def add(self, index, new, count):
        self._prepare()
        self.n_added += 1
        if self.kernel is not None and self.n_added == CODE_AFTER:
            self._encode()
        training, at = self.training, self.at
        # All that changed at the current model is the weight of one row, and k.
        change = self._sums_added(at.theta, index, index + 1) * (count / training.added_count[index])
        self._move(self._state(at.theta, at.clean, at.added + change))
        self._newton()

    def take_in(self, index):
        """A point was placed in a row of its own, new or of weight 0."""
        if index < len(self.added_norm):
            x = self.training.rows.data.block[index]
            self.added_norm.rows[index] = np.sqrt(x @ x + 1.0)
        else:
            self._prepare()

    def shift(self, change, change_of_k, audit=False):
        """The counts of the added rows, and k, have changed: the sums over the clean rows at the model are known."""
        if audit:
            self.solve()
            return
        self._prepare()
        at = self.at
        self._move(self._state(at.theta, at.clean, self._sums_added(at.theta, 0, self.training.n_added)))
        self._newton()

    def audit(self):
        """A step that needs no pass carries the sums of the last one on: here they are made anew."""
        self.solve()
        return self.gap

    def check(self):
        """Whether a pass over the rows themselves, not their codes, finds the gap as small as it should be."""
        if self.coded is not None:
            self.coded, self.norm, self.rounding = None, _row_norms(self.training.X), self.rounding_of_rows
        self._move(self._evaluate(self.theta))
        return self.is_tight()

    def clean_loss(self):
        return float(self.at.clean[-4])

    def resolution(self):
        """A gap that rounding alone would explain."""
        return self.at.resolution

    def _prepare(self):
        training = self.training
        self.ridge = np.full(training.n_features + 1, training.k)
        self.ridge[-1] = training.k * training.objective.r
        known = len(self.added_norm)
        if known < training.n_added:
            self.added_norm.extend(_row_norms(training.added_X[known:]))

    def _move(self, at):
        self.at = at
        self.theta, self.gap = at.theta, at.gap

    @np.errstate(over="ignore", invalid="ignore")  # a step without curvature may overflow; it is then not taken
    def _newton(self):
        fresh, passes, afresh, slow = self.inverse is None, 0, False, 0
        while not self.is_tight():
            at = self.at
            if self.inverse is None:
                self._refactor(at)
            step = self._step(at)
            trial = self._evaluate(at.theta + step)
            passes += 1
            self._learn(step, at, trial)
            # A full step that shrinks the gradient well, and does not raise the objective, is taken on the spot; so
            # are a few that only lower the objective by Armijo's rule, where a new Hessian costs many passes.
            # Anything else is checked against the objective, with a fresh Hessian. (Where features differ much in
            # scale, a small gradient may be that of a model far off, all of whose rows see a straight loss.)
            good = trial.norm <= 0.5 * at.norm and trial.value <= at.value + RISE * abs(at.value)
            slow += not good
            if not good and self.direct and slow < SLOW * self.patience:
                good = trial.value <= at.value + 1e-4 * float(at.gradient @ step)
            if not good:
                self.inverse = None
                if fresh:
                    trial = self._line_search(at, step, trial)
                    if trial is None and not afresh:  # no step leads away from a model without curvature: from zero
                        afresh = True
                        self._move(self._evaluate(np.zeros_like(at.theta)))
                        continue
                    if trial is None or passes > 200:
                        self.warn_if_loose()
                        break
                elif not trial.norm < at.norm:
                    trial = at
                fresh = True
            self._move(trial)
        self.n_iter += passes
        self._watch(passes)

    def _watch(self, passes):
        """Give the Hessian up once that is cheaper: when the passes that its age costs now exceed their average
        with the cost of a new one."""
        extra = max(0, passes - 2)
        self.age += 1
        self.extra += extra
        self.recent += 0.3 * (extra - self.recent)
        if self.recent * self.age > self.extra + self.patience:
            self.inverse = None

    def _line_search(self, at, step, trial):
        slope = float(at.gradient @ step)
        if slope >= 0:
            return None
        t = 1.0
        for _ in range(40):
            if trial.value <= at.value + 1e-4 * t * slope or (
                trial.norm < 0.9 * at.norm and trial.value <= at.value * (1 + 1e-14)
            ):
                return trial
            t *= 0.5
            trial = self._evaluate(at.theta + t * step)
        return None

    # -- one evaluation --------------------------------------------------------------------------

    def _evaluate(self, theta):
        """Loss, gradient and duality gap at theta: one read of the rows."""
        training = self.training
        if self.coded is not None:
            clean = self._sums_coded(theta)
        else:
            clean = self._sums(theta, training.X, 0, training.n_weighed, self.y, self.weight, self.norm)
        return self._state(theta, clean, self._sums_added(theta, 0, training.n_added))

    def _sums_added(self, theta, start, stop):
        training = self.training
        if start == stop:
            return np.zeros(training.n_features + 5)
        X = training.added_X if self.kernel is None else training.rows.block()
        return self._sums(theta, X, start, stop, training.added_y, training.added_weight, self.added_norm.rows)

    def _sums(self, theta, X, start, stop, y, weight, norm):
        """What ``_core.loss_pass`` returns, for any loss."""
        intercept = self.training.objective.fit_intercept
        if self.kernel is not None:

            def of_chunk(i, j):
                sums = np.zeros(len(theta) + 4)
                _core.loss_pass(self.kernel, X, i, j, y, weight, norm, theta, intercept, self.free, sums)
                return sums

            found = in_chunks(of_chunk, start, stop)
            return found[0] if len(found) == 1 else np.array([math.fsum(each) for each in zip(*found, strict=True)])
        sums = np.zeros(len(theta) + 4)
        loss, balance = self.training.objective.loss, []
        for rows in slices(start, stop, SLICE):
            margin = y[rows] * (X[rows] @ theta[:-1] + theta[-1])
            slope = -loss.derivative(margin) * weight[rows]
            sums[:-5] += X[rows].T @ (slope * y[rows])
            balance.append(math.fsum(slope * y[rows]))
            sums[-4:-1] += weight[rows] @ loss.value(margin), slope.sum(), slope @ norm[rows]
            if self.free:
                counted = weight[rows] > 0  # weight 0 times infinity is 0 here
                sums[-1] += weight[rows][counted] @ loss.shrinkage(margin[counted])
        sums[-5] = math.fsum(balance) if intercept else 0.0
        return sums

    def _sums_coded(self, theta):
        """What `_sums` makes of the clean rows, from their codes."""
        sums = np.empty(len(theta) + 4)
        _core.coded_loss_pass(self.kernel, *self.coded, theta, self.training.objective.fit_intercept, self.free, sums)
        return sums

    def _encode(self):
        """Code the clean rows, if their columns take few values; equal rows of one label become one.

        X = E P, with a row of the patterns P for every code and ones in E at the codes of a row. A pass looks its
        margins up in P w, and for X' s it adds up the s of the members of every code.
        """
        X = self.training.X
        if self.training.sparse or X.size < CODE_FROM or row_codes(X[:2048]) is None:
            return
        found = row_codes(X)
        if found is None:
            return
        codes, patterns = found
        del found  # no copy of the codes is kept beside another
        positive = self.y > 0
        order = np.lexsort((*codes.T, positive))
        codes = codes[order]
        positive = positive[order]
        new = np.append(True, positive[1:] != positive[:-1])
        for column in codes.T:
            new[1:] |= column[1:] != column[:-1]
        first = order[new]
        weight = np.add.reduceat(self.weight[order], np.flatnonzero(new))
        del order, positive
        codes = codes[new]
        members, ends = np.empty(codes.size, dtype=np.uint16), []
        at = 0
        for rows in slices(0, len(first), _core.CHUNK):
            count = np.zeros(patterns.shape[0], dtype=np.int32)
            # a code belongs to one column, and the codes of a column precede those of the next
            for column in codes[rows].T:
                members[at : at + len(column)] = np.argsort(column, kind="stable")
                at += len(column)
                count += np.bincount(column, minlength=len(count)).astype(np.int32)
            ends.append(np.append(0, np.cumsum(count)).astype(np.int32))
        rows = (codes, members, np.array(ends), self.y[first], weight, self.norm[first])
        self.coded = (*rows, patterns)
        self.norm = None
        # at most CHUNK / 4 rows in a row, and PATTERNS of a column, are added plainly
        self.rounding = EPS * (64 + _core.CHUNK / 8 + PATTERNS / 2)

    def _state(self, theta, clean, added):
        """What follows from the sums at a model."""
        total = clean + added
        weighted = self.ridge * theta
        gradient = weighted - total[:-4]
        loss, slopes, size, shrinkage = total[-4:].tolist()
        norm = math.sqrt(gradient @ gradient)
        # P(theta) - D at the dual values c_i s_i, s_i = -phi'(m_i), where no large terms cancel. What rounding can
        # have done to the gradient (noise) is added; a gap of the size of that is as small as can be told.
        k, noise = self.training.k, self.rounding * size
        residual, floor, extra, extra_floor = norm, noise, 0.0, 0.0
        if self.free and slopes > 0.0:
            # A dual point must have sum(c s y) = 0: shrink the s of one class by a factor 1 - t.
            t_noise = 2.0 * self.rounding_of_balance
            t = min(1.0, 2.0 * abs(total.item(-5)) / slopes + t_noise)
            residual = math.sqrt(gradient[:-1] @ gradient[:-1]) + t * size
            floor += 2.0 * t_noise * size
            extra, extra_floor = (min(t * t * shrinkage, t * loss) for t in (t, 2.0 * t_noise))
        return SimpleNamespace(
            theta=theta,
            clean=clean,
            added=added,
            value=loss + 0.5 * float(weighted @ theta),
            gradient=gradient,
            norm=norm,
            gap=(1.0 + 1e-12) * ((residual + noise) ** 2 / (2.0 * k) + extra),
            resolution=(floor + noise) ** 2 / (2.0 * k) + extra_floor,
        )

    # -- Newton's equations ----------------------------------------------------------------------

    def _rows(self):
        """(X, y, weight) of the clean rows and of the added ones."""
        training = self.training
        n = training.n_weighed
        yield training.X if n == training.n_clean else training.X[:n], self.y[:n], self.weight[:n]
        if training.n_added:
            yield training.added_X, training.added_y, training.added_weight

    def _curvature(self, theta, X, y, weight):
        return self.training.objective.loss.second_derivative(y * (X @ theta[:-1] + theta[-1])) * weight

    def _refactor(self, at):
        """The inverse of the Hessian at a model; above `DENSE_HESSIAN` features its diagonal alone, not inverted."""
        training, d = self.training, self.training.n_features
        intercept = training.objective.fit_intercept
        self.age = self.extra = self.recent = 0
        H = np.asfortranarray(np.diag(self.ridge)) if self.direct else self.ridge.copy()
        # in slices that a cache holds, so that no copy of X is made; of few columns, sparse rows are dear to slice
        size = max(256, (2**15 if training.sparse else 2**14) // (d + 1))
        full = np.empty((size, d + 1)) if self.direct else None
        for X, y, weight in self._rows():
            for rows in slices(0, len(y), size):
                block = X[rows]
                h = self._curvature(at.theta, block, y[rows], weight[rows])
                root = np.sqrt(h)[:, None]
                if self.direct:
                    scaled = full[: len(h)]
                    np.multiply(block.toarray() if sp.issparse(X) else block, root, out=scaled[:, :d])
                    scaled[:, d:] = root if intercept else 0.0
                    H = dsyrk(1.0, scaled.T, beta=1.0, c=H, overwrite_c=True)
                else:
                    H[:d] += squares(block.multiply(root) if sp.issparse(X) else block * root, axis=0)
                    H[d] += h.sum() if intercept else 0.0
        if not self.direct:
            H[H <= 0.0] = 1.0
            self.inverse = H
            return
        if not intercept:
            H[d, d] = 1.0
        # of unit diagonal: features of very different scales would leave the factor nothing but their largest
        unit = np.sqrt(np.diagonal(H))
        unit = 1.0 / np.where(unit > 0.0, unit, 1.0)  # a free intercept has no curvature where every row's underflows
        H *= unit
        H *= unit[:, None]
        H[np.diag_indices_from(H)] += (d + 1) ** 2 * EPS
        H, failed = dpotrf(H, overwrite_a=True)
        if not failed:
            H, failed = dpotri(H, overwrite_c=True)
        if failed:
            raise np.linalg.LinAlgError("the Hessian is not positive definite")
        H *= unit
        H *= unit[:, None]
        self.inverse = H

    def _step(self, at):
        if self.direct:
            return dsymv(-1.0, self.inverse, at.gradient)
        return -self._conjugate_gradients(at)

    def _learn(self, step, at, trial):
        """Make the kept inverse map the change of the gradient to the step (BFGS: Nocedal and Wright,
        *Numerical Optimization*, equation 6.17)."""
        if not self.direct:
            return
        change = trial.gradient - at.gradient
        product = float(step @ change)
        if product > 1e-12 * math.sqrt((step @ step) * (change @ change)):
            image = dsymv(1.0, self.inverse, change)
            image -= 0.5 * (float(change @ image) / product + 1.0) * step
            self.inverse = dsyr2(-1.0 / product, step, image, a=self.inverse, overwrite_a=True)

    def _conjugate_gradients(self, at):
        """Solve Newton's equations by conjugate gradients with a kept diagonal as preconditioner."""
        intercept, diagonal = self.training.objective.fit_intercept, self.inverse
        blocks = [(X, X.T, self._curvature(at.theta, X, y, weight)) for X, y, weight in self._rows()]

        def product(p):
            out = self.ridge * p
            for X, X_T, h in blocks:
                z = h * (X @ p[:-1] + (p[-1] if intercept else 0.0))
                out[:-1] += X_T @ z
                if intercept:
                    out[-1] += z.sum()
            return out

        p = np.zeros_like(diagonal)
        residual = at.gradient.copy()
        z = residual / diagonal
        direction, rho = z.copy(), float(residual @ z)
        target = 1e-3 * at.norm
        for _ in range(500):
            image = product(direction)
            length = rho / float(direction @ image)
            p += length * direction
            residual -= length * image
            if np.linalg.norm(residual) <= target:
                break
            z = residual / diagonal
            rho, old = float(residual @ z), rho
            direction = z + (rho / old) * direction
        return p


def _row_norms(X):
    """|x~| of every row."""
    return np.sqrt(np.concatenate([squares(X[rows], axis=1) for rows in slices(0, X.shape[0], SLICE)]) + 1.0)
