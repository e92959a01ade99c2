"""This build beside another one: CPU seconds of the same work on the same inputs, interleaved, medians and their ratio.

    python benchmarks/against.py ../earlier                    # a checkout with its modules built in place
    python benchmarks/against.py venv/bin/python               # or the python of an environment with another mtpfast
    python benchmarks/against.py ../earlier --only oracle records --rounds 9

Every measurement is a process of its own, and the builds take turns: what else the machine does meets both alike.
A case speaks to the package by its public names only, and gives back a number, the answer: the table says by how much
the answers differ.
"""

from __future__ import annotations

import environment

# isort: split
import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import report

ALPHA = 0.09
ADULT_GROUPS = [range(4, 12), range(12, 27), range(27, 33), range(33, 47), range(47, 52), range(52, 56)]


def oracle(d, near, loss):
    """A call of max_loss_difference over a kept box, 100 calls a measurement."""
    from mtpfast import FeatureSpace, max_loss_difference

    rng = np.random.default_rng([d, near])
    target = rng.normal(size=d + 1) / np.sqrt(d)
    other = rng.normal(size=d + 1) / np.sqrt(d)
    theta = target + 0.02 * other if near else other
    space = FeatureSpace(np.zeros(d), np.ones(d))
    return lambda: max_loss_difference(theta, target, space, loss=loss).value, 100


def oracle_anew(d):
    """The same with the space made in the call."""
    from mtpfast import FeatureSpace, max_loss_difference

    theta, target = np.random.default_rng(d).normal(size=(2, d + 1)) / np.sqrt(d)
    lower, upper = np.zeros(d), np.ones(d)
    return lambda: max_loss_difference(theta, target, FeatureSpace(lower, upper)).value, 100


def records(shape, near):
    """A call over records of Adult's shape, 60 pairs of models a measurement."""
    from mtpfast import FeatureSpace, max_loss_difference

    space = FeatureSpace(integer=range(4, 57), at_most_one=ADULT_GROUPS if shape == "groups" else [])
    rng, pairs = np.random.default_rng([57, near]), []
    for _ in range(60):
        target, other = 3.0 * rng.normal(size=(2, 58)) / np.sqrt(57)
        pairs.append((target + 0.02 * other if near else other, target))
    turn = iter(range(10**9))
    return lambda: max_loss_difference(*pairs[next(turn) % 60], space).value, 60


def steps(name, loss, points, repeats=3):
    """Algorithm 1 from the clean model, so many points; the target are flipped rows of small margin."""
    from mtpfast import FeatureSpace, ModelTargetedPoisoner, make_target

    data = datasets.load(name)
    X, y = data.X_train, data.y_train
    target = make_target(X, y, quantiles=[0.1], repeats=[repeats], goal=0.0, loss=loss, alpha=ALPHA)
    target = target.coef_, target.intercept_
    attacker = ModelTargetedPoisoner(
        loss=loss, alpha=ALPHA, feasible_set=FeatureSpace(0.0, 1.0), tol=0.0, max_points=points
    ).fit(X, y)
    return lambda: attacker.attack(target).loss_difference, 1


def unscaled():
    """The table of credit default as it is: amounts up to 1e6 beside codes from 0 to 9."""
    table = pd.read_csv(datasets.DATA / "credit_default_raw.csv.gz")
    y = np.where(table.pop(table.columns[-1]).to_numpy() > 0, 1.0, -1.0)
    return table.select_dtypes("number").to_numpy(float), y


def tapes(name, loss, quantiles, repeats=None, goal=0.0, read=True):
    """make_target, the clean fit included; ``read``: all of its candidates, too."""
    from mtpfast import make_target

    X, y = unscaled() if name == "credit default" else datasets.load(name)[1:3]
    options = {"quantiles": quantiles, "repeats": repeats, "goal": goal, "loss": loss, "alpha": ALPHA}

    def work():
        target = make_target(X, y, **options)
        return target.candidates[-1].clean_objective if read else target.clean_objective

    return work, 1


def minimum(name, loss, quantile=0.1):
    """MinimumPoisoner on a label-flip target, the clean fit not included."""
    from mtpfast import FeatureSpace, MinimumPoisoner, make_target

    data = datasets.load(name)
    X, y = data.X_train, data.y_train
    target = make_target(X, y, quantiles=[quantile], repeats=[2], goal=0.0, loss=loss, alpha=ALPHA)
    target = target.coef_, target.intercept_
    attacker = MinimumPoisoner(loss=loss, alpha=ALPHA, feasible_set=FeatureSpace(0.0, 1.0)).fit(X, y)
    return lambda: float(attacker.attack(target).n_points), 1


def documents(name):
    """MinimumPoisoner with documents and the log loss, the clean fit not included: the bound as a share of the points,
    which do not hit the target to the last digit."""
    from mtpfast import DocumentSpace, MinimumPoisoner, make_target

    X, y = datasets.load(name)[1:3]
    options = {"loss": "log_loss", "alpha": ALPHA}
    target = make_target(X, y, quantiles=[0.2], repeats=[2], goal=0.0, **options)
    target = target.coef_, target.intercept_
    attacker = MinimumPoisoner(feasible_set=DocumentSpace.from_data(X), **options).fit(X, y)

    def work():
        result = attacker.attack(target)
        return result.lower_bound / result.n_points

    return work, ONCE


def grown(n):
    """So many rows like Adult's: drawn from them, the four continuous columns moved by up to 0.02."""
    X, y = datasets.load("adult")[1:3]
    rng = np.random.default_rng(n)
    chosen = rng.integers(len(y), size=n)
    X = X[chosen]
    X[:, :4] = np.clip(X[:, :4] + rng.uniform(-0.02, 0.02, (n, 4)), 0.0, 1.0)
    return X, y[chosen]


def growth(work, n):
    """make_target over full tapes (an error of 30 %), or the fewest points within a tenth of the way to its target."""
    from mtpfast import FeatureSpace, MinimumPoisoner, make_target

    X, y = grown(n)
    if work == "tapes":
        return lambda: make_target(X, y, goal=0.3, loss="hinge", alpha=ALPHA).clean_objective, 1
    target = make_target(X, y, quantiles=[0.1], repeats=[2], goal=0.0, loss="hinge", alpha=ALPHA)
    attacker = MinimumPoisoner(alpha=ALPHA, feasible_set=FeatureSpace(0.0, 1.0)).fit(X, y)
    away = np.append(np.ravel(target.coef_) - np.ravel(attacker.coef_), target.intercept_ - attacker.intercept_)
    attacker.set_params(tol=0.1 * float(np.linalg.norm(away)))
    return lambda: float(attacker.attack((target.coef_, target.intercept_)).n_points), 1


#: Quantile and repeats of the flips behind targets, and how near Algorithm 1 comes to them (D = 0.01; MNIST 0.1): of
#: the three subpopulations that paper.py takes, and of 5, 10 and 15 % test error.
ADULT_NEAR = {
    "hinge": [(0.5, 5, 0.009426), (0.8, 5, 0.013424), (0.8, 5, 0.010829)],
    "log_loss": [(0.8, 5, 0.032203), (0.8, 10, 0.036099), (1.0, 5, 0.042311)],
}
MNIST_NEAR = {5: (0.05, 12, 0.089104), 10: (0.05, 50, 0.098046), 15: (0.2, 5, 0.092170)}


def within(name, loss, quantile, repeats, tol, subpopulation=None, max_points=None):
    """MinimumPoisoner for any model within ``tol``, or the nearest for ``max_points``: one call, the clean fit not
    included. The answer is the bound as a share of the points found, or the distance."""
    from mtpfast import FeatureSpace, MinimumPoisoner, make_target

    data = datasets.load(name)
    X, y = data.X_train, data.y_train
    options = {"quantiles": [quantile], "repeats": [repeats], "goal": 0.0, "loss": loss, "alpha": ALPHA}
    if subpopulation is not None:
        clean = MinimumPoisoner(loss=loss, alpha=ALPHA).fit(X, y)
        found = list(datasets.subpopulations(data, np.append(clean.coef_, clean.intercept_)))
        options |= {"mask": found[subpopulation][1], "improved": False}
    target = make_target(X, y, **options)
    target = target.coef_, target.intercept_
    options = {"loss": loss, "alpha": ALPHA, "feasible_set": FeatureSpace(0.0, 1.0), "tol": tol}
    attacker = MinimumPoisoner(max_points=max_points, **options).fit(X, y)

    def work():
        result = attacker.attack(target)
        return float(result.distance if max_points else result.lower_bound / result.n_points)

    return work, ONCE


def tradeoff(name, tols):
    """MinimumPoisoner.tradeoff; the answer is the sum of the points."""
    from mtpfast import FeatureSpace, MinimumPoisoner, make_target

    data = datasets.load(name)
    X, y = data.X_train, data.y_train
    target = make_target(X, y, quantiles=[0.1], repeats=[2], goal=0.0, alpha=ALPHA)
    target = target.coef_, target.intercept_
    attacker = MinimumPoisoner(alpha=ALPHA, feasible_set=FeatureSpace(0.0, 1.0)).fit(X, y)
    return lambda: float(sum(result.n_points for result in attacker.tradeoff(target, tols))), ONCE


def records_attack(scaler, occupation):
    """Algorithm 1 with raw records of Adult's table, from a fitted attacker, to D = 0.02 (tables.py)."""
    import tables

    from mtpfast import ModelTargetedPoisoner, make_target

    table, income = datasets.adult_table()
    victim = tables.pipeline(tables.SCALERS[scaler], 0.01)
    attacker = ModelTargetedPoisoner.from_estimator(victim, tol=0.02).fit(table, income)
    mask = ((table["occupation"] == occupation) & (income == ">50K")).to_numpy()
    options = {"quantiles": [1.0], "repeats": [1, 2, 3, 5], "goal": 0.9, "loss": "hinge", "C": 0.01}
    target = make_target(table, income, mask=mask, preprocessing=attacker.preprocessing_, **options)
    return lambda: float(attacker.attack(target).n_points), ONCE


def memory(name, points, repeats, **options):
    """The peak of the resident memory of Algorithm 1 (Linux), X as 1: VmHWM above what there was before, imports and
    all. Options that a build does not know are left out."""
    import ctypes
    import gc

    from mtpfast import FeatureSpace, ModelTargetedPoisoner, make_target

    X, y = datasets.load(name)[1:3]
    target = make_target(X, y, quantiles=[0.1], repeats=[repeats], goal=0.0, loss="hinge", alpha=ALPHA)
    target = target.coef_, target.intercept_
    options = {key: value for key, value in options.items() if key in ModelTargetedPoisoner().get_params()}
    attacker = ModelTargetedPoisoner(alpha=ALPHA, feasible_set=FeatureSpace(0.0, 1.0), tol=0.0, **options)
    attacker.set_params(max_points=3).fit(X, y).attack(target)
    attacker.set_params(max_points=points)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # the heap of what came before would hide what the attack takes
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    before = _resident("VmRSS")

    def work():
        result = attacker.attack(target)
        return 1.0 + (_resident("VmHWM") - before) / datasets.n_bytes(X) if result.n_points == points else np.nan

    return work, ONCE


def _resident(which):
    """Bytes, as the system counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(which))


ONCE = 0  # calls of a case that takes long: the first is timed

#: name: (part, case, its arguments)
CASES = {
    **{
        f"oracle, {loss}, d = {d}, {'near' if near else 'far'}": ("oracle", oracle, (d, near, loss))
        for d in (57, 784, 2048)
        for near in (False, True)
        for loss in ("hinge", "squared_hinge", "log_loss")
    },
    "oracle, hinge, d = 57, the space made in the call": ("oracle", oracle_anew, (57,)),
    **{
        f"oracle over records, {shape}, {'near' if near else 'far'}": ("records", records, (shape, near))
        for shape in ("groups", "binary")
        for near in (False, True)
    },
    "Algorithm 1, Adult, hinge, 500 points": ("steps", steps, ("adult", "hinge", 500)),
    "Algorithm 1, Adult, log loss, 500 points": ("steps", steps, ("adult", "log_loss", 500)),
    "Algorithm 1, Adult, hinge, 1500 points": ("steps", steps, ("adult", "hinge", 1500)),
    "Algorithm 1, MNIST, hinge, 300 points": ("steps", steps, ("mnist", "hinge", 300)),
    # with three repeats words tie at step 24, and the last digit says which of them is part of a point
    "Algorithm 1, Enron, hinge, 500 points": ("steps", steps, ("enron", "hinge", 500, 2)),
    "make_target, Adult, hinge, 39 candidates": ("tapes", tapes, ("adult", "hinge", [0.1, 0.15, 0.3])),
    "make_target, Adult, log loss, 26 candidates": ("tapes", tapes, ("adult", "log_loss", [0.1, 0.3])),
    "make_target, MNIST, hinge, 14 candidates": (
        "tapes",
        tapes,
        ("mnist", "hinge", [0.1, 0.15], [1, 2, 3, 5, 8, 12, 20]),
    ),
    **{
        f"make_target, {name}, {loss}, full tapes, goal {goal}": (
            "targets", tapes, (name, loss, None, None, goal, False),
        )
        for name, loss, goals in (
            ("adult", "hinge", (0.1, 0.3)),
            ("mnist", "hinge", (0.05, 0.15)),
            ("credit default", "hinge", (0.25,)),
            ("credit default", "log_loss", (0.25,)),
        )
        for goal in goals
    },
    **{
        f"{name}, {n:,} rows": ("growth", growth, (work, n))
        for name, work in (("make_target, hinge, full tapes", "tapes"), ("within a tolerance, hinge", "ball"))
        for n in (10_000, 30_000, 100_000, 300_000, 1_000_000)
    },
    "minimum, Adult, hinge": ("minimum", minimum, ("adult", "hinge")),
    "minimum, Adult, log loss": ("minimum", minimum, ("adult", "log_loss")),
    "minimum, Adult, hinge, 8,272 rows on the margin": ("minimum", minimum, ("adult", "hinge", 0.2)),
    **{f"minimum, documents, log loss, {name}": ("documents", documents, (name,)) for name in ("sms", "enron")},
    **{
        f"within Algorithm 1's distance, Adult, {loss}, subpopulation {i}": (
            "within", within, ("adult", loss, *near, i),
        )
        for loss, targets in ADULT_NEAR.items()
        for i, near in enumerate(targets)
    },
    **{
        f"within Algorithm 1's distance, MNIST, hinge, error {error} %": ("within", within, ("mnist", "hinge", *near))
        for error, near in MNIST_NEAR.items()
    },
    **{
        f"the nearest model for 300 points, {name}, {loss}": (
            "max points", within, (name, loss, 0.1, 2, 0.0, None, 300),
        )
        for name, loss in (("mnist", "hinge"), ("adult", "hinge"), ("adult", "log_loss"))
    },
    "tradeoff of four tolerances, MNIST, hinge": ("tradeoff", tradeoff, ("mnist", [0.02, 0.05, 0.1, 0.2])),
    **{
        f"Algorithm 1 with records of Adult's table, {scaler}, {occupation}": (
            "records attack", records_attack, (scaler, occupation),
        )
        for scaler in ("min-max", "standard")
        for occupation in ("Craft-repair", "Sales")
    },
    **{
        f"peak of memory, {name}, hinge, {points} points, keep_path={keep}": (
            "memory", partial(memory, keep_path=keep), (name, points, repeats),
        )
        for name, points, repeats in (("mnist", 2000, 3), ("enron", 500, 2))
        for keep in (True, 8, False)
    },
}


def child(name):
    """In a process of its own: CPU seconds of one call, and the answer of the first."""
    _, case, arguments = CASES[name]
    call, calls = case(*arguments)
    start = time.process_time()
    answer = call()
    seconds = [time.process_time() - start] if calls == ONCE else []
    for _ in range(15 if calls > 1 else calls):
        start = time.process_time()
        for _ in range(calls):
            call()
        seconds.append((time.process_time() - start) / calls)
    import mtpfast

    print(json.dumps({"seconds": float(np.median(seconds)), "answer": float(answer), "from": mtpfast.__file__}))


def measure(build, name, limit=None):
    """What :func:`child` says of a build: a folder with the package in it, or an interpreter that has it."""
    env = dict(os.environ)
    if build.is_dir():
        python, env["PYTHONPATH"] = sys.executable, str(build)
    else:
        python = str(build)
        env.pop("PYTHONPATH", None)
    run = [python, str(Path(__file__).resolve()), "--child", name]
    where = build if build.is_dir() else None
    try:
        out = subprocess.run(run, env=env, cwd=where, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"seconds": np.nan, "answer": np.nan, "from": f"not done in {limit:g} s"}
    if out.returncode:
        return {"seconds": np.nan, "answer": np.nan, "from": (out.stderr.strip().splitlines() or ["?"])[-1]}
    return json.loads(out.stdout.strip().splitlines()[-1])


def row(name, build, rounds, limit=None):
    """A line of the table, or where a build has no such thing, what it says."""
    here, seconds, answers, said = Path(__file__).resolve().parents[1], [[], []], [[], []], []
    for turn in range(rounds):
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            found = measure((build, here)[which], name, limit)
            seconds[which].append(found["seconds"])
            answers[which].append(found["answer"])
            if np.isnan(found["seconds"]):
                said.append(found["from"])
    before, now = map(float, map(np.median, seconds))
    spread = max(float(np.ptp(each)) / float(np.median(each)) for each in seconds)
    size = max(1.0, float(np.max(np.abs(answers))))
    theirs, ours = (float(np.median(each)) for each in answers)
    return {
        "work": name,
        "other build, ms": 1e3 * before,
        "this build, ms": 1e3 * now,
        "other / this": before / now,
        "spread of either": spread,
        "answers differ by": float(np.ptp(answers)) / size,
        "other answer": theirs,
        "this answer": ours,
        **({"said": said[0]} if said else {}),
    }


def main(arguments=None):
    parts = sorted({part for part, *_ in CASES.values()})
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", nargs="?", type=Path, help="a folder with the other build, or its python")
    parser.add_argument("--only", nargs="+", default=parts, choices=parts)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each build (default 5)")
    parser.add_argument("--limit", type=float, help="seconds after which a measurement is given up, set-up and all")
    parser.add_argument("--results", help="folder for the tables; default benchmarks/results")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(options.child)
        return 0
    if options.build is None:
        parser.error("say which build to compare with")
    build = options.build.absolute()  # not resolved: the python of an environment is a link
    print(environment.headline(), flush=True)
    table = []
    for name, (part, *_) in CASES.items():
        if part in options.only:
            table.append(row(name, build, options.rounds, options.limit))
            print("  " + ", ".join(f"{k}: {report.text(v)}" for k, v in table[-1].items()), flush=True)
    print(report.markdown(table))
    shown = " ".join(["python benchmarks/against.py BUILD", *(sys.argv[2:] if arguments is None else arguments[1:])])
    notes = [f"CPU seconds, one thread, {options.rounds} measurements of each build in turns, medians."]
    report.write("against", shown, {"This build beside another": table}, notes, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
