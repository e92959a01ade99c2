"""What a check found: claims, values, allowances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Check", "RefittedPipeline", "VerificationError", "VerificationReport"]


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
    """

    solver: str
    theta: np.ndarray
    distance: float
    loss_difference: float
    lower_bound: int
    checks: tuple[Check, ...]
    refitted: RefittedPipeline | None = None

    @property
    def ok(self) -> bool:
        """Whether every claim was decided, and true. What is undecided is not ok; only what failed raises."""
        return all(check.passed for check in self.checks)

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
        return "\n".join(lines)
