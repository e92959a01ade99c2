"""The attacks as scikit-learn estimators: parameters, labels and columns, and no mathematics."""

from .damage import DamagePoisoner
from .minimum import MinimumPoisoner
from .online import ModelTargetedPoisoner

__all__ = ["DamagePoisoner", "MinimumPoisoner", "ModelTargetedPoisoner"]
