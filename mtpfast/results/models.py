"""Which models of the path a result has: all that were visited, or some."""

from __future__ import annotations

import numpy as np

__all__ = ["entries_of", "kept_entry"]


def entries_of(result):
    """The entries of the history whose models ``path`` holds, rising; None if the attack was not incremental."""
    if result.path is None:
        return None
    if result.path_index is not None:
        return result.path_index
    n = np.size(result.history.get("n_points", ()))
    return np.arange(n) if len(result.path) == n else None


def kept_entry(entries, entry, sizes, name: str) -> int:
    """Which row of the path is the model of an entry of the history; ValueError by ``name`` if it was not kept."""
    i = int(np.searchsorted(entries, entry))
    if i < len(entries) and entries[i] == entry:
        return i
    known = np.unique(np.asarray(sizes)[entries])
    few = ", ".join(map(str, known[:6].tolist())) + (f", ..., {known[-1]}" if len(known) > 6 else "")
    raise ValueError(
        f"{name}: the model of {sizes[entry]} points was not kept (keep_path of the attack); kept are those of "
        f"{few} points"
    )
