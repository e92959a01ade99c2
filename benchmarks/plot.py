"""Pictures of the tables in benchmarks/results: python benchmarks/plot.py [folder]. Needs matplotlib.

Drawn are the attacks of run.py (points found and proved, by target) and the steps of refit.py; other files have none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"


def experiment(name, tables):
    """Bars per target: paper's bound, certified bound, whole minimum, Algorithm 1."""
    runs = next((rows for title, rows in tables.items() if title.startswith("Algorithm 1 to D")), None)
    if not runs:
        return None
    exact = next((rows for title, rows in tables.items() if title.startswith("Exactly the target")), [])
    names = [f"{row['target'].split(':')[0]}\n{row['loss']}" for row in runs]
    series = {"paper's bound": [row["paper's bound"] for row in runs]}
    if len(exact) == len(runs):
        for key in ("certified bound", "whole minimum"):
            series[key] = [row[key] if isinstance(row[key], int | float) else np.nan for row in exact]
    series["Algorithm 1"] = [row["points"] for row in runs]
    figure, axes = plt.subplots(figsize=(1.6 * len(runs) + 2, 4), layout="constrained")
    width = 0.8 / len(series)
    for i, (label, values) in enumerate(series.items()):
        axes.bar(np.arange(len(runs)) + (i - (len(series) - 1) / 2) * width, values, width, label=label)
    axes.set_xticks(np.arange(len(runs)), names, fontsize="small")
    axes.set_ylabel("points")
    axes.set_title(f"{name}: what is proved, and what was found")
    axes.legend()
    return figure


def refits(tables):
    """Milliseconds a step against the number of rows."""
    rows = next((table for title, table in tables.items() if title.startswith("Cost per step")), None)
    if not rows:
        return None
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    n = [row["rows"] for row in rows]
    for key, label in (("plain, ms a step", "scikit-learn from scratch"), ("ms a step", "incremental")):
        axes.loglog(n, [row[key] for row in rows], "o-", label=label)
    axes.set_xlabel("rows")
    axes.set_ylabel("ms a step")
    axes.legend()
    return figure


def main(folder=RESULTS):
    for path in sorted(Path(folder).glob("*.json")):
        tables = json.loads(path.read_text(encoding="utf-8")).get("tables", {})
        figure = refits(tables) or experiment(path.stem, tables)
        if figure is not None:
            figure.savefig(path.with_suffix(".png"), dpi=120)
            print(path.with_suffix(".png"))
            plt.close(figure)


if __name__ == "__main__":
    main(*sys.argv[1:])
