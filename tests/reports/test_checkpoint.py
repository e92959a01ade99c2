"""An audit with a checkpoint: killed anywhere and started again, it ends with the same report."""

import json

import pytest
from late_payers import table_of

from mtpfast import audit
from mtpfast.defences import RepeatedRows
from mtpfast.reports.tables import usual_pipeline


class Killed(BaseException):
    """What no part of the package catches."""


@pytest.fixture(scope="module")
def data():
    X, y = table_of()
    return X[:160], y[:160], X[160:].reset_index(drop=True), y[160:].reset_index(drop=True)


ASKED = {"where": "age < 23", "goal": {"error": 0.6}, "budgets": [3, 8], "n_starts": 1, "max_iter": 8, "verbose": 0}


def run(data, **more):
    return audit(usual_pipeline(data[0], "linear_svc", C=0.02), *data, **ASKED, sanitizers=[RepeatedRows()], **more)


def said(report):
    """All of the report but its times."""
    tree = json.loads(json.dumps(report.tree))
    for part in tree["parts"]:
        part.pop("seconds")
    return {name: part for name, part in tree.items() if name not in ("seconds", "date", "created")}


def kill_in(name, after=1):
    """A callback that kills the audit when it is told of a part for so many times."""
    seen = []

    def watch(state):
        seen.append(state["part"] == name)
        if sum(seen) >= after:
            raise Killed

    return watch


def test_killed_in_every_part_it_ends_with_the_same_report(data, tmp_path):
    """A file for every piece of work, none half-written; what is kept is not done again. Nor do threads change it."""
    whole = run(data, n_jobs=2)
    for name, after in (("damage curve", 4), ("fewest records", 3), ("guarantee", 1), ("defences", 1)):
        with pytest.raises(Killed):
            run(data, checkpoint=tmp_path / "kept", callback=kill_in(name, after))
    again = run(data, checkpoint=tmp_path / "kept")
    assert said(again) == said(whole)
    assert again.records().equals(whole.records())
    names = {path.name for path in (tmp_path / "kept").iterdir()}
    assert {"question.json", "curve_3.npz", "curve_8.npz", "fewest_0.npz", "guarantee.npz", "defences.json"} <= names
    assert not [name for name in names if name.startswith(".")]
    searched = []
    once_more = run(data, checkpoint=tmp_path / "kept", callback=lambda state: searched.append(state["text"]))
    assert said(once_more) == said(whole)
    assert not [text for text in searched if "records" in text and "%" in text]


def test_a_folder_of_another_audit_is_refused(data, tmp_path):
    kept = {"checkpoint": tmp_path / "kept", "callback": kill_in("fewest records")}
    with pytest.raises(ValueError, match="goal is met already"):
        audit(usual_pipeline(data[0], "linear_svc", C=0.02), *data, **ASKED | {"goal": {"error": 0.01}}, **kept)
    assert not (tmp_path / "kept").exists()  # made with the first piece of work
    with pytest.raises(Killed):
        run(data, **kept)
    other = {"budgets": [4]}, {"goal": {"error": 0.7}}, {"where": None}
    for name, changed in zip(("budgets", "goal", "where"), other, strict=True):
        with pytest.raises(ValueError, match=f"another {name}: choose another folder"):
            audit(
                usual_pipeline(data[0], "linear_svc", C=0.02),
                *data,
                **{**ASKED, **changed},
                sanitizers=[RepeatedRows()],
                **kept,
            )
    with pytest.raises(ValueError, match="another table"):
        run((data[0][1:], data[1][1:], *data[2:]), **kept)
    with pytest.raises(ValueError, match="another pipeline"):
        audit(usual_pipeline(data[0], "linear_svc", C=0.1), *data, **ASKED, sanitizers=[RepeatedRows()], **kept)
