"""The one place that pairs a loss with its compiled twin: by identity, never by its name."""

from __future__ import annotations

from . import _core
from .losses.margin import HINGE, LOG_LOSS, SQUARED_HINGE, Loss

__all__ = ["kernel_of"]


_PAIRS = {id(HINGE): _core.HINGE, id(SQUARED_HINGE): _core.SQUARED_HINGE, id(LOG_LOSS): _core.LOG_LOSS}


def kernel_of(loss: Loss):
    """The compiled twin of this very loss; None for any other, whatever it is called."""
    return _PAIRS.get(id(loss))
