"""Model files of LIBLINEAR, and of what writes its format."""

from __future__ import annotations

import math

import numpy as np

from .model import model_of, oriented

__all__ = ["read_liblinear"]


SOLVERS = {
    "L2R_LR",
    "L2R_L2LOSS_SVC_DUAL",
    "L2R_L2LOSS_SVC",
    "L2R_L1LOSS_SVC_DUAL",
    "L1R_L2LOSS_SVC",
    "L1R_LR",
    "L2R_LR_DUAL",
}


def read_liblinear(text):
    """The model of a text file whose first line is ``solver_type``.

    The weights are those of the first label of the line ``label``, which is that of the first training row (but +1
    wherever the labels are -1 and +1). With ``bias`` B at least 0 there is one weight more, of a feature that was B
    in every row: the intercept is B times it.
    """
    head, found, numbers = text.partition("\nw\n")
    if not found:
        raise ValueError("no line 'w' before the weights")
    fields = dict(line.split(maxsplit=1) for line in head.splitlines() if len(line.split()) > 1)
    solver = fields["solver_type"]
    if solver not in SOLVERS:
        raise ValueError(f"solver_type {solver}, expected one for two classes: {', '.join(sorted(SOLVERS))}")
    if fields.get("nr_class") != "2":
        raise ValueError(f"nr_class {fields.get('nr_class')}, expected 2")
    labels = [int(label) for label in fields["label"].split()]
    if len(labels) != 2:
        raise ValueError(f"label names {len(labels)} labels, expected 2")
    bias, d = float(fields["bias"]), int(fields["nr_feature"])
    weights = np.array([float(number) for number in numbers.split()])
    expected = d + (bias >= 0)
    if len(weights) != expected:
        raise ValueError(f"{len(weights)} weights, expected {expected}: nr_feature {d}, bias {bias:g}")
    if not math.isfinite(bias):
        raise ValueError(f"bias {bias}, expected a finite number")
    theta = np.append(weights[:d], bias * weights[d] if bias >= 0 else 0.0)
    theta, classes = oriented(theta, *labels)
    return model_of(theta[:-1], theta[-1], classes, f"LIBLINEAR {solver}")
