"""The attacks as scikit-learn estimators: parameters, labels and columns, and no mathematics."""

from .minimum import MinimumPoisoner
from .online import ModelTargetedPoisoner

__all__ = ["MinimumPoisoner", "ModelTargetedPoisoner"]
