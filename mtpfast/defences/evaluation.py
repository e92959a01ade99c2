"""What sanitisers do to an attack and to clean data: rows removed, the model retrained, everything measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from mtpfast.arrays.checks import check_count
from mtpfast.spaces.base import as_space

from .adapters import as_defence
from .base import Defence, check_share, select
from .controls import Oracle, RandomRemoval
from .fitted_models import IteratedLoss, LabelQuality, Loss
from .geometry import SVD, LocalOutlierFactor, NearestNeighbors, SlabDefence, Sphere
from .poisoned_table import PoisonedTable
from .rows import ECOD, IsolationForest, RepeatedRows, Validity

__all__ = ["Evaluation", "default_defences", "evaluate"]

COLUMNS = (
    "defence", "rule", "share", "seed", "poisoned", "n_removed", "recall", "clean_lost", "distance_clean",
    "distance_target", "metric", "metric_aimed",
)  # fmt: skip
RATES = {"error": None, "false_negative_rate": 1, "false_positive_rate": 0}


def default_defences(valid=None, victim=None) -> list[Defence]:
    """A list of every sanitiser of this folder, with its usual parameters; :func:`evaluate` adds the controls.

    Parameters
    ----------
    valid : space, optional
        Which records may exist, for :class:`Validity`; left out without it.
    victim : Objective or classifier, optional
        What :class:`Loss` and :class:`IteratedLoss` train; a linear SVM by default.

    Examples
    --------
    >>> from mtpfast.defences import default_defences
    >>> [defence.name for defence in default_defences()][:4]
    ['RepeatedRows', 'RepeatedRows(decimals=3)', 'ECOD', 'IsolationForest']
    """
    return [
        RepeatedRows(),
        RepeatedRows(decimals=3),
        *([] if valid is None else [Validity(as_space(valid))]),
        ECOD(),
        IsolationForest(),
        LocalOutlierFactor(),
        NearestNeighbors(),
        LabelQuality(),
        Loss(victim),
        IteratedLoss(victim),
        Sphere(),
        SlabDefence(),
        SVD(),
    ]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What :func:`evaluate` measured.

    Attributes
    ----------
    rows : tuple of dict
        One for every defence, share and seed, first with poison, then (``poisoned`` False) without:

        ``defence``
            Its name. "none": nothing removed; "Oracle": exactly the poison; "RandomRemoval": rows at random.
        ``rule``
            "share": it was told which share to remove; "poison": the share that is poison; "own": by its own rule.
        ``share``
            What was removed of the table, as a share.
        ``seed``
            Of the defence, and of the places of the poison among the rows.
        ``n_removed``
            Rows removed.
        ``recall``
            The share of the poison that is among them; NaN without poison.
        ``clean_lost``
            The share of the clean rows that is among them.
        ``distance_clean``, ``distance_target``
            From the retrained model to the clean one and to the target: l2 norm of the difference of ``(w, b)``. NaN
            where a model is not linear, or there is no target, or (with a preprocessing that is fitted again) the
            number of features changes.
        ``metric``, ``metric_aimed``
            On the test rows, and on those aimed at, after retraining.
    metric : str
        Its name.
    n_clean, n_poison : int
        Rows.
    n_aimed : int
        Test rows aimed at; 0 where none were named.
    finished : bool
        False if it was interrupted, or the callback ended it.
    failures : dict of str to str
        Defences that could not be used, and why (with ``errors="note"``).
    """

    rows: tuple
    metric: str
    n_clean: int
    n_poison: int
    n_aimed: int = 0
    finished: bool = True
    failures: Mapping[str, str] = None

    def to_frame(self):
        """``rows`` as a DataFrame."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=list(COLUMNS))

    def summary(self):
        """Means over the seeds: a DataFrame with a row for every defence, rule and share.

        ``recall_low`` and ``recall_high`` are the extremes over the seeds; ``metric_without_poison`` and
        ``clean_lost_without_poison`` are what the same removal costs where there is no poison.
        """
        import pandas as pd

        frame = self.to_frame()
        # Own verdicts remove another share with every seed, and without poison.
        frame["of"] = frame["share"].where(frame["rule"] == "share", 0.0)
        keys = ["defence", "rule", "of"]
        poisoned, clean = frame[frame["poisoned"]], frame[~frame["poisoned"]]
        names = ["share", "n_removed", "recall", "clean_lost", "distance_clean", "distance_target", "metric"]
        names += ["metric_aimed"] if self.n_aimed else []
        base = poisoned if len(poisoned) else clean
        table = base.groupby(keys, sort=False)[names].mean()
        recalls = base.groupby(keys, sort=False)["recall"]
        table.insert(3, "recall_low", recalls.min())
        table.insert(4, "recall_high", recalls.max())
        without = clean.groupby(keys, sort=False)[["metric", "clean_lost"]].mean()
        without.columns = ["metric_without_poison", "clean_lost_without_poison"]
        table = pd.concat([table, without.reindex(table.index)], axis=1)
        return table.reset_index().drop(columns="of")

    def __repr__(self) -> str:
        defences = len({row["defence"] for row in self.rows})
        state = "" if self.finished else ", not finished"
        return f"<Evaluation: {defences} defences, {len(self.rows)} retrainings, {self.n_poison} poison rows{state}>"

    def _repr_html_(self) -> str:
        return self.summary().to_html(index=False, float_format="%.4g")


def evaluate(
    attack,
    X,
    y,
    X_test=None,
    y_test=None,
    *,
    estimator=None,
    defences: str | Sequence = "default",
    shares: Sequence = ("poison", 0.01, 0.03, 0.05),
    seeds: int | Sequence[int] = (0,),
    metric: str | Callable = "error",
    aimed=None,
    target=None,
    valid=None,
    clean: bool = True,
    errors: str = "raise",
    callback: Callable[[dict], Any] | None = None,
) -> Evaluation:
    """Put poison among the clean rows, let every sanitiser remove rows, retrain, and measure.

    Every sanitiser is fitted to the poisoned table, as it would be; the poison lies in random places. The same is done
    without poison, for what the sanitiser costs.

    Parameters
    ----------
    attack : PoisoningResult, (X_poison, y_poison), or None
        What was inserted; None: only what the sanitisers cost.
    X, y : of shape (n_clean, n_features) and (n_clean,)
        The clean table, records where the victim has a preprocessing. Two labels.
    X_test, y_test : optional
        Rows on which the metric is measured; by default the clean table.
    estimator : classifier, Pipeline or Objective, optional
        What is retrained, preprocessing included. By default the victim of a PoisoningResult (its objective, trained to
        a proved gap; its preprocessing as it was fitted to the clean table).
    defences : "default", or sequence
        :func:`default_defences`, or whatever :func:`as_defence` takes. They see what the preprocessing makes of the
        table. "none", Oracle and RandomRemoval are always there.
    shares : sequence of float and "poison"
        What is removed; "poison": as many rows as there is poison. Sanitisers with a rule of their own are used by it,
        too; those without scores only so.
    seeds : int or sequence of int, default=(0,)
        Of the places of the poison and of sanitisers with a ``random_state``; a number: so many, from 0.
    metric : "error", "false_negative_rate", "false_positive_rate" or callable
        A function is called with the labels and the predictions.
    aimed : array-like of bool, optional
        Which test rows are aimed at.
    target : theta or (coef, intercept), optional
        For the distance; by default the target of the PoisoningResult.
    valid : space, optional
        Which records may exist, for :class:`Validity`, in the terms of the clean table's preprocessing. By default what
        records can be where ``attack`` has a preprocessing, and else what the clean table shows.
    clean : bool, default=True
        Whether to measure the cost without poison, too.
    errors : "raise" or "note"
        What to do where a defence cannot be used: "note" goes on with the next one; what is returned has ``failures``.
    callback : callable, optional
        Called with every row of the table; returning True ends the evaluation. So does Ctrl-C: what is done is kept.

    Returns
    -------
    Evaluation

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from mtpfast import DamagePoisoner
    >>> from mtpfast.defences import NearestNeighbors, RepeatedRows, evaluate
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> X = X / 16
    >>> attacker = DamagePoisoner(alpha=0.09, budget=20, n_starts=1, max_iter=40).fit(X, y)
    >>> table = evaluate(attacker.attack(), X, y, defences=[RepeatedRows(), NearestNeighbors()], shares=["poison"])
    >>> found = table.summary().set_index(["defence", "rule"])["recall"]
    >>> bool(found["RepeatedRows", "poison"] > 0.9), bool(found["NearestNeighbors", "poison"] < 0.1)
    (True, True)
    """
    if errors not in ("raise", "note"):
        raise ValueError(f"errors must be 'raise' or 'note', got {errors!r}")
    seeds = tuple(range(check_count(seeds, "seeds"))) if np.ndim(seeds) == 0 else tuple(seeds)
    shares = [share if isinstance(share, str) else check_share(share) for share in shares]
    for share in shares:
        if share is None or (isinstance(share, str) and share != "poison"):
            raise ValueError(f"shares must hold numbers and 'poison', got {share!r}")
    table = PoisonedTable(attack, X, y, X_test, y_test, estimator, target, valid)
    measure = _measure(metric, table, aimed)
    if isinstance(defences, str):
        if defences != "default":
            raise ValueError(f"defences must be 'default' or a sequence of defences, got {defences!r}")
        defences = default_defences(table.valid, table.victim)
    own = [None, Oracle(), RandomRemoval()]
    names = {defence.name for defence in own[1:]}
    defences = own + [defence for defence in map(as_defence, defences) if defence.name not in names]

    rows, failures, finished = [], {}, True
    try:
        for poisoned in (True, False) if clean or not table.n_poison else (True,):
            if poisoned and not table.n_poison:
                continue
            for defence, seed in ((defence, seed) for defence in defences for seed in seeds):
                if defence is not None and defence.name in failures:
                    continue
                try:
                    for row in _rows_of(defence, seed, shares, table, poisoned, measure):
                        rows.append(row)
                        if callback is not None and callback(row):
                            raise KeyboardInterrupt
                except Exception as error:
                    if errors == "raise" or defence is None:
                        raise
                    failures[defence.name] = f"{type(error).__name__}: {error}"
    except KeyboardInterrupt:
        finished = False
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
    n_aimed = 0 if aimed is None else int(np.count_nonzero(aimed))
    return Evaluation(tuple(rows), name, table.n_clean, table.n_poison, n_aimed, finished, failures)


def _rows_of(defence, seed, shares, table, poisoned, measure):
    """The rows of one defence and seed."""
    mixed = table.mixed(seed) if poisoned else table.clean
    n = len(mixed.poison)
    if defence is None:
        yield _row("none", "own", seed, mixed, np.ones(n, dtype=bool), table, poisoned, measure)
        return
    if isinstance(defence, Oracle):
        if poisoned:
            yield _row(defence.name, "own", seed, mixed, ~mixed.poison, table, poisoned, measure)
        return
    Z = table.seen_by(defence, mixed)
    defence = clone(defence)
    if "random_state" in defence.get_params(deep=False):
        defence.set_params(random_state=seed)
    fitted = scores = None
    if defence.decides or not defence.per_share:
        fitted = clone(defence).fit(Z, mixed.y)
    if defence.decides:
        kept = fitted.verdict(Z, mixed.y)
        yield _row(defence.name, "own", seed, mixed, kept, table, poisoned, measure)
    if not defence.ranks:
        return
    for share in shares:
        rule = "poison" if isinstance(share, str) else "share"
        amount = table.n_poison / (table.n_clean + table.n_poison) if rule == "poison" else share
        if rule == "poison" and not table.n_poison:
            continue
        if defence.per_share:
            kept = defence.keep(Z, mixed.y, amount)
        else:
            scores = fitted.scores(Z, mixed.y) if scores is None else scores
            kept = select(scores, amount)
        yield _row(defence.name, rule, seed, mixed, kept, table, poisoned, measure, amount)


def _row(name, rule, seed, mixed, kept, table, poisoned, measure, share=None):
    model = table.train(mixed, kept)
    to_clean, to_target = table.distances(model)
    value, on_aimed = measure(model)
    poison = mixed.poison
    removed = {
        "n_removed": int(np.count_nonzero(~kept)),
        "recall": float(np.mean(~kept[poison])) if poisoned else math.nan,
        "clean_lost": float(np.mean(~kept[~poison])),
    }
    share = removed["n_removed"] / len(kept) if share is None else float(share)
    row = {"defence": name, "rule": rule, "share": share, "seed": int(seed), "poisoned": poisoned, **removed}
    row |= {"distance_clean": to_clean, "distance_target": to_target}
    return row | {"metric": value, "metric_aimed": on_aimed}


def _measure(metric, table, aimed):
    """A function of a model to the metric on the test rows and on those aimed at."""
    if not callable(metric) and metric not in RATES:
        raise ValueError(f"metric must be one of {', '.join(map(repr, RATES))} or a function, got {metric!r}")
    y, n = table.y_test, len(table.y_test)
    if aimed is not None:
        aimed = np.asarray(aimed)
        if aimed.dtype != bool or aimed.shape != (n,) or not np.any(aimed):
            raise ValueError(f"aimed must be {n} booleans, one per test row and not all False")

    def on(rows, told):
        labels, told = y[rows], told[rows]
        if callable(metric):
            return float(metric(labels, told))
        of = RATES[metric]
        counted = np.ones(len(labels), dtype=bool) if of is None else labels == table.classes[of]
        return float(np.mean(told[counted] != labels[counted])) if np.any(counted) else math.nan

    def measure(model):
        told = table.predict(model)
        return on(slice(None), told), math.nan if aimed is None else on(aimed, told)

    return measure
