"""What was edited does not pass: certificates, goals, prefixes and files."""

import dataclasses
import io
import json
import math
import re
import zipfile

import numpy as np
import pytest

from mtpfast import CandidatePool, FeatureSpace, PoisoningResult, minimum_poisoning, poison
from mtpfast.losses.objective import make_objective
from mtpfast.proofs.bounds import NEVER
from mtpfast.proofs.goal import Goal
from mtpfast.training.victim import refit
from mtpfast.verification.report import VerificationError

BOX = FeatureSpace(0.0, 1.0)
replace = dataclasses.replace


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.random((40, 3))
    return X, np.where(X @ np.array([1.0, -1.0, 0.5]) > 0.2, 1.0, -1.0)


@pytest.fixture(scope="module")
def theta(data):
    X, y = data
    points = np.random.default_rng(1).integers(0, 2, (6, 3)).astype(float)
    return refit(np.vstack([X, points]), np.append(y, -np.ones(6)), make_objective(C=1.0), tol=1e-12).theta


@pytest.fixture(scope="module")
def result(data, theta):
    return minimum_poisoning(*data, theta, C=1.0, feasible_set=BOX)


@pytest.fixture(scope="module")
def online(data, theta):
    return poison(*data, theta, C=1.0, feasible_set=BOX, max_points=12)


# -- certificates -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"margin_tol": -1.0},
        {"margin_tol": math.nan},
        {"margin_tol": math.inf},
        {"margin_tol": 2.0},
        {"tol": -1.0},
        {"tol": math.nan},
        {"tol": math.inf},
        {"value": math.nan},
        {"value": -1.0},
        {"kind": "farkas"},
        {"direction": np.full(4, math.nan)},
        {"direction": np.ones(3)},
        {"theta_target": np.full(4, math.inf)},
        {"objective": None},
    ],
    ids=lambda change: "-".join(f"{name}={value!s:.6}" for name, value in change.items()),
)
def test_a_certificate_holds_only_what_a_certificate_can(data, result, change):
    """It is refused where it is made; and where it is checked, if it was changed behind its back."""
    [(name, value)] = change.items()
    match = "value" if name == "kind" else name
    with pytest.raises(ValueError, match=match):
        replace(result.certificate, **change)
    edited = replace(result.certificate)
    object.__setattr__(edited, name, value)
    with pytest.raises(ValueError, match=match):
        edited.check(*data)
    with pytest.raises(ValueError, match=match):
        replace(result, certificate=edited).verify(*data)


@pytest.mark.parametrize(
    "change",
    [
        {"theta_target": np.array([0.5, 0.5, 0.5, 0.5])},
        {"objective": make_objective(C=0.1)},
        {"objective": make_objective("log_loss", C=1.0)},
        {"feasible_set": FeatureSpace(0.4, 0.6)},
        {"feasible_set": FeatureSpace(0.0, 1.0, integer=[0])},
        {"feasible_set": CandidatePool(np.eye(3))},
        {"margin_tol": 0.0},
        {"tol": 0.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_certificate_of_another_goal_is_refused(data, result, change):
    """Its bound may be true: it is not the bound that the result claims."""
    certificate = replace(result.certificate, value=0.0, **change)
    assert result.goal != certificate.goal
    assert result.goal == replace(result.certificate, value=0.0).goal
    with pytest.raises(VerificationError, match="certificate of another problem"):
        replace(result, certificate=certificate).verify(*data)
    goal = replace(result.goal, **change)  # nor does it help to change the goal as well
    if not {"tol", "margin_tol"} & set(change):
        with pytest.raises(VerificationError, match="certificate of another problem"):
            replace(result, certificate=certificate, goal=goal).verify(*data)


def test_the_bound_of_the_centre_is_not_that_of_a_ball(data, theta, result):
    ball = minimum_poisoning(*data, theta, C=1.0, feasible_set=BOX, tol=0.3)
    assert ball.verify(*data).ok
    assert ball.lower_bound < result.lower_bound
    with pytest.raises(VerificationError, match="certificate of another problem"):
        replace(ball, certificate=result.certificate, lower_bound=result.lower_bound).verify(*data)


def test_fewer_copies_are_another_pool(data):
    """``max_repeats`` is part of what a bound speaks of."""
    X, y = data
    candidates = np.random.default_rng(2).random((30, 3))
    objective, weight = make_objective(C=1.0), np.append(np.ones(40), [4.0, 4.0, 4.0])
    rows, labels = np.vstack([X, candidates[:3]]), np.append(y, -np.ones(3))
    theta = refit(rows, labels, objective, sample_weight=weight, tol=1e-12).theta
    pools = [CandidatePool(candidates, max_repeats=n) for n in (5, 1)]
    result = minimum_poisoning(X, y, theta, C=1.0, feasible_set=pools[0])
    assert result.verify(X, y).ok
    assert result.lower_bound <= 12
    with pytest.raises(VerificationError, match="certificate of another problem"):
        replace(result, certificate=replace(result.certificate, feasible_set=pools[1])).verify(X, y)


def test_verify_goes_by_what_the_check_holds(data, result):
    """A certificate that claims more than it proves fails, though the result claims no more than is proved."""
    certificate = replace(result.certificate, value=2.0 * result.certificate.value)
    assert not certificate.check(*data).holds
    with pytest.raises(VerificationError, match="certificate: points claimed"):
        replace(result, certificate=certificate).verify(*data)


def test_goals_are_compared_as_a_whole(result):
    goal = result.goal
    same = Goal(goal.theta_target.copy(), replace(goal.objective), FeatureSpace(0, 1), goal.tol, goal.margin_tol)
    assert goal == same
    assert goal.differs(same) == ""
    for name, value in (("tol", 1.0), ("margin_tol", 0.5), ("objective", make_objective(C=2.0))):
        assert goal.differs(replace(goal, **{name: value})) == name


# -- prefixes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "log_loss"])
@pytest.mark.parametrize("space", [BOX, FeatureSpace(0, 1, integer=[0])], ids=["box", "whole"])
def test_every_prefix_carries_its_own_proof(data, loss, space):
    """``at_budget(k)`` is the attack run to k points: the same bound, and a certificate that proves it."""
    X, y = data
    theta = -0.5 * refit(X, y, make_objective(loss, C=1.0)).theta
    options = {"loss": loss, "C": 1.0, "feasible_set": space, "tol": 1e-3}
    attack = poison(X, y, theta, max_points=40, **options)
    file = io.BytesIO()
    attack.save(file)
    file.seek(0)
    loaded = PoisoningResult.load(file)
    for k in (1, 7, 20, 39):
        fresh = poison(X, y, theta, max_points=k, **options)
        for prefix in (attack.at_budget(k), loaded.at_budget(k)):
            assert prefix.lower_bound == fresh.lower_bound
            if prefix.lower_bound:
                check = prefix.certificate.check(X, y)
                assert check.holds
                assert prefix.lower_bound <= check.n_poison
            if space is BOX:
                assert prefix.verify(X, y).ok


# -- files ------------------------------------------------------------------------------------


def saved(result) -> bytes:
    file = io.BytesIO()
    result.save(file)
    return file.getvalue()


def parts(content):
    """(fields, arrays) of a file."""
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(str(arrays.pop("json"))), arrays


def packed(document, arrays) -> io.BytesIO:
    file = io.BytesIO()
    np.savez_compressed(file, json=np.array(json.dumps(document)), **arrays)
    file.seek(0)
    return file


def test_a_file_cut_short_or_with_a_changed_byte_is_refused(online):
    """Every length but the whole one, and a changed byte anywhere that matters: a ValueError, never another result."""
    content = saved(online)
    rng = np.random.default_rng(0)
    for length in (0, 1, 3, 50, *rng.integers(4, len(content) - 1, 25).tolist(), len(content) - 1):
        with pytest.raises(ValueError, match="path must name a file written by PoisoningResult"):
            PoisoningResult.load(io.BytesIO(content[:length]))
    for place in rng.integers(0, len(content), 40).tolist():
        broken = bytearray(content)
        broken[place] ^= 0x5A
        try:
            found = PoisoningResult.load(io.BytesIO(bytes(broken)))
        except ValueError:
            continue
        assert parts(saved(found))[0] == parts(content)[0]  # a byte that the format itself does not read (a date, say)


def test_other_versions_and_pickles_are_refused(online, tmp_path):
    document, arrays = parts(saved(online))
    with pytest.raises(ValueError, match="field 'format' is 3, expected 2"):
        PoisoningResult.load(packed(document | {"format": 3}, arrays))
    with pytest.raises(ValueError, match="it cannot be read"):
        PoisoningResult.load(packed({"format": 2}, arrays))
    pickled = {**arrays, "array_0": np.array([{"a": 1}], dtype=object)}
    with pytest.raises(ValueError, match="it cannot be read"):
        PoisoningResult.load(packed(document, pickled))
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(ValueError, match=re.escape("text.npz")):
        PoisoningResult.load(tmp_path / "text.npz")
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    with pytest.raises(ValueError, match=re.escape("empty.npz")):
        PoisoningResult.load(tmp_path / "empty.npz")
    with pytest.raises(FileNotFoundError):
        PoisoningResult.load(tmp_path / "missing.npz")


@pytest.mark.parametrize("field", ["points", "labels", "sequence", "theta", "theta_target", "path", "classes"])
@pytest.mark.parametrize("damage", ["dtype", "shape", "nan"])
def test_a_damaged_array_is_named(online, field, damage):
    document, arrays = parts(saved(online))
    name = document["result"][field]["array"]
    value = arrays[name]
    if damage == "dtype":
        value = value.astype(complex)
    elif damage == "shape":
        value = value[..., None]
    elif field == "sequence":
        value = value + 1000
    elif field in ("labels", "theta"):
        value = np.where(np.arange(value.size) == 0, np.nan, value)
    else:
        value = np.full(value.shape, np.nan)
    with pytest.raises(ValueError, match=f"field '{field}'"):
        PoisoningResult.load(packed(document, {**arrays, name: value}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("status", "perhaps"),
        ("stop", "soon"),
        ("lower_bound", -1),
        ("lower_bound", 2.5),
        ("lower_bound", NEVER + 1),
        ("n_clean", 0),
        ("clean_weight", math.nan),
        ("tol", -1.0),
        ("tol", math.nan),
        ("loss_difference", "much"),
        ("message", 3),
        ("history", None),
        ("feasible_set", None),
        ("objective", {"object": "FeatureSpace", "fields": {"lower": 0.0, "upper": 1.0}}),
        ("objective", {"object": "Objective", "fields": {"loss": {"loss": "hinge"}, "C": -1.0}}),
        ("certificate", {"object": "Nothing", "fields": {}}),
        ("goal", 1),
        ("clean", "dirty"),
        ("feature_names", ["a"]),
    ],
    ids=str,
)
def test_a_damaged_field_is_named(online, field, value):
    document, arrays = parts(saved(online))
    document["result"][field] = value
    with pytest.raises(ValueError, match=f"field '{field}'"):
        PoisoningResult.load(packed(document, arrays))


@pytest.mark.parametrize("change", [{"margin_tol": -1.0}, {"tol": math.nan}, {"value": math.nan}, {"kind": "farkas"}])
def test_an_edited_certificate_does_not_load(online, change):
    document, arrays = parts(saved(online))
    document["result"]["certificate"]["fields"] |= change
    with pytest.raises(ValueError, match="field 'certificate'"):
        PoisoningResult.load(packed(document, arrays))


def test_missing_and_unknown_fields_are_named(online):
    document, arrays = parts(saved(online))
    for change, match in (("goal", "field 'goal' is missing"), ("zeal", "field 'zeal' is not one of a result")):
        fields = dict(document["result"])
        fields.pop(change) if change in fields else fields.update({change: 1})
        with pytest.raises(ValueError, match=match):
            PoisoningResult.load(packed(document | {"result": fields}, arrays))
