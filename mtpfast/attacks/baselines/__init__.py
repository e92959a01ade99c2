"""Attacks of the literature, each on the same victims, feasible sets and exact trainings as the package's own."""

from .beta import beta
from .gradient_ascent import gradient_ascent
from .gradient_canceling import grad_pc, gradient_canceling
from .influence import influence
from .kkt import kkt
from .label_flip import label_flip
from .min_max import min_max
from .names import BASELINES, baseline

__all__ = [
    "BASELINES",
    "baseline",
    "beta",
    "grad_pc",
    "gradient_ascent",
    "gradient_canceling",
    "influence",
    "kkt",
    "label_flip",
    "min_max",
]
