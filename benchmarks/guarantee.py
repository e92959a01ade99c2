"""Certified and attacked error of single predictions, and what both cost.

    python benchmarks/guarantee.py                        # all sets; hours on one thread
    python benchmarks/guarantee.py --rows 40 --sets adult compas --settings "hinge alpha=0.09"
    python benchmarks/guarantee.py --rows 380 --sets adult --settings "hinge alpha=0.09" --kinds box --branches 4
    python benchmarks/guarantee.py --limits --rows 40 --sets adult mnist   # what keeps the bounds from more

Every line is one victim: data, space (box [0, 1], or records: one-hot groups), loss and penalty, intercept penalised.
Where more rows are asked for than a set has test rows, training rows follow them (German: 200 test rows).
``certified`` and ``found`` are medians over the rows that the clean model has right, ``ratio`` the median of their
quotients (found: copies of the row with the other label, then mixtures). Errors in %, certified / attacked, at 0.5, 1,
2, 3, 5, 10 % of insertions; certified is the better of every row on its own and the joint bound of all rows (one
attack; attacked counts rows that have an attack each, and may be above that). Every
guarantee is checked again; CPU milliseconds a row for bound, attack and check (the joint bounds not counted).
"""

from __future__ import annotations

# isort: split
import environment  # pins the threads; before numpy

# isort: split
import argparse
import json
import time
from pathlib import Path

import numpy as np
from datasets import DATA, FILES, load
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import minmax_scale

from mtpfast import FeatureSpace, ModelTargetedPoisoner
from mtpfast.guarantee import comparison, per_row
from mtpfast.guarantee.flips import Flips
from mtpfast.results.guarantee import NEVER

SETS = ("adult", "adult_balanced", "mnist", "compas", "german", "credit_default", "bank", "spambase", "breast_cancer",
        "sms")  # fmt: skip
SETTINGS = tuple(
    f"{loss} {penalty}"
    for loss in ("hinge", "log_loss")
    for penalty in ("alpha=0.09", "alpha=0.01", "alpha=0.001", "C=1")
)
KINDS = ("box", "records")
spent = {"attack": 0.0, "joint": 0.0}  # CPU seconds


def timed(function, name):
    """The function, its CPU seconds added to ``spent``."""

    def call(*args):
        begin = time.process_time()
        try:
            return function(*args)
        finally:
            spent[name] += time.process_time() - begin

    return call


Flips.__call__ = timed(Flips.__call__, "attack")
per_row.joint_of = timed(per_row.joint_of, "joint")
SHARES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1)


def parts(name):
    """(X, y, X_test, y_test, groups)."""
    if name == "breast_cancer":
        X, y = load_breast_cancer(return_X_y=True)
        X, y = minmax_scale(X).clip(0, 1), np.where(y == 1, 1, -1)
        order = np.random.default_rng(0).permutation(len(y))
        train, test = order[:400], order[400:]
        return X[train], y[train], X[test], y[test], []
    data = load(name)
    with np.load(DATA / FILES[name][0]) as file:
        groups = [list(range(a, b)) for a, b in file["groups"].tolist() if b - a > 1] if "groups" in file.files else []
    return data.X_train, data.y_train, data.X_test, data.y_test, groups


def spaces(X, groups, labels=None):
    """The box, and the records where there are groups."""
    top = 1.0 if X.max() <= 1.0 else np.asarray(X.max(axis=0).todense()).ravel()
    yield "box", FeatureSpace(0.0, top, labels=labels)
    if groups:
        exactly = [g for g in groups if np.all(X[:, g].sum(axis=1) == 1.0)]
        loosely = [g for g in groups if g not in exactly]
        yield "records", FeatureSpace(0.0, top, one_hot=exactly, at_most_one=loosely, labels=labels)


def measure(name, setting, rows, attack, branches, kinds):
    X, y, X_test, y_test, groups = parts(name)
    loss, penalty = setting.split()
    key, value = penalty.split("=")
    chosen = np.random.default_rng(0).permutation(X_test.shape[0])[:rows]
    if rows > len(chosen):
        more = np.random.default_rng(0).permutation(X.shape[0])[: rows - len(chosen)]
        X_test, y_test = np.vstack([X_test, X[more]]), np.concatenate([y_test, y[more]])
        chosen = np.arange(X_test.shape[0])
    for kind, space in spaces(X, groups):
        if kind not in kinds:
            continue
        victim = ModelTargetedPoisoner(loss, feasible_set=space, **{key: float(value)}).fit(X, y)
        spent.update(attack=0.0, joint=0.0)
        begin = time.process_time()
        guarantee = victim.certify(X_test, y_test, rows=chosen, attack=attack, joint=True,
                                   branches=branches, outside="allow")  # fmt: skip
        end = time.process_time()
        checked = guarantee.check(X, y)
        after = time.process_time()
        done = guarantee.status == "done"
        found = done & (guarantee.upper_bound < NEVER)
        low, high = guarantee.lower_bound, guarantee.upper_bound
        yield {
            "set": name, "space": kind if branches is None else f"{kind}, branches={branches}", "setting": setting,
            "n": X.shape[0], "d": X.shape[1], "rows": int(done.sum()),
            "clean error": guarantee.clean_error, "certified": float(np.median(low[done])) if done.any() else None,
            "found": float(np.median(high[found])) if found.any() else None,
            "ratio": float(np.median(low[found] / high[found])) if found.any() else None,
            "certified error": [guarantee.certified_error(share) for share in SHARES],
            "attacked error": [guarantee.attacked_error(share) for share in SHARES] if attack else None,
            "each on its own": [float(np.mean(low <= guarantee.count_of(share))) for share in SHARES],
            "ms bound": 1e3 * (end - begin - spent["attack"] - spent["joint"]) / max(1, done.sum()),
            "ms attack": 1e3 * spent["attack"] / max(1, done.sum()) if attack else None,
            "s joint": spent["joint"], "ms check": 1e3 * (after - end) / max(1, done.sum()), "ok": checked.ok,
            "commit": environment.describe()["commit"],
        }  # fmt: skip


def limits(name, setting, rows):
    """What keeps the bounds of some rows from more: (set, space, setting, median, gains of the two trials).

    The gains are mean logarithms of quotients. First: an attacker who must use one label only, the lesser of the
    counts for both labels; a proof that splits the ratio of the labels into parts has no more. Second: a comparison
    model for every single row.
    """
    X, y, X_test, y_test, groups = parts(name)
    loss, penalty = setting.split()
    key, value = penalty.split("=")
    chosen = np.random.default_rng(0).permutation(X_test.shape[0])[:rows]

    def counts(space):
        victim = ModelTargetedPoisoner(loss, feasible_set=space, **{key: float(value)}).fit(X, y)
        guarantee = victim.certify(X_test, y_test, rows=chosen, attack=False, joint=False, outside="allow")
        return np.maximum(guarantee.lower_bound[guarantee.status == "done"], 1)

    one_label = [list(spaces(X, groups, labels=[label])) for label in np.unique(y)]
    for number, (kind, space) in enumerate(spaces(X, groups)):
        now = counts(space)
        alone = np.min([counts(of_label[number][1]) for of_label in one_label], axis=0)
        alike = comparison.ALIKE, comparison.PER_READ
        comparison.ALIKE, comparison.PER_READ = 1, 10**12
        single = counts(space)
        comparison.ALIKE, comparison.PER_READ = alike
        yield name, kind, setting, len(now), np.median(now), *(np.log(gain / now).mean() for gain in (alone, single))


def table(found):
    head = "set, space, victim, n x d, rows, clean %, certified, found, ratio, certified / attacked error %, ms a row"
    head = head.split(", ")
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for r in found:
        attacked = r["attacked error"] or [None] * len(SHARES)
        errors = ", ".join(f"{100 * c:.3g}/{'-' if a is None else format(100 * a, '.3g')}"
                           for c, a in zip(r["certified error"], attacked, strict=True))  # fmt: skip
        number = lambda value, form="g": "-" if value is None else format(value, form)  # noqa: E731
        lines.append(
            f"| {r['set']} | {r['space']} | {r['setting']} | {r['n']:,} x {r['d']} | {r['rows']} | "
            f"{100 * r['clean error']:.3g} | {number(r['certified'])} | {number(r['found'])} | "
            f"{number(r['ratio'], '.2f')} | {errors} | {r['ms bound']:.0f}, {number(r['ms attack'], '.0f')}, "
            f"{r['ms check']:.0f} |{'' if r['ok'] else ' CHECK FAILED'}"
        )
    return lines


def report(found) -> str:
    """The page: a table for every commit, the last one first."""
    lines = ["# Guarantees for single predictions", "", __doc__.partition("\n\n")[2].rstrip()]
    for commit in dict.fromkeys(r["commit"] for r in reversed(found)):
        own = [r for r in found if r["commit"] == commit]
        lines += ["", f"Commit {commit}:", "", *table(own)]
    return "\n".join(lines) + "\n"


def picture(path, rows):
    """Errors against insertions on Adult's records, and the certified count against alpha."""
    from matplotlib import pyplot as plt

    X, y, X_test, y_test, groups = parts("adult")
    chosen = np.random.default_rng(0).permutation(X_test.shape[0])[:rows]
    (_, box), (_, records) = spaces(X, groups)
    left, right = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")[1]
    victim = ModelTargetedPoisoner(alpha=0.09, feasible_set=records).fit(X, y)
    victim.certify(X_test, y_test, rows=chosen).plot(left)
    left.set(title="Adult, records, hinge, alpha = 0.09", xlim=(0, 0.12 * X.shape[0]))
    alphas = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
    for name, space in (("records", records), ("box", box)):
        counts = []
        for alpha in alphas:
            guarantee = (
                ModelTargetedPoisoner(alpha=alpha, feasible_set=space)
                .fit(X, y)
                .certify(X_test, y_test, rows=chosen, attack=False)
            )
            counts.append(np.median(guarantee.lower_bound[guarantee.status == "done"]))
        right.plot(alphas, counts, marker="o", label=name)
    right.set(
        xscale="log", yscale="log", xlabel="alpha", ylabel="insertions proved harmless, median", title="Adult, hinge"
    )
    right.legend(frameon=False)
    left.figure.savefig(path, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--settings", nargs="+", default=SETTINGS)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--no-attack", action="store_true")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--branches", type=int)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "guarantee")
    parser.add_argument("--limits", action="store_true", help="print what keeps the bounds from more instead")
    parser.add_argument("--picture", type=Path, help="draw docs/guarantee.png instead")
    args = parser.parse_args()
    if args.picture:
        picture(args.picture, args.rows)
        return
    if args.limits:
        print("| set | space | victim | rows | certified | one label at a time | a model a row |")
        print("| --- " * 7 + "|")
        for setting in args.settings:
            for name in args.sets:
                for *what, count, alone, single in limits(name, setting, args.rows):
                    print(f"| {' | '.join(map(str, what))} | {count:g} | {alone:+.3f} | {single:+.3f} |", flush=True)
        return
    path = args.out.with_suffix(".json")
    found = json.loads(path.read_text(encoding="utf-8"))["results"] if path.exists() else []
    for setting in args.settings:
        for name in args.sets:
            for result in measure(name, setting, args.rows, not args.no_attack, args.branches, args.kinds):
                same = [result[key] for key in ("set", "space", "setting")]
                found = [r for r in found if [r[key] for key in ("set", "space", "setting")] != same] + [result]
                print(table([result])[-1], flush=True)
                path.write_text(json.dumps({"environment": environment.describe(), "results": found}, indent=1) + "\n",
                                encoding="utf-8")  # fmt: skip
                args.out.with_suffix(".md").write_text(report(found), encoding="utf-8")


if __name__ == "__main__":
    main()
