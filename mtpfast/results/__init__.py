"""What an attack returns, and its files."""

from .result import PoisoningResult

__all__ = ["PoisoningResult"]
