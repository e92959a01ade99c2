"""The victim, trained again after every point."""

from .victim import Fit, Victim, refit

__all__ = ["Fit", "Victim", "refit"]
