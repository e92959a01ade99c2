"""What a check found: claims, values, allowances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Check", "RefittedPipeline", "TrainedVictim", "VerificationError", "VerificationReport"]


class VerificationError(RuntimeError):
    """A claim of a result did not survive its check.

    Attributes
    ----------
    report : VerificationReport
        Every check, the failed ones included.

    Examples
    --------
    >>> import dataclasses
    >>> import numpy as np
    >>> from mtpfast import VerificationError, poison
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([-1.0, -1.0, 1.0, 1.0])
    >>> result = poison(X, y, ([-1.0], 1.5), alpha=0.1, tol=0.05)
    >>> try:
    ...     dataclasses.replace(result, lower_bound=result.n_points + 1).verify(X, y)
    ... except VerificationError as error:
    ...     [check.name for check in error.report.failed]
    ['lower bound']
    """

    def __init__(self, message: str, report: VerificationReport):
        super().__init__(message)
        self.report = report

    def __reduce__(self):
        return type(self), (self.args[0], self.report)


@dataclass(frozen=True)
class Check:
    """One claim: what the result says, what was found, by how much they may differ.

    ``passed`` is None where neither the claim nor its contrary could be shown within the limits of the solvers:
    *undecided*.
    """

    name: str
    claimed: float
    found: float
    allowance: float
    passed: bool | None

    @property
    def word(self) -> str:
        """ "ok", "FAILED" or "undecided"."""
        return "undecided" if self.passed is None else "ok" if self.passed else "FAILED"


@dataclass(frozen=True)
class RefittedPipeline:
    """The whole pipeline trained on the poisoned table, beside the victim with its preprocessing as it was.

    A preprocessing that is fitted once more sees the poison too: scales, levels and fillers may
    move, and with them what the same records mean. Figures ending in ``_before`` are of the retrained
    victim of the report, whose preprocessing is the attack's.

    Attributes
    ----------
    accuracy_before, accuracy : float
        Share of the clean table's rows that each labels right.
    changed : float
        Share of the clean rows on which the two differ.
    shift_mean, shift_max : float
        Mean and largest absolute difference of their decision values on the clean rows.
    distance_before, distance : float
        Least l2 norm of the difference to a target with the same decision values on records, both
        models written in the features of the attack. (Levels of which exactly one is on leave
        the weights some freedom, hence "least".)
    loss_difference_before, loss_difference : float
        Largest loss difference to the target over the feasible set.
    unexplained : float
        Largest absolute difference between the refitted pipeline's decision values on the clean
        rows and those of the model that stands for it in the features of the attack: rounding
        where every record keeps its meaning; more where missing or unknown values do not.
    """

    accuracy_before: float
    accuracy: float
    changed: float
    shift_mean: float
    shift_max: float
    distance_before: float
    distance: float
    loss_difference_before: float
    loss_difference: float
    unexplained: float


@dataclass(frozen=True, repr=False)
class TrainedVictim:
    """A real trainer at its own settings on the poisoned data, beside the exact minimiser.

    Attributes
    ----------
    name : str
        The estimator.
    seeds : tuple of int, or (None,)
        Its ``random_state`` in each run; one run where it has none.
    distance : ndarray of shape (n_seeds,)
        l2 distance of the model that each run learned to the target.
    loss_difference : ndarray of shape (n_seeds,)
        The largest loss difference to the target over the feasible set, attained.
    accuracy : ndarray of shape (n_seeds,)
        Share of the clean rows that it labels right.
    excess : ndarray of shape (n_seeds,), or None
        By how much the objective of the attack's victim is above its proved minimum at the trained model, as a share of
        it; None for a pipeline, whose features are its own.
    distance_exact, loss_difference_exact, accuracy_exact : float
        Of the result's model, which is proved to be the minimiser's.
    distance_clean : float
        Of the clean rows' exact minimiser to the target: the way that the attack goes.
    warned : int
        In how many runs the trainer said that it did not converge.
    """

    name: str
    seeds: tuple
    distance: np.ndarray
    loss_difference: np.ndarray
    accuracy: np.ndarray
    excess: np.ndarray | None
    distance_exact: float
    loss_difference_exact: float
    accuracy_exact: float
    distance_clean: float
    warned: int

    @property
    def undone(self) -> np.ndarray:
        """Which share of the way from the clean model to the target each run falls short of the exact minimiser.

        ``(distance - distance_exact) / distance_clean``; negative where a run ends nearer to the target.
        """
        return (self.distance - self.distance_exact) / (self.distance_clean or 1.0)

    @property
    def words(self) -> str:
        """What that says of the attack, in a sentence or two."""
        least, most = float(np.min(self.undone)), float(np.max(self.undone))
        runs = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else "one run"
        share = f"{100 * most:.2g} %" if least > 0.9 * most else f"{100 * least:.2g} to {100 * most:.2g} %"
        if most < 0.001:
            said = "less than 0.1 %"
        else:
            said = share
        text = f"{self.name} at its own settings ({runs}) undoes {said} of the attack by its own inexactness."
        if most > 0.1:
            text += " The exact minimum loses more than a tenth of its effect on this trainer."
        if self.excess is not None and float(np.max(self.excess)) > 0.01:
            text += (
                f" Its models are up to {100 * float(np.max(self.excess)):.2g} % above the minimum of the objective "
                f"that the attack assumes: it stops early, or minimises something else."
            )
        if self.warned:
            text += f" It warned in {self.warned} of {len(self.seeds)} runs that it did not converge."
        return text

    def __repr__(self) -> str:
        return f"TrainedVictim: {self.words}"


@dataclass(frozen=True, repr=False)
class VerificationReport:
    """What :meth:`mtpfast.PoisoningResult.verify` found.

    ``ok`` is True only if every claim was decided, and true. A claim that could be neither shown nor refuted within
    the limits of the solvers is in ``undecided``; it makes ``ok`` False and raises nothing.

    Attributes
    ----------
    solver : str
        The independent solver that retrained the victim; where it would take too long, that is said, and the
        result's model was checked by its optimality conditions alone (they are checked anyway).
    theta : ndarray of shape (n_features + 1,)
        The model it found, to the accuracy of that solver; the result's own where it found none.
    distance, loss_difference : float
        Of the result's model to the target, recomputed.
    lower_bound : int
        Recomputed from the certificate; 0 without one.
    checks : tuple of Check
    refitted : RefittedPipeline or None
        Where ``verify`` was asked to refit the preprocessing: what that changes.
    trained : TrainedVictim or None
        Where ``verify`` was given an estimator or a pipeline: what it makes of the points at its own settings.
    interrupted : bool
        Whether Ctrl-C (or a callback) ended it: ``checks`` are those before, and it is not ``ok``.
    """

    solver: str
    theta: np.ndarray
    distance: float
    loss_difference: float
    lower_bound: int
    checks: tuple[Check, ...]
    refitted: RefittedPipeline | None = None
    trained: TrainedVictim | None = None
    interrupted: bool = False

    @property
    def ok(self) -> bool:
        """Whether every claim was decided, and true. What is undecided is not ok; only what failed raises."""
        return not self.interrupted and all(check.passed for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if check.passed is not None and not check.passed)

    @property
    def undecided(self) -> tuple[Check, ...]:
        """The checks that neither passed nor failed."""
        return tuple(check for check in self.checks if check.passed is None)

    def __repr__(self) -> str:
        width = max(len(check.name) for check in self.checks)
        verdict = "FAILED" if self.failed else f"{len(self.undecided)} undecided" if self.undecided else "ok"
        if self.interrupted:
            verdict += f" as far as it went, {len(self.checks)} checks"
        lines = [f"VerificationReport: {verdict}, retrained with {self.solver}"]
        lines.append(f"  {'':{width}}  {'claimed':>14}  {'found':>14}  {'allowance':>9}")
        for check in self.checks:
            lines.append(
                f"  {check.name:{width}}  {check.claimed:14.8g}  {check.found:14.8g}  "
                f"{check.allowance:9.1e}  {check.word}"
            )
        if self.refitted is not None:
            again = self.refitted
            lines.append(f"  {'preprocessing refitted to the poisoned table':{width}}  {'before':>14}  {'after':>14}")
            for name, before, after in (
                ("accuracy on the clean table", again.accuracy_before, again.accuracy),
                ("distance to the target", again.distance_before, again.distance),
                ("loss difference", again.loss_difference_before, again.loss_difference),
            ):
                lines.append(f"  {name:{width}}  {before:14.8g}  {after:14.8g}")
            lines.append(f"  {'clean rows that change their label':{width}}  {'':14}  {again.changed:14.8g}")
        if self.trained is not None:
            own = self.trained
            lines.append(f"  {own.words}")
            lines.append(f"  {'':{width}}  {'exact':>14}  {'least':>14}  {'most':>14}")
            for name, exact, found in (
                ("distance to the target", own.distance_exact, own.distance),
                ("loss difference", own.loss_difference_exact, own.loss_difference),
                ("accuracy on the clean rows", own.accuracy_exact, own.accuracy),
            ):
                lines.append(f"  {name:{width}}  {exact:14.8g}  {np.min(found):14.8g}  {np.max(found):14.8g}")
        return "\n".join(lines)
