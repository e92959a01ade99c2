"""What an audit says, as one tree of plain values: what the JSON holds and the HTML shows."""

from __future__ import annotations

import hashlib
import math
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from mtpfast import __version__

from .guaranteed import fewer_than, looked_at, share_proved
from .parts import COMPLETE, STATUSES
from .question import METRICS, Measure

__all__ = ["SCHEMA", "SCHEMA_VERSION", "Found", "Tree", "as_given", "percent", "plain", "why_not"]


SCHEMA, SCHEMA_VERSION = "mtpfast-audit", 1
SHOWN = 10  # records in the report
ENDED = {
    "not finished": "ended by the time limit",
    "interrupted": "interrupted",
    "failed": "ended by an error",
    "not started": "not run",
}


@dataclass(frozen=True)
class Found:
    """Records that were found: the budget as given (None: for the goal) and in records, and what they do."""

    given: Any
    budget: int
    result: Any
    after: Any


def percent(share: float) -> str:
    """A share in words: 12.3 %."""
    return "not known" if share is None or math.isnan(share) else f"{100.0 * share:.1f} %"


def as_given(budget) -> str:
    """A budget in words: 3 %, or 12 (records)."""
    return f"{100 * budget:g} %" if budget < 1 else f"{budget:,}"


def why_not(parts, name) -> str:
    """Why a part has nothing to say, or did not come to its end."""
    for part in parts:
        if part["name"] == name:
            return part["message"] or STATUSES[part["status"]]
    return STATUSES["not asked"]


def plain(value):
    """A value as JSON has it: NumPy's numbers as Python's, NaN as None, everything else as text."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


def fingerprint(X, y) -> str:
    """SHA-256 of a table and its labels: column names, dtypes and values, in their order."""
    import pandas as pd

    frame = X if hasattr(X, "columns") else pd.DataFrame(X)
    digest = hashlib.sha256()
    for name in frame.columns:
        digest.update(f"{name}\0{frame[name].dtype}\0".encode())
        digest.update(pd.util.hash_pandas_object(frame[name], index=False).to_numpy().tobytes())
    digest.update(pd.util.hash_pandas_object(pd.Series(np.asarray(y)), index=False).to_numpy().tobytes())
    return digest.hexdigest()


class Tree:
    """Grows the tree of an audit that has ended."""

    def __init__(self, audit):
        self.audit, self.q = audit, audit.q
        self.n_counted = int(audit.q.counted.sum())
        self.parts = [vars(part) for part in audit.parts.done]

    def grown(self) -> dict:
        audit = self.audit
        tree = {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "summary": "",
            "question": self.question(),
            "clean": self.measures(audit.clean),
            "curve": [self.point(found) for found in audit.found],
            "fewest": None if audit.fewest is None else self.point(audit.fewest),
            "proof": self.proof(),
            "minimum": self.minimum(),
            "records": self.records(),
            "defences": audit.defences,
            "model": self.model(),
            "not_tried": self.not_tried(),
            "parts": self.parts,
            "settings": self.settings(),
            "versions": versions(),
            "fingerprints": self.fingerprints(),
            "seconds": audit.parts.seconds,
        }
        tree["summary"] = self.summary(tree)
        return plain(tree)

    # -- what was asked ---------------------------------------------------------------------------------

    def question(self):
        q = self.q
        return {
            "rows": len(q.train.y),
            "columns": q.X.shape[1],
            "holdout_rows": None if q.test is None else len(q.test.y),
            "classes": q.classes,
            "label": q.label,
            "metric": q.metric,
            "where": q.where,
            "aimed_rows": int(q.train.aimed.sum()),
            "measured_on": "training rows" if q.test is None else "holdout",
            "measured_rows": int(q.counted.sum()),
            "goal": q.goal,
            "budgets": [{"given": given, "records": count} for given, count in q.budgets],
            "rules": q.rules,
        }

    def measures(self, after):
        def told(measure: Measure | None):
            if measure is None:
                return None
            return {"value": measure.value, "standard_error": measure.standard_error, "rows": measure.n_rows}

        return {
            "measured": told(after.measured),
            "training": told(after.train),
            "holdout": told(after.test),
            "everyone": told(after.everyone),
        }

    # -- what was found ---------------------------------------------------------------------------------

    def point(self, found: Found):
        result, audit = found.result, self.audit
        flips = audit.flips.get(result.n_points)
        guarantee = audit.guarantee
        done = guarantee is not None
        return {
            "budget": found.given,
            "allowed": found.budget,
            "records": result.n_points,
            "distinct": len(result.counts),
            "share": result.n_points / len(self.q.train.y),
            "attack": self.measures(found.after),
            "modelled_training": result.damage.found,
            "flips": None if flips is None else {"way": flips[0], **self.measures(flips[1])},
            "certified": share_proved(guarantee, self.n_counted, found.budget) if done else None,
            "status": result.status,
        }

    def proof(self):
        audit, q = self.audit, self.q
        guarantee = audit.guarantee
        if guarantee is None:
            reason = audit.told.get("not proved") or why_not(self.parts, "guarantee")
            return {"proved": False, "reason": reason, "fewer_than": None}
        n = self.n_counted
        least = None if q.goal is None else fewer_than(guarantee.lower_bound, q.goal, n)
        never = least is not None and least >= 2**62
        bounds = np.minimum(guarantee.lower_bound[guarantee.status != "interrupted"], 2**53)
        return {
            "proved": True,
            "reason": "",
            "fewer_than": None if never else least,
            "no_number": never,
            "rows": n,
            "rows_looked_at": looked_at(guarantee),
            "median_bound": float(np.median(bounds)) if len(bounds) else None,
            "largest_bound": int(bounds.max()) if len(bounds) else None,
        }

    def minimum(self):
        found, audit = self.audit.minimum, self.audit
        if found is None:
            return {"proved": False, "reason": audit.told.get("no minimum") or why_not(self.parts, "exact minimum")}
        return {
            "proved": True,
            "records": found.n_points,
            "lower_bound": plain_bound(found.lower_bound),
            "status": found.status,
            "distance": found.distance,
        }

    def records(self):
        shown = self.audit.headline
        if shown is None:
            return {"columns": [], "rows": [], "distinct": 0}
        result = shown.result
        frame, labels, counts = distinct_records(result)
        order = np.argsort(-counts, kind="stable")[:SHOWN]
        rows = [
            {"record": frame.iloc[i].tolist(), "label": plain(labels[i]), "times": int(counts[i])}
            for i in order.tolist()
        ]
        return {"columns": list(map(str, frame.columns)), "rows": rows, "distinct": len(counts)}

    # -- how --------------------------------------------------------------------------------------------

    def model(self):
        attacker, q, audit = self.audit.attacker, self.q, self.audit
        objective = attacker._weighted_objective()
        last = q.pipeline.steps[-1][1] if hasattr(q.pipeline, "steps") else q.pipeline
        gaps = [abs(f.result.damage.found - f.after.train.value) for f in audit.found if f.after.train.n_rows]
        if not objective.fit_intercept:
            intercept = "absent"
        else:
            intercept = "penalised" if objective.penalize_intercept else "free"
        return {
            "estimator": repr(last),
            "loss": objective.loss.name,
            "C": objective.C,
            "alpha": objective.alpha,
            "intercept": intercept,
            "class_weight": plain_weights(objective.class_weight, q.classes),
            "features": int(attacker.coef_.shape[1]),
            "preprocessing": None
            if attacker.preprocessing_ is None
            else " ".join(repr(attacker.preprocessing_).split()),
            "wrapper": said_of_wrapper(q.pipeline, last),
            "trainer_tol": getattr(last, "tol", None),
            "trainer_warnings": sorted(set(q.trainer_warnings)),
            "largest_gap_to_refit": max(gaps, default=None),
        }

    def not_tried(self):
        q = self.q
        other = sorted(set(METRICS) - {q.metric})
        said = [
            "removing or changing clean records, or changing their labels in place: only insertion was looked at",
            f"other goals: {' and '.join(METRICS[name] for name in other)}, and other groups of rows",
            "records with values outside the ranges and levels of the clean table, and records with missing values",
            "attackers who do not know the table and the pipeline: this one knows both",
            "more damage than the search found may be possible: what is found is found, not proved to be the most",
        ]
        if q.test is None:
            said.append("a holdout: no rows were given that the pipeline is not trained on")
        return said

    def settings(self):
        audit, q = self.audit, self.q
        return {
            "pipeline": " ".join(repr(q.pipeline).split()),
            "random_state": audit.random_state,
            "time_limit": audit.parts.time_limit,
            "shares_of_time": audit.parts.shares,
            "search": {"n_starts": audit.attacker.n_starts, "max_iter": audit.attacker.max_iter},
            "prove": audit.prove,
        }

    def fingerprints(self):
        q = self.q
        told = {"training": fingerprint(q.X, q.train.y)}
        if q.test is not None:
            told["holdout"] = fingerprint(q.test.X, q.test.y)
        return told

    # -- in one sentence ----------------------------------------------------------------------------------

    def summary(self, tree) -> str:
        q, metric = self.q, METRICS[self.q.metric]
        group = f" on {q.where}" if q.where else ""
        shown = tree["fewest"] or (tree["curve"][-1] if tree["curve"] else None)
        clean = percent(tree["clean"]["measured"]["value"])
        if shown is None:
            why = why_not(tree["parts"], "damage curve")
            found = f"the {metric}{group} of the clean pipeline is {clean}"
            return f"No attack was searched to its end: {found}; no more is known ({why})."
        after = percent(shown["attack"]["measured"]["value"])
        records = (
            f"{shown['records']:,} record{'s' if shown['records'] != 1 else ''}, {shown['share']:.2%} of the table"
        )
        records = records.replace("%", " %")
        change = f"the {metric}{group} from {clean} to {after} in your own pipeline, refitted"
        rises = shown["attack"]["measured"]["value"] > tree["clean"]["measured"]["value"]
        if q.goal is None or tree["fewest"] is not None:
            said = f"{records}, {'raise' if rises else 'bring'} {change}"
        else:
            said = (
                f"No records were found that raise the {metric}{group} to {percent(q.goal)}; {records}, "
                f"{'raise' if rises else 'bring'} it from {clean} to {after} in your own pipeline, refitted"
            )
        name = "damage curve" if q.goal is None else "fewest records"
        ended = next((part["status"] for part in tree["parts"] if part["name"] == name), "done")
        if ended not in COMPLETE:
            said += f" (the search for the {'damage' if q.goal is None else 'fewest'} was {ENDED[ended]})"
        return f"{said}; {self.said_of_proof(tree, shown)}."

    def said_of_proof(self, tree, shown) -> str:
        proof = tree["proof"]
        if not proof["proved"]:
            return f"not proved: what fewer records cannot do ({proof['reason']})"
        if self.q.goal is not None:
            if proof["no_number"]:
                return "proved: no number of records can"
            if proof["fewer_than"] >= 2:
                return f"proved: fewer than {proof['fewer_than']:,} cannot"
            return "proved: nothing of how many it takes"
        if shown["certified"] >= 1.0:
            return "proved: nothing of what so many cannot do"
        return f"proved: so many cannot raise it above {percent(shown['certified'])}"


def said_of_wrapper(pipeline, last):
    """What is attacked where the pipeline, or its last step, is wrapped around the victim; None where it is not."""
    for part in (pipeline, last):
        name = type(part).__name__
        if hasattr(part, "param_grid") or hasattr(part, "param_distributions"):
            return f"{name}: the best estimator on the clean table; every number is of the whole search, made again"
        if name == "CalibratedClassifierCV":
            return f"{name}: its estimator, trained on all rows; every number is of all its folds, calibrated again"
    return None


def plain_bound(bound):
    """None where no number of points suffices."""
    return None if bound >= 2**62 else int(bound)


def plain_weights(weights, classes):
    if weights is None or isinstance(weights, str):
        return weights
    return {str(label): float(weight) for label, weight in zip(classes, weights, strict=True)}


def distinct_records(result):
    """``(frame, labels, counts)``: every distinct record of a result, once."""
    import pandas as pd

    sequence = np.asarray(result.sequence)
    distinct, first = np.unique(sequence, return_index=True)
    rows = result.X_poison
    rows = rows if hasattr(rows, "iloc") else pd.DataFrame(np.asarray(rows)).add_prefix("x")
    frame = rows.iloc[first].reset_index(drop=True)
    return frame, np.asarray(result.y_poison)[first], np.asarray(result.counts)[distinct]


def versions() -> dict:
    """Of what decides the numbers."""
    known = {"mtpfast": __version__, "python": platform.python_version(), "machine": platform.platform()}
    for name in ("numpy", "scipy", "scikit-learn", "pandas"):
        try:
            known[name] = version(name)
        except PackageNotFoundError:  # installed without metadata
            known[name] = None
    return known
