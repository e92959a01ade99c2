"""Checks of what users hand in: converted once, here, with errors that name the argument.

Everything below these functions may rely on: X is float64, finite, and either a C-contiguous
array or a canonical CSR matrix; labels are -1. and +1.; theta is one array ``(w, b)``.
No input is ever changed.
"""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np
import scipy.sparse as sp
from sklearn.utils import check_array

from .magnitude import check_magnitude, is_moderate

__all__ = ["as_theta", "check_X", "check_count", "check_flag", "check_generator", "check_labels", "check_number",
           "check_sample_weight", "refuse_parts"]  # fmt: skip


def refuse_parts(X, name: str):
    """Raise TypeError where rows come in parts and are wanted in memory."""
    if hasattr(X, "map_reduce"):
        raise TypeError(
            f"{name} comes in parts, expected rows in memory (poison() with the hinge: or a memory map of float32): "
            f"parts are read by minimum_poisoning, MinimumPoisoner with its certify, and the checks of what they prove"
        )


def check_X(X, name: str = "X", n_features: int | None = None, min_rows: int = 1):
    """X as a C-contiguous float64 array or a canonical float64 CSR matrix."""
    refuse_parts(X, name)
    try:
        X = check_array(
            X,
            accept_sparse="csr",
            dtype=np.float64,
            order="C",
            ensure_min_samples=min_rows,
            input_name=name,
        )
    except (TypeError, ValueError) as error:
        if name in str(error):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: {error}") from None
    if sp.issparse(X):
        if not isinstance(X, sp.csr_matrix) or X.dtype != np.float64:  # sparse columns of a frame may still be boolean
            X = sp.csr_matrix(X, dtype=np.float64)
        if X.indices.dtype != np.int32 or X.indptr.dtype != np.int32:
            if max(X.nnz, *X.shape) >= 2**31:
                raise ValueError(
                    f"{name} has shape {X.shape} and {X.nnz} stored values, expected fewer than 2**31 of each: the "
                    f"attacks count them in 32 bits"
                )
            X = sp.csr_matrix((X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32)), shape=X.shape)
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
    if n_features is not None and X.shape[1] != n_features:
        raise ValueError(f"{name} has {X.shape[1]} features, expected {n_features}")
    check_magnitude(X, name)
    return X


def check_labels(y, n_rows: int, name: str = "y", X_name: str = "X", both: bool = True) -> np.ndarray:
    """Labels as float64 -1. and +1., one for every row."""
    y = np.asarray(y)
    if y.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional, got shape {y.shape}")
    if len(y) != n_rows:
        raise ValueError(f"{name} has {len(y)} labels, {X_name} has {n_rows} rows")
    try:
        y = y.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must hold -1 and +1, got dtype {y.dtype}") from None
    found = np.unique(y)
    if not np.all(np.isin(found, (-1.0, 1.0))):
        raise ValueError(f"{name} must hold -1 and +1 only, got {found[:5].tolist()}")
    if both and len(found) < 2:
        raise ValueError(f"{name} must hold both classes, got only {found[0]:+g}")
    return y


def check_sample_weight(sample_weight, n_rows: int, name: str = "sample_weight") -> np.ndarray | None:
    """Row weights as float64, finite and non-negative, not all zero; None stays None."""
    if sample_weight is None:
        return None
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.ndim == 0:
        weight = np.full(n_rows, float(weight))
    if weight.shape != (n_rows,):
        raise ValueError(f"{name} must have shape ({n_rows},), got {weight.shape}")
    if not np.all(np.isfinite(weight)) or np.any(weight < 0):
        raise ValueError(f"{name} must be finite and non-negative")
    if not np.any(weight > 0):
        raise ValueError(f"{name} must not be zero everywhere")
    check_magnitude(weight, name)
    return weight


def as_theta(model, n_features: int | None = None, name: str = "target") -> np.ndarray:
    """``(w, b)`` as one float64 array, from ``(coef, intercept)``, from such an array, or from
    anything that carries scikit-learn's ``coef_`` and ``intercept_``."""
    if type(model) is np.ndarray and model.ndim == 1 and model.dtype == np.float64:
        theta = model.copy()
        if is_moderate(theta):
            return _of_size(theta, n_features, name)
    if hasattr(model, "coef_") and hasattr(model, "intercept_"):
        model = (model.coef_, model.intercept_)
    for part in model if isinstance(model, (tuple, list)) else [model]:
        if isinstance(part, np.ndarray) and part.dtype.kind not in "fiubO":
            raise TypeError(f"{name} must hold real numbers, got {part.dtype}")
    if isinstance(model, np.ndarray) and model.ndim == 1:
        theta = model.astype(np.float64)
    elif isinstance(model, (tuple, list)) and len(model) == 2:
        try:
            coef, intercept = (np.asarray(part, dtype=np.float64) for part in model)
        except (TypeError, ValueError):
            raise TypeError(f"{name} must be a pair (coef, intercept) of numbers, got {model!r}") from None
        if intercept.size != 1 or coef.ndim > 2 or (coef.ndim == 2 and coef.shape[0] != 1):
            raise ValueError(
                f"{name} must be one binary linear model: coef of shape (n_features,) or (1, n_features) and one "
                f"intercept, got shapes {coef.shape} and {intercept.shape}"
            )
        theta = np.append(coef.ravel(), intercept.ravel())
    else:
        raise TypeError(f"{name} must be a fitted linear model or a pair (coef, intercept), got {type(model).__name__}")
    if not np.all(np.isfinite(theta)):
        raise ValueError(f"{name} has NaN or infinite coefficients")
    check_magnitude(theta, name)
    return _of_size(theta, n_features, name)


def _of_size(theta, n_features, name):
    if n_features is not None and len(theta) != n_features + 1:
        raise ValueError(f"{name} has {theta.size - 1} features, expected {n_features}")
    return theta


def check_number(value, name: str, low: float = 0.0, strict: bool = False) -> float:
    """A finite real number, at least (or, if strict, above) ``low``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.number)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not math.isfinite(value) or value < low or (strict and value == low):
        raise ValueError(f"{name} must be finite and {'above' if strict else 'at least'} {low:g}, got {value!r}")
    check_magnitude(value, name)
    return float(value)


def check_flag(value, name: str) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_generator(random_state) -> np.random.Generator:
    """The generator of a seed: a whole number, several, a Generator (itself) or None."""
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise type(error)(f"random_state must be a seed or a numpy Generator, got {random_state!r}: {error}") from None


def check_count(value, name: str, low: int = 1) -> int:
    """A whole number, at least ``low``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Integral, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be at least {low}, got {value}")
    return int(value)
