"""Many whole numbers at once: branch and bound over linear programs, ended by a count."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import linprog

from mtpfast.arrays.streams import quietly

from .highs import equilibrium, in_units, most_iterations

__all__ = ["whole_numbers"]


MOST_SOLVED = 400  # linear programs of one search for many whole numbers
MOST_READ = 4 * 10**6  # entries of their rows, all together


def whole_numbers(cost, A_ub, b_ub, A_eq, b_eq, top, whole, at_most):
    """x >= 0, whole where ``whole`` says so, of the least ``cost @ x`` found, at most ``at_most``, or None.

    ``cost`` is 1 on some of the whole numbers and 0 elsewhere. Branch and bound, depth first, towards the nearer whole
    number of what is furthest from one. It ends by a count of linear programs (:data:`MOST_SOLVED`, fewer where they
    are large), never by the clock: the same call has the same answer on every machine. (HiGHS's own search may stay in
    its first node for minutes where no whole numbers meet the equations, whatever its limit of nodes.)
    """
    entries = A_eq.nnz + (0 if A_ub is None else A_ub.nnz) + len(cost)
    units, unit = equilibrium([A_ub, A_eq], whole), np.ones(len(cost))
    if units is not None:
        (of_ub, of_eq), unit = units
        (A_ub, b_ub), (A_eq, b_eq) = in_units(A_ub, b_ub, of_ub, unit), in_units(A_eq, b_eq, of_eq, unit)
        top = top / unit
    best, least = None, at_most + 1
    stack = [(0.0, np.zeros_like(top), np.where(cost > 0.0, np.minimum(top, at_most), top))]
    dive, limit = True, most_iterations(A_ub, A_eq)
    for _ in range(min(MOST_SOLVED, MOST_READ // entries)):
        if not stack:
            break
        # down one branch to its end, then on from the least bound that is open
        at = -1 if dive else min(range(len(stack)), key=lambda i: stack[i][0])
        _, low, high = stack.pop(at)
        dive = False
        bounds = np.column_stack([low, high])
        res = quietly(linprog, cost, A_ub, b_ub, A_eq, b_eq, bounds=bounds, method="highs-ds", options=limit)
        if res.status != 0 or math.ceil(res.fun - 1e-6) >= least:
            continue
        off = np.where(whole, np.abs(res.x - np.round(res.x)), 0.0)
        j = int(np.argmax(off))
        if off[j] <= 1e-6:
            best, least = np.where(whole, np.round(res.x), res.x), round(res.fun)
            continue
        below, above = high.copy(), low.copy()
        below[j], above[j] = math.floor(res.x[j]), math.ceil(res.x[j])
        dive, parts = True, [(res.fun, low, below), (res.fun, above, high)]
        stack += parts if res.x[j] - below[j] > 0.5 else parts[::-1]  # the nearer one is looked at first
    return None if best is None else best * unit
