"""Estimators of scikit-learn as skops writes them: a zip of a JSON tree and arrays."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np

from mtpfast.arrays.rounding import gamma

from .model import model_of

__all__ = ["read_skops"]


def read_skops(path):
    """The model of a ``.skops`` file: of its tree only ``coef_``, ``intercept_``, ``classes_`` and ``tol`` are read.

    Nothing is imported or called because the file names it, and its arrays are read without pickle.
    """
    with zipfile.ZipFile(path) as archive:
        tree = json.loads(archive.read("schema.json"))
        kind = f"{tree['__module__'].partition('.')[0]}.{tree['__class__']}"
        if tree["__loader__"] != "ObjectNode" or "steps" in _fields(tree):
            raise ValueError(f"holds a {kind}, expected a linear classifier: write the last step of a Pipeline alone")
        state = _fields(tree)
        arrays = {}
        for name in ("coef_", "intercept_", "classes_", "dual_coef_", "support_vectors_", "_intercept_"):
            if state.get(name, {}).get("__loader__") == "NdArrayNode" and state[name]["type"] == "numpy":
                arrays[name] = np.load(io.BytesIO(archive.read(state[name]["file"])), allow_pickle=False)
    plain = {name: json.loads(node["content"]) for name, node in state.items() if node["__loader__"] == "JsonNode"}
    if plain.get("kernel", "linear") != "linear":
        raise ValueError(f"holds a {kind} with kernel {plain['kernel']!r}, expected 'linear'")
    rounding = None
    if "coef_" not in arrays and {"dual_coef_", "support_vectors_"} <= arrays.keys():
        pulls, vectors = arrays["dual_coef_"], arrays["support_vectors_"]
        arrays["coef_"] = pulls @ vectors  # as the estimator's own coef_, which another kernel sums in another order
        sums = np.abs(pulls) @ np.abs(vectors)
        rounding = np.append(2.0 * gamma(len(vectors) + 2) * sums[0], 0.0) if sums.shape[0] == 1 else None
    missing = [name for name in ("coef_", "intercept_", "classes_") if name not in arrays]
    if missing:
        raise ValueError(f"holds a {kind} without {missing[0]}, expected a fitted linear classifier")
    coef, intercept, classes = arrays["coef_"], arrays["intercept_"], arrays["classes_"]
    if classes.shape != (2,) or coef.ndim != 2 or coef.shape[0] != 1 or intercept.size > 1:
        raise ValueError(f"holds a {kind} of {classes.size} classes, expected 2")
    tol = plain.get("tol")
    if isinstance(tol, bool) or not isinstance(tol, (int, float)):
        tol = None
    return model_of(coef, intercept[0] if intercept.size else 0.0, classes, f"skops {kind}", rounding, tol=tol)


def _fields(tree):
    """What an object's attributes are, by name."""
    content = tree.get("content")
    inner = content.get("content") if isinstance(content, dict) else None
    return inner if isinstance(inner, dict) else {}
