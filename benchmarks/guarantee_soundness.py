"""Do fewer points than certified ever flip a row? Small random problems, attacked in several ways, and retrained.

    python benchmarks/guarantee_soundness.py --minutes 20     # ends then; the table goes to results/
    python benchmarks/guarantee_soundness.py --log sweep.jsonl --first 100000   # goes on where the log ends
    python benchmarks/guarantee_soundness.py --log a.jsonl b.jsonl --minutes 0  # the table of several logs
    python benchmarks/guarantee_soundness.py --intercept free                   # of the problems that have such a one
    python benchmarks/guarantee_soundness.py --times 6        # six times as many random points and mixtures a row

Problem ``seed`` (``numpy.random.default_rng(seed)``): 15 to 80 clean rows in 1 to 5 features, a loss, alpha or C, the
intercept penalised, free or absent, class weights now and then, a space (box, box per label, one label, one-hot or
at-most-one groups, whole numbers, a pool), six rows to protect. For a row whose bound is b, attacks of b - 1 points
(and of fewer, now and then):

* ``random``: mixtures of random points of both labels;
* ``copies``: the row with the other label, or what comes nearest to it in the space;
* ``greedy``: a search aimed at the row: batch after batch, of the point with the largest pull against the row's margin
  at the model just retrained;
* ``maximiser``: the points at which the certificate itself is nearly broken, with the clean victim as the comparison
  model and with those that proved more for either half of the ratios of the labels, alone and mixed with others.

Seventy attacks a row (``--times`` as many of the random ones), those that are the same left out. At numbers of points
of COUNTS the joint bounds are attacked too (``joint``): mixtures of vertices of both labels, and of one. What every
attack, of any kind, does to all rows, to their scores and to the clean rows' loss and error is held against the joint
bound of the least number that is as large.

The judge trains clean rows plus attack to a proved duality gap of 1e-10; every hundredth attack is retrained by
scikit-learn as well, where it has such a victim. A flip is a score on the wrong side by more than 1e-7.
"""

from __future__ import annotations

# isort: split
import environment  # noqa: F401 - pins the threads; before numpy

# isort: split
import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from mtpfast import CandidatePool, FeatureSpace
from mtpfast.guarantee import per_row
from mtpfast.guarantee.flips import Flips
from mtpfast.guarantee.search import Bundle
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit

LOSSES = ("hinge", "squared_hinge", "log_loss")
SPACES = ("box", "box per label", "one label", "records", "whole numbers", "pool")
COUNTS = (3, 12)  # of points, of joint bounds
SHARES = (0.97, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4)  # of a strong point, mixed with another
INTERCEPTS = {"penalised": {}, "free": {"penalize_intercept": False}, "absent": {"fit_intercept": False}}


def draw(seed):
    """(X, y, objective, space, rows, names) of one problem."""
    rng = np.random.default_rng(seed)
    d, n = int(rng.integers(1, 6)), int(rng.integers(15, 81))
    kind, loss = str(rng.choice(SPACES)), str(rng.choice(LOSSES))
    d = max(d, 2) if kind == "records" else d
    X = rng.random((n, d))
    if kind == "records":
        X[:, 0] = X[:, 0] < 0.5
        X[:, 1] = 1.0 - X[:, 0]
    y = np.where(X @ rng.standard_normal(d) + rng.uniform(0.05, 0.5) * rng.standard_normal(n) > 0.1, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    intercept = str(rng.choice(list(INTERCEPTS)))
    alpha = rng.random() < 0.5
    penalty = {"alpha": 10 ** rng.uniform(-2.5, -0.3)} if alpha else {"C": 10 ** rng.uniform(-2, 0)}
    options = {**penalty, **INTERCEPTS[intercept]}
    if rng.random() < 0.3:
        options |= {"class_weight": {1: rng.uniform(0.3, 3), -1: rng.uniform(0.3, 3)}, "count_rows": rng.random() < 0.5}
    pool_labels = rng.choice([-1.0, 1.0], 8) if rng.random() < 0.5 else None
    space = {
        "box": lambda: FeatureSpace(0.0, 1.0),
        "box per label": lambda: FeatureSpace({1: -0.3, -1: 0.1}, {1: 0.8, -1: 1.4}),
        "one label": lambda: FeatureSpace(0.0, 1.0, labels=[int(rng.choice([-1, 1]))]),
        "records": lambda: FeatureSpace(0.0, 1.0, **{str(rng.choice(["one_hot", "at_most_one"])): [[0, 1]]}),
        "whole numbers": lambda: FeatureSpace(0.0, 2.0, integer=[0]),
        "pool": lambda: CandidatePool(rng.random((8, d)), pool_labels),
    }[kind]()
    names = (loss, "alpha" if alpha else "C", intercept, kind, "weighted" if "class_weight" in options else "plain")
    return X, y, make_objective(loss, **options), space, rng.random((6, d)), names


def points_of(rng, space, d, label, n):
    """Points of the space with a label: random ones and vertices."""
    if space.is_finite:
        signs = space.signs()
        may = np.arange(len(space.X)) if signs is None else np.flatnonzero(signs == label)
        return space.X[rng.choice(may, min(n, len(may)), replace=False)] if len(may) else np.empty((0, d))
    region = space.regions(d).get(label)
    if region is None:
        return np.empty((0, d))
    vertices = [region.linear_argmax(rng.standard_normal(d)) for _ in range(n)]
    if region.is_convex:
        share = rng.random((n // 2, d))
        vertices += list(region.lower + share * (region.upper - region.lower))
    return np.array(vertices)


def dealt(share, m):
    counts = np.floor(share * m).astype(int)
    counts[np.argmax(share)] += m - counts.sum()
    return counts


def attacks(rng, space, objective, train, row, sign, m, pushes, times):
    """(name, points, labels, counts) of every attack with m points; of what is drawn, ``times`` as many."""
    d = len(row)
    parts = [(label, points_of(rng, space, d, label, 6)) for label in (1.0, -1.0)]
    points = np.vstack([p for _, p in parts])
    labels = np.concatenate([np.full(len(p), label) for label, p in parts])
    for _ in range(30 * times):
        yield "random", points, labels, dealt(rng.dirichlet(np.full(len(points), 0.2)), m)
    own = list(Flips(*train[:2], objective, None, None, space, m)._candidates(row, sign))
    for point, label in own:
        yield "copies", point[None], np.array([label]), np.array([m])
        for share in SHARES * times:
            other = int(rng.integers(len(points)))
            mixed = np.vstack([point[None], points[other : other + 1]])
            yield "copies", mixed, np.array([label, labels[other]]), dealt(np.array([share, 1.0 - share]), m)
    for push in pushes:
        strong, signs, parts = (np.array(entry) for entry in zip(*push, strict=True))
        yield "maximiser", strong, signs, dealt(parts, m)
        for share in SHARES * times:
            other = int(rng.integers(len(points)))
            mixed, both = np.vstack([strong, points[other : other + 1]]), np.append(signs, labels[other])
            yield "maximiser", mixed, both, dealt(np.append(share * parts, 1.0 - share), m)
    for point, label in [*own, *(entry[:2] for push in pushes for entry in push)]:
        points, labels = np.vstack([points, point]), np.append(labels, label)
    share = np.zeros(len(points))
    z = labels[:, None] * np.column_stack([points, np.ones(len(points))])
    a = sign * np.append(row, objective.one)
    theta = train[2]
    for turn in range(8):
        pull = -objective.loss.derivative(z @ theta - 1e-9) * -(z @ a)
        best = int(np.argmax(pull * [objective.weight_of(label) for label in labels]))
        share = share * (1.0 - 1.0 / (turn + 1))
        share[best] += 1.0 / (turn + 1)
        counts = dealt(share / share.sum(), m)
        yield "greedy", points, labels, counts
        theta = trained(*train[:2], objective, points, labels, counts).theta


def joint_attacks(rng, space, d, m):
    """(name, points, labels, counts) of attacks with m points on whatever the joint bounds are of."""
    for turn in range(12):
        parts = [(label, points_of(rng, space, d, label, 3)) for label in ((1.0, -1.0), (1.0,), (-1.0,))[turn % 3]]
        points = np.vstack([own for _, own in parts])
        if len(points):
            labels = np.concatenate([np.full(len(own), label) for label, own in parts])
            yield "joint", points, labels, dealt(rng.dirichlet(np.full(len(points), 0.3)), m)


def beyond(joint, m, proof, X, y, model):
    """The joint bounds of m points that this model exceeds."""
    b = joint.at(m)
    if b is None:
        return []
    objective = proof.objective
    score = proof.signs * (proof.rows @ model.theta[:-1] + model.theta[-1])
    margin = objective.margins(model.theta, X, y)
    weight = np.ones(len(y)) if objective.class_weight is None else objective.weights(y)
    loss = float(weight @ objective.loss.value(margin)) / weight.sum()
    return [name for name, exceeds in (
        ("wrong", np.count_nonzero(score < -1e-7) > joint.wrong[b]),
        ("score", np.any(score < joint.score[b] - 1e-6)),
        ("loss", loss > joint.loss[b] + 1e-7),
        ("error", float(weight @ (margin < -1e-7)) / weight.sum() > joint.error[b] + 1e-12),
    ) if exceeds]  # fmt: skip


def trained(X, y, objective, points, labels, counts):
    weight = np.append(np.ones(len(y)), counts)
    amount = objective.amount(y) + float(np.dot([objective.per_point(label) for label in labels], counts))
    return refit(
        np.vstack([X, points]), np.append(y, labels), objective, sample_weight=weight, total_weight=amount, tol=1e-10
    )


def second_opinion(X, y, objective, points, labels, counts):
    """scikit-learn's model, or None where it has no such trainer."""
    if objective.class_weight is not None or not objective.fit_intercept:
        return None
    X, y = np.vstack([X, np.repeat(points, counts, axis=0)]), np.append(y, np.repeat(labels, counts))
    C = 1.0 / objective.k(len(y))
    if objective.loss.name == "log_loss":
        solver = "lbfgs" if objective.is_free else "liblinear"
        judge = LogisticRegression(C=C, solver=solver, tol=1e-10, max_iter=10**5)
    elif objective.is_free:
        return None
    else:
        judge = LinearSVC(C=C, loss=objective.loss.name, dual=True, tol=1e-9, max_iter=10**6)
    judge.fit(X, y)
    return np.append(judge.coef_[0], judge.intercept_)


class Pushes:
    """The points at which the certificates of the last guarantee are nearly broken, row by row."""

    def __init__(self):
        self.bundles = []
        own = Bundle.settle

        def settle(bundle):
            own(bundle)
            self.bundles.append(bundle)

        Bundle.settle = settle

    def of(self, a):
        found = []
        for bundle in self.bundles:
            at = np.flatnonzero((bundle.a == a).all(axis=1))
            if len(at):
                found.append(bundle.pushes(False)[at[0]])
        return found


def judged(seed, caught, times):
    """One problem: what was tried, by name and kind, and what flipped."""
    X, y, objective, space, rows, names = draw(seed)
    rng = np.random.default_rng([seed, 1])
    fit = refit(X, y, objective, tol=1e-10)
    signs = np.where(rows @ fit.theta[:-1] + fit.theta[-1] > 0, 1.0, -1.0)
    caught.bundles = []
    guarantee = per_row.certify(
        X, y, fit.theta, objective, space, rows, signs, attack=False, joint=True, budgets=COUNTS, branches=2 + seed % 3
    )
    assert guarantee.check(X, y).ok
    tried, flipped, opinions, apart = Counter(), [], 0, 0.0
    joint, of_joint = guarantee.joint, Counter(no_bound=int(np.sum(~np.isfinite(guarantee.joint.loss))))

    def held(name, m, points, labels, counts):
        """The model of an attack; what it exceeds of the joint bounds is noted."""
        model = trained(X, y, objective, points, labels, counts)
        tried[name] += 1
        of_joint["held against"] += joint.at(m) is not None
        flipped.extend((seed, names, m, name, what) for what in beyond(joint, m, guarantee.proof, X, y, model))
        return model

    for m in COUNTS:
        for name, points, labels, counts in joint_attacks(rng, space, X.shape[1], m):
            held(name, m, points, labels, counts)
    for row, sign, bound in zip(rows, signs, guarantee.lower_bound, strict=True):
        pushes = [] if space.is_finite else caught.of(sign * np.append(row, objective.one))
        m = int(bound) - 1
        if m > 2 and rng.random() < 0.2:
            m = int(rng.integers(1, m))
        seen = set()
        if m < 1:
            continue
        train = X, y, fit.theta
        for name, points, labels, counts in attacks(rng, space, objective, train, row, sign, m, pushes, times):
            there = counts > 0
            points, labels, counts = points[there], labels[there], counts[there]
            key = points.tobytes(), labels.tobytes(), counts.tobytes()
            if key in seen:
                continue
            seen.add(key)
            model = held(name, m, points, labels, counts)
            score = sign * float(row @ model.theta[:-1] + model.theta[-1])
            if score < -1e-7:
                flipped.append((seed, names, m, name, score))
            if (seed + sum(tried.values())) % 100 == 0:
                theta = second_opinion(X, y, objective, points, labels, counts)
                if theta is not None:
                    opinions += 1
                    apart = max(apart, float(np.abs(theta - model.theta).max()))
                    if sign * float(row @ theta[:-1] + theta[-1]) < -1e-4:
                        flipped.append((seed, names, m, "second opinion", score))
    return {"seed": seed, "names": names, "tried": tried, "bounds": guarantee.lower_bound.tolist(), "flipped": flipped,
            "opinions": opinions, "apart": apart, "joint": of_joint}  # fmt: skip


def table(problems):
    """The lines of the report."""
    tried, groups, joint = Counter(), Counter(), Counter()
    for problem in problems:
        tried.update(problem["tried"])
        joint.update(problem.get("joint", {}))
        for part, value in zip(("loss", "penalty", "intercept", "space", "weights"), problem["names"], strict=True):
            groups[part, value] += sum(problem["tried"].values())
    sizes = np.concatenate([problem["bounds"] for problem in problems])
    flipped = [flip for problem in problems for flip in problem["flipped"]]
    seeds = np.sort([problem["seed"] for problem in problems])
    ends = np.flatnonzero(np.diff(seeds) > 1)
    runs = zip(seeds[np.append(0, ends + 1)], seeds[np.append(ends, len(seeds) - 1)], strict=True)
    opinions, apart = sum(problem["opinions"] for problem in problems), max(problem["apart"] for problem in problems)
    return [
        "# Planted attacks with fewer points than certified",
        "",
        f"Seeds {', '.join(f'{a} to {b}' for a, b in runs)}: {len(problems):,} problems, {len(sizes):,} rows, "
        f"{sum(tried.values()):,} attacks, **{len(flipped)} flips**. `python benchmarks/guarantee_soundness.py`",
        "",
        f"Bounds: median {np.median(sizes):g}, largest {max(sizes)}, at least 2 on {np.mean(sizes > 1):.0%} of rows. "
        f"{opinions:,} attacks were retrained by scikit-learn as well: its models are at most {apart:.1g} away.",
        "",
        f"Held against the joint bounds: {joint['held against']:,} (no finite bound: {joint['no_bound']}).",
        "",
        "| attack | tried |",
        "| --- | --- |",
        *(f"| {name} | {count:,} |" for name, count in sorted(tried.items())),
        "",
        "| | | tried |",
        "| --- | --- | --- |",
        *(f"| {part} | {value} | {count:,} |" for (part, value), count in sorted(groups.items())),
        *(f"\nFLIP {flip}" for flip in flipped),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--intercept", choices=INTERCEPTS)
    parser.add_argument("--log", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "guarantee_soundness.md")
    args = parser.parse_args()
    end, caught = time.monotonic() + 60.0 * args.minutes, Pushes()
    logs = [path for path in args.log if path.exists()]
    problems = [json.loads(line) for path in logs for line in path.read_text(encoding="utf-8").splitlines()]
    seed = max([args.first - 1, *(problem["seed"] for problem in problems)]) + 1
    while time.monotonic() < end:
        if args.intercept not in (None, draw(seed)[-1][2]):
            seed += 1
            continue
        problems.append(judged(seed, caught, args.times))
        if args.log:
            with open(args.log[0], "a", encoding="utf-8") as file:
                file.write(json.dumps(problems[-1]) + "\n")
        seed += 1
    lines = table(problems)
    args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    raise SystemExit(any(problem["flipped"] for problem in problems))


if __name__ == "__main__":
    main()
