"""What the exact minimum costs: beside Algorithm 1, beside plain column generation, and on rows that no memory holds.

    python benchmarks/minimum.py                          # both parts, on a quiet machine with 5 GB of disk to spare
    python benchmarks/minimum.py --part exact --only adult-hinge mnist-log_loss
    python benchmarks/minimum.py --part memmap --folder /var/tmp --rows 2000000
    python benchmarks/minimum.py --quick                  # a smoke test of both parts: its figures mean nothing

Parts: ``exact`` (the minimum, split into its pass over the data and what comes after; Algorithm 1 to D <= 0.02 and
column generation on the same target, each with a time limit), ``memmap`` (a memory map of float32 rows, made on the
spot and removed afterwards; seconds and peak memory of ``minimum_poisoning`` in a process of its own).
"""

from __future__ import annotations

import environment

# isort: split
import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import datasets
import methods
import numpy as np
import reference as ref
import report
from refit import ALPHA, CONV, flip_target
from scipy.optimize import linprog

from mtpfast import minimum_poisoning
from mtpfast.losses.objective import make_objective
from mtpfast.proofs.clean_pass import clean_gradient

#: name: data, loss, seconds after the pass asked for
CASES = {
    "adult-hinge": ("adult", "hinge", 0.2),
    "adult-log_loss": ("adult", "log_loss", 0.2),
    "mnist-hinge": ("mnist", "hinge", 1.0),
    "mnist-log_loss": ("mnist", "log_loss", 1.0),
}
QUANTILE, REPEATS = 0.2, 2  # the flips behind every target
STOP = 0.02  # D of Algorithm 1
MARGIN_TOL = 1e-6
MEBIBYTE = 2**20
MEMORY = 1024  # MiB above the map


# -- column generation ------------------------------------------------------------------------


def price(loss, v, theta, y, lower, upper):
    """max over the box of -s(m) y v.x~ for one label, m = y theta.x~: (value, x, s).

    For a given margin only the largest -y v.x~ matters, so the maximum lies on the upper frontier of (m, -y v.x~):
    start at the smallest margin and move one coordinate after the other, the steepest first.
    """
    P, A = -y * v[:-1], y * theta[:-1]
    start = np.where(A > 0, lower, np.where(A < 0, upper, np.where(P > 0, upper, lower)))
    end = np.where(A > 0, upper, np.where(A < 0, lower, start))
    moving = np.flatnonzero(A != 0.0)
    order = moving[np.argsort(-P[moving] / A[moving], kind="stable")]
    step = (end - start)[order]
    m = np.append(0.0, np.cumsum(A[order] * step)) + A @ start + y * theta[-1]
    p = np.append(0.0, np.cumsum(P[order] * step)) + P @ start - y * v[-1]

    def point(edge, t):
        x = start.copy()
        x[order[:edge]] = end[order[:edge]]
        if edge < len(order):
            x[order[edge]] += t * step[edge]
        return x

    if loss == "hinge":  # s = 1 up to margin 1: vertices and the crossing of it; 0 beyond
        best, x, s = -np.inf, None, 1.0
        below = np.flatnonzero(m <= 1.0)
        if len(below):
            k = below[p[below].argmax()]
            best, x = p[k], point(k, 0.0)
            k = below[-1]
            if k + 1 < len(m):
                t = (1.0 - m[k]) / (m[k + 1] - m[k])
                if p[k] + t * (p[k + 1] - p[k]) > best:
                    best, x = p[k] + t * (p[k + 1] - p[k]), point(k, t)
        if m[-1] > 1.0 and best < 0.0:
            best, x, s = 0.0, point(len(order), 0.0), 0.0
        return best, x, s
    if not len(order):  # the target has weight 0 on every feature: one margin, hence one vertex
        return -float(ref.dphi(loss, m[0])) * p[0], start, -float(ref.dphi(loss, m[0]))
    rise, climb = np.diff(m), np.diff(p)
    t = np.linspace(0.0, 1.0, 17)
    values = -ref.dphi(loss, m[:-1, None] + t * rise[:, None]) * (p[:-1, None] + t * climb[:, None])
    best, where = -np.inf, None
    nearest = int(values.max(axis=1).argmax())  # of the grid; the maximum may lie across a vertex from there
    for edge in range(max(0, nearest - 1), min(len(rise), nearest + 2)):
        centre, width = t[values[edge].argmax()], 1.0 / 16.0
        while width > 1e-12:
            grid = np.clip(centre + width * (2.0 * t - 1.0), 0.0, 1.0)
            here = -ref.dphi(loss, m[edge] + grid * rise[edge]) * (p[edge] + grid * climb[edge])
            centre, width = grid[here.argmax()], width / 8.0
        if here.max() > best:
            best, where = here.max(), (edge, centre)
    edge, centre = where
    return float(best), point(edge, centre), -float(ref.dphi(loss, m[edge] + centre * rise[edge]))


def column_generation(loss, conv, X, y, target, limit, tol=1e-6):
    """The minimum over measures as it is usually solved: a master program over the columns found so far, and pricing.

        min sum nu + M |r|_1   s.t.   sum_k nu_k g_k + sum_i t_i (-y_i x~_i) + r = -G,   nu >= 0,  0 <= t <= 1,

    t over the clean rows on the margin. The master's dual v is priced by the exact maximum of v.g over the box; what
    it gives for both labels are the new columns, and (-G.v - sum_i max(0, -y_i x~_i.v)) / max_F v.g is a bound. M
    keeps the early duals in bounds; where nothing prices out and r is not yet 0 it grows tenfold. HiGHS solves every
    master from scratch, for scipy has no warm start. The bound is not rounded safely.
    """
    began = time.perf_counter()
    n, d = X.shape
    rows = np.hstack([X, np.full((n, 1), float(conv.fit_intercept))])
    R_target = np.append(target[:-1], conv.r * target[-1])
    margin = y * ref.scores(target, X)
    s = -ref.dphi(loss, margin)
    on = np.abs(margin - 1.0) <= MARGIN_TOL if loss == "hinge" else np.zeros(n, dtype=bool)
    G = -((np.where(on, 0.0, s) * y) @ rows) + conv.k(n) * R_target
    pull = (conv.alpha or 0.0) * R_target
    free = -(y[on, None] * rows[on])
    size = d + 1
    columns = np.empty((0, size))
    M, bound, value, rounds, done = 10.0, 0.0, np.inf, 0, False
    while (left := limit - (time.perf_counter() - began)) > 0.0:
        k, f = len(columns), len(free)
        # everything per clean row (G / n, nu / n, t / n), so that the solver's tolerances mean something
        A = np.hstack([columns.T, free.T, np.eye(size), -np.eye(size)])
        cost = np.concatenate([np.ones(k), np.zeros(f), np.full(2 * size, M)])
        bounds = [(0.0, None)] * k + [(0.0, 1.0 / n)] * f + [(0.0, None)] * (2 * size)
        master = linprog(cost, A_eq=A, b_eq=-G / n, bounds=bounds, method="highs", options={"time_limit": left})
        if master.status != 0:
            break
        rounds += 1
        v, rest = master.eqlin.marginals, float(master.x[k + f :].sum())
        best = [(*price(loss, v, target, label, 0.0, 1.0), label) for label in (1.0, -1.0)]
        top = max(b[0] for b in best) + v @ pull
        numerator = -G @ v - np.maximum(0.0, free @ v).sum()
        if top > 0.0:
            bound = max(bound, float(numerator / top))
        if rest <= 1e-9:
            value = n * float(master.x[:k].sum())
        if rest <= 1e-9 and value - bound <= tol * value:
            done = True
            break
        new = [
            -weight * label * np.append(x, float(conv.fit_intercept)) + pull
            for gain, x, weight, label in best
            if gain + v @ pull > 1.0 + 1e-9
        ]
        if new:
            columns = np.vstack([columns, *new])
        elif rest > 1e-9 and M < 1e9:
            M *= 10.0
        else:
            break
    return {
        "seconds": time.perf_counter() - began,
        "rounds": rounds,
        "columns": len(columns),
        "bound": bound,
        "value": value,
        "finished": done,
    }


# -- beside Algorithm 1 and column generation -------------------------------------------------


def exact_row(name, options):
    data_name, loss, asked = CASES[name]
    data = datasets.load(data_name)
    X, y = data.X_train, data.y_train
    target = flip_target(loss, X, y, QUANTILE, REPEATS)
    problem = {"loss": loss, "alpha": ALPHA, "feasible_set": methods.BOX, "margin_tol": MARGIN_TOL, "retrain": False}
    objective = make_objective(loss, alpha=ALPHA)
    passes, wholes = [], []
    for i in range(options.rounds + 1):  # interleaved; the first round warms up
        start = time.perf_counter()
        clean = clean_gradient(X, y, target, objective, margin_tol=MARGIN_TOL)
        middle = time.perf_counter()
        result = minimum_poisoning(X, y, methods.pair(target), **problem)
        end = time.perf_counter()
        if i:
            passes.append(middle - start)
            wholes.append(end - middle)
    after = np.subtract(wholes, passes)
    bound = float(result.certificate.value)
    ours = {
        "target": name,
        "rows x features": f"{X.shape[0]:,} x {X.shape[1]:,}",
        "rows on the margin": len(clean.free_labels),
        "pass, s": np.median(passes),
        "after, s": np.median(after),
        "spread, s": np.ptp(after),
        "asked, s": asked,
        "status": result.status,
        "points": result.n_points,
        "lower bound": result.lower_bound,
        "certified value": bound,
        "value / points": bound / result.n_points if result.n_points else None,
    }
    print("  " + ", ".join(f"{k}: {report.text(v)}" for k, v in ours.items()), flush=True)

    attack, seconds, _ = methods.algorithm_1(loss, CONV, X, y, target, STOP, limit=options.limit)
    cg = column_generation(loss, CONV, X, y, target, options.limit)
    whole = np.median(wholes)
    theirs = {
        "target": name,
        "minimum: points": result.n_points,
        "minimum: s": whole,
        "Algorithm 1: points": attack.n_points,
        "its D": attack.loss_difference,
        "its distance": attack.distance,
        "its bound": attack.lower_bound,
        "its s": seconds,
        "it finished": "yes" if attack.loss_difference <= STOP else "no",
        "s / minimum": seconds / whole,
        "columns: best bound": cg["bound"],
        "bound / certified": cg["bound"] / bound if bound else None,
        "best value": cg["value"],
        "rounds": cg["rounds"],
        "cg s": cg["seconds"],
        "cg finished": "yes" if cg["finished"] else "no",
        "cg s / minimum": cg["seconds"] / whole,
    }
    print("  " + ", ".join(f"{k}: {report.text(v)}" for k, v in theirs.items()), flush=True)
    return ours, theirs


# -- more rows than memory --------------------------------------------------------------------

NUMERIC = 4
GROUPS = (8, 16, 7, 14, 6, 2)  # one-hot columns, as in Adult: 4 + 53 = 57
WIDTH = NUMERIC + sum(GROUPS)
BLOCK = 200_000


def adult_like(rng, n):
    """n rows: four numbers in [0, 1], skewed as ages and hours are, and six one-hot groups."""
    X = np.zeros((n, WIDTH), dtype=np.float32)
    X[:, :NUMERIC] = rng.random((n, NUMERIC), dtype=np.float32) ** np.array([1.0, 2.0, 3.0, 0.5], dtype=np.float32)
    first = NUMERIC
    for size in GROUPS:
        share = np.cumsum(1.0 / np.arange(1, size + 1))
        choice = np.searchsorted(share / share[-1], rng.random(n), side="right")
        X[np.arange(n), first + np.minimum(choice, size - 1)] = 1.0
        first += size
    return X


def make_map(folder, rows):
    """X.dat and y.npy, a block at a time. Labels: a linear model with logistic noise. Returns the first block."""
    rng = np.random.default_rng(0)
    model = rng.normal(size=WIDTH)
    X = np.memmap(folder / "X.dat", dtype=np.float32, mode="w+", shape=(rows, WIDTH))
    y = np.empty(rows, dtype=np.int8)
    middle = None
    for start in range(0, rows, BLOCK):
        block = adult_like(rng, min(BLOCK, rows - start))
        score = block @ model.astype(np.float32)
        middle = np.median(score) if middle is None else middle
        y[start : start + len(block)] = np.where(score - middle + rng.logistic(scale=0.7, size=len(block)) > 0, 1, -1)
        X[start : start + len(block)] = block
    X.flush()
    np.save(folder / "y.npy", y)
    sample = min(20_000, rows)
    return np.array(X[:sample], dtype=np.float64), y[:sample].astype(np.float64)


def _status(pid, field):
    with open(f"/proc/{pid}/status") as f:
        for line in f:
            if line.startswith(field):
                return int(line.split()[1]) * 1024
    raise OSError(field)


def map_child(folder, rows, loss):
    """In a process of its own: says when everything is imported, then reads the map and finds the minimum."""
    folder = Path(folder)
    target = np.load(folder / f"{loss}.npy")
    options = {"loss": loss, "alpha": ALPHA, "feasible_set": methods.BOX, "margin_tol": MARGIN_TOL}
    small = np.random.default_rng(0).random((50, 5))
    minimum_poisoning(small, np.tile([1.0, -1.0], 25), (0.1 * np.ones(5), 0.0), loss=loss, feasible_set=methods.BOX)
    print(json.dumps({"base": _status("self", "RssAnon:")}), flush=True)
    start = time.perf_counter()
    X = np.memmap(folder / "X.dat", dtype=np.float32, mode="r", shape=(rows, WIDTH))
    y = np.load(folder / "y.npy")
    result = minimum_poisoning(X, y, methods.pair(target), **options)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    clean_gradient(X, y, target, make_objective(loss, alpha=ALPHA), margin_tol=MARGIN_TOL)
    print(
        json.dumps(
            {
                "status": result.status,
                "points": result.n_points,
                "lower bound": result.lower_bound,
                "s": seconds,
                "pass alone, s": time.perf_counter() - start,
                "message": result.message,
            }
        )
    )


def map_row(folder, rows, loss):
    """Run the child and watch its memory.

    What counts is RssAnon: pages that belong to no file. VmRSS and its peak also count the pages of the map that
    happen to be resident, which are the system's cache, taken back whenever it is short; tracemalloc sees neither the
    solver's memory nor what malloc keeps. The kernel holds no peak of RssAnon, so it is sampled, and from this
    process: a thread of the child would wait for its interpreter lock just when memory is large. The child's blocks
    live for tens of milliseconds; a sample is taken every 2.
    """
    run = [sys.executable, str(Path(__file__).resolve()), "--map-child", str(folder), str(rows), loss]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as child:
        line = child.stdout.readline()
        if not line:
            raise SystemExit(f"the process that reads the map ended with status {child.wait()}")
        base = peak = json.loads(line)["base"]
        samples = 0
        while child.poll() is None:
            try:
                peak = max(peak, _status(child.pid, "RssAnon:"))
            except OSError:  # it has just ended
                break
            samples += 1
            time.sleep(0.002)
        out = child.stdout.read()
    if child.returncode:
        raise SystemExit(f"the process that reads the map ended with status {child.returncode}")
    found = json.loads(out.strip().splitlines()[-1])
    message = found.pop("message")
    grown = (peak - base) / MEBIBYTE
    row = {
        "rows x features": f"{rows:,} x {WIDTH}",
        "map, GB": 4e-9 * rows * WIDTH,
        "loss": loss,
        **found,
        "peak, MiB": grown,
        "samples": samples,
        "below 1 GiB": "yes" if grown < MEMORY else "NO",
    }
    print("  " + ", ".join(f"{k}: {report.text(v)}" for k, v in row.items()), f"({message})", flush=True)
    return row


def map_rows(options):
    if not Path("/proc/self/status").exists():
        raise SystemExit("the memory of a process is read from /proc/<pid>/status, which this system does not have")
    need = 4 * options.rows * WIDTH + options.rows
    free = shutil.disk_usage(options.folder or tempfile.gettempdir()).free
    if free < 1.1 * need:
        raise SystemExit(f"the map takes {need / 1e9:.1f} GB, {free / 1e9:.1f} GB are free: see --folder and --rows")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="mtpfast-map-") as folder:
        folder = Path(folder)
        start = time.perf_counter()
        X, y = make_map(folder, options.rows)
        print(f"  made {need / 1e9:.2f} GB in {time.perf_counter() - start:.1f} s", flush=True)
        table = []
        for loss in ("hinge", "log_loss"):
            # trained on the first rows of the map and their flips: near enough to all rows to be attainable
            np.save(folder / f"{loss}.npy", flip_target(loss, X, y, QUANTILE, REPEATS))
            table.append(map_row(folder, options.rows, loss))
    return table


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", default=["exact", "memmap"], choices=["exact", "memmap"])
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for Algorithm 1 and for column generation")
    parser.add_argument("--rounds", type=int, default=7, help="timings of the minimum; the table has the median")
    parser.add_argument("--rows", type=int, default=20_000_000, help="rows of the memory map")
    parser.add_argument("--folder", help="where the map is made (and removed); default the system's temporary folder")
    parser.add_argument("--quick", action="store_true", help="small sizes and limits; the figures mean nothing")
    parser.add_argument("--results", help="folder for the tables; default benchmarks/results")
    parser.add_argument("--map-child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.map_child:
        map_child(options.map_child[0], int(options.map_child[1]), options.map_child[2])
        return 0
    if options.quick:
        options.limit, options.rounds = min(options.limit, 5.0), 1
        options.rows = min(options.rows, 200_000)
    print(environment.headline(), flush=True)
    tables, notes, bad = {}, [], False
    if "exact" in options.part:
        pairs = [exact_row(name, options) for name in options.only]
        tables["The exact minimum: its pass over the data, and what comes after"] = [ours for ours, _ in pairs]
        tables["Beside Algorithm 1 and column generation"] = [theirs for _, theirs in pairs]
        notes += [
            f"Targets: rows below the {QUANTILE:.0%} quantile of the clean margin flipped, {REPEATS} times each; alpha "
            f"{ALPHA}, box [0, 1].",
            "Pass: clean_gradient alone. After: minimum_poisoning(..., retrain=False) less the pass of the same round, "
            f"interleaved; medians of {options.rounds} after a warm-up. run.py retrains and judges the points.",
            f"Algorithm 1 stops at D <= {STOP:g}, near the target and not at it: its points may be fewer than the "
            f"minimum for the exact target. Limit for it and for column generation: {options.limit:g} s each. It "
            "starts from the clean victim, whose fit is not counted.",
            "Column generation: best bound proved and best value (inf: no combination of its columns hits the target "
            "yet) by then; it solves for fractional weights only, and its seconds include its own pass.",
        ]
    if "memmap" in options.part:
        table = map_rows(options)
        tables["A memory map of float32 rows"] = table
        bad = any(row["below 1 GiB"] != "yes" for row in table)
        notes += [
            "Map: made by this command, so as much of it as fits is in the system's cache. Targets: trained on its "
            "first 20,000 rows and their flips.",
            "Peak: RssAnon of the process that reads the map (labels, blocks, solver; not the map's own pages), over "
            "what it was when everything was imported, sampled every 2 ms. Pass alone: a second read, timed by itself.",
        ]
    for title, table in tables.items():
        print(title, report.markdown(table), sep="\n\n", end="\n\n")
    for note in notes:
        print(note)
    shown = " ".join(["python benchmarks/minimum.py", *(sys.argv[1:] if arguments is None else arguments)])
    report.write("minimum-quick" if options.quick else "minimum", shown, tables, notes, options.results)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
