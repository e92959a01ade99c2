"""What exact warm trainings are worth to the attacks of the literature, and ART's attack on the SVM beside ours.

    python benchmarks/baselines.py              all tables
    python benchmarks/baselines.py --only art   needs adversarial-robustness-toolbox
    python benchmarks/baselines.py --only plain that of kkt needs cvxpy

Where a search goes through trainings, "plain" is the same search whose every training is scikit-learn's from scratch,
and both are given a training; where it does not, the published method (plain_baselines.py). Both ways run in one
process, one thread, CPU seconds; the plain one on fewer steps where it would take hours. A row that is there stays.
"""

from __future__ import annotations

import environment  # noqa: F401  (pins the threads, finds reference.py)

# isort: split
import argparse
import importlib.util
import time

import datasets
import numpy as np
import plain_baselines
import report
from plain_baselines import PlainVictim, Victim

from mtpfast import FeatureSpace, make_target
from mtpfast.attacks.baselines import baseline
from mtpfast.attacks.baselines.task import Task
from mtpfast.losses.objective import make_objective
from mtpfast.verification.judge import judge

ALPHA, BUDGET = 0.09, 0.03
ART = "ART's attack on the SVM, 200 x 10"
WARM = "Exact warm trainings beside scikit-learn's"  # the same search, every training from scratch
PLAIN = "Attacks without a search through trainings, beside the plain way"
CASES = (  # with few steps: what a step costs is asked
    ("gradient_ascent", {"n_starts": 1, "max_iter": 6}),
    ("influence", {"n_distinct": 3, "max_iter": 4}),
    ("min_max", {"max_iter": 3, "gap": 0.0}),
    ("label_flip", {"rule": "alfa", "max_iter": 5}),
)
MOST = 12  # trainings of the plain way
NOTES = (
    "Columns: ours, attacks of this package; plain, the same search by scikit-learn's trainings, or the published"
    " method; trainings, how many the search took; ratio a training, plain CPU seconds a training over ours (above 1:"
    " ours is quicker); error %, of test rows, the victim trained again on clean rows and points (3 % of the rows);"
    " distance, l2 from that model's weights to the target; gain a point, the rise of the test hinge loss over the"
    " number of points; commit, the code that a row was measured with.",
    "Algorithm 1 (poison) and the exact minimum (minimum) are no rows here: these tables ask what exact trainings are"
    " worth to the attacks of the literature, and neither has a plain way beside it. Algorithm 1 stands beside all of"
    " them at 1 to 10 % in paper/budgets.md, with its speed in refit.md; the minimum asks how many points a"
    " target takes (minimum.md, adult.md), and goes beside others by compare([\"minimum\", ...]).",
    "A ratio of trainings is of CPU seconds a training, all else that a step does included. Both ways in one process,"
    " one after the other, one thread; CPU seconds.",
    f"The plain way ends after {MOST} trainings by scikit-learn (LIBLINEAR, L-BFGS; tol 1e-6); ended so, it has no"
    " error to show. Of the hinge it does not know which rows are on the margin, which takes tighter trainings.",
    "20 times is not met: LIBLINEAR trains the hinge from scratch in 12 ms (Adult) and 85 ms (MNIST), and comes within"
    " 1e-6 of the minimum. A warm training here after five copies of one row takes 0.9 and 1.9 ms (13 and 45 times"
    " less) and is exact; but a step of these attacks moves all points at once, and its linear system is the same in"
    " both ways. label_flip and kkt on MNIST are one exact training each beside one to 1e-6: there is nothing to save.",
    "kkt, plain: a quadratic program for every split by cvxpy (Clarabel), and a training of each; gradient_canceling:"
    " projected gradient with normalised steps; beta: free coefficients, all rows; label_flip: a training and a sort.",
    "ART's attack forgets the points before when it places the next (its code; sequential gradient_ascent does not),"
    " and stops where a step changes its own objective, a sum of decision values, by less than eps upwards.",
)


class Counted:
    """A victim that counts its trainings."""

    def __init__(self, victim):
        self.victim, self.n = victim, 0

    theta = property(lambda self: self.victim.theta)
    k = property(lambda self: self.victim.k)

    def place(self, *points):
        self.n += 1
        return self.victim.place(*points)


def timed(name, data, loss, options, plain):
    """(CPU seconds, trainings, error in % after the attack, or None if it was ended before)."""
    kept, own = [], Task.moving

    def moving(task, tol=1e-8):
        kept.append(PlainVictim(task, MOST) if plain else Counted(own(task, tol)))
        return kept[-1]

    Task.moving = moving
    try:
        begin = time.process_time()
        result = baseline(name, data.X_train, data.y_train, **victim_of(data, loss), **options)
        ended = plain and kept[0].n >= MOST
        return time.process_time() - begin, max(1, kept[0].n), None if ended else 100.0 * result.damage.found
    finally:
        Task.moving = own


def victim_of(data, loss):
    return {
        "budget": BUDGET, "loss": loss, "alpha": ALPHA, "feasible_set": FeatureSpace(0.0, 1.0),
        "X_eval": data.X_test, "y_eval": data.y_test,
    }  # fmt: skip


def refits(options, kept):
    for name in options.set or ("adult", "mnist"):
        data = load(name)
        for loss in ("hinge", "log_loss"):
            for attack, own in CASES:
                title = f"{attack} ({own['rule']})" if "rule" in own else attack
                if kept.find(WARM, data=name, loss=loss, attack=title):
                    continue
                ours, n, error = timed(attack, data, loss, own, plain=False)
                theirs, m, plain_error = timed(attack, data, loss, own, plain=True)
                again, _, _ = timed(attack, data, loss, own, plain=False)  # before and after the plain one
                ours = 0.5 * (ours + again)
                row = {
                    "data": name, "loss": loss, "attack": title, "ours, CPU s": ours, "trainings": n,
                    "plain, CPU s": theirs, "plain, trainings": m, "ratio a training": (theirs / m) / (ours / n),
                    "error %": error, "plain, error %": plain_error,
                }  # fmt: skip
                kept.add(WARM, row)
                print(report.markdown([row]), flush=True)


def load(name):
    return datasets.digits() if name == "digits" else datasets.load(name)


def plain_ways(options, kept):
    """What trains once, or once for every split: distance to the target, error, CPU seconds."""
    for name in options.set or ("adult", "mnist"):
        data = load(name)
        n = int(BUDGET * len(data.y_train))
        for attack, loss in (
            ("label_flip", "hinge"), ("beta", "hinge"), ("kkt", "hinge"), ("gradient_canceling", "log_loss"),
        ):  # fmt: skip
            if kept.find(PLAIN, data=name, loss=loss, attack=attack):
                continue
            aims = attack in ("kkt", "gradient_canceling")
            if attack == "kkt" and importlib.util.find_spec("cvxpy") is None:
                print("cvxpy is not installed: the plain way of kkt is left out")
                continue
            victim, target, own = Victim(data, loss, ALPHA), None, {}
            if aims:
                model = make_target(
                    data.X_train, data.y_train, quantiles=[0.1], repeats=[1], goal=0.0, loss=loss, alpha=ALPHA
                )
                target = np.append(model.coef_, model.intercept_)
                splits = [round(share * n) for share in np.linspace(0.0, 1.0, 5)]
                own = {"target": target, "n_shares": 5, **({"refine": 0} if attack == "kkt" else {"max_iter": 200})}
            begin = time.process_time()
            found = baseline(attack, data.X_train, data.y_train, **{**victim_of(data, loss), "budget": n}, **own)
            middle = time.process_time()
            plain = getattr(plain_baselines, attack)(victim, *((target, n, splits) if aims else (n,)))
            end = time.process_time()
            objective = make_objective(loss, alpha=ALPHA)
            row = {"data": name, "loss": loss, "attack": attack, "ours, CPU s": middle - begin}
            row |= {"plain, CPU s": end - middle, "ratio": (end - middle) / (middle - begin)}
            for who, points in (("ours", (found.points, found.labels, found.counts)), ("plain", plain)):
                found_by = judge(
                    objective, data.X_train, data.y_train, *points, FeatureSpace(0.0, 1.0), target, tol=1e-6
                )
                wrong = data.y_test * (data.X_test @ found_by.theta[:-1] + found_by.theta[-1]) <= 0
                row[f"{who}, distance"] = found_by.distance if aims else None
                row[f"{who}, error %"] = 100.0 * float(np.mean(wrong))
            kept.add(PLAIN, row)
            print(report.markdown([row]), flush=True)


def art(options, kept):
    """ART's attack on the SVM and gradient_ascent on the same 200 x 10 problem, victim and starts of their own."""
    try:
        from art.attacks.poisoning import PoisoningAttackSVM
        from art.estimators.classification import SklearnClassifier
    except ImportError:
        print("adversarial-robustness-toolbox is not installed: its table is left out")
        return
    from sklearn.datasets import make_classification
    from sklearn.svm import SVC

    X, t = make_classification(n_samples=400, n_features=10, n_informative=6, class_sep=0.8, random_state=0)
    X = (X - X.min(axis=0)) / (X.max(axis=0) - X.min(axis=0))
    train, test, n = slice(0, 200), slice(200, 400), options.points
    y, rng = 2.0 * t - 1.0, np.random.default_rng(0)
    clean = SVC(kernel="linear", C=1.0).fit(X[train], t[train])

    def row(name, points, labels, seconds):
        model = SVC(kernel="linear", C=1.0).fit(np.vstack([X[train], points]), np.append(t[train], labels))
        loss = np.maximum(0.0, 1.0 - y[test] * model.decision_function(X[test])).mean()
        before = np.maximum(0.0, 1.0 - y[test] * clean.decision_function(X[test])).mean()
        return {
            "attack": name, "points": n, "CPU s a point": seconds / n, "test hinge loss, clean": before,
            "poisoned": loss, "gain a point": (loss - before) / n,
            "test error %, clean": 100 * (1 - clean.score(X[test], t[test])),
            "test error %": 100 * (1 - model.score(X[test], t[test])),
        }  # fmt: skip

    hot = np.eye(2)[t]
    classifier = SklearnClassifier(SVC(kernel="linear", C=1.0), clip_values=(0.0, 1.0))
    classifier.fit(X[train], hot[train])
    starts = rng.choice(200, n, replace=False)
    attack = PoisoningAttackSVM(
        classifier, 0.05, 1e-6, X[train], hot[train], X[test], hot[test], max_iter=100, verbose=False
    )
    begin = time.process_time()
    # what poison() does for every start; the rate of success that it logs at its end needs predict_proba
    points = np.vstack([attack.generate_attack_point(X[i].copy(), hot[1 - t[i]]) for i in starts])
    rows = [row("ART 1.20.1, PoisoningAttackSVM", points, 1 - t[starts], time.process_time() - begin)]
    for order in ("sequential", "joint"):
        begin = time.process_time()
        found = baseline(
            "gradient_ascent", X[train], y[train], budget=n, n_distinct=n, n_starts=1, max_iter=100, order=order,
            C=1.0, penalize_intercept=False, feasible_set=FeatureSpace(0.0, 1.0), X_eval=X[test], y_eval=y[test],
        )  # fmt: skip
        seconds = time.process_time() - begin
        points = found.points[found.sequence]
        rows.append(row(f"gradient_ascent, {order}", points, (found.labels[found.sequence] > 0) * 1, seconds))
    for found in rows:
        kept.add(ART, found)
    print(report.markdown(rows), flush=True)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("refits", "plain", "art"))
    parser.add_argument("--set", action="append", help="refits, plain: only this set")
    parser.add_argument("--points", type=int, default=10, help="art: so many points")
    parser.add_argument("--again", action="store_true", help="measure rows that are there, too")
    options = parser.parse_args(arguments)
    kept = report.Kept("baselines", "python benchmarks/baselines.py", ("data", "loss", "attack"), NOTES)
    if options.again:
        kept.tables = {}
    for what, table in (("art", art), ("refits", refits), ("plain", plain_ways)):
        if options.only in (None, what):
            table(options, kept)


if __name__ == "__main__":
    main()
