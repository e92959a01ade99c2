"""What can so many points do? Damage at a budget, on boxes, records and pools, and the fewest points for a goal.

    python benchmarks/damage.py            the tables of 3 % and of the other budgets, records, flips, counts, goals
    python benchmarks/damage.py --only 3%  one of them: 3%, budgets, records, flips, counts, goals, plain

The attacks of the literature beside the search, at 1, 3, 5 and 10 %: paper.py budgets.

A row is written as soon as it is measured, in the place of what was there for the same data before; ``commit`` is that
of its measurement.

Every figure is that of a retraining by scikit-learn on clean rows and poison (objective.retrain), with CPU seconds of
one thread. What is aimed at test rows is what the literature reports; the attacker's fair view is the training rows.
"""

from __future__ import annotations

import environment  # noqa: F401  (pins the threads, finds reference.py)

# isort: split
import argparse
import time

import datasets
import numpy as np
import reference as ref
import report
import scipy.sparse as sp
from objective import retrain

from mtpfast import CandidatePool, DamagePoisoner, FeatureSpace, MinimumPoisoner, make_target

ALPHA = 0.09
JUDGE_TOL = 1e-6  # LIBLINEAR's; with tighter ones it takes minutes where a point has hundreds of copies
COUNTS = ("enron", "sms")  # whole counts of words, from 0 to the largest
SMALL = {"n_starts": 1, "max_iter": 100}  # of the search in all tables but that of 3 %
# In that of 3 %: what fits into 20 s. (n_starts, max_iter); the defaults where nothing is said.
SETTINGS = {
    ("mnist", "hinge"): (9, 150),
    ("adult", "hinge"): (6, 240),
    ("adult", "log_loss"): (6, 240),
    ("enron", "hinge"): (3, 120),
    ("mnist", "log_loss"): (4, 80),
    ("enron", "log_loss"): (1, 50),
    ("enron", "squared_hinge"): (1, 100),
}
TABLE = (
    ("mnist", "hinge", 3.6, 5.18, 3.37),
    ("mnist_69", "hinge", 3.0, 4.07, 2.24),
    ("adult", "hinge", 24.7, 24.62, 24.30),
    ("enron", "hinge", 34.8, 35.9, 25.7),
    ("mnist", "log_loss", 4.0, 5.64, None),
    ("adult", "log_loss", 22.6, 23.74, None),
    ("enron", "log_loss", 35.6, None, None),
    ("mnist", "squared_hinge", None, None, None),
    ("adult", "squared_hinge", None, None, None),
    ("enron", "squared_hinge", None, None, None),
)


def load(name):
    """The rows, counts of words as they are."""
    if name == "digits":
        return datasets.digits()
    if name not in COUNTS:
        return datasets.load(name)
    parts = []
    with np.load(datasets.DATA / datasets.FILES[name][0]) as d:
        for part in ("train", "test"):
            arrays = [d[f"X_{part}_{piece}"] for piece in ("data", "indices", "indptr")]
            X = sp.csr_matrix((arrays[0].astype(float), arrays[1], arrays[2]), shape=tuple(d[f"X_{part}_shape"]))
            X.sort_indices()
            parts += [X, d[f"y_{part}"].astype(float)]
    return datasets.Dataset(name, *parts)


def box(data):
    """[0, 1], or [0, the largest count] of every word."""
    return FeatureSpace(0.0, data.X_train.max(axis=0).toarray().ravel() if sp.issparse(data.X_train) else 1.0)


def records(name, data):
    """Whole records: one level of every group, whole bits."""
    X = data.X_train
    groups = [list(range(a, b)) for a, b in datasets.groups(name) if b - a > 1]
    grouped = {j for group in groups for j in group}
    bits = [j for j in range(X.shape[1]) if j not in grouped and set(np.unique(X[:, j])) <= {0.0, 1.0}]
    always = [bool(X[:, group].sum(axis=1).min() >= 1) for group in groups]
    return FeatureSpace(
        0.0,
        1.0,
        integer=bits,
        one_hot=[group for group, full in zip(groups, always, strict=True) if full],
        at_most_one=[group for group, full in zip(groups, always, strict=True) if not full],
    )


def judged(data, result, loss, alpha=ALPHA):
    """(test, train) error in % of scikit-learn's model of the poisoned rows; of the clean ones if result is None."""
    X, y, weight = data.X_train, data.y_train, None
    if result is not None and result.n_points:
        points = sp.csr_matrix(result.points) if sp.issparse(X) else result.points
        points = points.toarray() if sp.issparse(points) and not sp.issparse(X) else points
        X = sp.vstack([X, points], format="csr") if sp.issparse(X) else np.vstack([X, points])
        y = np.append(y, result.labels)
        weight = np.append(np.ones(len(data.y_train)), result.counts)
    theta = retrain(loss, ref.Convention(alpha=alpha), X, y, weight, JUDGE_TOL)
    errors = []
    for rows, labels in ((data.X_test, data.y_test), (data.X_train, data.y_train)):
        errors.append(100.0 * float(np.mean(np.where(rows @ theta[:-1] + theta[-1] > 0, 1.0, -1.0) != labels)))
    return errors


def attacker(data, loss, space, budget, alpha=ALPHA, **options):
    return DamagePoisoner(loss, alpha=alpha, feasible_set=space, budget=budget, **options).fit(
        data.X_train, data.y_train
    )


def timed(function, *arguments):
    begin = time.process_time()
    found = function(*arguments)
    return found, time.process_time() - begin


def table_3(options):
    for name, loss, published, prototype_test, prototype_train in TABLE:
        if (options.set and name not in options.set) or (options.loss and loss not in options.loss):
            continue
        data = load(name)
        clean = judged(data, None, loss)
        n_starts, max_iter = SETTINGS.get((name, loss), (6, 120))
        dmg = attacker(data, loss, box(data), 0.03, n_starts=n_starts, max_iter=max_iter)
        fair, fair_time = timed(dmg.attack)
        aimed, aimed_time = timed(dmg.attack, data.X_test, data.y_test)
        test, train = judged(data, aimed, loss), judged(data, fair, loss)
        row = {
            "data": name,
            "loss": loss,
            "clean": clean[0],
            "published": published,
            "prototype, test": prototype_test,
            "aimed at test": test[0],
            "CPU s": aimed_time,
            "prototype, train": prototype_train,
            "aimed at training": train[0],
            "its training error": train[1],
            "CPU s, training": fair_time,
            "starts x trainings": f"{n_starts} x {max_iter}",
        }
        yield row


def table_budgets(options):
    for name in options.set or ("adult", "mnist", "enron"):
        data, budgets = load(name), (0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
        for loss in options.loss or ("hinge", "log_loss"):
            dmg = attacker(data, loss, box(data), 0.03, **SMALL)
            _, one = timed(dmg.attack, data.X_test, data.y_test)
            found, seconds = timed(dmg.curve, budgets, data.X_test, data.y_test)
            errors = [judged(data, result, loss)[0] for result in found]
            row = {"data": name, "loss": loss, "clean": judged(data, None, loss)[0]}
            row |= {f"{100 * b:g} %": e for b, e in zip(budgets, errors, strict=True)}
            yield row | {"CPU s": seconds, "of one budget, CPU s": one, "ratio": seconds / one}


def table_records(options):
    for name, alpha in (("adult", ALPHA), ("german", 1e-3), ("compas", 1e-3), ("credit_default", 1e-3), ("bank", 1e-3)):
        if options.set and name not in options.set:
            continue
        data = load(name)
        for loss in options.loss or ("hinge", "log_loss"):
            row = {"data": name, "loss": loss, "alpha": alpha, "clean": judged(data, None, loss, alpha)[0]}
            for kind, space in (("box", box(data)), ("records", records(name, data))):
                found, seconds = timed(attacker(data, loss, space, 0.03, alpha, **SMALL).attack)
                test, train = judged(data, found, loss, alpha)
                row |= {kind: test, f"{kind}, training": train, f"CPU s, {kind}": seconds}
            yield row


def table_flips(options):
    for name in options.set or ("sms", "adult", "enron", "mnist"):
        data = load(name)
        for loss in options.loss or ("hinge", "log_loss"):
            row = {"data": name, "loss": loss, "clean": judged(data, None, loss)[0]}
            pool = CandidatePool.label_flips(data.X_train, data.y_train)
            found, seconds = timed(attacker(data, loss, pool, 0.03, **SMALL).attack)
            test, train = judged(data, found, loss)
            row |= {"flips, test": test, "flips, training": train, "CPU s": seconds}
            yield row


def table_counts(options):
    for name in options.set or COUNTS:
        data = load(name)
        largest = data.X_train.max(axis=0).toarray().ravel()
        for loss in options.loss or ("hinge", "log_loss"):
            row = {"data": name, "loss": loss, "clean": judged(data, None, loss)[0]}
            for kind, space in (("box", box(data)), ("whole", FeatureSpace(0.0, largest, integer=slice(None)))):
                found, seconds = timed(attacker(data, loss, space, 0.03, **SMALL).attack)
                test, train = judged(data, found, loss)
                row |= {kind: test, f"{kind}, training": train, f"CPU s, {kind}": seconds}
            yield row


def goals(name, data):
    """(what is to be wrong, mask of the training rows, goal)."""
    if name in ("mnist", "digits"):
        return [(f"{100 * goal:g} % of all", None, goal) for goal in (0.05, 0.10, 0.15)]
    if name == "adult":
        theta = retrain("hinge", ref.Convention(alpha=ALPHA), data.X_train, data.y_train, None, JUDGE_TOL)
        return [(title, mask, 1.0) for title, mask, _ in datasets.subpopulations(data, theta)]
    positive = data.y_train > 0
    first = data.X_train[:, datasets.groups(name)[0][0]] > 0.5
    return [("half of a group", positive & first, 0.5), ("half of the other", ~positive & first, 0.5)]


def table_goals(options):
    for name, alpha in (("mnist", ALPHA), ("adult", ALPHA), ("german", 1e-3), ("credit_default", 1e-3)):
        if options.set and name not in options.set:
            continue
        data = load(name)
        for title, mask, goal in goals(name, data):
            if options.goal and not any(part in title for part in options.goal):
                continue
            row = {"data": name, "goal, on training rows": title}
            shared = {"loss": "hinge", "alpha": alpha, "mask": mask, "goal": goal}
            try:
                target = make_target(data.X_train, data.y_train, **shared)
                row["label flips"] = target.n_flips
                space = box(data)
                fewest = MinimumPoisoner(alpha=alpha, feasible_set=space).fit(data.X_train, data.y_train)
                row["minimum for their model"] = fewest.attack(target).n_points
            except ValueError as error:
                row["label flips"] = "-"
                print(error)
            try:
                dmg = attacker(data, "hinge", box(data), 0.03, alpha, n_starts=1)
                prove = True if name in ("german", "digits") else 20
                found, seconds = timed(lambda dmg=dmg, m=mask, g=goal, p=prove: dmg.cheapest(g, mask=m, prove=p))
                row |= {"cheapest": found.n_points, "proved": found.damage.proved}
                row |= {"its metric, %": 100.0 * found.damage.found, "CPU s": seconds}
            except ValueError as error:
                row["cheapest"] = "not met"
                print(error)
            yield row


def table_plain(options):
    """One step of the search beside one of projected gradient with LinearSVC refits from scratch."""
    from sklearn.svm import LinearSVC

    for name in options.set or ("adult", "mnist"):
        data = load(name)
        n_points, steps = int(0.03 * len(data.y_train)), 2
        dmg = attacker(data, "hinge", box(data), 0.03, **SMALL)
        steps_done = []
        _, seconds = timed(lambda dmg=dmg, seen=steps_done: dmg.attack(callback=lambda told: seen.append(1)))
        rng = np.random.default_rng(0)
        points = rng.random((n_points, data.X_train.shape[1]))
        labels = np.where(rng.random(n_points) < 0.5, 1.0, -1.0)
        begin = time.process_time()
        for _ in range(steps):
            X, y = np.vstack([data.X_train, points]), np.append(data.y_train, labels)
            model = LinearSVC(C=1.0 / (ALPHA * len(y)), loss="hinge", tol=1e-4, max_iter=10_000).fit(X, y)
            on = np.abs(y * model.decision_function(X) - 1.0) < 1e-3
            Z = np.hstack([X[on], np.ones((on.sum(), 1))])
            margin = data.y_train * model.decision_function(data.X_train)
            s = 1.0 / (1.0 + np.exp(np.clip(8.0 * margin, -50, 50)))
            pull = -s * (1.0 - s) * data.y_train
            v = np.append(data.X_train.T @ pull, pull.sum())
            v -= Z.T @ np.linalg.lstsq(Z @ Z.T + 1e-6 * np.eye(len(Z)), Z @ v, rcond=None)[0]
            points = np.clip(points + labels[:, None] * v[:-1] / np.abs(v).max() * 0.05, 0.0, 1.0)
        plain = (time.process_time() - begin) / steps
        own = seconds / max(1, len(steps_done))
        row = {"data": name, "a step here, ms": 1e3 * own, "plain, ms": 1e3 * plain, "ratio": plain / own}
        yield row


TABLES = {
    "3%": ("Error in % at 3 %, alpha 0.09, box", table_3),
    "budgets": ("Error in % on test rows, aimed at them, one curve per row", table_budgets),
    "records": ("Error in % on test rows at 3 %, aimed at training rows: box and whole records", table_records),
    "counts": ("Error in % on test rows at 3 %, aimed at training rows: counts of words, any and whole", table_counts),
    "flips": ("Error in % at 3 %, label flips only, aimed at training rows", table_flips),
    "goals": ("Fewest points for a goal, hinge", table_goals),
    "plain": ("A step of the search, and one of projected gradient with refits from scratch", table_plain),
}


NOTES = (
    "Found, not proved to be the most: other starts find other points. Judged by scikit-learn's trainers.",
    "Counts of words: 0 to the largest. CPU seconds of one thread, on a machine with other work.",
    "Table of 3 %: starts and trainings of the search are what fits into 20 s of one thread, and were tried on the same"
    " data; goals: one start; else one of 100.",
    "A step of the table of steps is a training, which is ten steps of the search. Adult's plain step takes 16 ms:"
    " LIBLINEAR trains it in no time.",
    "Over 20 CPU seconds: Enron with the squared hinge, for which no figure is asked.",
    "Not measured: bank with the hinge. At alpha 1e-3 its victim answers no to everybody, with 29,479 rows exactly on"
    " the margin, and a training takes 5 s; a hundred of them were not waited for.",
)


def in_order(tables):
    return {title: tables[title] for title, _ in TABLES.values() if title in tables}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--set", nargs="*", default=None, help="these data sets only")
    parser.add_argument("--loss", nargs="*", default=None, help="these losses only")
    parser.add_argument("--goal", nargs="*", default=None, help="goals with one of these in their name only")
    parser.add_argument("--name", default="damage", help="of the file under results/")
    options = parser.parse_args(arguments)
    keys = ("data", "loss", "goal, on training rows")
    kept = report.Kept(options.name, "python benchmarks/damage.py", keys, NOTES, in_order)
    for key in options.only:
        title, table = TABLES[key]
        for row in table(options):
            print(report.markdown([row]), flush=True)
            kept.add(title, row)


if __name__ == "__main__":
    main()
