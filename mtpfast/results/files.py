"""Results as files: NumPy archives without pickled objects."""

from __future__ import annotations

import dataclasses
import json
import math
import sys

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.frames import is_frame
from mtpfast.losses.margin import LOSSES, Loss
from mtpfast.losses.objective import Objective
from mtpfast.proofs.bounds import NEVER
from mtpfast.proofs.certificate import Certificate
from mtpfast.proofs.clean_pass import CleanGradient
from mtpfast.proofs.goal import Goal
from mtpfast.proofs.joint import Joint
from mtpfast.proofs.pointwise import Pointwise
from mtpfast.spaces import CandidatePool
from mtpfast.spaces.base import is_space
from mtpfast.spaces.labelled import KINDS

from .damage import Damage
from .packed import unpacked
from .status import STATUSES, STOPS
from .stored import decode_table, encode_table

__all__ = ["read_fields", "write_file"]


FORMAT = 2  # of the saved files; 1 was that of version 0.2


# The classes that may be part of a result, and the arguments that make one; besides all spaces of regions (KINDS).
_PARTS = {
    Objective: tuple(field.name for field in dataclasses.fields(Objective)),
    CandidatePool: ("X", "y", "max_repeats"),
    Goal: tuple(field.name for field in dataclasses.fields(Goal)),
    CleanGradient: tuple(field.name for field in dataclasses.fields(CleanGradient)),
    Joint: tuple(field.name for field in dataclasses.fields(Joint)),
    Pointwise: tuple(field.name for field in dataclasses.fields(Pointwise)),
    Damage: tuple(field.name for field in dataclasses.fields(Damage)),
    Certificate: tuple(field.name for field in dataclasses.fields(Certificate) if field.init),
}


def write_file(result, path) -> None:
    """Write what :func:`read_fields` reads; see :meth:`mtpfast.PoisoningResult.save`."""
    arrays: dict[str, np.ndarray] = {}
    fields = [field.name for field in dataclasses.fields(result) if field.name != "preprocessing"]
    values = ((name, unpacked(result) if name == "points" else getattr(result, name)) for name in fields)
    tree = {name: encode(value, arrays) for name, value in values}
    text = json.dumps({"format": FORMAT, "result": tree})
    if hasattr(path, "write"):
        np.savez_compressed(path, json=np.array(text), **arrays)
    else:
        with open(path, "wb") as file:
            np.savez_compressed(file, json=np.array(text), **arrays)


def read_fields(kind, path, loss):
    """The fields of a result from its file, by their names; see :meth:`mtpfast.PoisoningResult.load`."""
    try:
        version, tree, arrays = read_file(path)
        fields = {field.name: field.default for field in dataclasses.fields(kind) if field.name != "preprocessing"}
        # What a file of version 0.2 does not say yet has its default.
        later = {name for name in ("clean", "goal", "loss_difference_upper_bound", "table") if version == 1}
        later |= {"damage", "path_index"} - tree.keys()
        if odd := sorted(fields.keys() ^ (tree.keys() | later)):
            raise ValueError(f"field {odd[0]!r} is {'missing' if odd[0] in fields else 'not one of a result'}")
        values = {name: decode_field(name, value, arrays, loss) for name, value in tree.items()}
        values = {name: fields[name] for name in later} | values
        if version == 1 and isinstance(values["certificate"], Certificate):
            values["goal"] = values["certificate"].goal
        for name, problem in problems(values):
            raise ValueError(f"field {name!r}: {problem}")
    except ValueError as error:
        raise ValueError(
            f"path must name a file written by PoisoningResult.save, whole and as it was; {path!r}: {error}"
        ) from None
    return values


def read_file(path):
    """(version, fields as JSON, arrays by name) of a saved result; ValueError for any other file."""
    if not hasattr(path, "read"):
        with open(path, "rb"):  # no such file, no right to read it: an OSError that says so
            pass
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        document = json.loads(str(arrays.pop("json")))
        version, tree = document["format"], document["result"]
    except MemoryError:
        raise
    except Exception as error:  # whatever a broken archive makes NumPy, zipfile, zlib and json say
        raise ValueError(f"it cannot be read as one ({type(error).__name__}: {str(error)[:80]})") from None
    if version not in (1, FORMAT):
        raise ValueError(f"field 'format' is {version!r}, expected {FORMAT}, or 1 of version 0.2")
    if not isinstance(tree, dict):
        raise ValueError(f"field 'result' is a {type(tree).__name__}, expected the fields of a result")
    return version, tree, arrays


def decode_field(name, value, arrays, loss):
    try:
        return _decode(value, arrays, loss)
    except MemoryError:
        raise
    except Exception as error:  # whatever the classes that are part of a result say of what they cannot be made of
        said = error if isinstance(error, (ValueError, TypeError)) else f"{type(error).__name__}: {error}"
        raise ValueError(f"field {name!r}: {said}") from None


def problems(values):
    """(field, what is wrong with it) for whatever no result can hold; first those that others are measured by."""
    size = getattr(values["theta_target"], "size", 0)
    rows = values["points"].shape[0] if getattr(values["points"], "ndim", 0) == 2 else 0
    models = len(values["path"]) if isinstance(values["path"], np.ndarray) else 0
    missing = isinstance(values["theta"], np.ndarray) and np.all(np.isnan(values["theta"]))  # not retrained
    faults = {
        "theta_target": _array_fault(values["theta_target"], (max(size, 2),)),
        "points": _points_fault(values["points"], (rows, size - 1)),
        "labels": _array_fault(values["labels"], (rows,), "fiubUSO"),
        "classes": _array_fault(values["classes"], (2,), "fiubUSO"),
        "sequence": _array_fault(values["sequence"], (np.size(values["sequence"]),), "iu"),
        "theta": "" if missing and values["theta"].shape == (size,) else _array_fault(values["theta"], (size,)),
        "path": "" if values["path"] is None else _array_fault(values["path"], (max(models, 1), size)),
        "objective": _kind_fault(values["objective"], Objective),
        "feasible_set": "" if is_space(values["feasible_set"]) else _kind_fault(values["feasible_set"], ()),
        "certificate": _kind_fault(values["certificate"], (Certificate, type(None))),
        "goal": _kind_fault(values["goal"], (Goal, type(None))),
        "clean": _kind_fault(values["clean"], (CleanGradient, type(None))),
        "message": _kind_fault(values["message"], str),
        "damage": _damage_fault(values["damage"], values["n_clean"], np.shape(values["theta"])),
        "history": _kind_fault(values["history"], dict),
        "status": _choice_fault(values["status"], STATUSES),
        "stop": _choice_fault(values["stop"], STOPS),
        "lower_bound": _number_fault(values["lower_bound"], int, 0, NEVER),
        "n_clean": _number_fault(values["n_clean"], int, 1, NEVER),
        "clean_weight": _number_fault(values["clean_weight"], (int, float), 0.0, sys.float_info.max),
        "tol": _number_fault(values["tol"], (int, float), 0.0, sys.float_info.max),
        "loss_difference": _number_fault(values["loss_difference"], (int, float), -math.inf, math.inf, nan=True),
    }
    yield from ((name, fault) for name, fault in faults.items() if fault)
    if np.any((values["sequence"] < 0) | (values["sequence"] >= rows)):
        yield "sequence", f"must number the {rows} rows of points"
    if not np.all(np.isin(values["labels"], values["classes"])):
        yield "labels", f"must be among the classes {values['classes'].tolist()}"
    steps = len(np.atleast_1d(values["history"].get("n_points", ())))
    for name, column in values["history"].items():
        own = np.size(column) if name in ("scale", "cost") else steps
        if fault := _array_fault(column, (own,), "fiu", nan=True):
            yield "history", f"{name!r} {fault}"
    index = values["path_index"]
    if index is not None and (fault := _index_fault(index, models, steps)):
        yield "path_index", fault
    if values["path"] is not None and index is None and models != steps:
        yield "path", f"must have a model for each of the {steps} entries of the history, got {models}"
    if values["feature_names"] is not None and np.shape(values["feature_names"]) != (size - 1,):
        yield "feature_names", f"must name {size - 1} features, got shape {np.shape(values['feature_names'])}"
    if values["records"] is not None and len(values["records"]) != rows:
        yield "records", f"must be {rows}, one for each row of points, got {len(values['records'])}"
    if values["clean"] is not None and np.shape(values["clean"].gradient) != (size,):
        yield "clean", f"its gradient must be of shape ({size},), got {np.shape(values['clean'].gradient)}"


def _array_fault(value, shape, kinds="f", nan=False):
    if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds or value.shape != shape:
        got = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        return f"must be an array of shape {shape} and kind {kinds!r}, got {got}"
    finite = nan or value.dtype.kind != "f" or np.all(np.isfinite(value))
    return "" if finite else "must be finite, got NaN or infinity"


def _index_fault(index, models, steps):
    if fault := _array_fault(index, (models,), "iu"):
        return fault
    rises = index[0] == 0 and index[-1] == steps - 1 and np.all(np.diff(index) > 0) if models else False
    return "" if rises else f"must rise from 0 to {steps - 1}, the last entry of the history"


def _points_fault(points, shape):
    if not sp.issparse(points):
        return _array_fault(points, shape)
    return _array_fault(points.data, points.data.shape) if points.shape == shape else f"has shape {points.shape}"


def _kind_fault(value, kinds):
    return "" if isinstance(value, kinds) else f"must not be a {type(value).__name__}"


def _damage_fault(value, n_clean, shape):
    if not isinstance(value, Damage) or value.rows is None:
        return _kind_fault(value, (Damage, type(None)))
    rows, clean = value.rows, value.clean
    if clean is None or _array_fault(clean, shape):
        return "clean must be a model of the result's features"
    fits = isinstance(rows, np.ndarray) and rows.dtype == bool and rows.shape == (n_clean,) and rows.any()
    return "" if fits else f"rows must be a mask of some of the {n_clean} clean rows"


def _choice_fault(value, known):
    return "" if value in known else f"must be one of {', '.join(map(repr, known))}, got {value!r}"


def _number_fault(value, kinds, least, most, nan=False):
    fits = (
        isinstance(value, kinds)
        and not isinstance(value, bool)
        and (least <= value <= most or (nan and value != value))
    )
    return "" if fits else f"must be a number between {least:.3g} and {most:.3g}, got {value!r}"


def encode(value, arrays):
    """The value as JSON; arrays go to ``arrays``, and a reference takes their place."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if is_frame(value) or (isinstance(value, np.ndarray) and value.ndim == 2 and value.dtype == object):
        return {"table": encode(encode_table(value), arrays)}
    if isinstance(value, np.generic):
        return encode(value.item(), arrays)
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return {"objects": [encode(item, arrays) for item in value.tolist()]}
        same = next((name for name, known in arrays.items() if known is value), None)
        name = f"array_{len(arrays)}" if same is None else same
        arrays[name] = value
        return {"array": name}
    if sp.issparse(value):
        value = value.tocsr()
        parts = {part: encode(getattr(value, part), arrays) for part in ("data", "indices", "indptr")}
        return {"csr": parts, "shape": [int(n) for n in value.shape]}
    if isinstance(value, slice):
        return {"slice": [value.start, value.stop, value.step]}
    if isinstance(value, Loss):
        return {"loss": value.name}
    if isinstance(value, dict):
        return {"dict": [[encode(key, arrays), encode(item, arrays)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return {type(value).__name__ if type(value) in (list, tuple) else "tuple": [encode(v, arrays) for v in value]}
    kind = type(value)
    names = kind.arguments if KINDS.get(kind.__name__) is kind else _PARTS.get(kind)
    if names is not None:
        return {"object": kind.__name__, "fields": {name: encode(getattr(value, name), arrays) for name in names}}
    raise TypeError(f"a result that holds a {type(value).__name__} cannot be saved")


def _decode(value, arrays, loss):
    if not isinstance(value, dict):
        return value
    if "objects" in value:
        items = np.empty(len(value["objects"]), dtype=object)
        items[:] = [_decode(item, arrays, loss) for item in value["objects"]]
        return items
    if "array" in value:
        return arrays[value["array"]]
    if "table" in value:
        return decode_table(_decode(value["table"], arrays, loss))
    if "csr" in value:
        parts = {part: _decode(item, arrays, loss) for part, item in value["csr"].items()}
        matrix = sp.csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=value["shape"])
        matrix.check_format(full_check=True)
        return matrix
    if "loss" in value:
        if value["loss"] in LOSSES:
            return LOSSES[value["loss"]]
        if loss is None or loss.name != value["loss"]:
            raise ValueError(f"the result was saved with loss {value['loss']!r}: hand it to load(path, loss=...)")
        return loss
    if "dict" in value:
        return {_decode(key, arrays, loss): _decode(item, arrays, loss) for key, item in value["dict"]}
    if "slice" in value:
        return slice(*value["slice"])
    if "list" in value:
        return [_decode(item, arrays, loss) for item in value["list"]]
    if "tuple" in value:
        return tuple(_decode(item, arrays, loss) for item in value["tuple"])
    makers = {kind.__name__: kind for kind in _PARTS} | KINDS
    if value["object"] not in makers:
        raise ValueError(f"the class {value['object']!r} is not known here: import it before loading")
    make = makers[value["object"]]
    return make(**{name: _decode(item, arrays, loss) for name, item in value["fields"].items()})
