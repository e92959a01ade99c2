"""Ctrl-C in every long call: how long until it returns, and what it has then.

    MTPFAST_DATA=folder python benchmarks/interrupts.py [call ...] [--data adult mnist] [--after 1 3 6]

Each call runs in a process of its own, which gets a real SIGINT so many CPU seconds after the call began; CPU seconds
of that process from the signal until the call has returned are what is told (a wall clock would time other work on the
machine, too). Calls that end sooner are left out.
"""

from __future__ import annotations

import environment  # noqa: F401  (pins the threads)

# isort: split
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import datasets
import numpy as np
import report

ALPHA = 0.09
TICK = os.sysconf("SC_CLK_TCK")


def target_of(data, folder):
    """A label-flip target, made once: [tape, file]."""
    from mtpfast import make_target

    path = Path(folder) / f"{data.name}.npy"
    if not path.exists():
        found = make_target(data.X_train, data.y_train, goal=0.05, quantiles=[0.2], repeats=[5], alpha=ALPHA)
        np.save(path, np.append(found.coef_, found.intercept_))
    theta = np.load(path)
    return theta[:-1], float(theta[-1])


def make_target(data, folder):
    from mtpfast import make_target

    found = make_target(data.X_train, data.y_train, goal=0.02, alpha=ALPHA)
    return f"target of error {found.error:.3f}"


def minimum(data, folder):
    from mtpfast import MinimumPoisoner

    attacker = MinimumPoisoner(alpha=ALPHA, tol=0.02).fit(data.X_train, data.y_train)
    return told(attacker.attack(target_of(data, folder)))


def log_loss(data, folder):
    from mtpfast import MinimumPoisoner

    attacker = MinimumPoisoner(alpha=ALPHA, loss="log_loss", tol=0.02).fit(data.X_train, data.y_train)
    return told(attacker.attack(target_of(data, folder)))


def tradeoff(data, folder):
    from mtpfast import MinimumPoisoner

    attacker = MinimumPoisoner(alpha=ALPHA).fit(data.X_train, data.y_train)
    results = attacker.tradeoff(target_of(data, folder), [0.05, 0.02, 0.01])
    return "; ".join(told(result) for result in results)


def max_points(data, folder):
    from mtpfast import MinimumPoisoner

    attacker = MinimumPoisoner(alpha=ALPHA, max_points=100).fit(data.X_train, data.y_train)
    return told(attacker.attack(target_of(data, folder)))


def algorithm_1(data, folder):
    from mtpfast import ModelTargetedPoisoner

    attacker = ModelTargetedPoisoner(alpha=ALPHA, tol=1e-4).fit(data.X_train, data.y_train)
    return told(attacker.attack(target_of(data, folder)))


def verify(data, folder):
    from mtpfast import PoisoningResult

    result = PoisoningResult.load(Path(folder) / f"{data.name}.npz")
    checked = result.verify(data.X_train, data.y_train)
    return f"{len(checked.checks)} checks, none failed" + (", interrupted" if checked.interrupted else "")


def damage(data, folder):
    from mtpfast import DamagePoisoner

    attacker = DamagePoisoner(alpha=ALPHA, budget=0.03).fit(data.X_train, data.y_train)
    return told(attacker.attack())


def certify(data, folder):
    from mtpfast import DamagePoisoner

    attacker = DamagePoisoner(alpha=ALPHA).fit(data.X_train, data.y_train)
    kept = attacker.certify(data.X_test, data.y_test)
    return f"{int(np.sum(kept.lower_bound > 0)):,} of {len(kept.lower_bound):,} rows with a bound"


def audit(data, folder):
    """The raw table of Adult; MNIST as a table of its pixels."""
    import pandas as pd
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    from mtpfast import audit
    from mtpfast.reports.tables import usual_pipeline

    if data.name == "adult":
        X, y = datasets.adult_table()
        pipeline = usual_pipeline(X, "linear_svc", 1.0, None)
    else:
        X, y = pd.DataFrame(data.X_train[:4000], columns=[f"p{j}" for j in range(data.X_train.shape[1])]), data.y_train
        X, y = X, y[:4000].astype(int)
        pipeline = make_pipeline(StandardScaler(), LinearSVC(C=1.0))
    found = audit(pipeline, X, y, goal={"error": 0.5}, verbose=0)
    parts = {part["name"]: part["status"] for part in found.tree["parts"]}
    return ", ".join(f"{name} {status}" for name, status in parts.items())


CALLS = {
    call.__name__: call
    for call in (
        make_target, minimum, log_loss, tradeoff, max_points, algorithm_1, verify, damage, certify, audit,
    )
}  # fmt: skip


def told(result):
    return f"{result.status}: {result.n_points:,} points at {result.distance:.2g}, {result.lower_bound:,} proved"


def child(name, data, folder):
    """One call: "begin" when it begins; then what it returned, and its CPU seconds at that time."""
    data = datasets.load(data)
    target_of(data, folder)
    for module in ("mtpfast.estimators", "mtpfast.verification.verify", "mtpfast.oracle.search"):
        __import__(module)
    print("begin", time.process_time(), flush=True)
    try:
        kept = CALLS[name](data, folder)
    except KeyboardInterrupt:
        kept = "KeyboardInterrupt: nothing"
    print(json.dumps([time.process_time(), kept]), flush=True)


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def interrupted(name, data, folder, after):
    """CPU seconds until the call returned, and what it said; None where it ended by itself."""
    command = [sys.executable, __file__, name, "--data", data, "--child", folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        begin = float(process.stdout.readline().split()[1])
        while process.poll() is None and cpu_seconds(process.pid) < begin + after:
            time.sleep(0.005)
        sent = cpu_seconds(process.pid) if process.poll() is None else None
        if sent is not None:
            process.send_signal(signal.SIGINT)
        said = process.stdout.readline()
        errors = process.stderr.read()
    if not said:
        return float("nan"), f"died with {process.returncode}: {errors[-200:]}"
    end, kept = json.loads(said)
    if process.returncode:
        kept += f" (exit {process.returncode}: {errors[-100:]})"
    return (None if sent is None or end < sent else max(0.0, end - sent)), kept


def prepare(data, folder):
    """The target, and a result to verify."""
    from mtpfast import MinimumPoisoner

    data = datasets.load(data)
    attacker = MinimumPoisoner(alpha=ALPHA).fit(data.X_train, data.y_train)
    attacker.attack(target_of(data, folder)).save(Path(folder) / f"{data.name}.npz")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", nargs="*", default=list(CALLS))
    parser.add_argument("--data", nargs="+", default=["adult", "mnist"])
    parser.add_argument("--after", nargs="+", type=float, default=[0.3, 1.0, 3.0, 8.0, 20.0], help="CPU seconds")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--out", help="the folder of the tables")
    options = parser.parse_args()
    if options.child:
        child(options.calls[0], options.data[0], options.child)
        return
    command = "python benchmarks/interrupts.py"
    kept = report.Kept("interrupts", command, ["data", "call", "after, CPU s"], NOTES, folder=options.out)
    with tempfile.TemporaryDirectory() as folder:
        for data in options.data:
            prepare(data, folder)
            for name in options.calls:
                for after in options.after:
                    seconds, what = interrupted(name, data, folder, after)
                    if seconds is None:
                        print(f"{data}, {name}: ended by itself in less than {after:g} CPU s", flush=True)
                        break
                    row = {"data": data, "call": name, "after, CPU s": after, "until it returned, CPU s": seconds}
                    kept.add("Ctrl-C", row | {"kept": what})
                    print(report.markdown([row | {"kept": what}]).splitlines()[-1], flush=True)


NOTES = (
    "CPU seconds of the process between the signal and the return of the call, to 0.01.",
    "minimum, tradeoff, max_points, algorithm_1: the hinge with alpha 0.09; log_loss: the minimum with that loss. "
    "audit: the raw table of Adult, and 4,000 rows of MNIST as a table.",
)


if __name__ == "__main__":
    main()
