"""Training the victim, and training it again after each added point.

The objective is stated in ``losses.py``. Every solution comes with a proved duality gap, and the
gap is what stops a refit: the objective is k-strongly convex, so ``sqrt(2 gap / k)`` bounds the
distance to the optimum (of w, and of b where it is penalised).

* hinge: an active-set method that ends at the exact minimiser (``_core.HingeSolver``);
* smooth losses: Newton steps from a factor of the Hessian that is kept until the rate of
  convergence says that it is out of date; conjugate gradients where a dense Hessian of all
  features would be too large.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from . import _core
from .losses import Objective

__all__ = ["Fit", "Victim", "refit"]

#: Above this many features the Hessian is not formed; Newton's equations go to conjugate gradients.
DENSE_HESSIAN = 2500
#: So many principal directions of the rows say how far theta has gone.
DIRECTIONS = 8
#: So many steps correct a kept factor of the Hessian.
MEMORY = 10
#: After this many added points the whole state is recomputed and the true gap measured.
AUDIT_EVERY = 256


class Fit(NamedTuple):
    """A trained model: ``theta = (w, b)``, its proved duality gap, and the effort it took."""

    theta: np.ndarray
    gap: float
    n_iter: int


def refit(X, y, objective: Objective, sample_weight=None, total_weight=None, theta0=None, tol: float = 1e-8) -> Fit:
    r"""Train a linear model to a proved duality gap.

    .. math:: \min_\theta \sum_i c_i \varphi(y_i \theta \cdot \tilde x_i) + \tfrac{k}{2} \theta^\top R \theta

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_rows, n_features), float64
    y : ndarray of shape (n_rows,), -1. and +1.
    objective : Objective
    sample_weight : ndarray of shape (n_rows,), optional
        Row weights; weight 2 is the row twice, weight 0 the row left out.
    total_weight : float, optional
        What sets k in the ``alpha`` convention; the sum of the weights by default.
    theta0 : ndarray of shape (n_features + 1,), optional
        A warm start.
    tol : float
        Stops when ``sqrt(2 gap / k) <= tol * max(1, |theta|)``.

    Returns
    -------
    Fit
        ``gap`` is proved; a ConvergenceWarning says where it stayed above what ``tol`` asks.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.losses import make_objective
    >>> from mtpfast.refit import refit
    >>> fit = refit(np.array([[0.0], [1.0]]), np.array([-1.0, 1.0]), make_objective("hinge", C=10.0))
    >>> np.round(fit.theta, 6)
    array([ 2., -1.])
    """
    victim = Victim(X, y, objective, sample_weight=sample_weight, total_weight=total_weight, theta0=theta0, tol=tol)
    return Fit(victim.theta, victim.gap, victim.n_iter)


class Victim:
    """A trained model that takes in poisoning points one by one.

    Parameters
    ----------
    X, y, objective, sample_weight, total_weight, theta0, tol
        As in :func:`refit`. X and y are kept by reference and never changed.

    Attributes
    ----------
    theta : ndarray of shape (n_features + 1,)
        The current model; a new array after every change.
    gap : float
        Its proved duality gap.
    k : float
        Weight of the penalty, clean and added rows together.
    added_y, added_count : ndarray of shape (n_distinct,)
        Labels and counts of the distinct added points.
    n_audits, n_repairs : int
        How often the whole state was recomputed, and how often that found something to mend.
    """

    def __init__(self, X, y, objective, sample_weight=None, total_weight=None, theta0=None, tol=1e-8):
        self.X, self.y, self.objective, self.tol = X, y, objective, tol
        self.sparse = sp.issparse(X)
        self.n_features = X.shape[1]
        self.weight = np.ones(X.shape[0]) if sample_weight is None else sample_weight
        self.clean_weight = float(np.sum(self.weight)) if total_weight is None else float(total_weight)
        self.k = objective.k(self.clean_weight)
        self.n_iter = 0
        self.n_audits = self.n_repairs = 0
        self._since_audit = 0
        self._index = {}
        solver = _SmoothSolver if objective.loss.smooth else _HingeSolver
        self._rows = _Rows(self.n_features, self.sparse, may_be_dense=solver is _HingeSolver)
        self._solver = solver(self, theta0)
        self._solver.solve()

    @property
    def n_distinct(self) -> int:
        return self._rows.n

    @property
    def added_X(self):
        """The distinct added points, one row each: CSR where X is, else a view."""
        points = self._rows.matrix()
        return sp.csr_matrix(points) if self.sparse and not sp.issparse(points) else points

    @property
    def added_y(self) -> np.ndarray:
        return self._rows.y[: self._rows.n]

    @property
    def added_count(self) -> np.ndarray:
        return self._rows.count[: self._rows.n]

    def add(self, x, y, count: int = 1) -> int:
        """Add the point (x, y) ``count`` times and refit. Returns its index among the distinct points."""
        index, new = self._place(x, y, count)
        self._solver.add(index, new, count)
        self._since_audit += 1
        if self._since_audit >= AUDIT_EVERY:
            self.audit()
        return index

    def add_many(self, points, labels, counts) -> None:
        """Add many points at once and refit from where the model stands."""
        for x, y, count in zip(points, labels, counts, strict=True):
            self._place(x.toarray() if sp.issparse(x) else x, y, count)
        self._solver.solve()

    def _place(self, x, y, count):
        """Count a point among the distinct ones: (index, whether it is new). No refit."""
        x = np.ascontiguousarray(x, dtype=np.float64).ravel()
        # 256 bits stand for the point itself, which is kept once; + 0.0 turns -0. into 0.
        key = (hashlib.blake2b(x + 0.0, digest_size=32).digest(), float(y))
        new = key not in self._index
        if new:
            self._index[key] = self._rows.append(x, y)
        index = self._index[key]
        self._rows.count[index] += count
        self.k += self.objective.k_per_point * count
        return index, new

    def audit(self) -> float:
        """Recompute the whole state with full passes; returns the true duality gap."""
        self._since_audit = 0
        self.n_audits += 1
        return self._solver.audit()

    def check(self) -> float:
        """Measure the true duality gap with a full pass; only where that finds fault, :meth:`audit`."""
        self.n_audits += 1
        if not self._solver.check():
            self.n_repairs += 1
            self._solver.audit()
        return self.gap

    def clean_loss(self) -> float:
        """Summed loss of the clean rows at ``theta`` (without the penalty)."""
        return self._solver.clean_loss()

    def is_tight(self) -> bool:
        """Whether the gap is as small as ``tol`` asks, or as float64 can tell."""
        asked = 0.5 * self.k * (self.tol * max(1.0, float(np.linalg.norm(self.theta)))) ** 2
        return self.gap <= asked or self.gap <= self._solver.resolution()

    def warn_if_loose(self) -> None:
        if not self.is_tight() and math.sqrt(2 * self.gap / self.k) > 1e-6 * max(1.0, np.linalg.norm(self.theta)):
            warnings.warn(
                f"the refit stopped at a duality gap of {self.gap:.2g}: the model is proved to within "
                f"{math.sqrt(2 * self.gap / self.k):.2g} of the optimum, tol asks for {self.tol:g}",
                ConvergenceWarning,
                stacklevel=3,
            )


class _Rows:
    """The distinct added points: a buffer that grows, dense or CSR like the clean rows.

    Points of a box are vertices of it, with about as many entries as zeros: next to sparse clean rows they are
    kept dense all the same (where ``may_be_dense``) if the first of them says so, at a third more bytes and a
    fraction of the time.
    """

    def __init__(self, n_features, sparse, may_be_dense=False):
        self.n, self.n_features, self.sparse, self.may_be_dense = 0, n_features, sparse, may_be_dense
        self.y, self.count = np.zeros(16), np.zeros(16)
        self._allocate()

    def _allocate(self):
        if self.sparse:
            self.data, self.indices = np.zeros(64), np.zeros(64, dtype=np.int32)
            self.indptr = np.zeros(17, dtype=np.int32)
        else:
            self.data = np.zeros((16, self.n_features))

    def append(self, x, y) -> int:
        i = self.n
        if i == 0 and self.sparse and self.may_be_dense and 4 * np.count_nonzero(x) > len(x):
            self.sparse = False
            self._allocate()
        if i == len(self.y):
            # 1/4 more at a time: the buffer counts against the memory of an attack
            size = i + i // 4 + 16
            self.y, self.count = _grown(self.y, size), _grown(self.count, size)
            if self.sparse:
                self.indptr = _grown(self.indptr, size + 1)
            else:
                self.data = _grown(self.data, size)
        if self.sparse:
            nonzero = np.flatnonzero(x)
            start, end = int(self.indptr[i]), int(self.indptr[i]) + len(nonzero)
            if end > len(self.data):
                self.data, self.indices = (_grown(a, end + end // 4) for a in (self.data, self.indices))
            self.data[start:end], self.indices[start:end] = x[nonzero], nonzero
            self.indptr[i + 1] = end
        else:
            self.data[i] = x
        self.y[i] = y
        self.n = i + 1
        return i

    def block(self):
        """What ``_core.HingeSolver`` reads: the whole buffer."""
        if not self.sparse:
            return self.data
        return SimpleNamespace(
            shape=(len(self.y), self.n_features), data=self.data, indices=self.indices, indptr=self.indptr
        )

    def matrix(self):
        if not self.sparse:
            return self.data[: self.n]
        end = int(self.indptr[self.n])
        return sp.csr_matrix(
            (self.data[:end], self.indices[:end], self.indptr[: self.n + 1]), shape=(self.n, self.n_features)
        )


def _grown(array, size):
    out = np.zeros((size, *array.shape[1:]), dtype=array.dtype)
    out[: len(array)] = array
    return out


def _metric(X, intercept):
    """``(directions, along, across)`` for ``_core.HingeSolver``: how long a change of theta is, seen from the rows.

    Any metric will do. The best for rows of second moments M is the root of M; taken here are its
    principal directions, roughly, and its diagonal for what is at right angles to them.
    """
    n, d = X.shape
    rows = X[:: max(1, n // 2000)]
    m = rows.shape[0]

    def moments(V):
        """M V, the intercept's 1 appended to every row."""
        scores = rows @ V[:-1] + V[-1] * intercept
        return np.vstack([rows.T @ scores, intercept * scores.sum(axis=0)]) / m

    directions = np.random.default_rng(0).standard_normal((d + 1, min(DIRECTIONS, d)))
    for _ in range(4):
        directions = np.linalg.qr(moments(directions))[0]
    squares = rows.multiply(rows).sum(axis=0) if sp.issparse(rows) else np.einsum("ij,ij->j", rows, rows)
    diagonal = np.append(np.asarray(squares).ravel() / m, float(intercept))
    image = moments(directions)
    values, turn = np.linalg.eigh(directions.T @ image)
    directions = directions @ turn
    rest = np.maximum(diagonal - np.einsum("ij,ij->i", directions, directions * values), 0.0)
    largest = max(diagonal.max(), values.max()) or 1.0
    along = np.sqrt(np.maximum(values, 0.0) + 1e-4 * largest)
    across = np.sqrt(rest + 1e-3 * max(rest.max(), 1e-6 * largest))
    return np.ascontiguousarray(directions.T), along, across


class _HingeSolver:
    """Hands the work to ``_core.HingeSolver`` and repairs what its checks find."""

    def __init__(self, victim: Victim, theta0):
        self.victim, self.theta0 = victim, theta0
        objective = victim.objective
        self.core = _core.HingeSolver(
            victim.X,
            np.ascontiguousarray(victim.y, dtype=np.float64),
            objective.fit_intercept,
            objective.penalize_intercept,
            _metric(victim.X, objective.fit_intercept),
        )

    def solve(self):
        """From scratch (or theta0), with all points added so far."""
        victim, core = self.victim, self.core
        core.set_added(victim._rows.block(), victim._rows.n)
        for index in range(core.n_rows - victim.X.shape[0], victim._rows.n):
            core.append(victim._rows.y[index])
        core.set_weights(np.concatenate([victim.weight, victim.added_count]), victim.k)
        theta, self.theta0 = self.theta0, None
        if theta is None:
            victim.n_iter += core.descend(1e-3, 100)
        core.start(theta)
        self.audit()
        victim.warn_if_loose()

    def add(self, index, new, count):
        victim, core = self.victim, self.core
        row = victim.X.shape[0] + index
        if new:
            core.set_added(victim._rows.block(), victim._rows.n)
            core.append(victim._rows.y[index])
        outcome = core.raise_weight(row, count, victim.k - core.k)
        victim.n_iter += 1
        self._read(core.gap())
        if outcome != 0 or not victim.is_tight():
            self.audit()

    def audit(self):
        victim = self.victim
        for _ in range(3):
            gap, wrong = self.core.audit()
            self._read(gap)
            if wrong:
                victim.n_repairs += 1
            if victim.is_tight():
                break
        return gap

    def check(self):
        """Whether a full pass finds all as it should be; the gap is then the true one."""
        gap, wrong = self.core.check()
        self.victim.gap = gap
        return not wrong and self.victim.is_tight()

    def _read(self, gap):
        theta = np.empty(self.victim.n_features + 1)
        self.core.theta(theta)
        self.victim.theta, self.victim.gap = theta, gap

    def clean_loss(self):
        return self.core.clean_loss()

    def resolution(self):
        return self.core.resolution()


class _SmoothSolver:
    """Newton's method with a kept factor, for differentiable losses."""

    def __init__(self, victim: Victim, theta0):
        self.victim = victim
        self.factor = None
        self.pairs = []
        self._extra = 0
        self._clean_part = None
        norms = victim.X.multiply(victim.X).sum(axis=1) if victim.sparse else np.einsum("ij,ij->i", victim.X, victim.X)
        self.norm = np.sqrt(np.asarray(norms).ravel() + 1.0)
        victim.theta = np.zeros(victim.n_features + 1) if theta0 is None else np.array(theta0, dtype=float)
        if not victim.objective.fit_intercept:
            victim.theta[-1] = 0.0

    def add(self, index, new, count):
        self.solve()

    def audit(self):
        """Nothing is carried from step to step but the factor, so every gap is the true gap."""
        return self.victim.gap

    def check(self):
        return True  # every gap is the true gap

    def clean_loss(self):
        return self._clean_loss

    def resolution(self):
        """What rounding alone can put into the gap: nothing that counts, it is a squared residual."""
        return 0.0

    def solve(self):
        victim = self.victim
        objective = victim.objective
        self.ridge = np.full(victim.n_features + 1, victim.k)
        self.ridge[-1] = victim.k * objective.r
        at = self._evaluate(victim.theta)
        stale = self.factor is not None
        if not stale:
            self._refactor(at)
        for steps in range(200):  # noqa: B007
            victim.theta, victim.gap = at.theta, at.gap
            if victim.is_tight():
                break
            step = -self._inverse_hessian(at.gradient)
            trial = self._evaluate(at.theta + step)
            victim.n_iter += 1
            # A full step that shrinks the gradient well is taken on the spot; anything else is
            # checked against the objective, with a fresh factor.
            self._learn(step, trial.gradient - at.gradient)
            if trial.norm <= 0.5 * at.norm:
                at = trial
                continue
            if stale:
                if trial.norm < at.norm:
                    at = trial
                self._refactor(at)
                stale = False
                continue
            trial = self._line_search(at, step, trial)
            if trial is None:
                break
            at = trial
            self._refactor(at)
        # An out-of-date factor costs extra passes over the data; once they add up to what a new
        # factor costs (about n_features / 16 passes: it runs at the speed of a matrix product), make one.
        self._extra += max(0, steps - 2)
        if stale and self._extra > max(4, victim.n_features / 16):
            self._refactor(at)
        victim.theta, victim.gap = at.theta, at.gap
        self._clean_loss = at.clean_loss
        victim.warn_if_loose()

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

    def _evaluate(self, theta):
        """Loss, gradient and duality gap at theta: one product with X and one with its transpose."""
        victim = self.victim
        # After an added point the clean rows stand where the last refit left them.
        if self._clean_part is None or self._clean_part[0] is not theta:
            self._clean_part = (theta, self._block(theta, victim.X, victim.y, victim.weight))
        blocks = [self._clean_part[1]]
        if victim.n_distinct:
            blocks.append(self._block(theta, victim.added_X, victim.added_y, victim.added_count))
        gradient = self.ridge * theta
        for block in blocks:
            gradient -= block.pull
        value = sum(block.loss for block in blocks) + 0.5 * float(self.ridge @ (theta * theta))
        if victim.objective.fit_intercept and not victim.objective.penalize_intercept:
            gap = self._free_gap(blocks, gradient)
        else:
            # gap = |gradient|^2 / 2k at the dual point alpha_i = c_i * -phi'(m_i): no cancellation
            gap = float(gradient @ gradient) / (2 * victim.k)
        return SimpleNamespace(
            theta=theta,
            value=value,
            gradient=gradient,
            gap=gap,
            clean_loss=blocks[0].loss,
            norm=float(np.linalg.norm(gradient)),
            margins=[block.margin for block in blocks],
        )

    def _block(self, theta, X, y, weight):
        """What some rows contribute: their loss, and how they pull at theta (minus the gradient)."""
        loss = self.victim.objective.loss
        margin = y * (X @ theta[:-1] + theta[-1])
        slope = -loss.derivative(margin) * weight
        signed = slope * y
        pull = np.append(X.T @ signed, signed.sum() if self.victim.objective.fit_intercept else 0.0)
        return SimpleNamespace(
            margin=margin, slope=slope, y=y, weight=weight, pull=pull, loss=float(weight @ loss.value(margin))
        )

    def _free_gap(self, blocks, gradient):
        """A dual point must have sum(y alpha) = 0: shrink the dual variables of one class a little."""
        slopes, labels, margins, weights = (
            np.concatenate([getattr(block, name) for block in blocks]) for name in ("slope", "y", "margin", "weight")
        )
        positive, negative = float(slopes[labels > 0].sum()), float(slopes[labels < 0].sum())
        heavier = labels > 0 if positive > negative else labels < 0
        shrink = abs(positive - negative) / max(positive, negative, np.finfo(float).tiny)
        norms = np.concatenate([self.norm, _row_norms(self.victim.added_X)])
        moved = shrink * float(slopes[heavier] @ norms[heavier])
        residual = float(np.linalg.norm(gradient[:-1])) + moved
        loss = self.victim.objective.loss
        extra = float(weights[heavier] @ loss.fenchel_gap(margins[heavier], min(shrink, 1 - 1e-16)))
        return residual * residual / (2 * self.victim.k) + extra

    def _blocks(self):
        victim = self.victim
        yield victim.X, victim.y, victim.weight
        if victim.n_distinct:
            yield victim.added_X, victim.added_y, victim.added_count

    def _refactor(self, at):
        victim = self.victim
        loss, intercept = victim.objective.loss, victim.objective.fit_intercept
        self._extra = 0
        self.pairs = []
        self.curvature = [
            loss.second_derivative(margin) * weight
            for margin, (_, _, weight) in zip(at.margins, self._blocks(), strict=True)
        ]
        if victim.n_features > DENSE_HESSIAN:
            self.factor = "cg"
            return
        d = victim.n_features
        H = np.diag(self.ridge)
        for (X, _, _), h in zip(self._blocks(), self.curvature, strict=True):
            if sp.issparse(X):
                H[:d, :d] += (X.T @ X.multiply(h[:, None]).tocsr()).toarray()
            else:
                for rows in _slices(len(h), 4096):
                    # symmetric product of the rows scaled by sqrt(h), a block at a time: no copy of X
                    scaled = X[rows] * np.sqrt(h[rows])[:, None]
                    H[:d, :d] += scaled.T @ scaled
            if intercept:
                column = X.T @ h
                H[:d, d] += column
                H[d, :d] += column
                H[d, d] += h.sum()
        if not intercept:
            H[d, d] = 1.0
        H[np.diag_indices_from(H)] += 1e-14 * np.trace(H) / (d + 1)
        self.factor = scipy.linalg.cho_factor(H, overwrite_a=True, check_finite=False)

    def _learn(self, step, change):
        """Remember how the gradient changed along a step: a correction of the kept factor."""
        product = float(step @ change)
        if product > 1e-12 * float(np.linalg.norm(step)) * float(np.linalg.norm(change)):
            self.pairs.append((step, change, product))
            del self.pairs[:-MEMORY]

    def _inverse_hessian(self, v):
        """The inverse Hessian times v: the kept factor, corrected by the last steps.

        The two-loop recursion of limited-memory BFGS (Nocedal and Wright, *Numerical
        Optimization*, algorithm 7.4), started from the factor instead of a multiple of 1.
        """
        v = v.copy()
        weights = []
        for step, change, product in reversed(self.pairs):
            weights.append(float(step @ v) / product)
            v -= weights[-1] * change
        if self.factor == "cg":
            v = self._conjugate_gradients(v)
        else:
            v = scipy.linalg.cho_solve(self.factor, v, check_finite=False)
        for (step, change, product), weight in zip(self.pairs, reversed(weights), strict=True):
            v += (weight - float(change @ v) / product) * step
        return v

    def _conjugate_gradients(self, rhs):
        """Solve H p = rhs by conjugate gradients with the diagonal as preconditioner."""
        intercept = self.victim.objective.fit_intercept
        blocks = [(X, h) for (X, _, _), h in zip(self._blocks(), self._current_curvature(), strict=True)]
        diagonal = self.ridge.copy()
        for X, h in blocks:
            squares = X.multiply(X).T @ h if sp.issparse(X) else np.einsum("ij,ij,i->j", X, X, h)
            diagonal[:-1] += squares
            diagonal[-1] += h.sum() if intercept else 1.0
        diagonal[diagonal <= 0] = 1.0

        def product(p):
            out = self.ridge * p
            for X, h in blocks:
                z = h * (X @ p[:-1] + (p[-1] if intercept else 0.0))
                out[:-1] += X.T @ z
                if intercept:
                    out[-1] += z.sum()
            return out

        p = np.zeros_like(rhs)
        residual = rhs.copy()
        z = residual / diagonal
        direction, rho = z.copy(), float(residual @ z)
        target = 1e-3 * np.linalg.norm(rhs)
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

    def _current_curvature(self):
        """The kept curvature, with zeros for points added since (a stale factor is still a step)."""
        for (_, y, _), i in zip(self._blocks(), range(2), strict=False):
            kept = self.curvature[i] if i < len(self.curvature) else np.zeros(0)
            yield kept if len(kept) == len(y) else np.append(kept, np.zeros(len(y) - len(kept)))


def _row_norms(X):
    squares = np.asarray(X.multiply(X).sum(axis=1)).ravel() if sp.issparse(X) else np.einsum("ij,ij->i", X, X)
    return np.sqrt(squares + 1.0)


def _slices(n, size):
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
