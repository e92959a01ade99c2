"""Training the victim, and training it again after each added point.

The objective is stated in ``losses.py``. Every solution comes with a proved duality gap, and the
gap is what stops a refit: the objective is k-strongly convex, so ``sqrt(2 gap / k)`` bounds the
distance to the optimum (of w, and of b where it is penalised).

* hinge: an active-set method that ends at the exact minimiser (``_core.HingeSolver``);
* smooth losses: Newton steps from an inverse of the Hessian that is kept, and corrected by what
  every step teaches, until a new one is cheaper; conjugate gradients where a dense Hessian of all
  features would be too large. A step reads the rows twice, as a rule (``_core.loss_pass``).
"""

from __future__ import annotations

import hashlib
import math
import warnings
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg.blas import dsymv, dsyr2, dsyrk
from scipy.linalg.lapack import dpotrf, dpotri
from sklearn.exceptions import ConvergenceWarning

from . import _core
from .growing import Growing
from .kernels import kernel_of
from .losses import Objective

__all__ = ["Fit", "Victim", "refit"]

#: Above this many features the Hessian is not formed; Newton's equations go to conjugate gradients.
DENSE_HESSIAN = 2500
#: So many principal directions of the rows say how far theta has gone.
DIRECTIONS = 8
#: A loss without a compiled kernel is evaluated so many rows at a time.
SLICE = 512
#: After this many added points the rows of a table of so many entries are coded, where that pays (it costs some
#: 200 reads of them).
CODE_AFTER, CODE_FROM = 100, 2**18
#: So many combinations of the values of neighbouring columns may share a code.
PATTERNS = 512
EPS = float(np.finfo(float).eps)
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
        Row weights; weight 2 is the row twice, weight 0 the row left out. The objective's class weights come on top.
    total_weight : float, optional
        The N that sets k in the ``alpha`` convention; by default what the objective counts of these rows.
    theta0 : ndarray of shape (n_features + 1,), optional
        A warm start.
    tol : float
        Stops when ``sqrt(2 gap / k)`` is at most ``tol`` times the size of the model (:meth:`Victim.size`).

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
    victim.let_go()
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
        self.sample_weight = sample_weight
        self.amount = objective.amount(y, sample_weight) if total_weight is None else float(total_weight)
        self.k = objective.k(self.amount)
        self._totals = objective.class_totals(y, sample_weight) if objective.is_balanced else None
        self._weigh()
        self.n_iter = 0
        self.n_audits = self.n_repairs = 0
        self._since_audit = 0
        self.unit = _unit(X)
        self._index = {1.0: {}, -1.0: {}}  # per label: what stands for a point, and its row
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
        return self._rows.y.rows

    @property
    def added_count(self) -> np.ndarray:
        return self._rows.count.rows

    @property
    def added_weight(self) -> np.ndarray:
        """What the distinct added points weigh with their copies."""
        count = self.added_count
        weights = self.settled.class_weight
        return count if weights is None else count * np.where(self.added_y > 0, weights[1], weights[0])

    def _weigh(self):
        """The class weights, and the weights of the clean rows: "balanced" changes both with every added point."""
        self.settled = self.objective.settled(self._totals)
        weight = self.settled.weights(self.y, self.sample_weight)
        self.weight = np.ones(len(self.y)) if weight is None else weight

    def add(self, x, y, count: int = 1) -> int:
        """Add the point (x, y) ``count`` times and refit. Returns its index among the distinct points."""
        index, new = self._place(x, y, count)
        if self.objective.is_balanced:  # every row weighs something else now
            self._weigh()
            self._solver.solve(self.theta)
        else:
            self._solver.add(index, new, count)
        self._since_audit += 1
        if self._since_audit >= AUDIT_EVERY:
            self.audit()
        return index

    def let_go(self):
        """Give up X, the solver and the added points, which know each other and would stay until cycles are collected.

        The last model, its gap and the counts of the work are all that is left.
        """
        rows = self._rows
        rows.before_growing()
        self.X = self._rows = self._solver = rows.before_growing = None
        return rows

    def hand_over(self, n: int):
        """:meth:`let_go`, for the first ``n`` distinct points (as :attr:`added_X` has them) and their labels.

        They are not copied, or only piece by piece.
        """
        return self.let_go().hand_over(n, self.sparse)

    def add_many(self, points, labels, counts) -> None:
        """Add many points at once and refit once."""
        for x, y, count in zip(points, labels, counts, strict=True):
            self._place(x.toarray() if sp.issparse(x) else x, y, count)
        if self.objective.is_balanced:
            self._weigh()
        self._solver.solve()

    def _place(self, x, y, count):
        """Count a point among the distinct ones: (index, whether it is new). No refit."""
        x = np.ascontiguousarray(x, dtype=np.float64).ravel()
        # 256 bits stand for the point itself, which is kept once; + 0.0 turns -0. into 0.
        key, known = hashlib.blake2b(x + 0.0, digest_size=32).digest(), self._index[y]
        index = known.get(key)
        new = index is None
        if new:
            index = known[key] = self._rows.append(x, y)
        self._rows.count.block[index] += count
        self.k += self.objective.k_of_point(y) * count
        if self.objective.is_balanced:
            self._totals[1 if y > 0 else 0] += count
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

    def size(self) -> float:
        """How large a change of the model counts as 1: by its own size, and by what moves a margin by 1.

        ``max(1 / max |x|, |w|)`` for the weights and ``max(1, |b|)`` for the intercept, the smaller of both: in other
        units of the features the weights are larger or smaller, and so is this.
        """
        w, b = self.theta[:-1], float(self.theta[-1])
        of_weights = max(self.unit, math.sqrt(w @ w))
        return min(of_weights, max(1.0, abs(b))) if self.objective.fit_intercept else of_weights

    def is_tight(self) -> bool:
        """Whether the gap is as small as ``tol`` asks, or as float64 can tell."""
        asked = 0.5 * self.k * (self.tol * self.size()) ** 2
        return self.gap <= asked or self.gap <= self._solver.resolution()

    def warn_if_loose(self) -> None:
        if not self.is_tight() and math.sqrt(2 * self.gap / self.k) > 1e-6 * self.size():
            warnings.warn(
                f"the refit stopped at a duality gap of {self.gap:.2g}: the model is proved to within "
                f"{math.sqrt(2 * self.gap / self.k):.2g} of the optimum, tol asks for {self.tol:g}",
                ConvergenceWarning,
                stacklevel=3,
            )


class _Rows:
    """The distinct added points, dense or CSR like the clean rows.

    Points of a box are vertices of it, with about as many entries as zeros: next to sparse clean rows they are
    kept dense all the same (where ``may_be_dense``) if the first of them says so, at a third more bytes and a
    fraction of the time.

    Memory that is looked at cannot grow where it stands: who looks at :meth:`block` puts into ``before_growing``
    what makes it look away.
    """

    def __init__(self, n_features, sparse, may_be_dense=False):
        self.n, self.n_features, self.sparse, self.may_be_dense = 0, n_features, sparse, may_be_dense
        self.y, self.count = Growing(), Growing()
        self.data, self.indices, self.indptr = Growing(), Growing(dtype=np.int32), Growing(dtype=np.int32)
        self.before_growing = lambda: None

    def append(self, x, y) -> int:
        i = self.n
        if i == 0:
            if self.sparse and self.may_be_dense and 4 * np.count_nonzero(x) > len(x):
                self.sparse = False
            if self.sparse:
                self.indptr.append(0)
            else:
                self.data = Growing((self.n_features,))
        if self.sparse:
            nonzero = np.flatnonzero(x)
            end = len(self.data) + len(nonzero)
            if end > min(len(self.data.block), len(self.indices.block)) or i + 2 > len(self.indptr.block):
                self.before_growing()
            self.data.extend(x[nonzero])
            self.indices.extend(nonzero)
            self.indptr.append(end)
        else:
            if i == len(self.data.block):
                self.before_growing()
            self.data.append(x)
        self.y.append(y)
        self.count.append(0.0)
        self.n = i + 1
        return i

    def block(self):
        """What ``_core.HingeSolver`` reads: all the memory there is."""
        if not self.sparse:
            return self.data.block
        indptr = self.indptr.block
        shape = (len(indptr) - 1, self.n_features)
        return SimpleNamespace(shape=shape, data=self.data.block, indices=self.indices.block, indptr=indptr)

    def matrix(self):
        if not self.n:
            return (sp.csr_matrix if self.sparse else np.zeros)((0, self.n_features))
        if not self.sparse:
            return self.data.rows
        arrays = self.data.rows, self.indices.rows, self.indptr.rows
        return sp.csr_matrix(arrays, shape=(self.n, self.n_features))

    def hand_over(self, n, sparse):
        """(points, labels) of the first n, CSR where ``sparse``; the rows are gone then."""
        points, labels = self.matrix(), self.y.rows[:n].copy()
        if n < self.n:
            points = points[:n]
        self.n, data, self.data = 0, self.data, None
        if sparse and not sp.issparse(points):
            del points
            points = _to_csr(data, n)
        return points, labels


def _to_csr(rows: Growing, n):
    """The first n rows as CSR, from the last to the first: each is given up as it is copied."""
    d = rows.block.shape[1]
    rows.truncate(n)
    step = max(1, 2**15 // d)
    parts = list(_slices(0, n, step))
    counts = [np.count_nonzero(rows.block[part], axis=1) for part in parts]
    indptr = np.concatenate([[0], *counts]).cumsum()
    index = sp.get_index_dtype(maxval=max(int(indptr[-1]), d))
    data, indices = np.empty(indptr[-1]), np.empty(indptr[-1], dtype=index)
    for part in reversed(parts):
        dense = rows.block[part]
        i, j = np.nonzero(dense)
        to = slice(indptr[part.start], indptr[part.stop])
        data[to], indices[to] = dense[i, j], j
        del dense
        rows.truncate(part.start)
    return sp.csr_matrix((data, indices, indptr.astype(index)), shape=(n, d))


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
        self.attached = False
        victim._rows.before_growing = self._detach

    def _attach(self):
        """Show the core the added rows, unless there are none or they are where it saw them last."""
        rows = self.victim._rows
        if not self.attached and rows.n:
            self.core.set_added(rows.block(), rows.n)
            self.attached = True

    def _detach(self):
        """The added rows are about to move: the core must not look at them."""
        self.core.set_added(np.empty((0, self.victim.n_features)), 0)
        self.attached = False

    def solve(self, theta=None):
        """From ``theta`` (or theta0, or from scratch), with all points added so far."""
        victim, core = self.victim, self.core
        self._attach()
        for y in victim.added_y[core.n_rows - victim.X.shape[0] :]:
            core.append(y)
        core.set_weights(np.concatenate([victim.weight, victim.added_weight]), victim.k)
        if theta is None:
            theta, self.theta0 = self.theta0, None
        if theta is None:
            victim.n_iter += core.descend(1e-3, 100)
        core.start(theta)
        self.audit()
        victim.warn_if_loose()

    def add(self, index, new, count):
        victim, core = self.victim, self.core
        row = victim.X.shape[0] + index
        self._attach()
        if new:
            core.append(victim._rows.y.block[index])
        weight = count * victim.settled.weight_of(victim._rows.y.block[index])
        outcome = core.raise_weight(row, weight, victim.k - core.k)
        victim.n_iter += 1
        self._read(core.gap())
        if outcome != 0 or not victim.is_tight():
            self.audit()

    def audit(self):
        victim = self.victim
        self._attach()
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
        self._attach()
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
    """Newton's method with a kept inverse of the Hessian, for differentiable losses.

    A step of an attack takes a few evaluations, each of them one read of the rows. The first Newton
    step needs none: at the old model only the pull of the new point and k have changed. Every step
    teaches the kept inverse how the gradient changes (BFGS); once that is no longer enough, the
    Hessian is computed anew. Above `DENSE_HESSIAN` features conjugate gradients stand in for it.

    In a long attack the rows of a table, whose columns take few values, are read by their codes
    (`_encode`): a twentieth of the bytes and less than half of the time.
    """

    def __init__(self, victim: Victim, theta0):
        self.victim = victim
        objective = victim.objective
        loss, d = objective.loss, victim.n_features
        self.y = np.ascontiguousarray(victim.y, dtype=np.float64)
        self.weight = None  # those of the clean rows, from solve on
        self.kernel = kernel_of(loss)
        # what the sums of an evaluation are off by, in units of the sum of the sizes of their terms
        compiled = self.kernel is not None
        self.rounding_of_rows = EPS * (64 if compiled else SLICE + 4 + victim.X.shape[0] / SLICE)
        self.rounding = self.rounding_of_rows
        self.rounding_of_balance = EPS * (128 if compiled else 4)
        self.coded, self.n_added = None, 0
        self.free = objective.fit_intercept and not objective.penalize_intercept
        self.norm, self.added_norm = _row_norms(victim.X), Growing()
        self.inverse = None
        self.direct = d <= DENSE_HESSIAN
        self.age = self.extra = self.recent = 0
        victim.theta = np.zeros(d + 1) if theta0 is None else np.array(theta0, dtype=float)
        if not objective.fit_intercept:
            victim.theta[-1] = 0.0

    def solve(self, theta=None):
        """From the current model (which ``theta`` is), with all points added so far."""
        self.weight = np.ascontiguousarray(self.victim.weight, dtype=np.float64)
        self._prepare()
        self._move(self._evaluate(self.victim.theta))
        self._newton()

    def add(self, index, new, count):
        self._prepare()
        self.n_added += 1
        if self.kernel is not None and self.n_added == CODE_AFTER:
            self._encode()
        victim, at = self.victim, self.at
        # All that changed at the current model is the weight of one row, and k.
        change = self._sums_added(at.theta, index, index + 1) * (count / victim.added_count[index])
        self._move(self._state(at.theta, at.clean, at.added + change))
        self._newton()

    def audit(self):
        """A step that needs no pass carries the sums of the last one on: here they are made anew."""
        self.solve()
        return self.victim.gap

    def check(self):
        """Whether a pass over the rows themselves, not their codes, finds the gap as small as it should be."""
        if self.coded is not None:
            self.coded, self.norm, self.rounding = None, _row_norms(self.victim.X), self.rounding_of_rows
        self._move(self._evaluate(self.victim.theta))
        return self.victim.is_tight()

    def clean_loss(self):
        return float(self.at.clean[-4])

    def resolution(self):
        """A gap that rounding alone would explain."""
        return self.at.resolution

    def _prepare(self):
        victim = self.victim
        self.ridge = np.full(victim.n_features + 1, victim.k)
        self.ridge[-1] = victim.k * victim.objective.r
        known = len(self.added_norm)
        if known < victim.n_distinct:
            self.added_norm.extend(_row_norms(victim.added_X[known:]))

    def _move(self, at):
        self.at = at
        self.victim.theta, self.victim.gap = at.theta, at.gap

    def _newton(self):
        victim = self.victim
        fresh, passes = self.inverse is None, 0
        while not victim.is_tight():
            at = self.at
            if self.inverse is None:
                self._refactor(at)
            step = self._step(at)
            trial = self._evaluate(at.theta + step)
            passes += 1
            self._learn(step, at, trial)
            # A full step that shrinks the gradient well is taken on the spot; anything else is
            # checked against the objective, with a fresh Hessian.
            if not trial.norm <= 0.5 * at.norm:
                self.inverse = None
                if fresh:
                    trial = self._line_search(at, step, trial)
                    if trial is None or passes > 200:
                        victim.warn_if_loose()
                        break
                elif not trial.norm < at.norm:
                    trial = at
                fresh = True
            self._move(trial)
        victim.n_iter += passes
        self._watch(passes)

    def _watch(self, passes):
        """Give the Hessian up once that is cheaper: when the passes that its age costs now exceed their average
        with the cost of a new one, about n_features / 16 + 4 passes (it runs at the speed of a matrix product)."""
        extra = max(0, passes - 2)
        self.age += 1
        self.extra += extra
        self.recent += 0.3 * (extra - self.recent)
        if self.recent * self.age > self.extra + self.victim.n_features / 16 + 4:
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
        victim = self.victim
        if self.coded is not None:
            clean = self._sums_coded(theta)
        else:
            clean = self._sums(theta, victim.X, 0, victim.X.shape[0], self.y, self.weight, self.norm)
        return self._state(theta, clean, self._sums_added(theta, 0, victim.n_distinct))

    def _sums_added(self, theta, start, stop):
        victim = self.victim
        if start == stop:
            return np.zeros(victim.n_features + 5)
        X = victim.added_X if self.kernel is None else victim._rows.block()
        return self._sums(theta, X, start, stop, victim.added_y, victim.added_weight, self.added_norm.rows)

    def _sums(self, theta, X, start, stop, y, weight, norm):
        """What ``_core.loss_pass`` returns, for any loss."""
        sums = np.zeros(len(theta) + 4)
        intercept = self.victim.objective.fit_intercept
        if self.kernel is not None:
            _core.loss_pass(self.kernel, X, start, stop, y, weight, norm, theta, intercept, self.free, sums)
            return sums
        loss, balance = self.victim.objective.loss, []
        for rows in _slices(start, stop, SLICE):
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
        _core.coded_loss_pass(self.kernel, *self.coded, theta, self.victim.objective.fit_intercept, self.free, sums)
        return sums

    def _encode(self):
        """Code the clean rows, if their columns take few values; equal rows of one label become one.

        X = E P, with a row of the patterns P for every code and ones in E at the codes of a row. A pass looks its
        margins up in P w, and for X' s it adds up the s of the members of every code.
        """
        X = self.victim.X
        if self.victim.sparse or X.size < CODE_FROM or _codes(X[:2048]) is None:
            return
        found = _codes(X)
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
        for rows in _slices(0, len(first), _core.CHUNK):
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
        k, noise = self.victim.k, self.rounding * size
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
        victim = self.victim
        yield victim.X, self.y, self.weight
        if victim.n_distinct:
            yield victim.added_X, victim.added_y, victim.added_weight

    def _curvature(self, theta, X, y, weight):
        return self.victim.objective.loss.second_derivative(y * (X @ theta[:-1] + theta[-1])) * weight

    def _refactor(self, at):
        """The inverse of the Hessian at a model; above `DENSE_HESSIAN` features its diagonal alone, not inverted."""
        victim, d = self.victim, self.victim.n_features
        intercept = victim.objective.fit_intercept
        self.age = self.extra = self.recent = 0
        H = np.asfortranarray(np.diag(self.ridge)) if self.direct else self.ridge.copy()
        # in slices that a cache holds, so that no copy of X is made
        size = max(256, 2**14 // (d + 1))
        full = np.empty((size, d + 1)) if self.direct else None
        for X, y, weight in self._rows():
            for rows in _slices(0, len(y), size):
                h = self._curvature(at.theta, X[rows], y[rows], weight[rows])
                root = np.sqrt(h)[:, None]
                if self.direct:
                    scaled = full[: len(h)]
                    np.multiply(X[rows].toarray() if sp.issparse(X) else X[rows], root, out=scaled[:, :d])
                    scaled[:, d:] = root if intercept else 0.0
                    H = dsyrk(1.0, scaled.T, beta=1.0, c=H, overwrite_c=True)
                else:
                    H[:d] += _squares(X[rows].multiply(root) if sp.issparse(X) else X[rows] * root, axis=0)
                    H[d] += h.sum() if intercept else 0.0
        if not self.direct:
            H[H <= 0.0] = 1.0
            self.inverse = H
            return
        if not intercept:
            H[d, d] = 1.0
        H[np.diag_indices_from(H)] += (d + 1) * EPS * np.trace(H)
        H, failed = dpotrf(H, overwrite_a=True)
        if not failed:
            H, failed = dpotri(H, overwrite_c=True)
        if failed:
            raise np.linalg.LinAlgError("the Hessian is not positive definite")
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
        intercept, diagonal = self.victim.objective.fit_intercept, self.inverse
        blocks = [(X, self._curvature(at.theta, X, y, weight)) for X, y, weight in self._rows()]

        def product(p):
            out = self.ridge * p
            for X, h in blocks:
                z = h * (X @ p[:-1] + (p[-1] if intercept else 0.0))
                out[:-1] += X.T @ z
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


def _codes(X):
    """``codes`` (n, g) and ``patterns``, a CSR matrix of one row per code: row i of X is the sum of the patterns
    of codes[i]. Neighbouring columns that together take at most `PATTERNS` combinations of values share a code.
    None where that makes more than a code for six columns."""
    n, d = X.shape
    parts = list(_slices(0, n, SLICE))  # what is wider than a code is held for a few rows only
    codes, columns = [], []
    for j in range(d):
        values = np.unique(X[:, j])
        m = len(values)
        if m > PATTERNS or 6 * len(codes) > d:
            return None
        code = np.empty(n, dtype=np.uint16)
        for rows in parts:
            code[rows] = np.searchsorted(values, X[rows, j])
        if codes:
            last, taken = codes[-1], np.zeros((int(codes[-1].max()) + 1) * m, dtype=bool)
            for rows in parts:
                taken[code[rows] + last[rows] * np.int64(m)] = True
            if np.count_nonzero(taken) <= PATTERNS:
                number = (np.cumsum(taken) - 1).astype(np.uint16)
                for rows in parts:
                    last[rows] = number[code[rows] + last[rows] * np.int64(m)]
                columns[-1] = slice(columns[-1].start, j + 1)
                continue
        codes.append(code)
        columns.append(slice(j, j + 1))
    firsts = [np.unique(code, return_index=True)[1] for code in codes]
    starts = np.cumsum([0] + [len(first) for first in firsts])
    if 6 * len(codes) > d or starts[-1] > 2**16:
        return None
    blocks = [sp.csr_matrix(X[first, these]) for first, these in zip(firsts, columns, strict=True)]
    patterns = sp.block_diag(blocks, format="csr")
    out = np.empty((n, len(codes)), dtype=np.uint16)
    for i in range(len(codes)):
        np.add(codes[i], starts[i], out=out[:, i], casting="unsafe")
        codes[i] = None
    return out, patterns


def _squares(X, axis):
    """Sums of the squares of the entries of a small dense or CSR block."""
    if sp.issparse(X):
        return np.asarray(X.multiply(X).sum(axis=axis)).ravel()
    return np.einsum("ij,ij->j" if axis == 0 else "ij,ij->i", X, X)


def _row_norms(X):
    """|x~| of every row."""
    return np.sqrt(np.concatenate([_squares(X[rows], axis=1) for rows in _slices(0, X.shape[0], SLICE)]) + 1.0)


def _unit(X):
    """``1 / max |x|`` over the rows, 1 if all are zero: weights of this length move a margin by 1."""
    largest = max(float(np.max(_squares(X[rows], axis=1))) for rows in _slices(0, X.shape[0], SLICE))
    return 1.0 / math.sqrt(largest) if largest > 0.0 else 1.0


def _slices(start, stop, size):
    return (slice(i, min(i + size, stop)) for i in range(start, stop, size))
