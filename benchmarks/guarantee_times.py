"""CPU time of a guaranteed row: its growth with n, d and the number of rows, and against cvxpy with Clarabel.

    python benchmarks/guarantee_times.py                 # needs cvxpy and clarabel for its last table

Adult, records, hinge, alpha = 0.09, no attacks, no joint bounds; CPU milliseconds a row of one run. n: the first rows
of Adult. d: its columns, and those of MNIST 1-7 in the box. The last table gives cvxpy the convexified problem of a
row, the maximum of equation (4) over the slopes of all clean rows, tau and lam, for **one** number of points (the
number that was certified), one label and the clean victim as the comparison model, in one run with the search of it.
"""

from __future__ import annotations

# isort: split
import environment  # noqa: F401 - pins the threads; before numpy

# isort: split
import argparse
import time
from pathlib import Path

import numpy as np
from guarantee import parts, spaces

from mtpfast import FeatureSpace, ModelTargetedPoisoner


def certified(X, y, X_test, space, rows):
    """(guarantee, CPU milliseconds a row)."""
    victim = ModelTargetedPoisoner(alpha=0.09, feasible_set=space).fit(X, y)
    begin = time.process_time()
    guarantee = victim.certify(X_test[:rows], attack=False, joint=False, outside="allow")
    return guarantee, 1e3 * (time.process_time() - begin) / rows


def growth(rows):
    X, y, X_test, _, groups = parts("adult")
    space = dict(spaces(X, groups))["records"]
    for n in (1000, 4000, len(y)):
        yield "n", n, X.shape[1], rows, certified(X[:n], y[:n], X_test, space, rows)[1]
    for d in (14, 28, X.shape[1]):
        yield "d", len(y), d, rows, certified(X[:, :d], y, X_test[:, :d], FeatureSpace(0, 1), rows)[1]
    for few in (8, 64, 256):
        yield "rows", len(y), X.shape[1], few, certified(X, y, X_test, space, few)[1]
    X, y, X_test, _, _ = parts("mnist")
    for d in (98, 392, 784):
        yield "d, MNIST", len(y), d, 64, certified(X[:, :d], y, X_test[:, :d], FeatureSpace(0, 1), 64)[1]


def against_cvxpy(rows, n):
    """For some rows: certified, value of (4) found by cvxpy at that number, and both CPU times."""
    import cvxpy as cp

    X, y, X_test, _, _ = parts("adult")
    X, y = X[:n].astype(float), y[:n].astype(float)
    space = FeatureSpace(0, 1)
    guarantee, own = certified(X, y, X_test, space, 64)
    Z = y[:, None] * np.column_stack([X, np.ones(n)])
    theta, R = guarantee.proof.theta, np.ones(X.shape[1] + 1)
    loss = np.maximum(0.0, 1.0 - Z @ theta).sum()
    low, high = np.append(np.zeros(X.shape[1]), 1.0), np.ones(X.shape[1] + 1)
    for i in range(rows):
        m = float(guarantee.lower_bound[i] - 1)
        sign = guarantee.proof.signs[i]
        a, label, k = sign * np.append(X_test[i], 1.0).astype(float), -sign, 0.09 * (n + m)
        begin = time.process_time()
        t, tau, lam, least = cp.Variable(n), cp.Variable(), cp.Variable(), cp.Variable(len(theta))
        q = tau * a - Z.T @ t - k * R * theta
        ends = [least <= m * label * x * theta - cp.square(q - m * label * x * (1.0 - lam)) / (4.0 * k)
                for x in (low, high)]  # fmt: skip
        value = cp.sum(t) - loss - m * lam + cp.sum(least)
        problem = cp.Problem(cp.Maximize(value), [t >= 0, t <= 1, tau >= 0, lam >= 0, *ends])
        problem.solve(solver=cp.CLARABEL)
        yield i, int(m) + 1, float(problem.value), 1e3 * (time.process_time() - begin), own


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--cvxpy-rows", type=int, default=3)
    parser.add_argument("--cvxpy-n", type=int, default=15_682)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "guarantee_times.md")
    args = parser.parse_args()
    lines = ["# Times of guaranteed rows", "", __doc__.partition("\n\n")[2].strip(), ""]
    lines += ["| grows | n | d | rows | ms a row |", "| --- | --- | --- | --- | --- |"]
    if args.rows:
        for name, n, d, rows, ms in growth(args.rows):
            lines.append(f"| {name} | {n:,} | {d} | {rows} | {ms:.0f} |")
            print(lines[-1], flush=True)
            args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines += ["", "| row | certified | (4) by cvxpy there | cvxpy, ms | search, ms a row |", "| --- " * 5 + "|"]
    for i, count, value, ms, own in against_cvxpy(args.cvxpy_rows, args.cvxpy_n):
        lines.append(f"| {i} | {count} | {value:.3g} | {ms:,.0f} | {own:.0f} |")
        print(lines[-1], flush=True)
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
