"""One file for all that an audit found and proved, and the check that believes none of it."""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from typing import NamedTuple

import numpy as np

from mtpfast import Guarantee, PoisoningResult, VerificationError

__all__ = ["Claim", "load_results", "save_results", "verify_results"]


FORMAT = "mtpfast-audit-results/1"


class Claim(NamedTuple):
    """A result of a file, whether its claims hold (None: not decided), and in words."""

    name: str
    ok: bool | None
    message: str


def save_results(report, path: str | os.PathLike, settings: dict | None = None) -> None:
    """The attacks, the minimum and the guarantee in one ``.npz`` file, without pickled objects.

    Every one is a file of its own inside, as its ``save`` writes it. ``settings`` are kept beside them.
    """
    parts = {f"attack_{budget}": result for budget, result in report.results.items()}
    parts |= {"fewest": report.fewest, "minimum": report.minimum, "guarantee": report.guarantee}
    arrays = {"format": np.array(FORMAT), "settings": np.array(json.dumps(settings or {}))}
    for name, part in parts.items():
        if part is not None:
            file = io.BytesIO()
            part.save(file)
            arrays[name] = np.frombuffer(file.getvalue(), dtype=np.uint8)
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def load_results(path: str | os.PathLike, preprocessing=None):
    """``(results by name, settings)`` of a file of :func:`save_results`, or of one saved result or guarantee.

    Raises
    ------
    ValueError
        If it is neither.
    """
    with open(path, "rb") as file:  # what cannot be read says so itself
        is_zip = zipfile.is_zipfile(file)
    if not is_zip:
        raise ValueError(f"{path} is no file of results: an .npz was expected, as an audit or result.save writes it")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
        raise ValueError(f"{path} is no file of results: {error}") from None
    if "format" not in arrays:
        return {"result": _load(path, "result", preprocessing)}, {}
    if str(arrays.pop("format")) != FORMAT:
        raise ValueError(f"{path} is of another version than {FORMAT}")
    settings = json.loads(str(arrays.pop("settings")))
    return {name: _load(io.BytesIO(part.tobytes()), name, preprocessing) for name, part in arrays.items()}, settings


def _load(file, name, preprocessing):
    if name == "guarantee":
        return Guarantee.load(file, preprocessing=preprocessing)
    try:
        return PoisoningResult.load(file)
    except ValueError:
        if name != "result":
            raise
    return Guarantee.load(file, preprocessing=preprocessing)


def verify_results(results: dict, X, y, preprocessing=None):
    """Prove every result again from the clean table: yields a :class:`Claim` for each, as soon as it is checked.

    Ctrl-C ends it with a KeyboardInterrupt, after the claim of the result that was being checked.
    """
    for name, result in results.items():
        if isinstance(result, Guarantee):
            try:
                check = result.check(X, y)
            except ValueError as error:
                yield Claim(name, False, str(error))
                continue
            rows = len(result.status)
            proved = int(np.sum(check.lower_bound > 0))
            said = f"lower bounds of {proved:,} of {rows:,} rows proved again"
            said = said if check.ok else f"{len(check.failed)} of {rows:,} rows claim more than is proved"
            yield Claim(name, check.ok, said)
            continue
        try:
            report = result.verify(X, y, preprocessing=preprocessing)
        except (VerificationError, ValueError) as error:
            yield Claim(name, False, " ".join(str(error).split()))
            continue
        if report.interrupted:
            yield Claim(name, None, f"interrupted after {len(report.checks)} checks, none of which failed")
            raise KeyboardInterrupt
        said = f"{result.n_points:,} records, retrained with {report.solver}"
        if report.undecided:
            said += f"; not decided: {', '.join(map(str, report.undecided))}"
        yield Claim(name, bool(report.ok), said)
