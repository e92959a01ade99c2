"""The checks that an audit tries on its records."""

from __future__ import annotations

from mtpfast.defences import ECOD, IsolationForest, LabelQuality, Loss, RepeatedRows, default_defences, evaluate

__all__ = ["chosen", "evaluate", "tree_of"]


SHOWN = (
    "defence", "rule", "share", "n_removed", "recall", "clean_lost", "metric_aimed", "metric",
    "metric_aimed_without_poison", "metric_without_poison", "clean_lost_without_poison",
)  # fmt: skip


def chosen(sanitizers, attacker) -> list:
    """The defences that "default" (the quick ones), "all", or a sequence stands for."""
    victim = attacker._weighted_objective()
    victim = None if victim.is_balanced else victim
    if not isinstance(sanitizers, str):
        return list(sanitizers)
    if sanitizers == "all":
        return default_defences(attacker._own_feasible_set(), victim)
    if sanitizers != "default":
        raise ValueError(f"sanitizers must be 'default', 'all', None or a sequence, got {sanitizers!r}")
    return [RepeatedRows(), RepeatedRows(decimals=3), ECOD(), IsolationForest(), LabelQuality(), Loss(victim)]


def tree_of(found, n_records) -> dict:
    """An evaluation as plain values: means over the seeds, with and without poison."""
    frame, summary = found.to_frame(), found.summary()
    clean = frame[~frame["poisoned"]].groupby(["defence", "rule"], sort=False)["metric_aimed"].mean()
    keys = list(zip(summary["defence"], summary["rule"], strict=True))
    summary["metric_aimed_without_poison"] = [float(clean.get(key, float("nan"))) for key in keys]
    return {
        "records": n_records,
        "finished": found.finished,
        "rows": summary[list(SHOWN)].to_dict("records"),
        "failures": dict(found.failures or {}),
    }
