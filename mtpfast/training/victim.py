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

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.losses.objective import Objective

from .hinge import HingeSolver
from .smooth import SmoothSolver
from .training_set import TrainingSet

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
        self.training = TrainingSet(X, y, objective, sample_weight, total_weight)
        self.n_audits = self._since_audit = 0
        self._solver = (HingeSolver if objective.loss.kinked else SmoothSolver)(self.training, tol, theta0)
        self._solver.solve()

    theta = property(lambda self: self._solver.theta)
    gap = property(lambda self: self._solver.gap)
    n_iter = property(lambda self: self._solver.n_iter)
    n_repairs = property(lambda self: self._solver.n_repairs)
    X = property(lambda self: self.training.X)
    y = property(lambda self: self.training.y)
    objective = property(lambda self: self.training.objective)
    settled = property(lambda self: self.training.settled)
    k = property(lambda self: self.training.k)
    weight = property(lambda self: self.training.weight)
    n_distinct = property(lambda self: self.training.n_added)
    added_X = property(lambda self: self.training.added_X)
    added_y = property(lambda self: self.training.added_y)
    added_count = property(lambda self: self.training.added_count)
    added_weight = property(lambda self: self.training.added_weight)

    def add(self, x, y, count: int = 1) -> int:
        """Add the point (x, y) ``count`` times and refit. Returns its index among the distinct points."""
        index, new = self.training.place(x, y, count)
        if self.objective.is_balanced:  # every row weighs something else now
            self.training.weigh()
            self._solver.solve(self.theta)
        else:
            self._solver.add(index, new, count)
        self._since_audit += 1
        if self._since_audit >= AUDIT_EVERY:
            self.audit()
        return index

    def hand_over(self, n: int):
        """The first ``n`` distinct points (as :attr:`added_X` has them) and their labels; the victim is none any more.

        They are not copied, or only piece by piece: what the victim has beside them is given up first.
        """
        rows, sparse = self.training.rows, self.training.sparse
        rows.hide()
        self.training = self._solver = rows.reader = None
        return rows.hand_over(n, sparse)

    def reweigh(self, objective, sample_weight, total_weight=None, theta0=None, near=None, enough=-np.inf) -> None:
        """Train again with other weights of the rows, from theta0 (default: the present model); see :func:`refit`.

        ``near``: where the new model is thought to be, for a solver that can do with it what it can do with the present
        one. ``enough``: a value of the objective at which the training may end before it is tight. ``objective``
        differs in its class weights at most, and no point has been added.
        """
        self.training.renew(objective, sample_weight, total_weight)
        self._solver.reweigh(theta0, near, enough)

    def add_many(self, points, labels, counts) -> None:
        """Add many points at once and refit once."""
        for x, y, count in zip(points, labels, counts, strict=True):
            self.training.place(x.toarray() if sp.issparse(x) else x, y, count)
        if self.objective.is_balanced:
            self.training.weigh()
        self._solver.solve()

    def audit(self) -> float:
        """Recompute the whole state with full passes; returns the true duality gap."""
        self._since_audit = 0
        self.n_audits += 1
        return self._solver.audit()

    def check(self) -> float:
        """Measure the true duality gap with a full pass; only where that finds fault, :meth:`audit`."""
        self.n_audits += 1
        if not self._solver.check():
            self._solver.n_repairs += 1
            self._solver.audit()
        return self.gap

    def clean_loss(self) -> float:
        """Summed loss of the clean rows at ``theta`` (without the penalty)."""
        return self._solver.clean_loss()

    def value(self) -> float:
        """The objective at ``theta``, no row added."""
        return self.clean_loss() + 0.5 * self.k * self.objective.penalty(self.theta)

    def size(self) -> float:
        """How large a change of the model counts as 1; see :meth:`mtpfast.training.solver.Solver.size`."""
        return self._solver.size()

    def is_tight(self) -> bool:
        """Whether the gap is as small as ``tol`` asks, or as float64 can tell."""
        return self._solver.is_tight()
