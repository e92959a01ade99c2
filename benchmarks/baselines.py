"""What exact warm trainings are worth to the attacks of the literature, and ART's attack on the SVM beside ours.

    python benchmarks/baselines.py            both tables
    python benchmarks/baselines.py --only art needs adversarial-robustness-toolbox

"Plain" is the same algorithm with the same steps, whose every training is scikit-learn's from scratch. Both are run in
one process, one thread, CPU seconds; the plain one on fewer steps where it would take hours, and both are given a step.
"""

from __future__ import annotations

import environment  # noqa: F401  (pins the threads, finds reference.py)

# isort: split
import argparse
import time

import datasets
import numpy as np
import report

from mtpfast import FeatureSpace
from mtpfast.arrays.rows import stack
from mtpfast.attacks.baselines import baseline
from mtpfast.attacks.baselines.task import Task
from mtpfast.verification.retrain import Training, retrain

ALPHA = 0.09
CASES = (
    ("gradient_ascent", {"n_starts": 1, "max_iter": 6}),
    ("influence", {"n_distinct": 3, "max_iter": 4}),
    ("min_max", {"max_iter": 4, "gap": 0.0}),
    ("label_flip", {"rule": "alfa", "max_iter": 5}),
)


class PlainVictim:
    """Every placement trains from scratch by scikit-learn."""

    def __init__(self, task, tol=1e-6):
        self.task, self.tol = task, tol
        self.place([], [], [])

    def place(self, points, labels, counts):
        task, objective = self.task, self.task.objective
        X, y, weight = task.X, task.y, np.ones(len(task.y))
        if len(labels):
            X, y = stack(X, np.array(points).reshape(-1, task.d)), np.append(y, labels)
            weight = np.append(weight, counts)
        training = Training.of(objective, X, y, weight)
        self.k, self.theta = training.k, retrain(training, self.tol)
        return self.theta


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
    """(CPU seconds, trainings, validation loss reached)."""
    kept, own = [], Task.moving

    def moving(task, tol=1e-8):
        kept.append(Counted(PlainVictim(task) if plain else own(task, tol)))
        return kept[-1]

    Task.moving = moving
    try:
        begin = time.process_time()
        result = baseline(
            name, data.X_train, data.y_train, budget=0.03, loss=loss, alpha=ALPHA,
            feasible_set=FeatureSpace(0.0, 1.0), X_eval=data.X_test, y_eval=data.y_test, **options,
        )  # fmt: skip
        return time.process_time() - begin, kept[0].n, 100.0 * result.damage.found
    finally:
        Task.moving = own


def refits(options):
    rows = []
    for name in options.set or ("adult", "mnist"):
        data = datasets.digits() if name == "digits" else datasets.load(name)
        for loss in ("hinge", "log_loss"):
            for attack, own in CASES:
                ours, n, error = timed(attack, data, loss, own, plain=False)
                row = {"data": name, "loss": loss, "attack": attack, "trainings": n, "ours, CPU s": ours}
                theirs, m, plain_error = timed(attack, data, loss, own, plain=True)
                row |= {"plain, CPU s": theirs, "plain, trainings": m, "ratio": (theirs / m) / (ours / n)}
                rows.append(row | {"error %": error, "plain, error %": plain_error})
                print(report.markdown([rows[-1]]), flush=True)
    return rows


def art(options):
    """ART's attack on the SVM and gradient_ascent on the same 200 x 10 problem, victim and starts of their own."""
    try:
        from art.attacks.poisoning import PoisoningAttackSVM
        from art.estimators.classification import SklearnClassifier
    except ImportError:
        print("adversarial-robustness-toolbox is not installed: its table is left out")
        return []
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
    points, labels = attack.poison(X[starts], y=hot[1 - t[starts]])
    rows = [row("ART 1.20.1, PoisoningAttackSVM", points, np.argmax(labels, axis=1), time.process_time() - begin)]
    for order in ("sequential", "joint"):
        begin = time.process_time()
        found = baseline(
            "gradient_ascent", X[train], y[train], budget=n, n_distinct=n, n_starts=1, max_iter=100, order=order,
            C=1.0, penalize_intercept=False, feasible_set=FeatureSpace(0.0, 1.0), X_eval=X[test], y_eval=y[test],
        )  # fmt: skip
        seconds = time.process_time() - begin
        points = found.points[found.sequence]
        rows.append(row(f"gradient_ascent, {order}", points, (found.labels[found.sequence] > 0) * 1, seconds))
    print(report.markdown(rows), flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("refits", "art"))
    parser.add_argument("--set", action="append", help="refits: only this set")
    parser.add_argument("--points", type=int, default=10, help="art: so many points")
    options = parser.parse_args()
    tables = {}
    if options.only in (None, "art"):
        tables["ART's attack on the SVM, 200 x 10"] = art(options)
    if options.only in (None, "refits"):
        tables["Exact warm trainings beside scikit-learn's"] = refits(options)
    report.write("baselines", "python benchmarks/baselines.py", {k: v for k, v in tables.items() if v})


if __name__ == "__main__":
    main()
