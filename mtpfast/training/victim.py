"""Training the victim, and training it again after each added point.

The objective is stated in ``losses/objective.py``. Every solution comes with a proved duality gap, and the
gap is what stops a refit: the objective is k-strongly convex, so ``sqrt(2 gap / k)`` bounds the
distance to the optimum (of w, and of b where it is penalised).

* hinge: an active-set method that ends at the exact minimiser (``_hinge.HingeSolver``);
* smooth losses: Newton steps from an inverse of the Hessian that is kept, and corrected by what
  every step teaches, until a new one is cheaper; conjugate gradients where a dense Hessian of all
  features would be too large. A step reads the rows twice, as a rule (``_core.loss_pass``).
"""

from __future__ import annotations

import hashlib
import math
import warnings
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from mtpfast.arrays.rows import SLICE, slices
from mtpfast.losses.objective import Objective

from .added_rows import AddedRows
from .hinge import HingeSolver
from .smooth import SmoothSolver, squares

__all__ = ["Fit", "Victim", "refit"]


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
    >>> from mtpfast.losses.objective import make_objective
    >>> from mtpfast.training.victim import refit
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
        solver = HingeSolver if objective.loss.kinked else SmoothSolver
        self._rows = AddedRows(self.n_features, self.sparse, may_be_dense=solver is HingeSolver)
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


def _unit(X):
    """``1 / max |x|`` over the rows, 1 if all are zero: weights of this length move a margin by 1."""
    largest = max(float(np.max(squares(X[rows], axis=1))) for rows in slices(0, X.shape[0], SLICE))
    return 1.0 / math.sqrt(largest) if largest > 0.0 else 1.0
