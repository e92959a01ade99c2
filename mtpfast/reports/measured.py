"""What records do in the user's own pipeline: put together, fitted again, measured."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .question import Measure, Question

__all__ = ["Refitted", "appended", "flips_of", "measured", "refitted"]


@dataclass(frozen=True)
class Refitted:
    """The metric of a refitted pipeline: on training rows and holdout, those aimed at and all."""

    train: Measure
    test: Measure | None
    everyone: Measure

    @property
    def measured(self) -> Measure:
        """On the rows that the report speaks of."""
        return self.train if self.test is None else self.test


def refitted(question: Question, X, y) -> Refitted:
    """A clone of the pipeline fitted to a table, measured on the clean training rows and on the holdout."""
    return measured(question, question.fit(X, y))


def measured(question: Question, fitted) -> Refitted:
    """What a fitted pipeline does to the clean training rows and to the holdout."""
    return Refitted(
        question.measure(fitted, question.train),
        None if question.test is None else question.measure(fitted, question.test),
        question.measure(fitted, question.measured, everyone=True),
    )


def appended(question: Question, rows, labels):
    """The clean table with records below it: of its columns and dtypes."""
    import pandas as pd

    y = question.y
    if not hasattr(question.X, "iloc"):
        X = np.concatenate([question.X, np.asarray(rows, dtype=question.X.dtype)])
        return X, np.concatenate([np.asarray(y), labels])
    X = pd.concat([question.X, rows.astype(question.X.dtypes.to_dict())], ignore_index=True)
    return X, np.concatenate([np.asarray(y), labels])


def flips_of(question: Question, k: int, scores, random_state):
    """Copies of clean records with the other label, three choices of k: ``{name: row numbers}``.

    ``random``: any records. ``aimed``: those aimed at, again and again if they are fewer than k. ``nearest``: of the
    records aimed at those that the clean model is least sure of, which it learns wrong first.
    """
    rng = np.random.default_rng(random_state)
    n = len(question.train.y)
    aimed = np.flatnonzero(question.train.aimed)
    ways = {"random": rng.permutation(n), "aimed": rng.permutation(aimed)}
    if scores is not None:
        ways["nearest"] = aimed[np.argsort(np.abs(scores[aimed]), kind="stable")]
    return {name: np.resize(rows, k) for name, rows in ways.items()}
