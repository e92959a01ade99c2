"""What a step of Algorithm 1 costs: scikit-learn from scratch at every step beside the incremental refit.

    python benchmarks/refit.py                 # everything; half an hour or more, on a quiet machine
    python benchmarks/refit.py --part attacks --only adult-hinge
    python benchmarks/refit.py --quick         # a smoke test of every part in about a minute: its figures mean nothing

Parts: ``attacks`` (the four of the table, both loops in one run on one thread, on the same target, with the same
oracle), ``size`` (cost per step against the number of rows), ``memory`` (peak of an attack, in a process of its
own), ``pool`` (a scan of one million rows against one read of them). The plain loop is timed on a prefix where it
would take hours; the ratio then compares the same steps, and the table says how many.
"""

from __future__ import annotations

import environment

# isort: split
import argparse
import contextlib
import ctypes
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import datasets
import methods
import numpy as np
import objective
import reference as ref
import report

from mtpfast import CandidatePool, _rows, make_target, max_loss_difference
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import Victim, refit

ALPHA = 0.09
CONV = ref.Convention(alpha=ALPHA)


def theta_of(model):
    return np.append(np.ravel(model.coef_), np.ravel(model.intercept_)[0])


def flip_target(loss, X, y, quantile, repeats, tol=1e-9, alpha=ALPHA):
    """Rows below the quantile of the clean margin, flipped and repeated: the model for clean rows and those."""
    objective_ = make_objective(loss, alpha=alpha)
    clean = refit(X, y, objective_, tol=tol).theta
    margin = y * ref.scores(clean, X)
    rows = np.flatnonzero(margin < np.quantile(margin, quantile))
    weight = np.ones(len(y) + len(rows))
    weight[len(y) :] = repeats
    if hasattr(X, "toarray"):
        import scipy.sparse as sp

        X_all = sp.vstack([X, X[rows]], format="csr")
    else:
        X_all = np.vstack([X, X[rows]])
    return refit(X_all, np.append(y, -y[rows]), objective_, sample_weight=weight, tol=tol).theta


def adult_target(data, loss):
    clean = objective.retrain(loss, CONV, data.X_train, data.y_train)
    _, mask, _ = next(iter(datasets.subpopulations(data, clean)))
    return theta_of(make_target(data.X_train, data.y_train, mask=mask, goal=1.0, loss=loss, alpha=ALPHA))


def mnist_target(data, loss):
    """The cheapest of a few tapes with a test error of 10 %."""
    model = make_target(
        data.X_train, data.y_train, X_eval=data.X_test, y_eval=data.y_test, goal=0.10, loss=loss, alpha=ALPHA
    )
    return theta_of(model)


def enron_target(data, loss):
    return flip_target(loss, data.X_train, data.y_train, 0.2, 3)


#: name: data, loss, target, stop at D, steps, steps of the plain loop in full run, ratio asked for and aimed at
ATTACKS = {
    "adult-hinge": ("adult", "hinge", adult_target, 0.01, None, None, 300, 1000),
    "mnist-hinge": ("mnist", "hinge", mnist_target, 0.0, 2000, 200, 150, 1000),
    "adult-log_loss": ("adult", "log_loss", adult_target, 0.05, None, None, 50, 200),
    "enron-hinge": ("enron", "hinge", enron_target, 0.0, 500, 500, 50, 200),
}


def best_solver(X, y, target, n=5):
    """The fastest of scikit-learn's solvers for the plain loop's warm-started logistic regression."""
    seconds = {}
    for solver in ("newton-cholesky", "lbfgs", "newton-cg"):
        loop = methods.PlainLoop("log_loss", CONV, X, y, target, solver=solver)
        times, *_ = loop.run(n)
        seconds[solver] = np.diff(times).mean()
    return min(seconds, key=seconds.get), seconds


def _effort(core):
    """Of a hinge refit: line searches and turns of the path, rows looked at, and of these closely."""
    return np.array([core.n_steps + core.n_turns, core.n_looks, core.n_close])


def refit_work(loss, X, y, result, n):
    """What the refits of the first n points do: a replay without the oracle and the record.

    Hinge: line searches a step, rows that are looked at a step, and the bytes of these (of their codes, where they
    have some) as a share of those of X. Smooth losses: evaluations a step, each of them one read of X or its codes.
    "one read" is the time of NumPy's sum of X: times the reads it is what memory alone asks for.
    """
    victim = Victim(X, y, make_objective(loss, alpha=ALPHA))
    points = result.points.toarray() if hasattr(result.points, "toarray") else result.points
    n = min(n, result.n_points)
    hinge = loss == "hinge"
    core = victim._solver.core if hinge else None
    before = _effort(core) if hinge else victim.n_iter
    start = time.perf_counter()
    for i in result.sequence[:n]:
        victim.add(points[i], result.labels[i])
    seconds = (time.perf_counter() - start) / n
    values = X.data if hasattr(X, "toarray") else X
    read = []
    for _ in range(9):
        start = time.perf_counter()
        values.sum()
        read.append(time.perf_counter() - start)
    work = {"refit alone, ms": 1e3 * seconds, "one read, ms": 1e3 * np.median(read)}
    if hinge:
        searches, looks, close = (_effort(core) - before) / n
        coded = not hasattr(X, "toarray") and X.shape[1] >= _rows.LONG_ROW
        reads = (looks / 8 + close if coded else looks) / X.shape[0]  # a code takes an eighth of the row
        work |= {"line searches": searches, "rows looked at": looks, "of these closely": close, "reads of X": reads}
    else:
        reads = (victim.n_iter - before) / n
        work |= {"line searches": None, "rows looked at": None, "of these closely": None, "reads of X": reads}
    return work


def attack_row(name, options):
    data_name, loss, target_of, tol, steps, prefix, least, aim = ATTACKS[name]
    data = datasets.load(data_name)
    X, y = data.X_train, data.y_train
    target = target_of(data, loss)
    if options.quick:
        steps, prefix = 20, 5
    result, _, clock = methods.algorithm_1(loss, CONV, X, y, target, tol, max_points=steps)
    ours = np.diff(clock.seconds)

    solver, note = "newton-cholesky", "LinearSVC"
    if loss == "log_loss":
        solver, seconds = best_solver(X, y, target, 2 if options.quick else 5)
        note = f"{solver} (" + ", ".join(f"{k} {1e3 * v:.0f} ms" for k, v in seconds.items()) + ")"
    n_plain = prefix or options.prefix or (2 * result.n_points + 1000)
    room = n_plain + 1
    loop = methods.PlainLoop(loss, CONV, X, y, target, room=room, solver=solver)
    times, differences, *_ = loop.run(n_plain, stop=tol)
    plain = np.diff(times)
    reached = differences[-1] <= tol

    # the same points: refits from scratch along our own points, every tenth of the first 200 steps
    same = min(200, len(plain), result.n_points)
    free = np.abs(differences[: same + 1] - result.history["loss_difference"][: same + 1]).max()
    points = result.points.toarray() if hasattr(result.points, "toarray") else result.points
    replay = 0.0
    for t in range(0, same + 1, max(1, same // 20)):
        counts = np.bincount(result.sequence[:t], minlength=len(points))
        verdict = objective.judge(loss, CONV, X, y, target, points, result.labels, counts)
        replay = max(replay, abs(verdict.loss_difference - result.history["loss_difference"][t]))
    together = min(len(plain), len(ours))
    return {
        "attack": name,
        "rows x features": f"{X.shape[0]:,} x {X.shape[1]:,}",
        "points": result.n_points,
        "D": result.loss_difference,
        "ours, ms a step": 1e3 * ours.mean(),
        "ours, median": 1e3 * np.median(ours),
        "ours, seconds": clock.seconds[-1],
        "plain steps timed": len(plain),
        "plain, ms a step": 1e3 * plain.mean(),
        "plain points to D": len(plain) if reached and tol > 0 else None,
        "ratio, same steps": plain[:together].mean() / ours[:together].mean(),
        "asked": least,
        "aim": aim,
        "first steps |dD|, free": free,
        "first steps |dD|, replayed": replay,
        "largest gap": result.history["gap"].max(),
        **refit_work(loss, X, y, result, 500),
        "plain solver": note,
    }


def size_rows(options):
    """Adult's rows drawn with replacement, numeric columns moved a little, the same flips; hinge."""
    data = datasets.load("adult")
    rng = np.random.default_rng(0)
    sizes = (2_000, 4_000, 8_000) if options.quick else (10_000, 100_000, 1_000_000)
    steps = 30 if options.quick else 300
    table = []
    for n in sizes:
        rows = rng.integers(len(data.y_train), size=n)
        X = data.X_train[rows]
        X[:, :4] = np.clip(X[:, :4] + 0.02 * rng.normal(size=(n, 4)), 0.0, 1.0)
        y = data.y_train[rows].copy()
        target = flip_target("hinge", X, y, 0.1, 3)
        result, _, clock = methods.algorithm_1("hinge", CONV, X, y, target, 0.0, max_points=steps)
        per = np.diff(clock.seconds)
        plain = methods.PlainLoop("hinge", CONV, X, y, target, room=8)
        times, *_ = plain.run(2 if n >= 1_000_000 else 4)
        table.append(
            {
                "rows": n,
                "steps": result.n_points,
                "ms a step": 1e3 * per.mean(),
                "median": 1e3 * np.median(per),
                "slowest": 1e3 * per.max(),
                "plain, ms a step": 1e3 * np.diff(times).mean(),
                "ratio": np.diff(times).mean() / per.mean(),
            }
        )
        print("  " + report.markdown(table[-1:]).splitlines()[-1], flush=True)
    slope = np.polyfit(np.log([r["rows"] for r in table]), np.log([r["ms a step"] for r in table]), 1)[0]
    median = np.polyfit(np.log([r["rows"] for r in table]), np.log([r["median"] for r in table]), 1)[0]
    return table, f"Cost per step grows as rows^{slope:.2f} (median step: rows^{median:.2f})."


def _memory(field):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    raise OSError(field)


def _reset_peak():
    """Give freed memory back, and start the peak anew."""
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    try:
        with open("/proc/self/clear_refs", "w") as f:
            f.write("5")
    except OSError:
        return False
    return True


def memory_child(name, steps):
    """In a process of its own: peak resident memory of an attack, over what was resident before X was loaded."""
    from mtpfast import ModelTargetedPoisoner

    data_name, loss, _, tol, *_ = ATTACKS[name]
    # everything the attack imports is loaded before the baseline
    small = np.random.default_rng(0).random((50, 5))
    first = ModelTargetedPoisoner(loss=loss, alpha=ALPHA, max_points=2).fit(small, np.tile([1.0, -1.0], 25))
    first.attack((np.ones(5), 0.0))
    base = _memory("VmRSS")
    data = datasets.load(data_name)
    data = data._replace(X_test=None)
    X, y = data.X_train, data.y_train
    target = flip_target(loss, X, y, 0.1, 3)
    attacker = ModelTargetedPoisoner(loss=loss, alpha=ALPHA, feasible_set=methods.BOX, tol=tol, max_points=steps).fit(
        X, y
    )
    gc.collect()
    reset = _reset_peak()
    before = _memory("VmRSS")
    result = attacker.attack(methods.pair(target))
    peak = _memory("VmHWM")
    size = data.n_bytes
    held = datasets.n_bytes(result.points) + result.path.nbytes
    print(
        json.dumps(
            {
                "attack": name,
                "points": result.n_points,
                "X, MB": size / 1e6,
                "peak of the attack / X": (peak - base) / size,
                "result / X": held / size,
                "grown during the attack / X": (peak - before) / size,
                "counted": "after fit" if reset else "since the start",
            }
        )
    )


def memory_rows(options):
    table = []
    for name in ("adult-hinge", "mnist-hinge", "adult-log_loss", "enron-hinge"):
        steps = 20 if options.quick else ATTACKS[name][4] or 1000
        run = [sys.executable, str(Path(__file__).resolve()), "--memory-child", name, str(steps)]
        out = subprocess.run(run, capture_output=True, text=True, check=True).stdout
        table.append(json.loads(out.strip().splitlines()[-1]))
    return table


def pool_rows(options):
    """A scan of the pool (two models, both labels) against numpy's sum of the same array, interleaved; medians."""
    import scipy.sparse as sp

    rng = np.random.default_rng(0)
    m, d = (50_000, 57) if options.quick else (1_000_000, 57)
    table = []
    for kind in ("dense", "csr"):
        X = rng.random((m, d))
        if kind == "csr":
            X *= rng.random((m, d)) < 0.1
            X = sp.csr_matrix(X)
        pool = CandidatePool(X)
        values = pool.X.data if kind == "csr" else pool.X
        n_bytes = pool.X.data.nbytes + pool.X.indices.nbytes if kind == "csr" else pool.X.nbytes
        theta, target = rng.normal(size=(2, d + 1))
        for loss in ref.LOSSES:
            scan, read = [], []
            for _ in range(3 if options.quick else 11):
                start = time.perf_counter()
                values.sum()
                read.append(time.perf_counter() - start)
                start = time.perf_counter()
                max_loss_difference(theta, target, pool, loss=loss)
                scan.append(time.perf_counter() - start)
            table.append(
                {
                    "pool": f"{kind}, {m:,} x {d}",
                    "loss": loss,
                    "scan, ms": 1e3 * np.median(scan),
                    "GB/s": n_bytes / np.median(scan) / 1e9,
                    "numpy sum, ms": 1e3 * np.median(read),
                    "ratio": np.median(scan) / np.median(read),
                    "spread of the scan, ms": 1e3 * np.ptp(scan),
                }
            )
        del X, pool, values
    return table


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", default=["attacks", "size", "memory", "pool"])
    parser.add_argument("--only", nargs="+", default=list(ATTACKS), choices=list(ATTACKS))
    parser.add_argument("--prefix", type=int, help="steps of the plain loop, where it would run to the end")
    parser.add_argument("--quick", action="store_true", help="a few steps of everything; the figures mean nothing")
    parser.add_argument("--results", help="folder for the tables; default benchmarks/results")
    parser.add_argument("--memory-child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.memory_child:
        memory_child(options.memory_child[0], int(options.memory_child[1]))
        return 0
    print(environment.headline(), flush=True)
    tables, notes = {}, ["One thread; both loops in one run; the oracle is the same; times exclude the clean fit."]
    if "attacks" in options.part:
        rows = []
        for name in options.only:
            rows.append(attack_row(name, options))
            print("  " + ", ".join(f"{k}: {report.text(v)}" for k, v in rows[-1].items()), flush=True)
        tables["Algorithm 1, plain loop beside incremental refits"] = rows
    if "size" in options.part:
        tables["Cost per step against the number of rows (d = 57, hinge)"], note = size_rows(options)
        notes.append(note)
    if "memory" in options.part:
        tables["Peak memory of the attack"] = memory_rows(options)
        notes.append(
            "Memory: resident, over what was resident before X was loaded; so X itself counts as 1. The points and the "
            "path of models are the result itself: 1 and those are the least there can be."
        )
    if "pool" in options.part:
        tables["A scan of a pool against one read of it"] = pool_rows(options)
    for title, table in tables.items():
        print(title, report.markdown(table), sep="\n\n", end="\n\n")
    for note in notes:
        print(note)
    shown = " ".join(["python benchmarks/refit.py", *(sys.argv[1:] if arguments is None else arguments)])
    report.write("refit-quick" if options.quick else "refit", shown, tables, notes, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
