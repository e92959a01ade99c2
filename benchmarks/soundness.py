"""Are the claims true? Planted problems whose answer is known, and a judge that believes nothing.

    python benchmarks/soundness.py                        # 100,000 problems, two processes; about 50 minutes
    python benchmarks/soundness.py --problems 2000        # a first look
    python benchmarks/soundness.py --log rows.jsonl       # stopped and called again, it goes on
    python benchmarks/soundness.py --seed 4711            # one problem, printed with what came out

Problem ``seed`` is drawn by ``numpy.random.default_rng(seed)``: clean rows, a loss, a convention, weights, a feasible
set (box, box per label, one label, whole numbers and one-hot groups, a pool with or without ``max_repeats``), a scale
of the features from 1e-8 to 1e8, and k points planted in the set (corners, faces, inside; some repeated). The victim is
trained on clean rows plus plants, to rounding or by scikit-learn at ``tol`` 1e-10 to 1e-4 (warnings and all): that is
the target, handed over as the fitted estimator. So k points reach it, and these claims are false:

* ``bound``: ``lower_bound`` above k, of the minimum or of Algorithm 1, where the plants induce a model that counts as a
  hit: no further from the target than :func:`mtpfast.proofs.goal.hit_radius`. (``beyond``: the same where the trainer
  left the
  target further off than that. Such a bound is not false, for k points do not reach what it speaks of.)
* ``unattainable``: the status, or a lower bound that says "never", where the trainer left the target within
  :data:`COARSE` of the optimum, relative: what the message allows a trainer. (Further off: ``beyond``.)
* ``reached``: the status, where an independent retraining ends further from the target than :data:`HIT`, relative;
* ``verify``: :class:`VerificationError` for a result that none of the above finds fault with (every tenth problem);
* ``error``: any exception but a ValueError that names what is out of range.

Every fourth round of the 90 combinations (``whole``) asks for whole counts, the others for the fractional minimum,
which takes a third of the time and claims the same bounds. ``stalled`` counts "no whole counts found" of the former,
``more`` its counts above k: both are honest, and wanted rare.
A target that its trainer left further than :data:`BROKEN` from the optimum, relative, is not one that the plants
induce, and one whose scores are nothing but rounding is no model: such problems are counted apart (``untrained``).
"""

from __future__ import annotations

# isort: split
import argparse
import json
import sys
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import report
from joblib import Parallel, delayed
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC, LinearSVC

from mtpfast import CandidatePool, FeatureSpace, VerificationError, minimum_poisoning, poison
from mtpfast.losses.objective import make_objective
from mtpfast.proofs.goal import hit_radius
from mtpfast.training.victim import refit

HIT = 1e-5  # relative l2 distance after the judge's own retraining, which is itself no nearer than 1e-6
BROKEN, COARSE = 1e-2, 1e-3
FLAT = 1e-9  # the largest score of a model that is none
NEVER = 2**63 - 1
LOSSES = ("hinge", "squared_hinge", "log_loss")
SPACES = ("box", "box per label", "one label", "records", "pool", "pool, capped")
TRAINERS = ("exact", 1e-10, 1e-8, 1e-6, 1e-4)
ROUNDING = 1e-14  # of an objective
VERIFY_EVERY = 10
WHOLE_EVERY = 4


class Problem:
    """The planted problem of one seed."""

    def __init__(self, seed: int):
        rng = np.random.default_rng(seed)
        self.seed, self.rng = seed, rng
        self.loss = LOSSES[seed % 3]
        self.kind = SPACES[seed // 3 % 6]
        self.trainer = TRAINERS[seed // 18 % 5]
        self.whole_counts = seed // 90 % WHOLE_EVERY == 0
        n, d = int(rng.integers(4, 41)), int(rng.integers(1, 6))
        self.scale = 1.0 if rng.random() < 0.6 else float(10.0 ** rng.integers(-8, 9))
        self.conv = {"fit_intercept": bool(rng.random() < 0.85), "penalize_intercept": bool(rng.random() < 0.5)}
        strength = float(10.0 ** rng.uniform(-1.5, 1.5))
        if self.scale == 1.0 or rng.random() < 0.5:
            C = strength / self.scale**2  # the same problem in other units
        else:
            C = strength  # another problem: next to no penalty, or next to nothing else
        X = rng.random((n, d))
        y = np.where(X @ rng.normal(size=d) + 0.3 * rng.normal(size=n) > 0.2, 1.0, -1.0)
        y[:2] = 1.0, -1.0
        self.weight = None if rng.random() < 0.7 else rng.integers(1, 4, n).astype(float)
        k = int(rng.integers(1, 7))
        points, labels = self._plants(rng, k, d, X)
        self.X, self.y, self.k = X * self.scale, y, k
        self.points, self.labels = points * self.scale, labels
        self.space = self._space(rng, d)
        total = float(n if self.weight is None else self.weight.sum()) + k
        self.conv["C" if rng.random() < 0.5 else "alpha"] = C
        if "alpha" in self.conv:
            self.conv["alpha"] = 1.0 / (C * total)
        self.C = C
        self.objective = make_objective(self.loss, **self.conv)

    def _plants(self, rng, k, d, X):
        """k points of the set, before scaling, with labels."""
        if self.kind == "records":  # a whole number in 0..3, a group of three levels, numbers
            self.whole = d >= 2
            self.group = d >= 4
        low, high = np.zeros(d), np.ones(d)
        where = rng.choice(["corner", "face", "inside"], p=[0.4, 0.2, 0.4])
        points = rng.random((k, d))
        if where == "corner":
            points = rng.integers(0, 2, (k, d)).astype(float)
        elif where == "face":
            snap = rng.random((k, d)) < 0.5
            points = np.where(snap, rng.integers(0, 2, (k, d)), points)
        if self.kind == "records":
            if self.whole:
                points[:, 0] = rng.integers(0, 4, k) / 3.0
            if self.group:
                points[:, 1:4] = np.eye(3)[rng.integers(0, 3, k)]
        labels = rng.choice([-1.0, 1.0], k)
        if self.kind == "one label":
            labels[:] = labels[0]
        self.low = dict.fromkeys((1.0, -1.0), low)
        self.high = dict.fromkeys((1.0, -1.0), high)
        if self.kind == "box per label":
            for sign in (1.0, -1.0):
                middle = 0.4 * rng.random(d)
                self.low[sign], self.high[sign] = middle, middle + 0.6
                points[labels == sign] = middle + 0.6 * points[labels == sign]
        for i in range(1, k):  # some plants stand twice, as a search would have them
            if rng.random() < 0.3:
                points[i], labels[i] = points[i - 1], labels[i - 1]
        return points, labels

    def _space(self, rng, d):
        s = self.scale
        if self.kind == "box":
            return FeatureSpace(np.zeros(d), np.full(d, s))
        if self.kind == "box per label":
            bounds = [{int(sign): s * side[sign] for sign in (1.0, -1.0)} for side in (self.low, self.high)]
            return FeatureSpace(*bounds)
        if self.kind == "one label":
            return FeatureSpace(np.zeros(d), np.full(d, s), labels=[int(self.labels[0])])
        if self.kind == "records":
            upper = np.full(d, s)
            rules = {"lattice": {0: (0.0, s / 3.0)}} if self.whole else {}
            if self.group:  # it is on at 1: its columns stay as they are
                rules["one_hot"], upper[1:4] = [[1, 2, 3]], 1.0
                self.points[:, 1:4] /= s
            return FeatureSpace(np.zeros(d), upper, **rules)
        other = rng.random((int(rng.integers(0, 6)), d)) * s
        rows = np.vstack([self.points, other])
        labels = np.concatenate([self.labels, rng.choice([-1.0, 1.0], len(other))])
        y = labels if rng.random() < 0.7 else None
        return CandidatePool(rows, y, max_repeats=self.k if self.kind == "pool, capped" else None)

    def data(self, points, labels, counts):
        """Clean rows and points as one training set: rows, labels, weights."""
        weight = np.ones(len(self.y)) if self.weight is None else self.weight
        return (
            np.vstack([self.X, np.reshape(points, (-1, self.X.shape[1]))]),
            np.concatenate([self.y, labels]),
            np.concatenate([weight, counts]),
        )

    def target(self):
        """The target as its trainer leaves it, its ``theta``, and that of the optimum."""
        X, y, c = self.data(self.points, self.labels, np.ones(self.k))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", ConvergenceWarning)
            best = refit(X, y, self.objective, sample_weight=c, tol=1e-13).theta
        if told:  # what the optimum is, is not known
            return best, best, np.full_like(best, np.nan)
        model = None if self.trainer == "exact" else self._trainer()
        if model is None:
            return best, best, best
        model.fit(X, y, sample_weight=c)
        intercept = model.intercept_ if self.conv["fit_intercept"] else [0.0]
        return model, np.concatenate([model.coef_[0], np.ravel(intercept)[:1]]), best

    def away(self, theta, other):
        """Relative l2 distance."""
        return float(np.linalg.norm(theta - other) / max(np.linalg.norm(other), 1e-300))

    def _trainer(self):
        """The scikit-learn estimator of this objective, or None where there is none."""
        one, penalized = self.conv["fit_intercept"], self.conv["penalize_intercept"]
        tol = {"tol": self.trainer, "max_iter": 100_000}
        if self.loss == "log_loss":
            solver = "liblinear" if one and penalized else "lbfgs"
            return LogisticRegression(C=self.C, fit_intercept=one, solver=solver, random_state=0, **tol)
        if one and not penalized:
            return SVC(kernel="linear", C=self.C, **tol) if self.loss == "hinge" else None
        dual = self.loss == "hinge"
        return LinearSVC(loss=self.loss, C=self.C, dual=dual, fit_intercept=one, random_state=0, **tol)


def retrained(problem: Problem, points, labels, counts):
    """``theta`` of the victim by solvers that share nothing with the package, and whether they are near the optimum."""
    X, y, c = problem.data(points, labels, counts)
    s = problem.scale  # in units in which the features are of order 1
    objective = problem.objective
    k = objective.k(float(c.sum()))
    one = 1.0 if objective.fit_intercept else 0.0
    A = y[:, None] * np.column_stack([X / s, np.full(len(y), one)])
    penalty = np.concatenate([np.full(X.shape[1], k / s**2), [k * objective.r]])
    try:
        theta, good = _hinge_dual(A, c, penalty) if problem.loss == "hinge" else _newton(A, c, penalty, problem.loss)
    except (ValueError, np.linalg.LinAlgError):  # the judge's own solver overflowed
        theta, good = np.zeros(A.shape[1]), False
    return theta / np.concatenate([np.full(X.shape[1], s), [1.0]]), good


def _newton(A, c, penalty, loss):
    theta = np.zeros(A.shape[1])

    def parts(theta):
        m = A @ theta
        if loss == "log_loss":
            s = np.exp(-np.logaddexp(0.0, m))
            return np.logaddexp(0.0, -m), s, s * (1.0 - s)
        gap = np.maximum(0.0, 1.0 - m)
        return gap**2, 2.0 * gap, 2.0 * (gap > 0)

    def value(theta):
        return float(c @ parts(theta)[0] + 0.5 * penalty @ theta**2)

    for _ in range(200):
        _, s, h = parts(theta)
        g = penalty * theta - A.T @ (c * s)
        H = (A * (c * h)[:, None]).T @ A + np.diag(penalty)
        step = np.linalg.lstsq(H, g, rcond=1e-15)[0]
        t, here = 1.0, value(theta)
        while value(theta - t * step) > here - 1e-4 * t * float(g @ step) and t > 1e-10:
            t /= 2
        theta = theta - t * step
        if np.linalg.norm(t * step) <= 1e-12 * max(1e-300, np.linalg.norm(theta)):
            break
    _, s, h = parts(theta)
    g = penalty * theta - A.T @ (c * s)
    H = (A * (c * h)[:, None]).T @ A + np.diag(penalty)
    doubt = 1e-15 * (np.abs(A).T @ (c * s) + penalty * np.abs(theta))  # of g, by rounding
    if np.linalg.cond(H) > 1e13:  # directions that only a penalty below rounding holds: nothing to judge by
        return theta, False
    off = np.linalg.norm(np.abs(np.linalg.inv(H)) @ (np.abs(g) + doubt))
    return theta, bool(off <= 1e-7 * np.linalg.norm(theta))


def _hinge_dual(A, c, penalty):
    """The dual of the hinge by an interior-point method for box constraints: minimise the smoothed primal ever sharper,
    then solve the optimality conditions of the rows on the margin."""
    theta = np.zeros(A.shape[1])
    for width in 10.0 ** -np.arange(0.0, 9.0):

        def primal(theta, width=width):
            z = (1.0 - A @ theta) / width
            value = width * float(c @ np.logaddexp(0.0, z)) + 0.5 * float(penalty @ theta**2)
            p = np.exp(-np.logaddexp(0.0, -z))
            return value, penalty * theta - A.T @ (c * p)

        def hessian(theta, width=width):
            z = (1.0 - A @ theta) / width
            p = np.exp(-np.logaddexp(0.0, -z))
            return (A * (c * p * (1 - p) / width)[:, None]).T @ A + np.diag(penalty)

        theta = minimize(primal, theta, jac=True, hess=hessian, method="trust-exact", options={"gtol": 1e-10}).x
    m = A @ theta
    on = np.abs(m - 1.0) < 1e-6
    below = (m < 1.0) & ~on
    # penalty theta - A_below' c - A_on' t = 0, A_on theta = 1
    force, B = A[below].T @ c[below], A[on]
    size = A.shape[1]
    K = np.block([[np.diag(penalty), -B.T], [B, np.zeros((len(B), len(B)))]])
    solved = np.linalg.lstsq(K, np.concatenate([force, np.ones(len(B))]), rcond=1e-13)[0]
    polished = solved[:size]
    t = solved[size:]
    near = np.linalg.norm(polished - theta) <= 1e-4 * max(1e-300, np.linalg.norm(theta))
    held = np.all((t >= -1e-7 * c[on]) & (t <= c[on] * (1 + 1e-7)))
    return (polished if near and held else theta), bool(near and held)


def judge(seed: int, check: bool | None = None) -> dict:
    """What is false about the answers to problem ``seed``."""
    warnings.simplefilter("ignore")
    problem = Problem(seed)
    row = {"loss": problem.loss, "space": problem.kind, "trainer": str(problem.trainer), "seed": seed}
    check = seed % VERIFY_EVERY == 0 if check is None else check
    try:
        target, theta, best = problem.target()
        scores = np.abs(problem.X) @ np.abs(theta[:-1]) + abs(theta[-1])
        if not problem.away(theta, best) <= BROKEN or not np.max(scores) > FLAT:
            return {**row, "untrained": 1}
        hit = np.linalg.norm(theta - best) <= hit_radius(theta, problem.space, problem.conv["fit_intercept"])
        asked = dict(loss=problem.loss, feasible_set=problem.space, sample_weight=problem.weight, **problem.conv)
        exact = minimum_poisoning(problem.X, problem.y, target, integer=problem.whole_counts, **asked)
        online = poison(problem.X, problem.y, target, max_points=15, tol=1e-6, **asked)
    except ValueError as error:
        return {**row, "refused" if "scale" in str(error) or "range" in str(error) else "error": 1, "said": str(error)}
    except Exception:
        return {**row, "error": 1, "said": traceback.format_exc(limit=-3)}
    found = {"problems": 1}
    bound = max(exact.lower_bound, online.lower_bound)
    if problem.k < bound < NEVER:
        found["bound" if hit else "beyond"] = 1
    if exact.status == "unattainable" or bound == NEVER:
        found["unattainable" if problem.away(theta, best) <= COARSE else "beyond"] = 1
    for result in (exact, online):
        if result.status != "reached" or result.stop == "loss_difference":
            continue
        again, good = retrained(problem, result.points, result.labels, result.counts)
        rows, labels, weight = problem.data(result.points, result.labels, result.counts)
        value, known = (problem.objective.value(each, rows, labels, weight) for each in (again, result.theta))
        good = good and value <= known + ROUNDING * abs(known)  # a judge that ends higher has not arrived
        unique = problem.conv["penalize_intercept"] or not problem.conv["fit_intercept"] or problem.loss != "hinge"
        if not good or not unique:
            found["not judged"] = 1
        elif problem.away(again, theta) > HIT:
            found["reached"] = 1
            row["away"] = problem.away(again, theta)
    found["whole"] = int(problem.whole_counts)
    found["stalled"] = int(problem.whole_counts and exact.status == "stalled")
    found["more"] = int(exact.status == "reached" and exact.n_points > problem.k)
    found["hit"] = int(exact.status == "reached")
    if check and "bound" not in found and "unattainable" not in found and "reached" not in found:
        for result in (exact, online):
            try:
                report_ = result.verify(problem.X, problem.y, problem.weight)
                found["verified"] = found.get("verified", 0) + 1
                found["undecided"] = found.get("undecided", 0) + int(bool(getattr(report_, "undecided", ())))
            except VerificationError as error:
                found["verify"] = 1
                row["said"] = str(error)[:300]
            except Exception:
                found["error"] = 1
                row["said"] = traceback.format_exc(limit=-3)
    return {**row, **found}


FALSE = ("bound", "unattainable", "reached", "verify", "error")


def table(rows, key):
    """A line for every value of ``key``."""
    lines = []
    for value in dict.fromkeys(row[key] for row in rows):
        part = [row for row in rows if row[key] == value]
        sums = Counter()
        for row in part:
            sums.update({name: n for name, n in row.items() if isinstance(n, int) and name != "seed"})
        names = (
            "problems",
            *FALSE,
            "beyond",
            "whole",
            "stalled",
            "more",
            "verified",
            "undecided",
            "not judged",
            "untrained",
            "refused",
        )
        lines.append({key: value, **{name: sums[name] for name in names}})
    return lines


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, help="one problem only")
    parser.add_argument("--log", type=Path, help="a file of one line a problem: what it holds is not judged again")
    options = parser.parse_args(argv)
    if options.seed is not None:
        print(judge(options.seed, check=True))
        return 0
    start, step = time.perf_counter(), 500
    seeds = range(options.first, options.first + options.problems)
    done = (
        {row["seed"]: row for row in map(json.loads, options.log.open())}
        if options.log and options.log.exists()
        else {}
    )
    rows, left = [done[seed] for seed in seeds if seed in done], [seed for seed in seeds if seed not in done]
    with Parallel(n_jobs=options.jobs) as parallel:
        for first in range(0, len(left), step):
            new = parallel(delayed(judge)(seed) for seed in left[first : first + step])
            rows += new
            if options.log:
                with options.log.open("a") as file:
                    file.writelines(json.dumps(row) + "\n" for row in new)
            false = {name: sum(row.get(name, 0) for row in rows) for name in (*FALSE, "stalled", "more")}
            sys.stderr.write(f"{len(rows)} problems, {time.perf_counter() - start:.0f} s: {false}\n")
    for row in rows:
        row["all"] = "all"
    tables = {f"by {key}": table(rows, key) for key in ("all", "loss", "space", "trainer")}
    wrong = [row for row in rows if any(row.get(name) for name in FALSE)]
    notes = [f"{row['seed']}: {', '.join(name for name in FALSE if row.get(name))}" for row in wrong[:40]]
    command = f"python benchmarks/soundness.py --problems {options.problems} --first {options.first}"
    report.write("soundness", command, tables, notes)
    for title, lines in tables.items():
        print(f"\n{title}\n{report.markdown(lines)}")
    for row in wrong[:40]:
        print({name: row[name] for name in ("seed", "loss", "space", "trainer", *FALSE, "said", "away") if name in row})
    stalled = [row["seed"] for row in rows if row.get("stalled")]
    print("stalled:", stalled[:60])
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
