"""Model-targeted poisoning of linear models: the attack, the exact minimum, and certificates.

The public names are loaded on first use (PEP 562), so that ``import mtpfast`` stays light.
"""

from importlib import import_module as _import_module

__version__ = "0.2.0"

__all__ = [
    "CandidatePool",
    "DocumentSpace",
    "FeatureSpace",
    "MinimumPoisoner",
    "ModelTargetedPoisoner",
    "PoisoningResult",
    "TargetModel",
    "VerificationError",
    "make_target",
    "max_loss_difference",
    "minimum_poisoning",
    "poison",
]

_HOME = {
    "CandidatePool": "feasible",
    "DocumentSpace": "documents",
    "FeatureSpace": "feasible",
    "MinimumPoisoner": "estimator",
    "ModelTargetedPoisoner": "estimator",
    "PoisoningResult": "result",
    "TargetModel": "targets",
    "VerificationError": "verification",
    "make_target": "targets",
    "max_loss_difference": "oracle",
    "minimum_poisoning": "minimum",
    "poison": "attack",
}


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(__all__))
