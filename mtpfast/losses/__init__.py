"""Axis 1, what the victim minimises: margin losses, one's own, and the objective."""

from .custom import custom
from .margin import HINGE, LOG_LOSS, LOSSES, SQUARED_HINGE, Loss, get_loss
from .objective import Objective, make_objective

__all__ = ["HINGE", "LOG_LOSS", "LOSSES", "Loss", "Objective", "SQUARED_HINGE", "custom", "get_loss", "make_objective"]
