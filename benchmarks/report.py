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
