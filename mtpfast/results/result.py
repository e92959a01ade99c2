"""What an attack returns: the points, the induced model, and what is proved about their number."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from mtpfast.arrays.frames import take_records
from mtpfast.arrays.frozen import read_only_view
from mtpfast.losses.margin import Loss, get_loss
from mtpfast.losses.objective import Objective
from mtpfast.proofs.bounds import NEVER
from mtpfast.proofs.clean_pass import CleanGradient
from mtpfast.proofs.goal import Goal, hit_radius

from .curve import curve
from .damage import Damage
from .files import read_fields, write_file
from .mixing import in_columns, mixed
from .packed import Points
from .plot import plot
from .prefix import prefix
from .spread import spread
from .status import STATUSES, STOPS

if TYPE_CHECKING:
    from mtpfast.verification.report import VerificationReport

__all__ = ["PoisoningResult"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PoisoningResult:
    """The outcome of an attack.

    The victim minimises, over ``theta = (w, b)``,

        ``sum_i c_i phi(y_i theta . x~_i) + (k / 2) theta' R theta``

    on the clean rows and the poisoning points (``k`` is ``N alpha`` or ``1 / C``; see
    :mod:`mtpfast.losses`). A result holds the points, the model so induced, and a lower bound on
    the number of points that any attack on this target within this feasible set needs.

    Attributes
    ----------
    points : ndarray or CSR matrix of shape (n_distinct, n_features)
        The distinct poisoning points; each lies in ``feasible_set``. An attack may leave them packed, a bit an entry:
        they are unpacked when they are first read.
    labels : ndarray of shape (n_distinct,)
        Their labels, among ``classes``.
    sequence : ndarray of int, shape (n_points,)
        Row of ``points`` that was added first, second, and so on.
    theta, theta_target : ndarray of shape (n_features + 1,)
        ``(w, b)`` of the induced and of the target model.
    objective : Objective
        What the victim minimises.
    status : str
        ``"reached"``, ``"budget"``, ``"stalled"``, ``"interrupted"``, ``"unattainable"`` or ``"unverified"`` (not
        retrained, the data being too large, and where training ends is not proved: ``theta`` is NaN). With
        ``stop="loss_difference"`` it is "reached" only if ``loss_difference_upper_bound <= tol``.
    lower_bound : int
        Proved by ``certificate``: no smaller set of points in the feasible set induces the target
        (nor, where a :class:`MinimumPoisoner` had a ``tol``, any model within it). ``2**63 - 1``
        where no number of points suffices.
    loss_difference : float
        ``max phi(y theta . x~) - phi(y theta_target . x~)`` over the feasible set and both labels; of a victim
        that weighs its classes, times the weight of the label. The largest that was found, at a point of the set.
    loss_difference_upper_bound : float
        Proved: no point of the feasible set exceeds it. Equal to ``loss_difference`` but for rounding where
        the search is global (boxes, pools); by how much the search may be short where it is not
        (mixed spaces that ran out of nodes, documents with a norm).
    stop : str
        Which measure ``tol`` belongs to: ``"loss_difference"``, ``"distance"``, or ``"exact"``.
    tol : float
        The attack counts as successful when that measure is at most ``tol``.
    history : dict of str to ndarray
        One entry per model visited, the clean model first: ``n_points``, ``loss_difference``,
        ``distance``, ``clean_loss``, ``lower_bound``, ``gap``, ``loss_difference_upper_bound``,
        ``accuracy_<name>``.
    path : ndarray of shape (n_models, n_features + 1) or None
        ``theta`` of every model visited, the clean model first; of an attack with ``keep_path``, of those it kept.
    path_index : ndarray of int, shape (n_models,), or None
        The entries of ``history`` whose models ``path`` holds, the first and the last among them; None for all.
    certificate : Certificate or None
        What proves ``lower_bound`` (or that the target cannot be attained).
    goal : Goal or None
        What ``lower_bound`` speaks of: target, objective, feasible set, and the tolerances within which a model and a
        margin count as the target's. ``certificate`` must be of the same one.
    clean : CleanGradient or None
        What one pass over the clean rows left behind: with it every prefix of an attack proves its own bound.
    feasible_set : FeatureSpace or CandidatePool
        Where the points may lie.
    classes : ndarray of shape (2,)
        The labels that stand for -1 and +1.
    feature_names : ndarray of shape (n_features,) or None
        Names of the columns of ``points``.
    table : data frame without rows, or None
        The kind, columns and dtypes of the clean data, where that was a data frame of features (pandas, polars or
        pyarrow); ``X_poison`` is one, too.
    records : DataFrame or ndarray of shape (n_distinct, n_columns) or (n_distinct,), or None
        Where the attack was on raw records or texts: one for every row of ``points``, which
        ``preprocessing`` maps to exactly that row.
    preprocessing : fitted transformer or None
        What the victim does to records before it is trained. Not saved.
    n_clean : int
        Number of clean rows.
    clean_weight : float
        Their total weight, class weights included.
    message : str
        The status in words.
    damage : Damage or None
        Of a :class:`DamagePoisoner`: its metric before and after, on the rows aimed at and on every evaluation set.

    Notes
    -----
    Arrays are read-only views. Results are made by :meth:`ModelTargetedPoisoner.attack`,
    :meth:`MinimumPoisoner.attack`, :func:`poison` and :func:`minimum_poisoning`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from mtpfast import ModelTargetedPoisoner
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> attacker = ModelTargetedPoisoner(alpha=0.09, max_points=5).fit(X / 16, y)
    >>> result = attacker.attack((-attacker.coef_, -attacker.intercept_))
    >>> result.status, result.n_points, result.X_poison.shape
    ('budget', 5, (5, 64))
    """

    points: Any = Points()  # noqa: RUF009 - of the class, not of a result
    labels: np.ndarray
    sequence: np.ndarray
    theta: np.ndarray
    theta_target: np.ndarray
    objective: Objective
    status: str
    lower_bound: int
    loss_difference: float
    tol: float
    stop: str
    history: dict[str, np.ndarray]
    feasible_set: Any
    classes: np.ndarray
    n_clean: int
    clean_weight: float
    path: np.ndarray | None = None
    path_index: np.ndarray | None = None
    certificate: Any = None
    goal: Goal | None = None
    clean: CleanGradient | None = None
    feature_names: np.ndarray | None = None
    table: Any = None
    records: Any = None
    preprocessing: Any = None
    message: str = ""
    loss_difference_upper_bound: float = math.nan
    damage: Damage | None = None

    def __post_init__(self):
        for name, known in (("status", STATUSES), ("stop", STOPS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {getattr(self, name)!r}")
        for name, value in vars(self).items():  # points that are packed stay so
            if isinstance(value, np.ndarray):
                vars(self)[name] = read_only_view(value)
        history = {name: read_only_view(np.asarray(values)) for name, values in self.history.items()}
        object.__setattr__(self, "history", history)

    # -- the points ---------------------------------------------------------------------------

    @property
    def n_points(self) -> int:
        """Number of poisoning points, repeats included."""
        return len(self.sequence)

    @property
    def counts(self) -> np.ndarray:
        """How often each row of ``points`` was added: int array of shape (n_distinct,)."""
        return np.bincount(self.sequence, minlength=len(self.labels))

    @property
    def X_poison(self):
        """Every poisoning point in the order of insertion, repeats included.

        ndarray, CSR matrix or (where the clean data was one) data frame of shape
        (n_points, n_features), in the columns of the clean data and in their dtypes where these can
        hold the points, else float64; raw records, in the columns and dtypes of the clean table,
        where the victim has a preprocessing.
        """
        if self.records is not None:
            return take_records(self.records, self.sequence)
        return in_columns(self, self.points[self.sequence])

    @property
    def y_poison(self) -> np.ndarray:
        """The label of every row of ``X_poison``, among ``classes``."""
        return self.labels[self.sequence]

    def poisoned(self, X, y, *, shuffle: bool = False, random_state=None):
        """The clean data with the poisoning points among them.

        Parameters
        ----------
        X : array-like, sparse matrix or data frame of shape (n_clean, n_features)
        y : array-like of shape (n_clean,)
            The data that was attacked, in the user's labels. Neither is changed.
        shuffle : bool, default=False
            Whether to put the poisoning points, in random order, in random places among the clean rows, which keep
            their order. By default they are the last rows, in the order of insertion. A sanitiser whose
            cross-validation does not shuffle then has them all in one fold, never trains on them, and looks better
            than it is.
        random_state : int, numpy Generator or RandomState, optional
            Of the places and the order; by default they are others each time.

        Returns
        -------
        X_mod : ndarray, sparse matrix or data frame of shape (n_clean + n_points, n_features)
            Of the same kind as X: library, format, columns and dtypes. Where the dtype of a column cannot hold a
            point as it is, that column (of an array or a sparse matrix, all of it) becomes float64, and a warning
            names it. Records of a Pipeline always fit.
        y_mod : ndarray or Series of shape (n_clean + n_points,)
            Of the same kind and dtype as y.
        poison_mask : ndarray of bool, shape (n_clean + n_points,)
            True for the poisoning points: ``X_mod[~poison_mask]`` is X, row by row.

        Notes
        -----
        Clean rows of pandas keep their row labels. New labels of rows go on from the largest where these are
        numbers or times, by one unit, and are ``"poison_0"``, ``"poison_1"``, ... elsewhere; what is taken is
        left out. Of a MultiIndex, the first level gets the new label, and the others those of the last row.
        Where a row for every copy is too much, ``points`` with ``counts`` as sample weights train the same model.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from mtpfast import ModelTargetedPoisoner
        >>> X, y = load_iris(return_X_y=True, as_frame=True)
        >>> attacker = ModelTargetedPoisoner(max_points=3).fit(X[:100], y[:100])
        >>> result = attacker.attack((-attacker.coef_, -attacker.intercept_))
        >>> X_mod, y_mod, poison_mask = result.poisoned(X[:100], y[:100], shuffle=True, random_state=0)
        >>> X_mod[~poison_mask].equals(X[:100]), X_mod.index[poison_mask].sort_values().tolist()
        (True, [100, 101, 102])
        """
        return mixed(self, X, y, shuffle, random_state)

    # -- the model ----------------------------------------------------------------------------

    @property
    def coef_(self) -> np.ndarray:
        """Weights of the induced model: ndarray of shape (1, n_features)."""
        return self.theta[None, :-1]

    @property
    def intercept_(self) -> np.ndarray:
        """Intercept of the induced model: ndarray of shape (1,)."""
        return self.theta[-1:]

    @property
    def distance(self) -> float:
        """l2 norm of the difference between the induced and the target ``(w, b)``."""
        return float(np.linalg.norm(self.theta - self.theta_target))

    # -- prefixes -----------------------------------------------------------------------------

    def at_budget(self, k: int) -> PoisoningResult:
        """The attack as it stood after ``k`` points.

        Points are added one after the other, so every prefix is the attack of that size. Models
        are known at the sizes in ``history["n_points"]``; with ``repeats`` above 1 those are
        multiples, and the result is the largest of at most ``k`` points.

        Parameters
        ----------
        k : int
            Number of points, at least 0. At or above ``n_points``, the result itself.

        Returns
        -------
        PoisoningResult
            Its ``lower_bound`` is what the models up to that size prove, with the certificate for it: that of the
            attack run to that size (by the models that are kept, with ``keep_path``).

        Raises
        ------
        ValueError
            If the model of that size was not kept.
        """
        return prefix(self, k)

    def spread(self, X=None, *, scale: float = 1.0, random_state=0) -> PoisoningResult:
        """The same attack with as many distinct points as can be: no check of repeated rows sees it.

        Copies move, and the sum that the model depends on stays (``mtpfast.results.spread``): so do, but for rounding,
        the induced model and all that is proved of it.

        Parameters
        ----------
        X : DataFrame or array-like, optional
            The clean table, where the attack was on raw records.
        scale : float, default=1.0
            How far points are moved: the share of the room there is, above 0 and at most 1.
        random_state : int or numpy Generator, default=0

        Returns
        -------
        PoisoningResult
            Its ``message`` says how many points are distinct. A point that is no mean of others of the feasible set (a
            corner of a box, if its label has no other point) has to stay. Of the path, the last model is kept.

        Raises
        ------
        TypeError
            For candidates of a pool (``CandidatePool(max_repeats=...)`` limits repeats) and for documents.

        Notes
        -----
        Records exchange levels, or go steps of a column up and down: a search, which may leave repeats. O(n d).

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from mtpfast import DamagePoisoner
        >>> X, y = load_digits(n_class=2, return_X_y=True)
        >>> result = DamagePoisoner(alpha=0.09, budget=20, n_starts=1, max_iter=40).fit(X / 16, y).attack()
        >>> len(result.points) < result.n_points == len(result.spread().points), result.spread().verify(X / 16, y).ok
        (True, True)
        """
        return spread(self, X, scale=scale, random_state=random_state)

    # -- checks -------------------------------------------------------------------------------

    def verify(
        self, X, y, sample_weight=None, *, refit_preprocessing=False, preprocessing=None, verbose=False, estimator=None,
        pipeline=None, callback=None,
    ) -> VerificationReport:  # fmt: skip
        """Check every claim of this result independently of the code that made it.

        Proves from the optimality conditions how far the model can be from what training on the clean rows and the
        poisoning points returns, and retrains the victim from scratch with scikit-learn (SciPy where it has no such
        estimator); recomputes the loss difference and the distance in plain NumPy; checks that every point lies in the
        feasible set; recomputes the lower bound from ``certificate``. Where the attack was on raw records, checks that
        the preprocessing maps each to exactly its point. And ``damage``, where clean rows are aimed at.

        Parameters
        ----------
        X : array-like, sparse matrix or DataFrame of shape (n_clean, n_features)
        y : array-like of shape (n_clean,)
        sample_weight : array-like of shape (n_clean,), optional
            The clean data as it was attacked.
        refit_preprocessing : bool, default=False
            Train the whole pipeline once more on the poisoned table, its preprocessing included: scalers see the poison
            too. ``report.refitted`` then says how far that moves the result; it is no failure, whatever it says.
        preprocessing : fitted transformer, optional
            What the victim did to records; a result that was saved and loaded has it no more.
        verbose : bool, default=False
            Write a line to the standard error for every claim, as soon as it is checked. ``callback`` is told the same:
            a dict of "claim" and "word"; True ends the check as Ctrl-C does: the report has the claims checked so far.
        estimator, pipeline : object with fit, optional
            Train *it* at *its* settings on the poisoned rows (a pipeline: the poisoned table), with five seeds where it
            has a ``random_state``: ``report.trained`` says how much of the attack is left.

        Returns
        -------
        VerificationReport
            Its ``ok`` is True only if every claim was decided, and true. Every solver in here has a limit of iterations
            or nodes; what it could not decide within is in ``undecided``.

        Raises
        ------
        VerificationError
            If a claim is shown to be false; ``error.report`` has them all.

        Notes
        -----
        Let ``g`` be a subgradient of the victim's objective F at the result's theta. F is strongly convex, so the
        minimiser lies within ``|g| / k``; for the hinge loss the rows on the margin leave g a choice, and the smallest
        is found by Newton steps or a linear program. (A free intercept is not strongly convex: it is enclosed by where
        the slope of F changes its sign.) The model passes if that distance is at most 1e-6 of ``max(|theta|,
        |theta_target|)``, and fails if more is proved, by ``(F(theta) - F(theta')) / |g|`` for any better theta'.

        Complexity: a few passes over the rows, and ``O(d^2)`` for each of the rows on the margin.
        """
        from mtpfast.verification.verify import verify

        options = {"refit_preprocessing": refit_preprocessing, "preprocessing": preprocessing, "verbose": verbose}
        return verify(self, X, y, sample_weight, estimator=estimator, pipeline=pipeline, callback=callback, **options)

    # -- files --------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike | BinaryIO) -> None:
        """Write the result to an ``.npz`` file that holds no pickled object.

        A custom loss is stored by its name only and must be handed to :meth:`load`. The
        preprocessing is not stored: what needs it after a load takes it as an argument.
        """
        write_file(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike | BinaryIO, *, loss: Loss | None = None) -> PoisoningResult:
        """Read a result written by :meth:`save`; the round trip is exact.

        Parameters
        ----------
        path : path or binary file
        loss : Loss, optional
            The custom loss of the attack, if it had one.

        Raises
        ------
        ValueError
            For a file that is not whole, is of another version or kind, or holds what no result can: the message names
            the file and the field. Whether what it claims is true is for :meth:`verify`.
        OSError
            If there is no such file, or it cannot be read.
        """
        return cls(**read_fields(cls, path, None if loss is None else get_loss(loss)))

    # -- pictures -----------------------------------------------------------------------------

    def curve(self, budgets=None, scorers=None, X=None, y=None, *, groups=None):
        """Metrics against the number of points.

        Parameters
        ----------
        budgets : sequence of int, optional
            Numbers of points; by default every one of which the model is known. With rows to score, the model of each
            must have been kept (``keep_path``).
        scorers : str, callable, sequence of these, or mapping of str to scorer, optional
            scikit-learn's: ``"accuracy"`` (the default), ``"recall"``, ``scorer(estimator, X, y)``, ...
        X, y : optional
            The rows to score. Without them the curve holds what the history does.
        groups : mapping of str to boolean mask of the rows, optional
            Each scorer is applied to these rows, too, in a column "<scorer> of <group>".

        Returns
        -------
        DataFrame
            Indexed by ``n_points``.
        """
        return curve(self, budgets, scorers, X, y, groups)

    def plot(self, what=None, axes=None, **options):
        """Draw how near the models come to the target and how many points that needs; or one metric.

        Parameters
        ----------
        what : str, optional
            A metric of :meth:`curve` to draw against the number of points, such as ``"accuracy"``. By default, for an
            attack point by point, the loss difference, the distance and the lower bound; for all others the distinct
            points with their counts, and beside them what is found and proved, the damage, or what multiples of the
            target cost.
        axes : matplotlib Axes, or a sequence of two, optional
            Where to draw; a new figure by default.
        **options
            ``X``, ``y``, ``budgets`` and ``groups`` of :meth:`curve`.

        Returns
        -------
        matplotlib Figure
        """
        return plot(self, what, axes, **options)

    def __repr__(self) -> str:
        if self.damage is not None:  # which aims at no model
            count = f"{self.n_points} points ({len(self.labels)} distinct)"
            return f"<PoisoningResult: {self.status}, {count}, {self.damage.words}>"
        goal = "exactly the target" if self.stop == "exact" else f"{self.stop} <= {self.tol:g}"
        radius = getattr(self.certificate, "tol", 0.0)  # the bound may be for another goal than the attack
        exact = (
            radius <= hit_radius(self.theta_target, self.certificate.feasible_set, self.objective.fit_intercept)
            if radius > 0.0
            else True
        )
        proved = "exactly the target" if exact else f"distance <= {radius:g}"
        bound = f"lower bound {self.lower_bound}" if self.lower_bound < NEVER else "no number of points suffices"
        return (
            f"<PoisoningResult: {self.status}, {self.n_points} points for {goal} ({len(self.labels)} distinct), "
            f"{bound} for {proved}, loss difference {self.loss_difference:.4g}, distance {self.distance:.4g}>"
        )
