"""The check of everything that a result claims, which believes none of it."""

from .judge import Judgement, judge
from .maximum import max_loss_difference
from .report import Check, RefittedPipeline, VerificationError, VerificationReport
from .verify import verify

__all__ = [
    "Check",
    "Judgement",
    "RefittedPipeline",
    "VerificationError",
    "VerificationReport",
    "judge",
    "max_loss_difference",
    "verify",
]
