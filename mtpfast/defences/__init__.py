"""Sanitisers: what removes rows before training, and what that does to an attack and to clean data."""

from .adapters import as_defence
from .base import Defence
from .controls import Oracle, RandomRemoval
from .evaluation import Evaluation, default_defences, evaluate
from .fitted_models import IteratedLoss, LabelQuality, Loss
from .geometry import SVD, LocalOutlierFactor, NearestNeighbors, SlabDefence, Sphere
from .rows import ECOD, IsolationForest, RepeatedRows, Validity

__all__ = [
    "Defence",
    "ECOD",
    "Evaluation",
    "IsolationForest",
    "IteratedLoss",
    "LabelQuality",
    "LocalOutlierFactor",
    "Loss",
    "NearestNeighbors",
    "Oracle",
    "RandomRemoval",
    "RepeatedRows",
    "SVD",
    "SlabDefence",
    "Sphere",
    "Validity",
    "as_defence",
    "default_defences",
    "evaluate",
]
