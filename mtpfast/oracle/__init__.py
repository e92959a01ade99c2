"""Where a point hurts most."""

from .difference import LossDifference
from .search import max_loss_difference

__all__ = ["LossDifference", "max_loss_difference"]
