"""HiGHS, as every program here calls it: in units in which nothing is dropped, to tight tolerances, in silence.

HiGHS takes entries below 1e-9 for zero and holds rows to absolute tolerances: right where the features are of order 1.
So where entries of a program are of another order altogether, its rows are divided and its columns measured by powers
of two (no digit changes) that bring the largest entry of each near 1 (Ruiz, "A scaling algorithm to equilibrate both
rows and columns norms in matrices", 2001); solution and multipliers come back in the units of the caller.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, linprog, milp

from mtpfast.arrays.streams import quietly

__all__ = ["equilibrium", "in_units", "most_iterations", "solve_lp", "solve_milp"]


SOLVED = 1e-7  # relative: the value of a program may lie so far above its minimum
TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
EXACT_MILP = {"mip_rel_gap": 0.0, "node_limit": 10_000}  # nodes, not seconds: the same call, the same answer
LEAST_ITERATIONS, ITERATIONS = 10_000, 50  # of the simplex: what is let through, and more for every row and column
LEAST, MOST = 2.0**-20, 2.0**20  # entries between these are left as they are
DROPPED = 1e-9  # what HiGHS takes for zero
NOISE = 1e-14  # what rounding leaves of a zero, in units of the largest entries of its row and column


def solve_lp(cost, A_ub, b_ub, A_eq, b_eq, bounds) -> OptimizeResult:
    """An LP by HiGHS; other settings where the first give up. Status 1 or 4: all of them did."""
    most = most_iterations(A_ub, A_eq)
    units = equilibrium([A_ub, A_eq], np.zeros(len(cost), dtype=bool))
    if units is not None:
        (of_ub, of_eq), unit = units
        A_ub, b_ub = in_units(A_ub, b_ub, of_ub, unit)
        A_eq, b_eq = in_units(A_eq, b_eq, of_eq, unit)
        cost, bounds = cost * unit, np.asarray(bounds) / unit[:, None]
    for method, options in (
        ("highs", TIGHT),
        ("highs", TIGHT | {"presolve": False}),
        ("highs", {}),
        ("highs-ipm", {}),
    ):
        res = quietly(linprog, cost, A_ub, b_ub, A_eq, b_eq, bounds=bounds, method=method, options=options | most)
        if res.status in (0, 2, 3):
            break
    if units is not None and res.x is not None:
        res.x = res.x * unit
        res.ineqlin.marginals = res.ineqlin.marginals * of_ub
        res.eqlin.marginals = res.eqlin.marginals * of_eq
    return res


def most_iterations(*parts) -> dict:
    """The option that stops the simplex, which has been seen to go round for ever on degenerate programs of 50 rows."""
    sizes = [A.shape for A in parts if A is not None]
    return {"maxiter": LEAST_ITERATIONS + ITERATIONS * (sum(m for m, _ in sizes) + max(n for _, n in sizes))}


def solve_milp(cost, integrality, low, top, rows):
    """``(x or None, complete)``: the least ``cost @ x`` with ``low <= x <= top`` and ``rows``, triples
    ``(A, least, most)``; ``complete``: no node was left open and no entry of A was taken for zero."""
    integrality, low, top = (np.asarray(each, dtype=float) for each in (integrality, low, top))
    units = equilibrium([A for A, _, _ in rows], integrality > 0)
    unit = np.ones(len(cost))
    if units is not None:
        of_rows, unit = units
        rows = [
            (sp.diags(own) @ A @ sp.diags(unit), least * own, most * own)
            for own, (A, least, most) in zip(of_rows, rows, strict=True)
        ]
    cost = cost * unit
    largest = np.max(np.abs(cost), initial=0.0)
    res = quietly(
        milp,
        np.ldexp(cost, -np.frexp(largest)[1]),  # near 1: costs below HiGHS's absolute tolerances are none to it
        integrality=integrality,
        bounds=Bounds(low / unit, top / unit),
        constraints=[LinearConstraint(*each) for each in rows],
        options=EXACT_MILP,
    )
    whole = res.status in (0, 2) and not any(_drops(A) for A, _, _ in rows)
    return None if res.x is None else res.x * unit, whole


def _drops(A) -> bool:
    """Whether HiGHS takes an entry for zero that is more than rounding."""
    size = np.abs(sp.csr_matrix(A).data)
    return bool(np.any((size > NOISE) & (size <= DROPPED)))


def in_units(A, b, of_rows, unit):
    """``A x <= b`` with its rows multiplied and its columns measured."""
    if A is None:
        return None, None
    return (sp.diags(of_rows) @ sp.csr_matrix(A) @ sp.diags(unit)).tocsr(), b * of_rows


def equilibrium(parts, fixed):
    """``([what each row of each part is multiplied by], unit of each column)``, powers of two; None where every entry
    is of order 1. Columns that are ``fixed`` (whole numbers) keep the unit 1. Complexity: O(entries)."""
    parts = [sp.coo_matrix((0, len(fixed)) if A is None else A) for A in parts]
    ends = np.cumsum([A.shape[0] for A in parts])
    row = np.concatenate([A.row + end - A.shape[0] for A, end in zip(parts, ends, strict=True)])
    column = np.concatenate([A.col for A in parts])
    size = np.abs(np.concatenate([A.data for A in parts]))
    largest = np.zeros(ends[-1]), np.zeros(len(fixed))
    np.maximum.at(largest[0], row, size)
    np.maximum.at(largest[1], column, size)
    # what is noise beside all of its row and all of its column has no say
    told = size > NOISE * np.minimum(largest[0][row], largest[1][column])
    if not told.any() or (LEAST <= size[told].min() and size[told].max() <= MOST):
        return None
    row, column, size = row[told], column[told], np.log2(size[told])
    of_rows, unit = np.zeros(ends[-1]), np.zeros(len(fixed))  # their logarithms
    for _ in range(10):
        now = size + of_rows[row] + unit[column]
        of_rows -= 0.5 * _largest(now, row, len(of_rows))
        unit -= np.where(fixed, 0.0, 0.5 * _largest(now, column, len(unit)))
    of_rows, unit = np.exp2(np.round(of_rows)), np.exp2(np.round(unit))
    return np.split(of_rows, ends[:-1]), unit


def _largest(values, index, n):
    """The largest value of every index; 0 where there is none."""
    out = np.full(n, -np.inf)
    np.maximum.at(out, index, values)
    return np.where(np.isinf(out), 0.0, out)
