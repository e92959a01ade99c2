"""What sanitisers are to be compared with: rows taken at random, and exactly the poison."""

from __future__ import annotations

import numpy as np

from .base import Defence, read_rows

__all__ = ["Oracle", "RandomRemoval"]


class RandomRemoval(Defence):
    """Rows taken at random: its recall is the share removed, and a sanitiser has to do better.

    Parameters
    ----------
    random_state : int, numpy Generator or RandomState, default=0

    Examples
    --------
    >>> from mtpfast.defences import RandomRemoval
    >>> int(RandomRemoval().keep([[0.0]] * 10, [0, 1] * 5, share=0.3).sum())
    7
    """

    def __init__(self, random_state=0):
        self.random_state = random_state

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        read_rows(X, y)
        return self

    def scores(self, X, y):
        """Random numbers."""
        rng = self.random_state
        if isinstance(rng, (int, np.integer)):  # not the stream that puts the poison among the rows with this seed
            rng = np.random.default_rng([int(rng), 1])
        elif not isinstance(rng, np.random.RandomState):
            rng = np.random.default_rng(rng)
        return rng.permutation(len(y)).astype(float)


class Oracle(Defence):
    """Removes exactly the poison, which it has to be told: what is left of the damage is no sanitiser's fault.

    Parameters
    ----------
    poison : array-like of bool, optional
        Which rows are poison; :func:`mtpfast.defences.evaluate` sets it.

    Examples
    --------
    >>> from mtpfast.defences import Oracle
    >>> Oracle([False, True, False]).keep([[0.0], [1.0], [2.0]], [0, 1, 1])
    array([ True, False,  True])
    """

    ranks, decides = False, True

    def __init__(self, poison=None):
        self.poison = poison

    def fit(self, X, y):
        """See :meth:`Defence.fit`."""
        X, _, _ = read_rows(X, y)
        poison = np.zeros(X.shape[0], dtype=bool) if self.poison is None else np.asarray(self.poison)
        if poison.dtype != bool or poison.shape != (X.shape[0],):
            raise ValueError(
                f"poison must be {X.shape[0]} booleans, one per row of X, got {poison.dtype} of shape {poison.shape}"
            )
        self._kept = ~poison
        return self

    def verdict(self, X, y):
        """All rows but the poison."""
        return self._kept
