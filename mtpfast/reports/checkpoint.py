"""What an audit has finished, in a folder: one file for every piece of work, whole or not there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from mtpfast import Guarantee, PoisoningResult, __version__
from mtpfast.arrays.replacing import replacing

from .tables import one_line
from .tree import fingerprint

__all__ = ["Checkpoint", "key_of"]


class Checkpoint:
    """Pieces of work by name: done once, and read where they were done before.

    Parameters
    ----------
    folder : path or None
        Made with the first piece; None keeps nothing.
    key : dict of str to str
        What the pieces depend on: a folder of another key is refused, naming what differs.
    """

    def __init__(self, folder, key):
        self.folder, self.key = None if folder is None else Path(folder), key
        if self.folder is None:
            return
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"checkpoint: {self.folder} is a file, a folder was expected")
        file = self.folder / "question.json"
        if not file.exists():
            return
        try:
            known = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"checkpoint: {file} cannot be read: {one_line(error)}") from None
        for name in [*key, *known]:
            if known.get(name) != key.get(name):
                raise ValueError(f"checkpoint: {self.folder} is of an audit with another {name}: choose another folder")

    def result(self, name, work, is_whole, **attributes):
        """A PoisoningResult or Guarantee: ``work()``, kept if ``is_whole()`` then; read with these attributes."""
        path = None if self.folder is None else self.folder / f"{name}.npz"
        if path is not None and path.exists():
            kind = Guarantee if name == "guarantee" else PoisoningResult
            kept = kind.load(path)
            return replace(kept, **{field: value for field, value in attributes.items() if hasattr(kept, field)})
        found = work()
        if path is not None and found is not None and is_whole():
            self._keep(path.name, found.save)
        return found

    def tree(self, name, work, is_whole):
        """Plain values, as :meth:`result`."""
        path = None if self.folder is None else self.folder / f"{name}.json"
        if path is not None and path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        found = work()
        if path is not None and found is not None and is_whole():
            self._keep(path.name, lambda file: file.write(json.dumps(found).encode()))
        return found

    def _keep(self, name, write):
        question = self.folder / "question.json"
        if not question.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(question) as file:
                file.write(json.dumps(self.key, indent=1).encode())
        with replacing(self.folder / name) as file:
            write(file)


def key_of(question, sanitizers, limits, prove) -> dict:
    """What the pieces of an audit depend on, by name."""
    q = question
    kinds = sanitizers if sanitizers is None or isinstance(sanitizers, str) else [repr(type(s)) for s in sanitizers]
    parts = {
        "version": __version__,
        "pipeline": " ".join(repr(q.pipeline.get_params(deep=False) | {"class": type(q.pipeline).__name__}).split()),
        "table": fingerprint(q.X, q.train.y),
        "holdout": "" if q.test is None else fingerprint(q.test.X, q.test.y),
        "where": "".join(_digest(rows.aimed) for rows in (q.train, q.test) if rows is not None),
        "goal": [q.metric, q.goal],
        "budgets": [count for _, count in q.budgets],
        "rules": repr(q.rules),
        "sanitizers": kinds,
        "limits": limits,
        "prove": prove,
    }
    return {name: json.loads(json.dumps(value, default=str)) for name, value in parts.items()}


def _digest(mask):
    return hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()
