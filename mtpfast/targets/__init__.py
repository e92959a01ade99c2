"""Models to aim at."""

from .files import ModelFile, read_model
from .flips import (
    QUANTILES,
    QUANTILES_SUBPOPULATION,
    REPEATS,
    REPEATS_SUBPOPULATION,
    TargetCandidate,
    TargetModel,
    make_target,
)
from .models import binary_linear_model

__all__ = [
    "ModelFile",
    "QUANTILES",
    "QUANTILES_SUBPOPULATION",
    "REPEATS",
    "REPEATS_SUBPOPULATION",
    "TargetCandidate",
    "TargetModel",
    "binary_linear_model",
    "make_target",
    "read_model",
]
