"""Two threads beside one: passes and scans over more than a million rows, and whether the answers agree bit for bit.

    python benchmarks/threads.py                            # 2 million rows; into results/threads.md
    python benchmarks/threads.py --rows 4000000 --rounds 9

Seconds of the clock, medians; both numbers of threads take turns, in one process. Nothing else should run.
"""

from __future__ import annotations

import environment

# isort: split
import argparse
import sys
import time

import joblib
import numpy as np
import report
from against import ALPHA, grown

from mtpfast import CandidatePool, max_loss_difference
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit


def works(n):
    """name: a callable that returns an array."""
    X, y = grown(n)
    y = y.astype(float)
    objective = make_objective("log_loss", alpha=ALPHA)
    pool = CandidatePool(X, y)
    theta, target = np.random.default_rng(0).normal(size=(2, X.shape[1] + 1)) / 8.0
    return {
        "training, log loss, to 1e-6": lambda: refit(X, y, objective, tol=1e-6).theta,
        "scan of the candidates, hinge": lambda: np.array([max_loss_difference(theta, target, pool).value]),
    }


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", help="folder for the tables; default benchmarks/results")
    options = parser.parse_args(arguments)
    print(environment.headline(), flush=True)
    table = []
    for name, work in works(options.rows).items():
        seconds, answers = {1: [], 2: []}, []
        for _ in range(options.rounds):
            for n_jobs in (1, 2):
                with joblib.parallel_config(backend="threading", n_jobs=n_jobs):
                    start = time.perf_counter()
                    answers.append(work())
                    seconds[n_jobs].append(time.perf_counter() - start)
        one, two = (1e3 * float(np.median(seconds[n_jobs])) for n_jobs in (1, 2))
        same = all(np.array_equal(answers[0], answer) for answer in answers)
        table.append({"work": name, "rows": options.rows, "one thread, ms": one, "two, ms": two, "times": one / two,
                      "the same bits": same})  # fmt: skip
    print(report.markdown(table))
    shown = " ".join(["python benchmarks/threads.py", *(sys.argv[1:] if arguments is None else arguments)])
    notes = [f"Seconds of the clock, {options.rounds} rounds in turns, medians."]
    report.write("threads", shown, {"Two threads beside one": table}, notes, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
