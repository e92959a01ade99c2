"""Attacks that add point by point."""

from .online import poison

__all__ = ["poison"]
