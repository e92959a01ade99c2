"""An independent check of everything that a result claims.

Nothing here calls the compiled core, the refit or the oracle. A model is proved by the optimality conditions of the
victim's training problem, and the victim is retrained by scikit-learn. Loss differences are maximised in plain NumPy
by other methods than the oracle's (for the hinge loss on a box, the dual of the linear program; where features are
whole or levels, layers of partial choices; for documents, SciPy's mixed-integer solver).

Every solver has a limit, of iterations, nodes or work and never of time: what is not decided then is *undecided*.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import numpy as np

from mtpfast.arrays.checks import check_X
from mtpfast.arrays.labels import Classes
from mtpfast.preprocessing.steps import to_matrix

from .audit import Audit
from .claims import CLAIMS, OF_THE_MODEL
from .maximum import attained_and_proved
from .report import RefittedPipeline, VerificationError, VerificationReport
from .retrain import Training, descend, reference_fit
from .trained import train_again
from .written import written_as

if TYPE_CHECKING:
    from mtpfast.results.result import PoisoningResult

__all__ = ["verify"]


def verify(
    result: PoisoningResult,
    X,
    y,
    sample_weight=None,
    *,
    refit_preprocessing=False,
    preprocessing=None,
    verbose=False,
    estimator=None,
    pipeline=None,
    callback=None,
) -> VerificationReport:
    """Check every claim of ``result``; see :meth:`mtpfast.PoisoningResult.verify`."""
    audit = Audit(result, X, y, sample_weight, refit_preprocessing, preprocessing)
    report, checks = None, []
    try:
        for check in _checks(audit, callback):
            checks.append(check)
            if verbose:
                sys.stderr.write(f"verify: {check.name}: {check.word}\n")
        refitted = _refit_pipeline(audit, y) if refit_preprocessing else None
        trained = None if estimator is None and pipeline is None else train_again(audit, estimator, pipeline, y)
        theta, solver = audit.retrained
        # A result that is "unverified" names no model: the report then speaks of the one that was retrained here.
        unknown = result.status == "unverified"
        model, worst = (theta, audit.largest(theta)) if unknown else (result.theta, audit.maximum)
        distance = float(np.linalg.norm(model - result.theta_target))
        found = (distance, worst.attained, int(audit.proved))
        report = VerificationReport(solver, theta, *found, tuple(checks), refitted, trained)
    except KeyboardInterrupt:
        if not checks:
            raise
        distance = float(np.linalg.norm(result.theta - result.theta_target))
        report = VerificationReport(
            "nothing more: interrupted", result.theta, distance, math.nan, 0, tuple(checks), interrupted=True
        )
    if report.failed:
        failures = "; ".join(
            f"{c.name}: claimed {c.claimed:.8g}, found {c.found:.8g} (allowance {c.allowance:.1e})"
            for c in report.failed
        )
        raise VerificationError(f"the result does not hold: {failures}", report)
    return report


def _checks(audit, callback):
    """The checks of all claims that the result makes, one after the other."""
    for claim in CLAIMS:
        if audit.result.status == "unverified" and claim in OF_THE_MODEL:
            continue
        check = claim(audit)
        if check is None:  # the result does not claim it
            continue
        yield check
        if callback is not None and callback({"claim": check.name, "word": check.word}):
            raise KeyboardInterrupt


def _refit_pipeline(audit, y):
    """Train preprocessing and victim on the poisoned table, and compare with the victim on the clean rows."""
    from sklearn.base import clone

    result, codec, X, signs, theta = audit.result, audit.codec, audit.X, audit.signs, audit.result.theta
    poisoned, y_poisoned, mask = result.poisoned(audit.table, y)
    refitted = clone(audit.preprocessing).fit(poisoned, y_poisoned)
    rows = check_X(to_matrix(refitted.transform(poisoned)), "the refitted preprocessing's rows")
    all_signs = Classes(result.classes).signs(y_poisoned)
    training = Training.of(result.objective, rows, all_signs, audit.rows[2])
    again = descend(training, reference_fit(training)[0])
    before, after = X @ theta[:-1] + theta[-1], rows[~mask] @ again[:-1] + again[-1]

    # The same model in the features of the attack: the nearest to the target that answers alike on records.
    def refitted_answers(records):
        return check_X(to_matrix(refitted.transform(records))) @ again[:-1] + again[-1]

    same = written_as(audit, refitted_answers)
    same_before = written_as(audit, lambda records: codec.encode(records) @ theta[:-1] + theta[-1])

    def largest(model):
        return attained_and_proved(
            model, result.theta_target, audit.space, result.objective.loss, training.class_weight
        )[0]

    return RefittedPipeline(
        accuracy_before=float(np.mean((before > 0) == (signs > 0))),
        accuracy=float(np.mean((after > 0) == (signs > 0))),
        changed=float(np.mean((before > 0) != (after > 0))),
        shift_mean=float(np.mean(np.abs(after - before))),
        shift_max=float(np.max(np.abs(after - before))),
        distance_before=float(np.linalg.norm(same_before - result.theta_target)),
        distance=float(np.linalg.norm(same - result.theta_target)),
        loss_difference_before=largest(theta),
        loss_difference=largest(same),
        unexplained=float(np.max(np.abs(X @ same[:-1] + same[-1] - after))),
    )
