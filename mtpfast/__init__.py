"""Model-targeted poisoning of linear models: the attack, the exact minimum, and certificates.

The public names are loaded on first use (PEP 562), so that ``import mtpfast`` stays light.
"""

import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

__version__ = "0.3.0"

__all__ = [
    "AuditReport",
    "Ball",
    "CandidatePool",
    "Comparison",
    "DamagePoisoner",
    "DocumentSpace",
    "FeatureSpace",
    "Guarantee",
    "Intersection",
    "MinimumPoisoner",
    "ModelTargetedPoisoner",
    "PenaltyScaler",
    "PoisoningResult",
    "Slab",
    "TargetModel",
    "VerificationError",
    "audit",
    "compare",
    "in_parts",
    "make_target",
    "max_loss_difference",
    "minimum_poisoning",
    "poison",
    "read_model",
]

_HOME = {
    "AuditReport": "reports.report",
    "Ball": "spaces.ball",
    "CandidatePool": "spaces.pool",
    "Comparison": "results.comparison",
    "DamagePoisoner": "estimators",
    "DocumentSpace": "spaces.documents",
    "FeatureSpace": "spaces.features",
    "Guarantee": "results.guarantee",
    "Intersection": "spaces.intersection",
    "MinimumPoisoner": "estimators",
    "ModelTargetedPoisoner": "estimators",
    "PenaltyScaler": "preprocessing.penalty",
    "PoisoningResult": "results.result",
    "Slab": "spaces.slab",
    "TargetModel": "targets.flips",
    "VerificationError": "verification.report",
    "audit": "reports.audit",
    "compare": "comparison",
    "in_parts": "arrays.in_parts",
    "make_target": "targets.flips",
    "max_loss_difference": "oracle.search",
    "minimum_poisoning": "minimum.minimum",
    "poison": "attacks.online",
    "read_model": "targets.files",
}

# Modules by the names that they had before the package had folders: loaded from where they stand now.
_MOVED = {
    "attack": "attacks.online",
    "bounds": "proofs.bounds",
    "certificate": "proofs.certificate proofs.clean_pass proofs.poison_maximum proofs.goal",
    "documents": "spaces.documents spaces.document_region",
    "estimator": "estimators",
    "feasible": "spaces.features spaces.pool",
    "refit": "training.victim",
    "region": "spaces.region spaces.normal_form",
    "result": "results.result",
}


class _Moved(_ModuleType):
    def __getattr__(self, name):
        for home in _MOVED[self.__name__.rpartition(".")[2]].split():
            module = _import_module(f"{__name__}.{home}")
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


for _name in _MOVED:
    _sys.modules.setdefault(f"{__name__}.{_name}", _Moved(f"{__name__}.{_name}"))


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(_import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(__all__))
