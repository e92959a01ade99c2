"""What a comparison of attacks measured: a row for every method, budget, seed and sanitiser."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from zipfile import BadZipFile

import numpy as np

__all__ = ["Comparison"]


FORMAT = 1  # of the saved files
KEYS = ("method", "budget", "seed", "sanitizer")


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Attacks side by side, all measured by one judge.

    Attributes
    ----------
    rows : tuple of dict
        One for every method, budget, seed and sanitiser:

        ``method``, ``budget``, ``seed``, ``sanitizer``
            "clean" is the victim without poison (budget 0); the sanitiser "none" removes nothing.
        ``n_points``, ``n_distinct``
            Points really used (with a sanitiser: those that it leaves), and how many differ.
        ``feasible``
            Whether every point lies in the feasible set, no candidate is used more often than it may be, and there are
            no more points than the budget.
        ``distance``, ``loss_difference``
            To the target, from the judge's model; NaN without a target.
        ``off``
            l2 distance between the model that the method claims and the judge's; NaN if it claims none.
        ``clean_loss``, ``objective``
            Summed loss of the clean rows, and the victim's whole objective, at the judge's model.
        ``accuracy_<set>``
            On the training rows ("train") and on every evaluation set.
        ``removed``
            Clean rows that a sanitiser removed.
        ``seconds``
            CPU seconds of the method up to that budget, all of its threads; not reproducible.
        ``status``, ``message``
            The result's own; "failed" where the method (or the sanitiser) gave nothing that can be measured, with the
            reason.
    points : dict of str to ndarray
        ``"<i>/points"``, ``"<i>/labels"``, ``"<i>/counts"``, ``"<i>/theta"`` of row i: what the method returned, and
        the judge's model.
    about : dict
        Shape of the data, victim, seeds, versions.

    Examples
    --------
    >>> import numpy as np
    >>> from mtpfast import compare
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    >>> runs = compare(["label_flip"], X, y, budgets=[1], C=1.0)
    >>> sorted({row["method"] for row in runs.rows})
    ['clean', 'label_flip']
    """

    rows: tuple
    points: dict = field(default_factory=dict)
    about: dict = field(default_factory=dict)

    def to_frame(self):
        """A pandas DataFrame, a row each."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))

    def to_markdown(self, columns=None) -> str:
        """A table in Markdown: numbers to four digits.

        Parameters
        ----------
        columns : sequence of str, optional
            Which, in this order; by default those that say something. ValueError for one that there is not.
        """
        rows = [row for row in self.rows if row["status"] != "failed"]
        if columns is None:
            hidden = {"message", "status", "n_distinct", "clean_loss"}
            columns = [name for name in (rows[0] if rows else ()) if name not in hidden]
            columns = [c for c in columns if any(not _is_missing(row.get(c)) for row in rows)]
            columns = [c for c in columns if c not in ("seed", "sanitizer") or len({row[c] for row in rows}) > 1]
        known = dict.fromkeys(name for row in self.rows for name in row)
        for name in columns:
            if name not in known:
                raise ValueError(f"columns must be among {', '.join(known)}; got {name!r}")
        lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(_written(row.get(c)) for c in columns) + " |" for row in rows]
        failed = [row for row in self.rows if row["status"] == "failed"]
        lines += dict.fromkeys(f"\n{_failed(row)}: {' '.join(str(row['message']).split())}" for row in failed)
        return "\n".join(lines) + "\n"

    def column(self, what) -> str:
        """The column that a short name stands for: "accuracy" is that of the last evaluation set."""
        names = [name for name in (self.rows[0] if self.rows else ()) if name not in (*KEYS, "status", "message")]
        accuracies = [name for name in names if name.startswith("accuracy_")]
        if what == "accuracy" and accuracies:
            return accuracies[-1]
        if what not in names:
            raise ValueError(f"what must be 'accuracy' or one of {', '.join(names)}; got {what!r}")
        return what

    def curve(self, what, sanitizer="none") -> dict:
        """For every method ``(n_points, mean, least, most)``, arrays by rising budget, over its seeds."""
        column, out = self.column(what), {}
        for row in self.rows:
            if row["sanitizer"] == sanitizer and row["status"] != "failed" and not _is_missing(row.get(column)):
                out.setdefault(row["method"], {}).setdefault(row["budget"], []).append((row["n_points"], row[column]))
        return {
            method: tuple(
                np.array([f([pair[i] for pair in pairs]) for _, pairs in sorted(at.items())])
                for i, f in ((0, np.mean), (1, np.mean), (1, np.min), (1, np.max))
            )
            for method, at in out.items()
        }

    def plot(self, what="accuracy", axes=None, sanitizer="none"):
        """Draw one measure against the number of points, a line for every method; a band spans its seeds.

        Parameters
        ----------
        what : {"accuracy", "distance", "loss_difference"} or a column
        axes : matplotlib Axes, optional
        sanitizer : str
            Which of them cleaned the table.

        Returns
        -------
        matplotlib Figure
            A method whose points are not feasible is marked as such.

        Raises
        ------
        ValueError
            Where nothing was measured: "distance" and "loss_difference" want a target.
        """
        known = dict.fromkeys(row["sanitizer"] for row in self.rows)
        if sanitizer not in known:
            raise ValueError(f"sanitizer must be one of {', '.join(map(repr, known))}, got {sanitizer!r}")
        curves = self.curve(what, sanitizer)
        if not curves:
            why = ": compare was given no target" if what in ("distance", "loss_difference") else ""
            raise ValueError(f"what: no row has a number for {what!r} with sanitizer {sanitizer!r}{why}")
        outside = {row["method"] for row in self.rows if row.get("feasible") is False}
        if axes is None:
            try:
                from matplotlib import pyplot as plt
            except ImportError as error:
                raise ImportError('plot needs matplotlib: pip install "mtpfast[plot]"') from error
            axes = plt.subplots(figsize=(5.0, 3.4), layout="constrained")[1]
        marks = "os^Dv<>Pp*hX"
        for i, (method, (n, mean, least, most)) in enumerate(curves.items()):
            if method == "clean":
                axes.axhline(mean[0], color="0.5", linewidth=0.8, linestyle=":", label="clean")
                continue
            name = f"{method} (not feasible)" if method in outside else method
            line = axes.plot(n, mean, marker=marks[i % len(marks)], markersize=3.5, linewidth=1.2, label=name)[0]
            if np.any(most > least):
                axes.fill_between(n, least, most, color=line.get_color(), alpha=0.15, linewidth=0)
        axes.set(xlabel="poisoning points", ylabel=self.column(what).replace("_", " "))
        if what in ("distance", "loss_difference") and all(np.all(c[1] > 0) for c in curves.values()):
            axes.set_yscale("log")
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.legend(frameon=False, fontsize="small")
        return axes.figure

    def save(self, path: str | os.PathLike) -> None:
        """Write the measurements to ``<path>.json`` and the points to ``<path>.npz``; either suffix is left out."""
        base = _base(path)
        document = {"format": FORMAT, "about": self.about, "rows": [_plain(row) for row in self.rows]}
        with open(f"{base}.json", "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
        with open(f"{base}.npz", "wb") as file:
            np.savez_compressed(file, **self.points)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Comparison:
        """Read what :meth:`save` wrote; the points may be missing. ValueError for another file."""
        base = _base(path)
        try:
            with open(f"{base}.json", encoding="utf-8") as file:
                document = json.load(file)
            if document["format"] != FORMAT:
                raise ValueError(f"format {document['format']!r}, expected {FORMAT}")
            rows = tuple({k: math.nan if v is None else v for k, v in row.items()} for row in document["rows"])
            about = document["about"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"path must name a file written by Comparison.save; {base}.json: {error}") from None
        points = {}
        if os.path.exists(f"{base}.npz"):
            try:
                with np.load(f"{base}.npz", allow_pickle=False) as file:
                    points = {name: file[name] for name in file.files}
            except (ValueError, BadZipFile, AttributeError) as error:
                raise ValueError(f"path must name a file written by Comparison.save; {base}.npz: {error}") from None
        return cls(rows, points, about)

    def __repr__(self) -> str:
        methods = list(dict.fromkeys(row["method"] for row in self.rows))
        return f"<Comparison of {', '.join(methods)}: {len(self.rows)} rows>"


def _base(path):
    base = os.fspath(path)
    return base[: base.rindex(".")] if base.endswith((".json", ".npz")) else base


def _is_missing(value):
    return value is None or (isinstance(value, float) and math.isnan(value))


def _plain(row):
    """A row for JSON, which has no NaN."""
    row = {k: v.item() if isinstance(v, np.generic) else v for k, v in row.items()}
    return {k: None if _is_missing(v) else v for k, v in row.items()}


def _written(value):
    if _is_missing(value):
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    return " ".join(str(value).replace("|", "\\|").split())


def _failed(row):
    return row["method"] if row["sanitizer"] == "none" else f"{row['method']} with {row['sanitizer']}"
