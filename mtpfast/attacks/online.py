"""Algorithm 1 of Suya et al.: add the point of largest loss difference, retrain, repeat."""

from __future__ import annotations

import math
import sys
import time
from array import array
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from mtpfast.arrays.checks import as_theta, check_count, check_labels, check_number, check_X
from mtpfast.arrays.growing import Growing
from mtpfast.losses.objective import make_objective
from mtpfast.oracle.supply import Supply
from mtpfast.proofs.bounds import NEVER, lower_bound
from mtpfast.proofs.certificate import bound_along_path, certify_coarsely
from mtpfast.question import Question, evaluation_sets, read_question
from mtpfast.results.models import entries_of
from mtpfast.results.packed import unpacked
from mtpfast.results.result import PoisoningResult
from mtpfast.results.status import MEASURES
from mtpfast.training.victim import Victim

from .kept import Path, take_points
from .segments import in_segments

__all__ = ["poison"]


# Of the history.
NAMES = ("n_points", "loss_difference", "distance", "clean_loss", "lower_bound", "gap", "loss_difference_upper_bound")

EFFORT = 10  # times the nodes, where a search found nothing above tol and did not prove that there is nothing


def poison(
    X,
    y,
    target,
    *,
    loss="hinge",
    alpha: float | None = None,
    C: float | None = None,
    fit_intercept: bool = True,
    penalize_intercept: bool = True,
    class_weight=None,
    count_rows: bool = False,
    feasible_set=None,
    stop: str = "loss_difference",
    tol: float = 0.01,
    max_points: int | None = None,
    repeats: int = 1,
    sample_weight=None,
    eval_sets: Mapping | None = None,
    callback: Callable[[dict], bool | None] | None = None,
    resume: PoisoningResult | None = None,
    theta0=None,
    margin_tol: float | None = None,
    checkpoint=None,
    verbose: int = 0,
    keep_path: bool | int = True,
) -> PoisoningResult:
    r"""Add points to the training set until the victim comes close to the target.

    With :math:`\theta_t` the victim trained on the clean rows and the points so far, add

    .. math:: (x_t, y_t) \in \arg\max_{(x, y) \in F} \;
              \varphi(y\, \theta_t \cdot \tilde x) - \varphi(y\, \theta_p \cdot \tilde x)

    until that maximum, the *loss-based distance* D, is proved to be at most ``tol``. D of the best
    iterate is O(log T / T) after T points.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Clean rows; a C-contiguous float64 array or a CSR matrix is used as it is. With the hinge, so is a memory map of
        float32 (``np.load(file, mmap_mode="r")``): some 130 bytes a row are held, and a step fetches the rows whose
        margin it may carry across 1.
    y : array-like of shape (n_samples,)
        -1 and +1.
    target : pair (coef, intercept), array (w, b), or fitted linear model
    loss : {"hinge", "squared_hinge", "log_loss"} or Loss
    alpha, C : float, optional
        At most one: mean loss plus weight decay ``alpha`` (default 0.01), or summed loss with
        ``1 / C`` on the penalty.
    fit_intercept, penalize_intercept : bool
    class_weight : dict of {-1: float, 1: float}, "balanced" or None
        What every row of a label weighs, poison included, times its ``sample_weight``. D is then the largest
        *weighted* loss difference, ``class_weight[y] (phi(y theta . x~) - phi(y theta_p . x~))``. "balanced" is
        ``n / (2 n_y)`` over clean rows and poison: every point changes all weights, the victim is trained anew on
        them, and no lower bound is proved (``lower_bound`` is 0).
    count_rows : bool, default=False
        What alpha multiplies, and "balanced" counts: the rows, as in SGDClassifier (SVC for "balanced"), instead
        of the sum of their weights.
    feasible_set : FeatureSpace or CandidatePool, optional
        Where the points may lie; ``FeatureSpace.from_data(X)`` by default.
    stop : {"loss_difference", "distance"}
        What ``tol`` is compared with: D, or the l2 distance of (w, b) to the target.
    tol : float
    max_points : int, optional
        The budget; no limit by default.
    repeats : int
        Copies of each point that are added at once.
    sample_weight : array-like of shape (n_samples,), optional
    eval_sets : mapping of str to (X, y), optional
        ``history["accuracy_<name>"]`` then holds the accuracy of every model visited.
    callback : callable, optional
        Called after every model with a dict (``n_points``, ``theta`` and the entries of the
        history); returning True ends the attack with status "budget".
    resume : PoisoningResult, optional
        Go on from this attack on the same data and target.
    theta0 : ndarray of shape (n_features + 1,), optional
        Where to start training the clean victim from.
    margin_tol : float, optional
        Hinge: rows (clean, candidates, poison) with ``|margin - 1| <= margin_tol`` under the target may count as on the
        margin, where trainers leave them to their accuracy. It only lowers the bound. By default 1e-6, or twice the
        ``tol`` of the fitted estimator that is the target, if that is more.
    checkpoint : path, optional
        A file from which the attack goes on if it is there, and to which it is written now and then (at 100 points, and
        again with a quarter more): killed and called again, it ends as it would have ended. The models of later
        segments are refits of their own, a rounding away from those of an attack without checkpoint.
    verbose : int
        1 prints a line a second to the standard error stream.
    keep_path : bool or int, default=True
        Which of the models visited the result keeps in ``path``, at ``8 (n_features + 1)`` bytes each: all; every k-th;
        or, with False, none on the way. The clean model, the last, and the one that proves most are kept in any case,
        and the history is whole. ``at_budget`` and curves on other rows can only look at what is kept. Where a bound is
        looked for at models between as well (pools with ``max_repeats``, documents), it may be lower with fewer.

    Returns
    -------
    PoisoningResult
        Status "reached" (for D: its ``upper_bound`` is at most ``tol``, see :class:`mtpfast.oracle.LossDifference`);
        "budget"; "stalled" (the measure has not improved for so long that it
        will not, or no feasible point pushes towards the target, or every candidate of a pool has
        been used ``max_repeats`` times); or "interrupted" (Ctrl-C: what was found so far).
        ``lower_bound`` is Theorem 2 of the paper, the best over the models visited: no poisoning
        with fewer points induces the target, to 1e-6 of its norm (what counts as a hit; ``goal`` of the result). For a
        pool with ``max_repeats`` it also counts how often each candidate can be used (the entries of the history
        know neither the 1e-6 nor ``max_repeats``).

    Raises
    ------
    ValueError, TypeError
        For input that does not fit together; the message names the argument.

    Notes
    -----
    A step is one search over the feasible set and one refit from the previous model; X is never
    copied. The points are those of the first k steps of any longer attack.

    D is a maximum over the feasible set as a whole: candidates of a pool that are used up count for
    it, and the point added is the best of those that are left.

    References
    ----------
    Suya, Mahloujifar, Suri, Evans, Tian, "Model-Targeted Poisoning Attacks with Provable
    Convergence", ICML 2021: Algorithm 1 and Theorems 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast.attacks.online import poison
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> result = poison(X, y, ([-1.0], 1.5), alpha=0.1, tol=0.05)
    >>> result.status, result.loss_difference <= 0.05, result.lower_bound <= result.n_points
    ('reached', True, True)
    """
    objective = make_objective(loss, alpha, C, fit_intercept, penalize_intercept, class_weight, count_rows)
    by_rows = objective.loss.kinked  # its training reads few rows a step; for smooth losses X is converted
    question = read_question(X, y, target, objective, feasible_set, sample_weight, margin_tol, by_rows=by_rows)
    d = question.X.shape[1]
    return run(
        question,
        stop=stop,
        tol=tol,
        max_points=max_points,
        repeats=repeats,
        eval_sets=evaluation_sets(
            eval_sets,
            lambda rows, name: check_X(rows, name, d),
            lambda labels, name, n: check_labels(labels, n, name, "its X", both=False),
        ),
        callback=callback,
        resume=resume,
        theta0=None if theta0 is None else as_theta(theta0, d, "theta0"),
        verbose=verbose,
        checkpoint=checkpoint,
        keep_path=keep_path,
    )


def run(question: Question, *, checkpoint=None, **options):
    """:func:`poison` for a question and evaluation sets that are checked."""
    if checkpoint is None:
        return _run_once(question, **options)
    options["repeats"] = check_count(options["repeats"], "repeats")
    return in_segments(partial(_run_once, question), checkpoint, loss=question.objective.loss, **options)


def _run_once(
    question: Question, *, stop, tol, max_points, repeats, eval_sets, callback, resume, theta0, verbose, keep_path
):
    if stop not in MEASURES:
        raise ValueError(f"stop must be one of {', '.join(map(repr, MEASURES))}, got {stop!r}")
    tol = check_number(tol, "tol")
    max_points = None if max_points is None else check_count(max_points, "max_points", low=0)
    repeats = check_count(repeats, "repeats")
    if resume is not None and not isinstance(resume, PoisoningResult):
        raise TypeError(f"resume must be a PoisoningResult, got {type(resume).__name__}")
    path = Path(question.theta.size, keep_path)
    attack = _Run(question, eval_sets, theta0, resume, path)
    try:
        status, message = attack.go(stop, tol, max_points, repeats, callback, verbose)
    except KeyboardInterrupt:
        if not len(attack.path):
            raise
        status, message = "interrupted", "interrupted; the points found so far are kept"
    return attack.result(status, message, stop, tol)


class _Run:
    """The state of one attack: the victim, the points in order, and an entry of the history for every model."""

    def __init__(self, question: Question, eval_sets, theta0, resume, path: Path):
        self.question, self.goal, self.eval_sets = question, question.goal, eval_sets
        self.X, self.y, self.weight = X, y, weight = question.X, question.y, question.sample_weight
        self.target, self.objective, self.feasible_set = target, objective, feasible_set = (
            question.theta,
            question.objective,
            question.feasible_set,
        )
        self.supply = Supply(feasible_set, X, target)
        self.sequence, self.path = array("q"), path
        self.names = [*NAMES, *(f"accuracy_{name}" for name in eval_sets)]
        self.history = Growing((len(self.names),))  # a row for every model visited
        c = objective.weights(y, weight)
        self.clean_weight = float(X.shape[0]) if c is None else float(c.sum())
        self.target_value = objective.value(target, X, y, weight)
        self.target_penalty = objective.penalty(target)
        self.beside = 0.0  # by how much a poison row near the kink may be off, times what it weighs
        if objective.loss.kinked and not objective.is_balanced:
            self.beside = self.goal.margin_tol * max(objective.weight_of(label) for label in (-1.0, 1.0))
        self.kink_gap = self._kink_gap(c)
        self.half_k = 0.5 * objective.k(objective.amount(y, weight))
        self.k_per_point = sorted(objective.k_of_point(label) for label in (-1.0, 1.0))
        self.victim = Victim(X, y, objective, sample_weight=weight, theta0=theta0)
        if resume is not None:
            self._resume(resume)

    def _kink_gap(self, weights):
        """By how much the clean loss at the target may be off where rows near the kink count with any slope.

        A row of margin m with slope s in [0, 1] obeys ``phi(m') >= phi(m) + s (m - m') - |m - 1|``.
        """
        if not self.beside:
            return 0.0
        margin_tol = self.goal.margin_tol
        off = np.abs(self.objective.margins(self.target, self.X, self.y) - 1.0)
        near = np.flatnonzero(off <= margin_tol)
        return float(off[near].sum() if weights is None else off[near] @ weights[near])

    def _resume(self, earlier: PoisoningResult):
        same = (
            earlier.n_clean == self.X.shape[0]
            and np.array_equal(earlier.theta_target, self.target)
            and repr(earlier.objective) == repr(self.objective)
        )
        if not same:
            raise ValueError("resume must come from an attack on the same data, target and objective")
        entries = entries_of(earlier)
        if entries is None:
            raise ValueError("resume must come from an incremental attack; this result has no path")
        if earlier.feasible_set != self.feasible_set:
            raise ValueError(f"resume has feasible_set {earlier.feasible_set!r}, this attack has {self.feasible_set!r}")
        # The clean model tells other rows, labels or weights from these.
        off = float(np.linalg.norm(self.victim.theta - earlier.path[0]))
        if off > 1e-5 * self.victim.size() + 1e-12 * self.victim.training.unit:
            raise ValueError(
                f"resume must come from an attack on the same data: its clean model is {off:.2g} away from this one"
            )
        points = unpacked(earlier)
        self.supply.use(points, earlier.labels, earlier.counts)
        self.victim.add_many(points, earlier.labels, earlier.counts)
        self.sequence.extend(earlier.sequence.tolist())
        # The last model is visited again, so its entry is left out here.
        missing = np.full(len(earlier.history["n_points"]), np.nan)
        columns = [earlier.history.get(name, missing)[:-1] for name in self.names]
        self.history.extend(np.stack(columns, axis=1))
        self.path.go_on(earlier.path, entries, self.history.rows[:, NAMES.index("lower_bound")])

    def go(self, stop, tol, max_points, repeats, callback, verbose):
        victim, last_line = self.victim, time.monotonic()
        which = self.names.index(stop)
        proved = self.names.index("loss_difference_upper_bound") if stop == "loss_difference" else which
        earlier = self.history.rows
        measures = array("d", np.where(np.isnan(earlier[:, proved]), earlier[:, which], earlier[:, proved]))
        audited, open_, closing = False, 0, 1

        def above():
            """What stands above the tolerance, of the last entry."""
            found = f"{stop} {entry[which]:.4g}"
            short = measure > tol >= entry[which]
            return found + (f" at the best point found, at most {measure:.4g} proved" if short else "")

        while True:
            asked = victim.theta, self.target, self.objective.loss, victim.settled.class_weight
            diff, step = self.supply.find(*asked)
            if stop == "loss_difference" and diff.value <= tol < diff.upper_bound:
                open_ += 1
                if open_ == closing:  # the first time, the second, the fourth, ...: it may cost much and be in vain
                    closing *= 2
                    diff, step = self.supply.find(*asked, EFFORT)
            entry = self._entry(diff)
            n, measure = len(self.sequence), entry[proved]
            measures.append(measure)
            if verbose and time.monotonic() - last_line >= 1.0:
                last_line = time.monotonic()
                sys.stderr.write(f"{n} points: loss difference {diff.value:.4g}, distance {entry[2]:.4g}\n")
            if measure <= tol:
                end = "reached", f"{stop} {entry[which]:.4g} <= tol {tol:g} with {n} points"
            elif callback is not None and callback(self._state(entry)):
                end = "budget", f"stopped by the callback after {n} points"
            elif max_points is not None and n >= max_points:
                end = "budget", f"{above()} > tol {tol:g} with all {n} points"
            elif step is None:
                used = f"used max_repeats={self.feasible_set.max_repeats} times"
                end = "stalled", f"every candidate has been {used}, {n} points; {above()} > tol {tol:g}"
            elif step.upper_bound <= 1e-12 * (1.0 + abs(measure)) or step.value <= 0.0:
                kind = "feasible point" if step is diff else "candidate that is left"
                found = "" if step.upper_bound <= 1e-12 * (1.0 + abs(measure)) else " was found that"
                end = "stalled", f"no {kind}{found} pushes towards the target; {above()}"
            elif _stalled(measures):
                end = "stalled", f"{stop} has stopped falling at {min(measures):.4g} > tol {tol:g}"
            else:
                count = self.supply.take(repeats if max_points is None else min(repeats, max_points - n))
                index = victim.add(step.x, step.y, count)
                self.sequence.extend([index] * count)
                continue
            if audited or self._last_model_holds():
                return end
            audited = True  # the last model was mended: look again
            measures.pop()

    def _last_model_holds(self):
        """The full audit at the end. Where it finds something to mend, the last entry is taken back."""
        victim, repairs, last = self.victim, self.victim.n_repairs, len(self.path) - 1
        gap = victim.check()
        if victim.n_repairs == repairs:
            self.history.rows[last, NAMES.index("gap")] = gap
            return True
        self.path.take_back()
        self.history.truncate(last)
        return False

    def _entry(self, diff):
        """What the history says about the current model, in the order of its names."""
        victim, objective, theta = self.victim, self.objective, self.victim.theta
        clean_loss = victim.clean_loss()
        bound = 0.0  # none is proved where every point changes the weights of the clean rows
        if not objective.is_balanced:
            penalty = objective.penalty(theta)
            bound = lower_bound(
                self.target_value,
                clean_loss + self.half_k * penalty,
                diff.upper_bound + self.beside,
                penalty,
                self.target_penalty,
                self.k_per_point[penalty > self.target_penalty],  # the label that costs more
                gap=self.kink_gap,
                n_terms=self.X.shape[0],
            ).value
        away = theta - self.target
        distance = math.sqrt(away @ away)
        entry = (len(self.sequence), diff.value, distance, clean_loss, bound, victim.gap, diff.upper_bound)
        for X, positive in self.eval_sets.values():
            entry += (float(np.mean((X @ theta[:-1] + theta[-1] > 0) == positive)),)
        self.history.append(entry)
        self.path.append(theta, bound)
        return entry

    def _state(self, entry):
        """What a callback is told."""
        return {**dict(zip(self.names, entry, strict=True)), "theta": self.victim.theta}

    def result(self, status, message, stop, tol) -> PoisoningResult:
        # An interrupt may come between any two statements: the last complete entry counts.
        n_models = min(len(self.path), len(self.history))
        history = dict(zip(self.names, self.history.rows[:n_models].T.copy(), strict=True))
        history["n_points"] = history["n_points"].astype(np.intp)
        sequence = np.array(self.sequence[: int(history["n_points"][-1])], dtype=np.intp)
        used = int(sequence.max()) + 1 if len(sequence) else 0
        n_repairs, n_audits = self.victim.n_repairs, self.victim.n_audits
        points, labels = take_points(self.victim, used)  # and its own arrays are free
        path, index = self.path.finish()
        claims = history["lower_bound"] if index is None else history["lower_bound"][index]
        clean = self.question.clean_gradient() if np.nanmax(history["lower_bound"]) > 0.0 else None
        certificate, bound = bound_along_path(self.goal, clean, path, claims)
        if bound == NEVER:
            coarse = certify_coarsely(self.goal, certificate.direction, self.X, self.y, self.weight)
            if coarse.n_poison < NEVER:
                certificate, bound = coarse, coarse.n_poison
                message += (
                    "; the target is beyond what any number of points induces, by less than a trainer may have left it "
                    f"off: the bound is for distance {coarse.tol:.3g}"
                )
        if bound == NEVER and status != "reached":
            message += "; no number of points induces the target exactly, as the certificate proves"
        if self.objective.is_balanced:
            message += "; no lower bound is proved for class_weight='balanced'"
        if n_repairs:
            message += f"; {n_repairs} of {n_audits} audits of the refit found something to mend"
        return PoisoningResult(
            points=points,
            labels=labels,
            sequence=sequence,
            theta=path[-1],
            theta_target=self.target,
            objective=self.objective,
            status=status,
            lower_bound=bound,
            loss_difference=float(history["loss_difference"][-1]),
            loss_difference_upper_bound=float(history["loss_difference_upper_bound"][-1]),
            tol=tol,
            stop=stop,
            history=history,
            feasible_set=self.feasible_set,
            classes=np.array([-1.0, 1.0]),
            n_clean=self.X.shape[0],
            clean_weight=self.clean_weight,
            path=path,
            path_index=index,
            certificate=certificate,
            goal=self.goal if certificate is None else certificate.goal,
            clean=clean,
            message=message,
        )


def _stalled(measures, window: int = 500) -> bool:
    """No improvement by 1 % over the latter half of the attack (at least ``window`` models).

    D falls like log T / T, so that half the steps without any progress mean that none will come.
    """
    window = max(window, len(measures) // 2)
    if len(measures) < 2 * window or len(measures) % 100:
        return False
    return min(measures[-window:]) > 0.99 * min(measures[:-window])
