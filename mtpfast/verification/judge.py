"""The judge of attacks: it believes no method, and gives every one the same last step."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.checks import check_labels, check_X
from mtpfast.arrays.rows import stack

from .maximum import attained_and_proved
from .membership import inside_set, used_too_often
from .retrain import Training, retrain

__all__ = ["Judgement", "check_points", "judge"]


class Judgement(NamedTuple):
    """What poisoning points do, measured apart from whoever chose them.

    Attributes
    ----------
    n_points : int
        Copies counted.
    feasible : bool
        Whether every point lies in the feasible set, and no candidate of a pool is used more often than it may be.
    theta : ndarray of shape (n_features + 1,)
        The victim trained from scratch by scikit-learn (SciPy where scikit-learn has no such trainer).
    distance : float
        l2 distance of ``(w, b)`` to the target; NaN without one.
    loss_difference : float
        ``max phi(y theta . x~) - phi(y theta_target . x~)`` over the feasible set and both labels, weighed as labels
        are; NaN without a target.
    clean_loss, poison_loss : float
        Summed loss of the clean rows and of the points, weights included.
    penalty : float
        ``k / 2 theta' R theta``. The victim minimises the sum of the three.
    """

    n_points: int
    feasible: bool
    theta: np.ndarray
    distance: float
    loss_difference: float
    clean_loss: float
    poison_loss: float
    penalty: float


def judge(
    objective, X, y, points, labels, counts, feasible_set, target=None, sample_weight=None, *, tol=1e-6
) -> Judgement:
    r"""Train the victim on clean rows and poison from scratch, and measure.

    .. math:: \theta = \arg\min_\theta \sum_i c_i \varphi(y_i \theta \cdot \tilde x_i)
              + \sum_j n_j c_j \varphi(y_j \theta \cdot \tilde x_j) + \tfrac{k}{2} \theta^\top R \theta

    Nothing compiled, no search and no training of the package is used: scikit-learn trains, and loss differences are
    maximised in plain NumPy (:mod:`mtpfast.verification.maximum`).

    Parameters
    ----------
    objective : Objective
        What the victim minimises.
    X : ndarray or CSR matrix of shape (n_clean, n_features)
    y : ndarray of shape (n_clean,), -1. and +1.
    points : ndarray or CSR matrix of shape (n_distinct, n_features)
    labels, counts : ndarray of shape (n_distinct,)
        Labels -1. and +1., and how often each point is added: whole numbers, at least 0.
    feasible_set : Space
        With the labels -1. and +1.
    target : ndarray of shape (n_features + 1,), optional
        ``(w, b)``.
    sample_weight : ndarray of shape (n_clean,), optional
    tol : float
        scikit-learn's. LIBLINEAR takes minutes with a tighter one where a point has hundreds of copies.

    Returns
    -------
    Judgement

    Raises
    ------
    ValueError
        For points that are not finite or of another width, labels other than -1 and +1, and counts that are no counts.

    Notes
    -----
    With the hinge and a free intercept the best intercept may be an interval: the model is then scikit-learn's choice
    in it, and so are distance and loss difference.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast import FeatureSpace
    >>> from mtpfast.losses.objective import make_objective
    >>> from mtpfast.verification.judge import judge
    >>> X, y = np.array([[0.0], [1.0]]), np.array([-1.0, 1.0])
    >>> found = judge(make_objective(C=1.0), X, y, np.array([[1.0]]), [-1.0], [3], FeatureSpace(0.0, 1.0))
    >>> found.n_points, found.feasible, bool(found.theta[0] < 0)
    (3, True, True)
    """
    X = check_X(X)
    y = check_labels(y, X.shape[0])
    points, labels, counts = check_points(points, labels, counts, X.shape[1])
    classes = np.array([-1.0, 1.0])
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    training = Training.of(
        objective,
        stack(X, points),
        np.append(y, labels),
        np.append(weight, np.ones(len(labels))),
        np.append(np.ones(len(y), dtype=np.intp), counts),
    )
    theta = retrain(training, tol)
    losses = training.c * objective.loss.value(objective.margins(theta, training.X, training.y))
    feasible = True
    if len(labels):
        feasible = bool(np.all(inside_set(feasible_set, points, labels, classes, np.zeros(X.shape[1]))))
        if feasible_set.max_repeats is not None:
            feasible = feasible and not used_too_often(feasible_set, points, labels, counts, classes)
    distance = difference = float("nan")
    if target is not None:
        distance = float(np.linalg.norm(theta - target))
        space = feasible_set.bind(classes=classes)
        difference = attained_and_proved(theta, target, space, objective.loss, training.class_weight)[0]
    return Judgement(
        int(counts.sum()),
        feasible,
        theta,
        distance,
        difference,
        float(losses[: len(y)].sum()),
        float(losses[len(y) :].sum()),
        0.5 * training.k * objective.penalty(theta),
    )


def check_points(points, labels, counts=None, n_features=None):
    """``(points, labels, counts)`` as arrays (points: or a CSR matrix), once each if no counts are given.

    ValueError for what no table can hold: see :func:`judge`.
    """
    n = np.shape(labels)[0] if np.ndim(labels) else -1
    if n == 0 and not sp.issparse(points) and np.size(points) == 0:
        points = np.zeros((0, n_features))
    points = check_X(points, "points", n_features, min_rows=0)
    labels = check_labels(labels, points.shape[0], "labels", "points", both=False)
    counts = np.ones(len(labels)) if counts is None else np.asarray(counts, dtype=float)
    if counts.shape != labels.shape or not np.all((counts >= 0.0) & (counts <= 2.0**53) & (counts == np.floor(counts))):
        raise ValueError(f"counts must hold {len(labels)} whole numbers, at least 0, got {counts[:5].tolist()}")
    return points, labels, counts.astype(np.intp)
