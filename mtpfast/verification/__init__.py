"""The check of everything that a result claims, which believes none of it."""

from .maximum import max_loss_difference
from .report import Check, RefittedPipeline, VerificationError, VerificationReport
from .verify import verify

__all__ = ["Check", "RefittedPipeline", "VerificationError", "VerificationReport", "max_loss_difference", "verify"]
