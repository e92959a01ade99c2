"""What a pass over rows in parts costs beside a plain read of them, and that the bound does not depend on the parts.

    python benchmarks/parts.py                                   # 2 million x 57 float32: 0.5 GB twice, on disk
    python benchmarks/parts.py --rows 20000000 --folder /var/tmp
    python benchmarks/parts.py --part split --problems 2000      # the law on random problems
    python benchmarks/parts.py --part kill                       # workers killed in passes, sweeps, audits
    python benchmarks/parts.py --part attack --rows 20000000     # Algorithm 1 on a memory map
    python benchmarks/parts.py --part certify --part certify-dask --guarantees 64

Parts: ``memmap`` (one process, a memory map), ``dask`` (two worker processes, a folder of Parquet files), both with the
minimum for hinge and log loss; ``certify`` (a memory map) and ``certify-dask``, the hinge's victim trained by passes
and guarantees of its predictions, and ``certify-memory``, the same in memory; ``attack``; ``split``; ``kill``. The
plain read is the sum of all entries, by NumPy a block at a time or by ``dask.array.sum``. CPU seconds are those of the
process that reads, or of all workers. Peak memory is that of the whole process, its imports included.
"""

from __future__ import annotations

import environment

# isort: split
import argparse
import contextlib
import dataclasses
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import report

from mtpfast import (
    DamagePoisoner,
    FeatureSpace,
    MinimumPoisoner,
    audit,
    in_parts,
    make_target,
    minimum_poisoning,
    poison,
)
from mtpfast.arrays.parts import RowParts
from mtpfast.losses.objective import make_objective
from mtpfast.proofs.clean_pass import CleanPass, blocks, clean_gradient
from mtpfast.training.victim import refit

FEATURES, ALPHA, SAMPLE, CHUNK = 57, 0.01, 20_000, 100_000
LOSSES = ("hinge", "log_loss")
CERTIFY = ("certify-memory", "certify", "certify-dask")
PARTS = ("memmap", "dask", *CERTIFY, "attack", "split", "kill")
ASKED = {"alpha": ALPHA, "feasible_set": FeatureSpace(np.zeros(FEATURES), 1.0)}


def write_rows(folder: Path, n: int) -> None:
    """Rows on [0, 1]^57, most entries small, with a noisy label: X.npy, y.npy and a folder of Parquet files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if (folder / f"done-{n}").exists():
        return
    rng = np.random.default_rng(0)
    w = rng.normal(size=FEATURES)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (n, FEATURES))
    y = np.lib.format.open_memmap(folder / "y.npy", "w+", np.int8, (n,))
    (folder / "parquet").mkdir(exist_ok=True)
    for old in (folder / "parquet").glob("*"):
        old.unlink()
    for i, start in enumerate(range(0, n, CHUNK)):
        rows = rng.random((min(CHUNK, n - start), FEATURES), dtype=np.float32) ** 2
        labels = np.where(rows @ w - w.sum() / 3 + 0.5 * rng.normal(size=len(rows)) > 0, 1, -1).astype(np.int8)
        X[start : start + len(rows)], y[start : start + len(rows)] = rows, labels
        columns = {f"x{j}": rows[:, j] for j in range(FEATURES)} | {"label": labels}
        pq.write_table(pa.table(columns), folder / "parquet" / f"part-{i:05d}.parquet", compression="none")
    X.flush(), y.flush()
    (folder / f"done-{n}").touch()


def target_for(folder, loss, n):
    """What training on the first rows makes of the labels with the lowest tenth of the margins turned."""
    X, y = (np.load(folder / f"{name}.npy", mmap_mode="r")[:SAMPLE].astype(float) for name in "Xy")
    objective = make_objective(loss, alpha=ALPHA)
    theta = refit(X, y, objective).theta
    margin = y * (X @ theta[:-1] + theta[-1])
    return refit(X, np.where(margin <= np.quantile(margin, 0.1), -y, y), objective).theta


def row_of(engine, loss, n, read, passed, whole, result, memory):
    return {
        "engine": engine,
        "loss": loss,
        "rows": n,
        "plain read, CPU s": read,
        "one pass, CPU s": passed,
        "ratio": passed / read,
        "minimum, CPU s": whole,
        "status": result.status,
        "points": result.n_points,
        "lower bound": result.lower_bound,
        "proved": f"{result.certificate.value:.6f}",
        "peak MiB": memory,
    }


def memmap(folder, n, tables):
    X, y = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in "Xy")
    sum(float(rows.sum()) for _, rows, _, _ in blocks(X, y))  # warm-up: the page cache

    def seconds(function):
        began = time.process_time()
        value = function()
        return time.process_time() - began, value

    read = min(seconds(lambda: sum(float(X[i : i + 4096].sum()) for i in range(0, n, 4096)))[0] for _ in range(3))
    converted = min(seconds(lambda: sum(float(rows.sum()) for _, rows, _, _ in blocks(X, y)))[0] for _ in range(3))
    print(f"memmap: plain read {read:.3g} s, converted to float64 {converted:.3g} s")
    for loss in LOSSES:
        theta, objective = target_for(folder, loss, n), make_objective(loss, alpha=ALPHA)
        close = {"margin_tol": 1e-6, "tol": 1e-7, "compact": True}
        passed = min(seconds(lambda: clean_gradient(X, y, theta, objective, **close))[0] for _ in range(2))  # noqa: B023
        whole, result = seconds(lambda: minimum_poisoning(X, y, theta, loss=loss, **ASKED))  # noqa: B023
        before = _resident()["VmHWM"]
        row = row_of("memory map", loss, n, read, passed, whole, result, None)
        tables.append(row | {"read as float64, CPU s": converted, "resident MiB with the map": before})
        print(report.markdown([tables[-1]]))


class _Watched:
    """The hinge's compiled solvers, counted, and what a callback of Algorithm 1 reads off the last of them."""

    def __init__(self):
        from mtpfast.training import hinge

        self.cores, self.marks = [], []
        made = hinge.HingeSolver.__init__

        def noted(solver, *arguments):
            made(solver, *arguments)
            self.cores.append(solver.core)

        hinge.HingeSolver.__init__ = noted

    def __call__(self, _):
        core = self.cores[-1]
        self.marks.append((time.process_time(), core.n_close, _resident()["VmRSS"]))


def _resident():
    """MiB of this process: VmHWM (the most so far), VmRSS, and of it RssAnon and RssFile."""
    with open("/proc/self/status") as file:
        lines = dict(line.split(":", 1) for line in file)
    return {name: int(lines[name].split()[0]) / 1024 for name in ("VmHWM", "VmRSS", "RssAnon", "RssFile")}


def attack(folder, n, tables, n_points=600):
    """Algorithm 1 with the hinge, from a memory map: what a step costs and reads, and what stays resident."""
    X, y = (np.load(folder / f"{name}.npy", mmap_mode="r")[:n] for name in "Xy")
    theta, watched = target_for(folder, "hinge", n), _Watched()
    began = time.process_time()
    result = poison(X, y, theta, tol=0.0, max_points=n_points, callback=watched, **ASKED)
    seconds, close, resident = np.array(watched.marks).T
    steps, read = np.diff(seconds), np.diff(close) / n
    memory = _resident()
    tables.append(
        {
            "rows": n,
            "first model, CPU s": seconds[0] - began,
            "steps": len(steps),
            "step, CPU ms": 1000 * np.median(steps),
            "mean": 1000 * steps.mean(),
            "most (an audit)": 1000 * steps.max(),
            "share of rows read a step": f"{np.median(read):.2e}",
            "largest gap": f"{np.nanmax(result.history['gap']):.1e}",
            "lower bound": result.lower_bound,
            "all, CPU s": time.process_time() - began,
            "peak resident MiB": memory["VmHWM"],
            "resident in steps, MiB": resident.max(),
            "of it own, not the file's": memory["RssAnon"],
        }
    )
    print(report.markdown(tables))


class _Passes:
    """Counts the passes over rows in parts."""

    def __init__(self):
        self.n, made = 0, RowParts.map_reduce

        def counted(rows, function, merge):
            self.n += 1
            return made(rows, function, merge)

        RowParts.map_reduce = counted


def certified(engine, data, n, X, seconds, memory, expected):
    """A row of the table of guarantees, and the victim with them. ``expected``: (theta, guarantee) of others."""
    passes = _Passes()
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak of this process begins anew
    trained, victim = seconds(lambda: MinimumPoisoner(**ASKED).fit(*data))
    fitted = passes.n
    whole, guarantee = seconds(lambda: victim.certify(X, attack=False, joint=False))
    searched = passes.n - fitted
    checked, report_ = seconds(lambda: guarantee.check(*data))
    theta = np.append(victim.coef_, victim.intercept_)
    theta_other, other = expected or (theta, guarantee)
    tampered = dataclasses.replace(guarantee, lower_bound=guarantee.lower_bound + 5)
    refused = not tampered.check(*data).ok
    row = {
        "engine": engine,
        "rows": n,
        "training, CPU s": trained,
        "passes of it": victim.n_iter_ if fitted else None,
        "gap": f"{victim.dual_gap_:.1e}",
        "predictions": len(X),
        "certify, CPU s": whole,
        "passes": searched,
        "a pass, CPU s": whole / searched if searched else None,
        "check, CPU s": checked,
        "ok": report_.ok,
        "5 points more": "refused" if refused else "NOT REFUSED",
        "median proved": float(np.median(guarantee.lower_bound)),
        "model apart": f"{np.linalg.norm(theta - theta_other):.1e}",
        "counts apart, at most": int(np.max(np.abs(guarantee.lower_bound - other.lower_bound))),
        "peak MiB": memory(),
    }
    print(report.markdown([row]), flush=True)
    return row, (theta, guarantee)


def certify(folder, n, n_guarantees, engines, tables):
    """The hinge's victim and guarantees on rows in memory, and in parts: a memory map, and Parquet files by Dask."""
    import pandas as pd

    X, y = (np.load(folder / f"{name}.npy", mmap_mode="r")[:n] for name in "Xy")
    table, expected = X[:: max(1, n // n_guarantees)][:n_guarantees].astype(float), None

    def seconds(function):
        began = time.process_time()
        value = function()
        return time.process_time() - began, value

    def peak():
        return _resident()["VmHWM"]

    if "certify-memory" in engines:
        row, expected = certified("in memory", (X.astype(float), y), n, table, seconds, peak, None)
        tables.append(row)
    if "certify" in engines:
        row, found = certified("memory map", (in_parts(X, y),), n, table, seconds, peak, expected)
        tables.append(row)
        expected = expected or found
    if "certify-dask" in engines:
        import dask.dataframe as dd

        with _two_workers() as (seconds, peak):
            held = dd.read_parquet(folder / "parquet", split_row_groups=True).persist()  # in the workers' memory
            rows = in_parts(held, "label")
            table = pd.DataFrame(table, columns=rows.feature_names)
            tables.append(certified("dask, 2 processes, persisted", (rows,), n, table, seconds, peak, expected)[0])


@contextlib.contextmanager
def _two_workers():
    """A LocalCluster: what gives (CPU seconds of its workers, value) of a call, and the peak memory of a worker."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(2, threads_per_worker=1, memory_limit=None, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(_import)

        def seconds(function):
            began = sum(cpu for cpu, _ in client.run(_worker_state).values())
            value = function()
            return sum(cpu for cpu, _ in client.run(_worker_state).values()) - began, value

        yield seconds, lambda: max(memory for _, memory in client.run(_worker_state).values())


def _worker_state():
    return time.process_time(), _resident()["VmHWM"]  # ru_maxrss is also that of the process it was forked from


def dask(folder, n, tables):
    import dask.dataframe as dd

    with _two_workers() as (seconds, peak):
        idle = peak()
        frame = dd.read_parquet(folder / "parquet", split_row_groups=True)
        names = [f"x{j}" for j in range(FEATURES)]
        array = frame[names].to_dask_array()
        for loss in LOSSES:
            theta, objective = target_for(folder, loss, n), make_objective(loss, alpha=ALPHA)
            rows = in_parts(frame, "label")
            asked = CleanPass(theta, objective, 1e-6, 1e-7, None, True)
            # in turn, as the load of a machine changes
            ways = (lambda: array.sum().compute(), lambda: rows.map_reduce(asked, asked.merge))  # noqa: B023
            read, passed = np.min([[seconds(way)[0] for way in ways] for _ in range(3)], axis=0).tolist()
            whole, result = seconds(lambda: minimum_poisoning(rows, None, theta, loss=loss, **ASKED))  # noqa: B023
            row = row_of("dask, 2 processes", loss, n, read, passed, whole, result, peak())
            tables.append(row | {"idle MiB": idle})
            print(report.markdown([tables[-1]]))


def _import():
    import mtpfast.minimum.minimum  # noqa: F401


def split(problems, tables):
    """The law of tests/arrays/test_row_parts.py on many more problems: numbers of comparisons, and of failures."""
    sys.path.insert(0, str(environment.HERE.parent / "tests" / "arrays"))
    import test_row_parts as law

    compared = failed = 0
    worst = 0.0
    for seed in range(problems):
        X, y, weight, theta, objective, v = law.problem(seed)
        more = ({}, {"tol": 0.01, "direction": v}, {"tol": 1e-6, "compact": True, "direction": v})[seed % 3]
        asked = CleanPass(theta, objective, 0.05, **more)
        goal = law.Goal(theta, objective, FeatureSpace(-np.ones(X.shape[1]), 1.0), asked.tol, 0.05)
        _, off = law.prove(asked.finish(asked(X, y, weight)), v, goal)
        for rows in law.splits(y):
            values = [asked(X[i], y[i], None if weight is None else weight[i]) for i in rows]
            _, other = law.prove(law.reduced(asked, values, np.random.default_rng(seed)), v, goal)
            apart, stated = abs(other.numerator - off.numerator), off.numerator_error + other.numerator_error
            compared, failed = compared + 1, failed + (apart > stated)
            worst = max(worst, apart / stated if stated else 0.0)
    tables.append(
        {"problems": problems, "splits": compared, "further apart than stated": failed, "largest share": worst}
    )
    print(report.markdown(tables))


class _Slow:
    """A pass that takes its time over every part, so that a worker can be killed in the middle of it."""

    def __init__(self, asked, seconds):
        self.asked, self.seconds = asked, seconds

    def __call__(self, X, y, weight):
        time.sleep(self.seconds)
        return self.asked(X, y, weight)


class _Deadly:
    """A pass that kills the process that it runs in where it meets a certain row."""

    def __init__(self, asked, mark):
        self.asked, self.mark = asked, mark

    def __call__(self, X, y, weight):
        if np.any(X[:, 0] == self.mark):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.asked(X, y, weight)


def kill(tables):
    """A worker is killed, by its process id, while a pass runs: once, every second, and by one part again and again."""
    import dask.array as da
    from dask import config
    from distributed import Client, LocalCluster

    rng = np.random.default_rng(0)
    X = rng.random((2000, 5))
    y = np.where(rng.random(2000) < 0.5, 1.0, -1.0)
    asked = CleanPass(rng.normal(size=6), make_objective(alpha=ALPHA))
    rows = in_parts(da.from_array(X, chunks=(100, 5)), y)
    expected = rows.map_reduce(asked, asked.merge).gradient
    for times in (1, 40):
        with LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
            stop = threading.Event()

            def killer(count, cluster=cluster, stop=stop):
                for _ in range(count):
                    if stop.wait(1.0):
                        return
                    pids = [nanny.pid for nanny in cluster.workers.values() if nanny.pid]
                    if pids:
                        os.kill(pids[0], signal.SIGKILL)

            thread = threading.Thread(target=killer, args=(times,))
            thread.start()
            try:
                found = rows.map_reduce(_Slow(asked, 0.3), asked.merge).gradient
                outcome = "same result" if np.array_equal(found, expected) else "OTHER RESULT"
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}"[:200]
            stop.set()
            thread.join()
        tables.append({"worker killed": "once" if times == 1 else "every second", "the pass": outcome})
    config.set({"distributed.scheduler.allowed-failures": 2})
    with LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
        try:
            rows.map_reduce(_Deadly(asked, X[500, 0]), asked.merge)
            outcome = "NO ERROR"
        except Exception as error:
            outcome = f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
    tables.append({"worker killed": "by one part, three times over", "the pass": outcome})
    print(report.markdown(tables))


def kill_sweeps(tables):
    """A worker is killed, by its process id, in the middle of a curve and of tapes: Dask replaces it, loky does not."""
    from distributed import Client, LocalCluster
    from joblib import parallel_config
    from joblib.externals.loky import reusable_executor

    rng = np.random.default_rng(0)
    X = rng.random((4000, 20))
    y = np.where(X @ rng.normal(size=20) + rng.normal(size=4000) > 0.0, 1, -1)
    space = FeatureSpace(np.zeros(20), 1.0)
    attacker = DamagePoisoner(alpha=ALPHA, feasible_set=space, n_starts=1, max_iter=30).fit(X, y)
    budgets = [10, 20, 40, 80, 160, 320]
    tapes = {"quantiles": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "repeats": [1, 2, 3, 5, 8, 12, 20], "goal": 0.0}
    sweeps = {
        "curve": lambda **more: [(r.n_points, r.theta.tolist()) for r in attacker.curve(budgets, n_jobs=2, **more)],
        "tapes": lambda **more: [
            (c.n_flips, c.coef_.tolist()) for c in make_target(X, y, n_jobs=2, **tapes, **more).candidates
        ],
    }
    expected = {}
    with parallel_config(backend="sequential"):
        for name, run in sweeps.items():
            expected[name] = run()

    def outcome_of(name, pids, count):
        """The sweep, a worker killed after each of so many tasks."""
        killed, seen = [], []

        def kill_one(state):
            seen.append(state["n_done"])
            if len(killed) < count:
                alive = pids()
                if alive:
                    os.kill(alive[0], signal.SIGKILL)
                    killed.append(alive[0])

        try:
            outcome = "same result" if sweeps[name](callback=kill_one) == expected[name] else "OTHER RESULT"
        except Exception as error:
            outcome = f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]
        return f"{outcome} ({len(killed)} killed, {len(seen)} tasks counted)"

    for name in sweeps:
        for count in (1, 3):
            with (
                LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
                Client(cluster),
                parallel_config(backend="dask"),
            ):
                outcome = outcome_of(name, lambda: [w.pid for w in cluster.workers.values() if w.pid], count)
            tables.append({"sweep": name, "backend": "dask", "workers killed": count, "outcome": outcome})
        with parallel_config(backend="loky"):
            outcome = outcome_of(name, lambda: list(reusable_executor._executor._processes), 1)
        tables.append({"sweep": name, "backend": "loky", "workers killed": 1, "outcome": outcome})
        print(report.markdown(tables))


def kill_audit(tables):
    """Every worker is killed as soon as it works, from an audit's label flips on; then the audit is asked again."""
    from dask import config
    from distributed import Client, LocalCluster
    from joblib import parallel_config
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    X = rng.random((300, 4))
    y = np.where(X @ rng.normal(size=4) + 0.3 * rng.normal(size=300) > 0.0, 1, 0)
    asked = {"budgets": [6, 12], "where": X[:, 0] < 0.05, "sanitizers": None}
    asked |= {"n_starts": 1, "max_iter": 20, "verbose": 0}

    def said(found):
        tree = {name: part for name, part in found.tree.items() if name not in ("seconds", "date", "created")}
        return repr([tree | {"parts": [{**part, "seconds": 0.0} for part in tree["parts"]]}])

    def failed(found):
        parts = [part for part in found.tree["parts"] if part["status"] == "failed"]
        return "; ".join(f"{part['name']}: {part['message'][:120]}" for part in parts) or "none"

    whole = audit(LogisticRegression(), X, y, **asked)
    with tempfile.TemporaryDirectory() as folder, config.set({"distributed.scheduler.allowed-failures": 2}):
        for times in ("again and again", "never"):
            with (
                LocalCluster(2, threads_per_worker=1, dashboard_address=None) as cluster,
                Client(cluster),
                parallel_config(backend="dask"),
            ):
                stop, running = threading.Event(), threading.Event()

                def killer(cluster=cluster, stop=stop, running=running):
                    running.wait()
                    while not stop.wait(0.02):
                        busy = {w.address for w in list(cluster.scheduler.workers.values()) if w.processing}
                        for pid in [n.pid for n in cluster.workers.values() if n.pid and n.worker_address in busy]:
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(pid, signal.SIGKILL)

                def watch(state, running=running, kills=times != "never"):
                    running.set() if kills and state["part"] in ("label flips", "guarantee") else running.clear()

                threading.Thread(target=killer, daemon=True).start()
                found = audit(
                    LogisticRegression(), X, y, checkpoint=Path(folder) / "kept", n_jobs=2, callback=watch, **asked
                )
                stop.set(), running.set()
            tables.append(
                {
                    "audit, worker killed": times,
                    "parts that failed": failed(found),
                    "the report is that of a run without kills": said(found) == said(whole),
                }
            )
    print(report.markdown(tables))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--folder", help="where the rows are written, and kept; a temporary folder by default")
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--guarantees", type=int, default=16, help="predictions that are certified")
    parser.add_argument("--out", help="folder of the results")
    arguments = parser.parse_args()
    parts = arguments.part or PARTS
    tables = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary)
        if set(parts) - {"split", "kill"}:
            write_rows(folder, arguments.rows)
        engines = tables["One pass, and the minimum"] = []
        if "memmap" in parts:
            memmap(folder, arguments.rows, engines)
        if "dask" in parts:
            dask(folder, arguments.rows, engines)
        if set(CERTIFY) & set(parts):
            made = tables.setdefault("Guarantees with the hinge", [])
            certify(folder, arguments.rows, arguments.guarantees, parts, made)
        if "attack" in parts:
            attack(folder, arguments.rows, tables.setdefault("Algorithm 1, hinge, from a memory map", []))
        if "split" in parts:
            split(arguments.problems, tables.setdefault("The same rows, split in six ways", []))
        if "kill" in parts:
            from dask import config

            # a worker waits so long for the answer of another that is dead; 30 s by default
            config.set({"distributed.comm.timeouts.connect": "3s"})
            kill(tables.setdefault("A worker killed", []))
            kill_sweeps(tables.setdefault("A worker killed in a sweep", []))
            kill_audit(tables.setdefault("Workers killed in an audit", []))
    tables = {title: rows for title, rows in tables.items() if rows}
    report.write("parts", " ".join(["python benchmarks/parts.py", *sys.argv[1:]]), tables, folder=arguments.out)


if __name__ == "__main__":
    main()
