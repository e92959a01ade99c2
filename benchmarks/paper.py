"""The paper's tables and figures with our data, every attack under one judge.

    python benchmarks/paper.py adult     # subpopulations: Algorithm 1 beside KKT at shares of n, log loss and hinge
    python benchmarks/paper.py mnist     # 1 vs 7: the same for targets of 5, 10, 15 % error; the improved target
    python benchmarks/paper.py budgets   # every attack at 1, 3, 5, 10 % of points: MNIST, Adult, Enron
    python benchmarks/paper.py digits    # a small one of all, in a minute, without data files
    python benchmarks/paper.py figures   # draw what is measured
    python benchmarks/paper.py all

alpha = 0.09, intercept penalised, box. n is the number of points with which Algorithm 1 stops. Every figure is that of
mtpfast.verification.judge: scikit-learn retrains. The paper's targets are not to be had, so the order should agree with
the published figures, not the digits. Markdown, JSON and PNG go to results/paper/. A row is written as soon as it is
measured, and a row that is there is not measured again (--again: it is).
"""

from __future__ import annotations

import environment  # noqa: F401  (pins the threads, finds reference.py)

# isort: split
import argparse
import functools
import json
import time

import damage as damage_benchmark
import datasets
import numpy as np
import paper_figures
import report
import run

from mtpfast import FeatureSpace, compare, make_target, minimum_poisoning
from mtpfast.attacks.online import poison

ALPHA = 0.09
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)
FOLDER = report.RESULTS / "paper"
AGAINST, IMPROVED = "Algorithm 1 beside KKT", "Improved target: test error at shares of poison"
PUBLISHED = {  # test error in % at 0.2 n, 0.6 n, n
    ("adult", "log_loss"): {"n": 2005, "kkt": (17.9, 53.3, 75.7), "poison": (24.4, 84.1, 99.6)},
    ("mnist", "hinge"): {"n": 6192, "kkt": (1.7, 2.8, 17.3), "poison": (2.2, 2.7, 14.1)},
}
PUBLISHED_IMPROVED = {  # MNIST, hinge: test error in % at 5, 15, 30 % poison
    "influence": (1.3, 2.0, 2.8),
    "gradient ascent": (1.3, 1.8, 3.2),
    "min-max": (3.0, 6.1, 7.1),
    "Algorithm 1": (3.8, 11.4, 15.7),
}
NAMES = {"poison": "Algorithm 1", "kkt": "KKT"}


# -- Algorithm 1 beside KKT -----------------------------------------------------------------------


def against_kkt(kept, name, data, loss, title, theta, aimed, tol, options):
    """Algorithm 1 and KKT at shares of n, row by row; and the curve of Algorithm 1."""
    wanted = [s for s in SHARES if options.again or not kept.find(AGAINST, target=title, loss=loss, **{"of n": s})]
    if not wanted:
        return
    X, y = data.X_train, data.y_train
    victim = {"loss": loss, "alpha": ALPHA, "feasible_set": FeatureSpace(0.0, 1.0)}
    clock, begin = [], time.process_time()
    path = poison(
        X, y, theta, tol=tol, max_points=options.max_points, callback=lambda _: clock.append(time.process_time()),
        **victim,
    )  # fmt: skip
    keep_curve(name, title, loss, path)
    published = PUBLISHED.get((name, loss), {}) if name == "adult" or title == "test error 15%" else {}
    for share in wanted:
        n = max(1, round(share * path.n_points))
        first = path.at_budget(n)
        runs = compare(
            # one run of Algorithm 1 is enough: its prefixes are judged
            {"poison": lambda *_, first=first, **__: (first.points, first.labels, first.counts),
             "kkt": ("kkt", {"n_shares": options.n_shares, "refine": options.refine})},
            X, y, target=theta, budgets=[n], eval_sets={"aimed": (data.X_test[aimed], data.y_test[aimed])}, **victim,
        )  # fmt: skip
        found = {r["method"]: r for r in runs.rows}
        row = {"target": title, "loss": loss, "points": n, "of n": share, "test rows": int(np.sum(aimed))}
        for method in ("kkt", "poison"):
            error = 100.0 * (1.0 - found[method]["accuracy_aimed"])
            row[f"{NAMES[method]}, error %"] = error
            if published:
                at = (0.2, 0.6, 1.0).index(share) if share in (0.2, 0.6, 1.0) else None
                row[f"{NAMES[method]}, published"] = None if at is None else published[method][at]
        for method in ("kkt", "poison"):
            row[f"{NAMES[method]}, distance"] = found[method]["distance"]
            row[f"{NAMES[method]}, D"] = found[method]["loss_difference"]
        row["lower bound"] = int(first.lower_bound)
        row["KKT, CPU s"] = found["kkt"]["seconds"]
        row["Algorithm 1, CPU s"] = clock[min(n, len(clock) - 1)] - begin
        kept.add(AGAINST, row)
        print(report.markdown([row]), flush=True)


def keep_curve(name, title, loss, path, most=200):
    """What is drawn of a run: some of its models, by points."""
    n = path.history["n_points"]
    at = np.unique(np.geomspace(1, len(n), most).astype(int) - 1)
    bound = np.maximum.accumulate(path.history["lower_bound"])
    columns = {"n": n, "distance": path.history["distance"], "D": path.history["loss_difference"], "bound": bound}
    curves = paper_figures.curves(FOLDER)
    curves[f"{name}|{title}|{loss}"] = {k: [float(f"{v[i]:.5g}") for i in at] for k, v in columns.items()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "curves.json").write_text(json.dumps(curves))


def order_notes(tables):
    """Whether the order of the published figures is met, row by row."""
    notes = []
    for row in tables.get(AGAINST, ()):
        if row.get("KKT, published") is None:
            continue
        published = np.sign(row["Algorithm 1, published"] - row["KKT, published"])
        ours, theirs = row["Algorithm 1, error %"], row["KKT, error %"]
        off = ours - theirs
        found = 0 if abs(off) * row["test rows"] < 150.0 else np.sign(off)  # one row of the test set is no order
        word = "as published" if published == found else "NOT as published" if found else "the same but for a row"
        notes.append(
            f"{row['target']}, {row['loss']}, {row['of n']:g} n: Algorithm 1 {ours:.1f} %, KKT {theirs:.1f} %: {word}"
        )
    return notes


def improved_notes(tables):
    """The published order of attacks beside the one found, at every share."""
    rows, notes = {row["attack"]: row for row in tables.get(IMPROVED, ())}, []
    for share in ("5 %", "15 %", "30 %"):
        known = [a for a in PUBLISHED_IMPROVED if a in rows and rows[a].get(f"{share}, published") is not None]
        if known:
            theirs = sorted(known, key=lambda a, share=share: -rows[a][f"{share}, published"])
            ours = sorted(known, key=lambda a, share=share: -rows[a][share])
            word = "as published" if ours == theirs else f"NOT as published ({' > '.join(theirs)})"
            notes.append(f"{share}: {' > '.join(ours)}: {word}")
    return notes


def of_paper(name):
    def notes(tables):
        return [*NOTES.get(name, ()), *order_notes(tables), *improved_notes(tables)]

    keys = ("target", "loss", "of n", "attack")
    return report.Kept(name, f"python benchmarks/paper.py {name}", keys, notes, folder=FOLDER)


def adult(options):
    data, kept = datasets.load("adult"), of_paper("adult")
    for loss in options.loss or ("log_loss", "hinge"):
        for title, model, aimed in list(run.adult_targets(data, loss))[: options.targets]:
            against_kkt(kept, "adult", data, loss, title.split(":")[0], run.theta_of(model), aimed, 0.01, options)
    kept.write()


def by_error(kept, name, data, tol, options, goals, **tapes):
    rows = [row for row in kept.tables.get(AGAINST, ()) if row["loss"] == "hinge"]
    if len(rows) == len(goals) * len(SHARES) and not options.again:
        return
    for title, model, aimed in list(run.error_targets(data, "hinge", goals, **tapes))[: options.targets]:
        against_kkt(kept, name, data, "hinge", title, run.theta_of(model), aimed, tol, options)


# -- targets for a budget -------------------------------------------------------------------------


class Targets:
    """Models of label flips, and those that are worth aiming at with so many points.

    Each model stands beside the exact minimum of points for it. Worth it are, of those that so many points can induce,
    the one of the largest error, and of those that take up to 2.5 times as many, the one of the largest error a point
    (on the way to a model something is done, too). If there is none, the one of the least minimum.
    """

    TAPES = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5], [1, 2, 4, 8, 20]
    SHORT = [0.1, 0.3], [1, 4]  # where the minimum for a model takes half a minute

    def __init__(self, data, space, loss="hinge", improved=False):
        self.data, self.space, self.loss, self.improved = data, space, loss, improved
        self.quantiles, self.repeats = self.SHORT if data.X_train.shape[1] > 2000 else self.TAPES

    @functools.cached_property
    def models(self):
        """``[(error, minimum of points, model)]``."""
        data, out = self.data, []
        found = make_target(
            data.X_train, data.y_train, goal=0.0, X_eval=data.X_test, y_eval=data.y_test, loss=self.loss, alpha=ALPHA,
            quantiles=self.quantiles, repeats=self.repeats, improved=self.improved,
        ).candidates  # fmt: skip
        for model in found:
            needed = minimum_poisoning(
                data.X_train, data.y_train, model, loss=self.loss, alpha=ALPHA, feasible_set=self.space
            )
            points = np.inf if needed.status == "unattainable" else max(1, needed.lower_bound)
            out.append((model.error, points, model))
        return out

    def of(self, budget):
        reached = [m for m in self.models if m[1] <= budget]
        beyond = [m for m in self.models if budget < m[1] <= 2.5 * budget]
        chosen = [max(reached, key=lambda m: m[0])] if reached else []
        chosen += [max(beyond, key=lambda m: m[0] / m[1])] if beyond else []
        return chosen or [min(self.models, key=lambda m: m[1])]


def errors_at(data, space, attack, budgets, targets, n_seeds=1):
    """``(budget, test error in %, CPU seconds, entry of targets)``: seeds averaged, of several targets the best."""
    if attack[0] == "damage":  # else it goes from budget to budget
        for budget in budgets:
            yield *next(judged(data, space, attack, [budget], {}, n_seeds)), None
        return
    if attack[0] not in AIMED:
        for budget, error, seconds in judged(data, space, attack, budgets, {}, n_seeds):
            yield budget, error, seconds, None
        return
    wanted, tried = {}, {budget: [] for budget in budgets}
    for budget in budgets:
        for entry in targets.of(budget):
            wanted.setdefault(id(entry), (entry, []))[1].append(budget)
    for entry, sizes in wanted.values():
        for budget, error, seconds in judged(data, space, attack, sizes, {"target": entry[2]}, n_seeds):
            if error is not None:
                tried[budget].append((error, seconds, entry))
    for budget, found in tried.items():
        if not found:
            yield budget, None, None, None
            continue
        error, _, entry = max(found, key=lambda one: one[0])
        yield budget, error, sum(one[1] for one in found), entry


def judged(data, space, attack, budgets, more, n_seeds):
    """``(budget, test error in %, CPU seconds)``; None where the attack refuses."""
    runs = compare(
        {"attack": attack}, data.X_train, data.y_train, budgets=budgets, eval_sets={"test": (data.X_test, data.y_test)},
        aim="test", n_seeds=n_seeds, alpha=ALPHA, feasible_set=space, **more,
    )  # fmt: skip
    for budget in budgets:
        rows = [r for r in runs.rows if r["method"] == "attack" and r["budget"] == budget]
        failed = next((r["message"] for r in rows if r["status"] == "failed"), None)
        if failed:
            print(f"{attack[0]}: {failed}", flush=True)
            yield budget, None, None
            continue
        error = 100.0 * (1.0 - float(np.mean([r["accuracy_test"] for r in rows])))
        yield budget, error, float(np.mean([r["seconds"] for r in rows]))


AIMED = ("poison", "kkt", "gradient_canceling")


# -- the improved target --------------------------------------------------------------------------


def improved(kept, name, data, options):
    """Budgets of 5, 15, 30 %: what the literature's attacks do beside Algorithm 1 with the improved target."""
    shares, space = (5, 15, 30), FeatureSpace(0.0, 1.0)
    budgets = [round(0.01 * share * len(data.y_train)) for share in shares]
    targets = Targets(data, space, improved=True)
    attacks = {
        "Algorithm 1": ("poison", {"tol": 0.0}),
        "damage (ours)": ("damage", {"n_starts": 1, "max_iter": 100}),
        "influence": ("influence", {}),
        "gradient ascent": ("gradient_ascent", {"n_starts": 1}),
        "min-max": ("min_max", {"max_iter": options.max_iter}),
    }
    for attack, method in attacks.items():
        measured = kept.find(IMPROVED, attack=attack) and not options.again
        if measured or (options.attack and attack not in options.attack):
            continue
        row, found = {"attack": attack}, errors_at(data, space, method, budgets, targets)
        for (_, error, seconds, aimed), share, number in zip(found, shares, range(3), strict=True):
            known = PUBLISHED_IMPROVED.get(attack) if name == "mnist" else None
            row |= {f"{share} %": error, f"{share} %, published": known and known[number]}
            row[f"{share} %, CPU s"] = seconds
            if aimed:
                row[f"{share} %, target"] = f"{100 * aimed[0]:.1f} %, {aimed[1]} points"
        kept.add(IMPROVED, row)
        print(report.markdown([row]), flush=True)


def mnist(options):
    data, kept = datasets.load("mnist"), of_paper("mnist")
    if not options.no_improved:
        improved(kept, "mnist", data, options)
    if not options.no_against:
        by_error(kept, "mnist", data, 0.1, options, (0.05, 0.10, 0.15))
    kept.write()


def digits(options):
    data, kept = datasets.digits(), of_paper("digits")
    by_error(kept, "digits", data, 0.05, options, (0.10, 0.05), quantiles=(0.2, 0.4), repeats=(5, 10))
    improved(kept, "digits", data, options)
    kept.write()


# -- every attack at every budget -----------------------------------------------------------------

DRAWS = 2  # seeds of attacks that draw something, but for the search of this package
ATTACKS = {  # those without a target first: they take less time
    "damage (ours)": ("damage", {}),
    "influence": ("influence", {}),
    "gradient ascent": ("gradient_ascent", {"n_starts": 1}),
    "flips, random": ("label_flip", {"rule": "random"}),
    "flips, margin": ("label_flip", {"rule": "margin"}),
    "flips, loss": ("label_flip", {"rule": "loss"}),
    "flips, ALFA": ("label_flip", {"rule": "alfa"}),
    "beta": ("beta", {}),
    "min-max": ("min_max", {"max_iter": 40}),
    "KKT": ("kkt", {"n_shares": 3, "refine": 6}),
    "Algorithm 1": ("poison", {"tol": 0.0}),
    "gradient canceling": ("gradient_canceling", {"n_shares": 3, "max_iter": 100}),
}
SEARCH = {"adult": {"max_iter": 240}, "enron": {"n_starts": 3}}  # some 20 CPU seconds
DRAWN = ("gradient ascent", "beta", "flips, random")
SETS = {"mnist": "MNIST 1-7", "mnist_69": "MNIST 6-9", "adult": "Adult", "enron": "Enron"}


def budgets(options):
    """Every attack at 1, 3, 5, 10 % of points, aimed at the test rows; hinge."""
    kept = report.Kept("budgets", "python benchmarks/paper.py budgets", ("attack",), budget_notes, in_order, FOLDER)
    for name in options.set or ("adult", "mnist", "mnist_69", "enron"):
        data, title = damage_benchmark.load(name), f"{SETS[name]}: test error in %, hinge"
        space, targets = damage_benchmark.box(data), None
        sizes = [round(share * len(data.y_train)) for share in options.budget]
        wanted = [a for a in ATTACKS if not options.attack or a in options.attack]
        wanted = [a for a in wanted if not (options.no_target and ATTACKS[a][0] in AIMED)]
        for attack in wanted:
            if kept.find(title, attack=attack) and not options.again:
                continue
            targets = targets or Targets(data, space)
            row, seconds = {"attack": attack}, {}
            method, own = ATTACKS[attack]
            if method == "damage":
                own = own | SEARCH.get(name, {})
            found = errors_at(data, space, (method, own), sizes, targets, DRAWS if attack in DRAWN else 1)
            for (_, error, spent, _), share in zip(found, options.budget, strict=True):
                row[f"{100 * share:g} %"], seconds[f"{100 * share:g} %, CPU s"] = error, spent
            kept.add(title, row | seconds)
            print(title, report.markdown([row | seconds]), sep="\n", flush=True)
        if not kept.find(title, attack="none"):
            clean = damage_benchmark.judged(data, None, "hinge")[0]
            kept.add(title, {"attack": "none", **{f"{100 * share:g} %": clean for share in options.budget}})


def in_order(tables):
    """Data sets as they stand above; attacks by what they do at 3 %."""
    titles = [title for name in SETS.values() for title in tables if title.startswith(name)]
    worst = lambda row: -(row.get("3 %") or 0.0) if row["attack"] != "none" else np.inf  # noqa: E731
    return {title: sorted(tables[title], key=worst) for title in titles}


def budget_notes(tables):
    """Where an attack of the literature does more than the search of this package."""
    notes = list(NOTES["budgets"])
    for title, rows in tables.items():
        ours = next((row for row in rows if row["attack"] == "damage (ours)"), None)
        for share in ("1 %", "3 %", "5 %", "10 %"):
            known = [row for row in rows if row.get(share) is not None]
            best = max(known, key=lambda row, share=share: row[share], default=None)
            if ours and ours.get(share) is not None and best[share] > ours[share] + 1e-9:
                notes.append(
                    f"{title.split(':')[0]}, {share}: {best['attack']} {best[share]:.2f} % beside {ours[share]:.2f} %"
                    " of the search: the search is not first here"
                )
    return notes


NOTES = {
    "adult": (
        "Error: of the test rows of the subpopulation. KKT is the fair one: the same box as Algorithm 1, and the"
        " intercept in its objective.",
        "The published order is met at 0.2 n, and neither at 0.6 n nor at n, where both are at 100 %: in the paper KKT"
        " alone kept the equalities of the one-hot groups; the fair one does not, and does not fail. At n it is nearer"
        " to the target than Algorithm 1, which stops at D <= 0.01.",
        "CPU seconds of one thread, on a machine with other work.",
    ),
    "mnist": (
        "Error: of all test rows. Improved target: margins are taken anew from tape to tape (make_target,"
        " improved=True); of the models those are tried that are worth it by their exact minimum of points, and the"
        " best is kept (target: its error and its minimum). At 3b17750: of 20 models the most harmful within the"
        " budget. 'damage' is this package's search without a target.",
        "Influence and gradient ascent do more here than what is published: each is given exact trainings, the"
        " implicit derivative, copies of 4 or 5 points and the whole box. Algorithm 1 ends where its target does:"
        " models of label flips that so many points can reach; the search finds more without one.",
        "CPU seconds of one thread, on a machine with other work.",
    ),
    "budgets": (
        "All are aimed at the test rows, as the literature does, and judged by scikit-learn's training. Algorithm 1,"
        " KKT and gradient canceling aim at label-flip models: of 30 (Enron: 4) those that are worth it by their exact"
        " minimum of points (the most harmful within the budget, one of up to 2.5 times as many), and the best is kept."
        " Seconds are of all that were tried; making the models is not in them.",
        f"Mean of {DRAWS} seeds: {', '.join(DRAWN)}. The search as it is by default (Adult: max_iter=240;"
        " Enron: n_starts=3), every budget from scratch. CPU seconds of one thread, on a machine with other work.",
    ),
}


def figures(options=None):
    for path in paper_figures.draw(FOLDER):
        print(path)


PARTS = {"adult": adult, "mnist": mnist, "budgets": budgets, "digits": digits, "figures": figures}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=[*PARTS, "all"])
    parser.add_argument("--max-points", type=int, default=20_000, help="where Algorithm 1 ends at the latest")
    parser.add_argument("--targets", type=int, default=3, help="so many targets of each kind")
    parser.add_argument("--loss", action="append", help="adult: only this loss")
    parser.add_argument("--n-shares", type=int, default=3, help="KKT: splits between the labels that are tried first")
    parser.add_argument("--refine", type=int, default=6, help="KKT: further splits")
    parser.add_argument("--max-iter", type=int, default=40, help="improved target, min-max: steps")
    parser.add_argument("--no-improved", action="store_true", help="mnist: leave out the improved target")
    parser.add_argument("--no-against", action="store_true", help="mnist: leave out Algorithm 1 beside KKT")
    parser.add_argument("--set", action="append", help="budgets: only this set")
    parser.add_argument("--no-target", action="store_true", help="budgets: leave out attacks that aim at a model")
    parser.add_argument("--attack", action="append", help="budgets, improved target: only this attack")
    parser.add_argument("--budget", type=float, nargs="+", default=(0.01, 0.03, 0.05, 0.1), help="budgets: shares")
    parser.add_argument("--again", action="store_true", help="measure rows that are there, too")
    options = parser.parse_args(arguments)
    for name in ("adult", "mnist", "budgets") if options.what == "all" else (options.what,):
        PARTS[name](options)
    if options.what != "figures":
        figures()


if __name__ == "__main__":
    main()
