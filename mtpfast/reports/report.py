"""What an audit returns."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .parts import COMPLETE
from .tree import METRICS, percent

__all__ = ["AuditReport"]


@dataclass(frozen=True, eq=False, repr=False)
class AuditReport:
    """What inserted records can do to a pipeline, in words, tables and files.

    Attributes
    ----------
    tree : dict
        Everything that the report says, as plain values: what :meth:`to_json` writes (docs/report_schema.md).
    results : dict of int to PoisoningResult
        The attack of every budget, by its number of records allowed.
    fewest : PoisoningResult or None
        The fewest records found for the goal.
    guarantee : Guarantee or None
        What is proved of every row aimed at; None where nothing can be.
    minimum : PoisoningResult or None
        The fewest records that make exactly the model of the headline, with the certificate.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from mtpfast import audit
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(100, 2))
    >>> y = (X[:, 0] + rng.normal(size=100) > 0).astype(int)
    >>> quick = {"n_starts": 1, "max_iter": 20, "sanitizers": None, "verbose": 0}
    >>> report = audit(LogisticRegression(C=0.01), X, y, budgets=[10], **quick)
    >>> report.goal_met is None, len(report.to_frame())
    (True, 1)
    """

    tree: dict
    results: dict = field(default_factory=dict)
    fewest: Any = None
    guarantee: Any = None
    minimum: Any = None

    @classmethod
    def of(cls, tree, audit) -> AuditReport:
        """The report of an audit that has ended."""
        results = {found.budget: found.result for found in audit.found}
        fewest = None if audit.fewest is None else audit.fewest.result
        return cls(tree, results, fewest, audit.guarantee, audit.minimum)

    @property
    def summary(self) -> str:
        """One sentence: what was found, and what is proved."""
        return self.tree["summary"]

    @property
    def goal_met(self) -> bool | None:
        """Whether the goal was met within the largest budget; None without a goal."""
        question, fewest = self.tree["question"], self.tree["fewest"]
        if question["goal"] is None:
            return None
        return fewest is not None and fewest["records"] <= question["budgets"][-1]["records"]

    @property
    def complete(self) -> bool:
        """Whether every part came to its end."""
        return all(part["status"] in COMPLETE for part in self.tree["parts"])

    def result(self, budget=None):
        """The attack of a budget, given as in the question; by default that of the first sentence (or None)."""
        if budget is None:
            if self.fewest is not None:
                return self.fewest
            found = [result for result in self.results.values() if result.n_points]
            return found[-1] if found else None
        known = {point["given"]: point["records"] for point in self.tree["question"]["budgets"]}
        count = known.get(budget, budget)
        if count not in self.results:
            raise ValueError(f"budget must be one of {list(known)}, searched to its end, got {budget!r}")
        return self.results[count]

    def records(self, budget=None):
        """The records to insert, repeats included, as a DataFrame with the label as its last column.

        Parameters
        ----------
        budget : int or float, optional
            As given to the audit; by default the records of the first sentence.
        """
        import pandas as pd

        result = self.result(budget)
        if result is None:
            raise ValueError("no records were found: the search did not come so far")
        rows = result.X_poison
        rows = rows if hasattr(rows, "iloc") else pd.DataFrame(np.asarray(rows)).add_prefix("x")
        rows = rows.reset_index(drop=True)
        return rows.assign(**{self.tree["question"]["label"]: np.asarray(result.y_poison)})

    def to_frame(self):
        """The curve: a row per budget, with what the attack and as many label flips do, and what is proved.

        Columns: ``records``, ``distinct``, ``share``, ``clean``, ``attack``, ``standard_error``, ``flips``,
        ``certified`` (no attack with so many records does more: proved; missing where nothing is), ``everyone`` (the
        attack, on all rows measured).
        """
        import pandas as pd

        clean = self.tree["clean"]["measured"]["value"]
        lines = {
            point["budget"]: {
                "records": point["records"],
                "distinct": point["distinct"],
                "share": point["share"],
                "clean": clean,
                "attack": point["attack"]["measured"]["value"],
                "standard_error": point["attack"]["measured"]["standard_error"],
                "flips": None if point["flips"] is None else point["flips"]["measured"]["value"],
                "certified": point["certified"],
                "everyone": point["attack"]["everyone"]["value"],
            }
            for point in self.tree["curve"]
        }
        frame = pd.DataFrame.from_dict(lines, orient="index")
        for name in ("flips", "certified"):
            if name in frame:
                frame[name] = frame[name].astype(float)
        return frame.rename_axis("budget")

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """The tree as JSON, versioned (``schema``, ``schema_version``); written to a file where a path is given."""
        text = json.dumps(self.tree, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def to_html(self, path: str | os.PathLike | None = None) -> str:
        """The report as one self-contained page, without scripts; written to a file where a path is given."""
        from .html import page

        text = page(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text

    def _repr_html_(self) -> str:
        from .html import fragment

        return fragment(self)

    def __repr__(self) -> str:
        lines = [self.summary, ""]
        metric = METRICS[self.tree["question"]["metric"]]
        for point in self.tree["curve"]:
            flips = None if point["flips"] is None else point["flips"]["measured"]["value"]
            found = percent(point["attack"]["measured"]["value"])
            proved = "nothing proved" if point["certified"] is None else f"proved at most {percent(point['certified'])}"
            if not point["records"]:
                allowed = f"{point['allowed']:,} record{'s' if point['allowed'] > 1 else ''} allowed"
                lines.append(f"{allowed}: none found that raise the {metric}, {found} as without them; {proved}")
                continue
            lines.append(f"{point['records']:>8,} records: {metric} {found}, label flips {percent(flips)}, {proved}")
        for part in self.tree["parts"]:
            if part["status"] != "done":
                lines.append(f"{part['name']}: {part['status']}" + (f" ({part['message']})" if part["message"] else ""))
        return "\n".join(lines)
