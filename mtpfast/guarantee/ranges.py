"""Rows to be certified that lie outside the range of the features: most often they were scaled in another way."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.parts import RowParts

__all__ = ["check_range", "refuses"]


SLACK = 1e-6  # of a feature's range: what single precision and a scaler that was taken back leave


def refuses(outside, preprocessing) -> bool:
    """Whether rows outside the range are refused; by default but for raw records."""
    if outside not in (None, "refuse", "allow"):
        raise ValueError(f"outside must be 'refuse' or 'allow', got {outside!r}")
    return outside == "refuse" or (outside is None and preprocessing is None)


def check_range(rows, numbers, X, feasible_set, names=None, given=True) -> None:
    """ValueError where a row has a feature outside the range that the clean rows and the points that may come span.

    ``numbers``, ``names``: what rows and features are called. ``given``: whether the feasible set is the user's own
    word. The range of the clean rows is no such word: a row may be as far again from it as it is wide. Of clean rows in
    parts nothing is said: it would take a pass over them.
    """
    if isinstance(X, RowParts) or not rows.shape[0]:
        return
    parts = [_ends(X)]
    if feasible_set.is_finite:
        parts.append(_ends(feasible_set.X))
    else:
        parts += [(region.lower, region.upper) for region in feasible_set.regions(X.shape[1]).values()]
    low, high = np.min([low for low, _ in parts], axis=0), np.max([high for _, high in parts], axis=0)
    slack = SLACK * (high - low) if given else np.where(high > low, high - low, np.inf)
    least, most = _ends(rows)
    features = np.flatnonzero((least < low - slack) | (most > high + slack))
    if not len(features):
        return
    values = rows[:, features].toarray() if sp.issparse(rows) else rows[:, features]
    off = (values < (low - slack)[features]) | (values > (high + slack)[features])
    row, at = (int(part[0]) for part in np.nonzero(off))
    j = int(features[at])
    name = f"feature {j}" if names is None else f"feature {names[j]!r}"
    raise ValueError(
        f"X_eval must be in the range of the features: row {numbers[row]} has {name} = {values[row, at]:.6g}, outside "
        f"the range {low[j]:.6g} to {high[j]:.6g} of the clean rows and of feasible_set "
        f"(rows outside: {int(off.any(axis=1).sum())}); outside='allow' certifies it"
    )


def _ends(X):
    """The least and the largest entry of every column."""
    ends = X.min(axis=0), X.max(axis=0)
    return tuple(end.toarray().ravel() if sp.issparse(end) else np.asarray(end, dtype=float) for end in ends)
