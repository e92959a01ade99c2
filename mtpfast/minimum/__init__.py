"""The fewest points that induce a target, and the proof that fewer cannot."""

from .minimum import minimum_poisoning

__all__ = ["minimum_poisoning"]
