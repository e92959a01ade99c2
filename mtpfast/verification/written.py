"""A linear model of other features, in the features of the attack."""

from __future__ import annotations

import numpy as np

from mtpfast.preprocessing.texts import TextCodec

__all__ = ["written_as"]


def written_as(audit, answers):
    """The model nearest to the target that gives records the decision values ``answers(records)``."""
    codec, target = audit.codec, audit.result.theta_target
    probes = codec.probes()
    values = answers(probes)
    if isinstance(codec, TextCodec):
        return codec.model_of(values, target)
    own = codec.encode(probes)
    A = np.column_stack([own, np.ones(len(probes))])
    return target + np.linalg.lstsq(A, values - A @ target, rcond=None)[0]
