"""CPU time of a guaranteed row: its growth with n, d and the number of rows, and against cvxpy with Clarabel.

    python benchmarks/guarantee_times.py                 # needs cvxpy and clarabel for its last table
    python benchmarks/guarantee_times.py --weak german --cvxpy-rows 20   # what (4) holds at C = 1, beside the search

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


def equation_4(victim, X, y, a, m, ends, moves=False):
    """The least of (4) over some cases, its maximum over slopes, tau and lam of every case, by cvxpy.

    ``ends``: of every case the two ends of every coordinate of the signed points. The comparison model is the clean
    victim, or of all models the best (``moves``).
    """
    import cvxpy as cp

    Z = y[:, None] * np.column_stack([X, np.ones(len(y))])
    clean = np.append(victim.coef_, victim.intercept_)
    theta = cp.Variable(len(clean)) if moves else clean
    loss = cp.sum(cp.pos(1.0 - Z @ theta)) if moves else np.maximum(0.0, 1.0 - Z @ clean).sum()
    k = 1.0 / victim.C if victim.C else victim.alpha * (len(y) + m)
    values, limits = [], []
    for own in ends:
        t, tau, lam, parts = cp.Variable(len(y)), cp.Variable(), cp.Variable(), cp.Variable(len(clean))
        q = tau * a - Z.T @ t - k * theta
        limits += [parts <= m * cp.multiply(z, theta) - cp.square(q - m * z * (1.0 - lam)) / (4.0 * k) for z in own]
        limits += [t >= 0, t <= 1, tau >= 0, lam >= 0]
        values.append(cp.sum(t) - loss - m * lam + cp.sum(parts))
    problem = cp.Problem(cp.Maximize(values[0] if len(values) == 1 else cp.minimum(*values)), limits)
    problem.solve(solver=cp.CLARABEL)
    return float(problem.value)


def ends_of(d, ratio):
    """Of points in [0, 1]^d with a share of the label +1: the ends of what they add up to, one point's worth."""
    one = 2.0 * ratio - 1.0
    return np.append(np.full(d, ratio - 1.0), one), np.append(np.full(d, ratio), one)


def against_cvxpy(rows, n):
    """For some rows: certified, value of (4) found by cvxpy at that number, and both CPU times."""
    X, y, X_test, _, _ = parts("adult")
    X, y = X[:n].astype(float), y[:n].astype(float)
    victim = ModelTargetedPoisoner(alpha=0.09, feasible_set=FeatureSpace(0, 1)).fit(X, y)
    guarantee, own = certified(X, y, X_test, FeatureSpace(0, 1), 64)
    for i in range(rows):
        m, sign = float(guarantee.lower_bound[i] - 1), guarantee.proof.signs[i]
        begin = time.process_time()
        value = equation_4(victim, X, y, sign * np.append(X_test[i], 1.0), m, [ends_of(X.shape[1], float(sign < 0))])
        yield i, int(m) + 1, value, 1e3 * (time.process_time() - begin), own


def weak(name, rows):
    """Per row of a set, box, C = 1: found, certified, and what (4) holds with the clean victim as the comparison model,
    with the best one, and with the best one of mixtures that have 0.35 to 0.5 of the label +1."""
    X, y, X_test, y_test, _ = parts(name)
    X, y, d = X.astype(float), y.astype(float), X.shape[1]
    victim = ModelTargetedPoisoner(C=1.0, feasible_set=FeatureSpace(0, 1)).fit(X, y)
    guarantee = victim.certify(X_test, y_test, rows=np.arange(rows), outside="allow", joint=False)
    for i in np.flatnonzero(guarantee.status == "done"):
        sign, low = guarantee.proof.signs[i], int(guarantee.lower_bound[i])
        a, counts = sign * np.append(X_test[i], 1.0), []
        for ratios, moves in (((0.0, 1.0), False), ((0.0, 1.0), True), ((0.35, 0.5), True)):
            ends, m = [ends_of(d, ratio) for ratio in ratios], max(1, low - 1)
            while m > 0 and not equation_4(victim, X, y, a, m, ends, moves) > 0.0:
                m -= 1
            while equation_4(victim, X, y, a, m + 1, ends, moves) > 0.0:
                m += 1
            counts.append(m + 1)
        yield int(guarantee.upper_bound[i]), low, *counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--cvxpy-rows", type=int, default=3)
    parser.add_argument("--cvxpy-n", type=int, default=15_682)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "guarantee_times.md")
    parser.add_argument("--weak", help="print what (4) holds at C = 1 on this set instead")
    args = parser.parse_args()
    if args.weak:
        counts = np.array(list(weak(args.weak, args.cvxpy_rows)), dtype=float)
        print("found, certified, (4): clean victim, best model, best of a part; the ratios of these to found")
        print(np.median(counts, axis=0), np.median(counts[:, 1:] / counts[:, :1], axis=0).round(3), len(counts), "rows")
        return
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
