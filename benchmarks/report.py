"""Tables: on the screen, as markdown and as JSON under benchmarks/results/."""

from __future__ import annotations

import json
import time
from pathlib import Path

import environment
import numpy as np

RESULTS = Path(__file__).resolve().parent / "results"


def text(value):
    if value is None:
        return "-"
    if isinstance(value, float | np.floating):
        if not np.isfinite(value):
            return "-" if np.isnan(value) else "inf"
        if value == int(value) and abs(value) < 1e6:
            return f"{int(value):,}"
        return f"{value:.3g}" if abs(value) < 100 else f"{value:,.1f}"
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return f"{int(value):,}"
    return str(value)


def markdown(rows: list[dict], columns=None) -> str:
    columns = columns or list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *[[text(row.get(c)) for c in columns] for row in rows]]
    width = [max(len(line[j]) for line in cells) for j in range(len(columns))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, width, strict=True)) + " |" for line in cells]
    lines.insert(1, "|" + "|".join("-" * (w + 2) for w in width) + "|")
    return "\n".join(lines)


def _plain(value):
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(type(value))


def write(name: str, command: str, tables: dict[str, list[dict]], notes=(), folder=None) -> None:
    """results/<name>.md and .json: the command, the environment and every table."""
    folder = Path(folder or RESULTS)
    folder.mkdir(parents=True, exist_ok=True)
    when = time.strftime("%Y-%m-%d")
    data = {"command": command, "date": when, "environment": environment.describe(), "tables": tables}
    (folder / f"{name}.json").write_text(json.dumps({**data, "notes": list(notes)}, indent=1, default=_plain) + "\n")
    parts = [f"# {name}", f"`{command}`, {when}. {environment.headline()}."]
    for title, rows in tables.items():
        parts += [f"## {title}", markdown(rows)]
    parts += [f"* {note}" for note in notes]
    (folder / f"{name}.md").write_text("\n\n".join(parts) + "\n")


class Kept:
    """Tables under results/ that grow row by row: what a run that was cut has measured stays, and is not done again.

    Parameters
    ----------
    name, command, folder
        As in :func:`write`.
    keys : sequence of str
        A row takes the place of the one with the same entries here.
    notes : sequence of str, or function of the tables
    order : function of the tables, optional
        Returns them in the order in which they are to stand.
    """

    def __init__(self, name, command, keys, notes=(), order=None, folder=None):
        self.name, self.command, self.keys, self.notes, self.order = name, command, keys, notes, order
        self.folder = Path(folder or RESULTS)
        path = self.folder / f"{name}.json"
        self.tables = json.loads(path.read_text())["tables"] if path.exists() else {}

    def _key(self, row):
        return [row.get(name) for name in self.keys]

    def find(self, title, **row):
        """The row with the same entries in ``keys``; None if there is none."""
        return next((old for old in self.tables.get(title, ()) if self._key(old) == self._key(row)), None)

    def add(self, title, row):
        """Put this row in, and write the files."""
        rows, old = self.tables.setdefault(title, []), self.find(title, **row)
        at = len(rows) if old is None else next(i for i, other in enumerate(rows) if other is old)
        rows[at : at + 1] = [row | {"commit": environment.describe()["commit"].removesuffix(" with changes")}]
        self.write()

    def write(self):
        if self.order is not None:
            self.tables = self.order(self.tables)
        notes = self.notes(self.tables) if callable(self.notes) else self.notes
        write(self.name, self.command, self.tables, notes, self.folder)
