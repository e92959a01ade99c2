"""A small table with numbers, gaps and levels, for what reads raw tables."""

import numpy as np
import pandas as pd


def table_of(n=240, seed=0):
    """Ages, debts with gaps, three kinds of work, and who pays late."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 70, n),
            "debt": np.where(rng.random(n) < 0.05, np.nan, rng.normal(size=n).round(2)),
            "work": rng.choice(["private", "state", "none"], n),
        }
    )
    score = table["debt"].fillna(0.0) - 0.04 * (table["age"] - 44) + 0.8 * (table["work"] == "none")
    return table, pd.Series(np.where(score + rng.normal(size=n) > 0.0, "late", "paid"), name="state")
