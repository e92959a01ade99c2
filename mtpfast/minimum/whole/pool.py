"""Whole copies of candidates of a pool."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from mtpfast.minimum.found import Found, unattainable
from mtpfast.minimum.programs.highs import SOLVED
from mtpfast.minimum.programs.pool import PoolProgram
from mtpfast.minimum.programs.solution import Solution
from mtpfast.proofs.bounds import whole
from mtpfast.question import Problem

from .counts import round_counts, settle

__all__ = ["exact_pool", "pool_program"]


MOST_TRIED = 2000  # columns of a pool among which copies are moved: that takes their number squared
NEARLY_FREE = (50, 200, 800)  # columns of a pool, of least reduced cost, among which its weights are rounded


def pool_program(problem: Problem):
    return PoolProgram(problem.clean, problem.theta, problem.objective, problem.feasible_set, problem.margin_tol)


def exact_pool(problem: Problem, integer=True) -> Found:
    """A finite pool: the fractional minimum, and whole counts near it."""
    program = pool_program(problem)
    solution = program.solve()
    if solution is None:
        return unattainable(problem, program.farkas())
    value = solution.value
    found = Found(certificate=problem.prove(solution.direction), value=value)
    if value <= 1e-9 * max(1.0, problem.clean.weight):
        return replace(found, exact=True, message="the clean data alone induce the target")
    counts = program.whole(math.ceil(1.1 * value) + 2) if integer else None
    exact = counts is not None
    if exact:
        message = f"{int(counts.sum())} points for the exact target"
    else:
        total = max(1, whole(value, SOLVED) if integer else round(value))
        counts = _round_pool(program, solution, total)
        message = f"the {int(counts.sum())} points carry the weights of the fractional minimum {value:.6f}, rounded"
    rows, labels, dealt = program.deal(counts)
    X = problem.feasible_set.X
    return replace(
        found,
        points=[X[i] for i in rows] if sp.issparse(X) else list(X[rows]),
        labels=labels,
        counts=dealt,
        exact=exact,
        message=message,
        residual=program.residual(counts),
    )


def _round_pool(program: PoolProgram, solution: Solution, total):
    """Whole counts, one per column, near the weights of a solution: what is fractional is rounded, and copies move
    between these columns and others of (nearly) no reduced cost. A search, from a few choices of the others."""
    full = solution.counts
    whole = np.rint(full)
    fractional = np.abs(full - whole) > 1e-7 * max(1.0, float(full.max()))
    cheapest = np.argsort(np.abs(program.price(solution.direction) - 1.0), kind="stable")
    free = program.free.toarray()
    best = math.inf, None
    for others in NEARLY_FREE:
        tried = fractional.copy()
        tried[cheapest[:others]] = True
        tried[program.twins[:, 1]] = False  # what is on the kink stays split as it is
        tried = np.flatnonzero(tried)
        top = program.top[tried]
        shared = np.isin(program.twins[:, 0], tried)
        top[np.searchsorted(tried, program.twins[shared, 0])] -= whole[program.twins[shared, 1]]
        rest = whole.copy()
        rest[tried] = 0.0
        target = -program.clean.gradient - program.total(rest)
        counts = np.minimum(round_counts(full[tried], total - rest.sum()), top).astype(int)
        rounds = 10 if len(tried) <= MOST_TRIED else 0
        counts, length = settle(program.columns(tried).toarray(), target, counts, free, top, rounds)
        if length < best[0]:
            rest[tried] = counts
            best = length, rest.astype(int)
    return best[1]
