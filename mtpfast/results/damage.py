"""What poisoning does to a metric: before and after."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["Damage"]


@dataclass(frozen=True)
class Damage:
    """A metric of the clean victim and of the poisoned one, on the rows aimed at and on every evaluation set.

    Both models were trained to the end. The damage is *found*: that so many points can do no more is not claimed.

    Attributes
    ----------
    metric : str
        ``"error"``, ``"false_negative_rate"``, ``"false_positive_rate"``, ``"hinge"``, ``"log_loss"``, or the name of
        a callable.
    before, after : dict of str to float
        By the name of the set; ``"aimed"`` are the rows that the attack was to be worst on.
    time_limit : float or None
        Seconds after which the search was to stop, where the caller asked for that: it is then not reproducible.
    goal : float or None
        The metric that was to be reached on the rows aimed at with as few points as can be.
    proved : int
        Fewer points than so many cannot reach the goal: the rows' guarantees prove it. 0 where nothing is proved.
    rows : ndarray of bool, shape (n_clean,), or None
        The clean rows that are aimed at: ``verify`` measures them again. None where other rows are, which a result does
        not hold, and for a metric of one's own.
    clean : ndarray of shape (n_features + 1,), or None
        ``(w, b)`` of the clean victim, whose metric is ``before``.

    Examples
    --------
    >>> from mtpfast.results.damage import Damage
    >>> Damage("error", {"aimed": 0.01}, {"aimed": 0.05})
    <Damage found: error 0.01 -> 0.05 on the rows aimed at>
    """

    metric: str
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    time_limit: float | None = None
    goal: float | None = None
    proved: int = 0
    rows: np.ndarray | None = field(default=None, repr=False, compare=False)
    clean: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def found(self) -> float:
        """The metric after the attack on the rows aimed at."""
        return self.after["aimed"]

    def to_frame(self):
        """A DataFrame with the columns ``before`` and ``after``, a row for every set."""
        import pandas as pd

        return pd.DataFrame({"before": self.before, "after": self.after})

    @property
    def words(self) -> str:
        """What was found, set by set, and what is proved."""
        parts = [
            f"{self.before[name]:.4g} -> {self.after[name]:.4g} on {'the rows aimed at' if name == 'aimed' else name}"
            for name in self.after
        ]
        proved = f"; proved: fewer than {self.proved} points cannot reach {self.goal:.4g}" if self.proved else ""
        return f"found: {self.metric} {', '.join(parts)}{proved}"

    def __repr__(self) -> str:
        return f"<Damage {self.words}>"
