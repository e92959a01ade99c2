"""The search for guarantees: lines below the clean loss, multipliers, and attacks on single rows."""

from .per_row import certify

__all__ = ["certify"]
