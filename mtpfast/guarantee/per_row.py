"""The question "how few insertions could flip each row", answered from both sides."""

from __future__ import annotations

import dataclasses
import sys
import time
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from mtpfast.arrays.bounded import least_squares_in_unit
from mtpfast.arrays.parts import RowParts
from mtpfast.arrays.rows import digests
from mtpfast.arrays.sweeps import sweep
from mtpfast.losses.objective import Objective
from mtpfast.proofs.clean_pass import amount_of, clean_gradient
from mtpfast.proofs.hulls import hulls_of, planes_of
from mtpfast.proofs.lines import lines_of
from mtpfast.proofs.pointwise import Pointwise, cases_of, refusal
from mtpfast.results.guarantee import NEVER, SHARES, Guarantee, count_of

from .comparison import compared, ways_of
from .flips import Flip, Flips
from .joint import joint_of
from .search import N_LINES, Search

__all__ = ["BRANCHES", "certify", "check_rows", "told"]


ON_MARGIN = 1e-6  # clean rows this near to margin 1 may have any slope in the first line
BATCH = 64  # rows that are searched together
BATCH_BYTES = 2**26  # of their lines
MOST = 1  # attacks have at most so many points per clean row
BRANCHES, LARGE = 4, 2_000_000  # parts, and half as many where X has so many entries
MANY = 20  # rows of which joint bounds are looked for
EMPTY = np.empty(0, dtype=np.intp)
NO_ROWS = np.empty(0, dtype=np.uint64)


def certify(
    X,
    y,
    theta,
    objective: Objective,
    feasible_set,
    rows,
    signs,
    *,
    sample_weight=None,
    budgets=SHARES,
    attack=None,
    joint=None,
    branches=None,
    n_jobs=None,
    progress=None,
) -> Guarantee:
    """A guarantee for the prediction of every row.

    Parameters
    ----------
    X, y, sample_weight
        The clean data, labels -1. and +1.; or X in parts, which bring their labels and weights.
    theta : ndarray of shape (n_features + 1,)
        The clean victim.
    objective : Objective
    feasible_set : FeatureSpace or CandidatePool
        With the labels -1. and +1.
    rows : ndarray or CSR of shape (n_rows, n_features)
    signs : ndarray of shape (n_rows,)
        What is protected: the label that each row should have, or the prediction.
    budgets : tuple of int or float
        What summaries report.
    attack : bool, optional
        Whether to look for attacks that flip the rows; by default where the clean rows are in memory.
    joint : bool, optional
        Whether to bound what one attack does to all rows at once, at the budgets; by default where there are
        ``MANY`` rows or more.
    branches : int, optional
        Parts of the ratios of the labels, each with a comparison model of its own, where a proof by parts is known (the
        hinge, and boxes of both labels). The time grows with it. By default 4, and 2 from two million entries of X on,
        or where the rows come in parts.
    n_jobs : int, optional
        joblib's: threads, or what ``joblib.parallel_config`` chooses.
    progress : callable, optional
        Told ``(number of steps done, number of steps, seconds)`` after every batch of bounds, every attack and every
        budget of the joint bounds: a step is the bound of a row, the attack on it, or the joint bounds of a budget. A
        KeyboardInterrupt keeps what is done.

    Raises
    ------
    ValueError
        Where no bound can be proved: another loss than the built-in ones, balanced class weights.
    MemoryError
        Where the clean rows on the margin of theta, in parts, take more than their ``memory_limit``.

    Notes
    -----
    About a dozen reads of the clean data per row, O(n_samples n_features) each, for the bound; about as many refits
    for the attack.
    """
    reason = refusal(objective)
    if reason:
        raise ValueError(f"no guarantee can be proved: {reason}")
    in_parts = isinstance(X, RowParts)
    if in_parts and attack:
        raise ValueError("attack must be False or None: the victim of rows in parts is not retrained")
    attack, n_clean = not in_parts if attack is None else attack, X.shape[0]
    joint = rows.shape[0] >= MANY if joint is None else joint and rows.shape[0] > 0
    if branches is None:
        branches = BRANCHES // 2 if in_parts or n_clean * X.shape[1] >= LARGE else BRANCHES
    n_rows, d = rows.shape
    hulls = hulls_of(feasible_set, d, objective)
    cases = cases_of(objective, hulls, theta)
    on_margin = _on_margin(X, y, theta, objective, sample_weight)
    first = lines_of(theta[None], X, y, objective, sample_weight, *on_margin)
    search = Search(X, y, objective, sample_weight, theta, hulls, cases, first)
    amount = amount_of(X, y, objective, sample_weight)
    right = signs * (rows @ theta[:-1] + theta[-1]) > 0.0
    bound, upper = np.zeros(n_rows, dtype=np.int64), np.where(right, NEVER, 0)
    status = np.where(right, "interrupted", "wrong")
    found = []
    todo = np.flatnonzero(right)
    todo = todo[np.lexsort((np.abs(rows @ theta[:-1] + theta[-1])[todo], signs[todo]))]  # rows alike share models
    size = max(1, min(BATCH, BATCH_BYTES // (8 * N_LINES * (d + 1))))
    counts = np.unique([count_of(budget, n_clean) for budget in budgets] if joint else EMPTY)
    counts = counts[counts > 0]
    begin, done, pieces = time.perf_counter(), 0, []

    def step(n=1):
        nonlocal done
        done += n
        if progress is not None:
            progress(done, len(todo) * (2 if attack else 1) + len(counts), time.perf_counter() - begin)

    parts = [todo[at : at + size] for at in range(0, len(todo), size)]
    about = _About(search, rows, signs, feasible_set, on_margin, amount, branches)
    # a pass over rows in parts is its engine's to share out
    proofs = map(about.proof, parts) if in_parts else sweep(
        _proof_of, [(part,) for part in parts], about, n_jobs, prefer="threads"
    )  # fmt: skip
    try:
        for part, proof in zip(parts, proofs, strict=True):
            pieces.append((proof, np.arange(len(proof.part_row)), part))
            bound[part] = proof.lower_bound
            if not attack:
                status[part] = "done"
            step(len(part))
        attacks = list(zip(todo, bound[todo].tolist(), strict=True)) if attack else []
        for (row, _), flip in zip(attacks, sweep(_attack_on, attacks, about, n_jobs, prefer="threads"), strict=True):
            status[row] = "done"
            if flip is not None:
                upper[row] = flip.n_points
                found.append((row, flip))
            step()
    except KeyboardInterrupt:
        counts = EMPTY
    J, P = len(cases), planes_of(hulls)
    none = Pointwise(
        theta, objective, feasible_set, rows, signs, bound, theta[None], EMPTY, EMPTY, np.empty((0, 2)), EMPTY, EMPTY,
        EMPTY, np.empty(0), np.empty((0, J)), np.empty((0, J)), np.empty((0, J, P)), *on_margin, search.width,
    )  # fmt: skip
    proof = _joined(none, [(none, EMPTY, EMPTY), *pieces])
    together = None
    with suppress(KeyboardInterrupt):
        together = joint_of(search, proof, counts, step)
    flips = [flip for _, flip in found]
    points = np.vstack([np.empty((0, d)), *(flip.points for flip in flips)])
    return Guarantee(
        lower_bound=bound,
        upper_bound=upper,
        status=status,
        labels=signs,
        row=np.arange(n_rows),
        attack_row=np.repeat([row for row, _ in found], [len(flip.labels) for flip in flips]).astype(np.intp),
        points=sp.csr_matrix(points) if sp.issparse(X) else points,
        attack_label=np.concatenate([np.empty(0), *(flip.labels for flip in flips)]),
        attack_count=np.concatenate([EMPTY, *(flip.counts for flip in flips)]).astype(np.int64),
        classes=np.array([-1.0, 1.0]),
        n_clean=n_clean,
        budgets=tuple(budgets),
        proof=proof,
        joint=together,
    )


class _About(NamedTuple):
    """The victim, the rows and the points: all that a bound or an attack is searched with."""

    search: Search
    rows: object
    signs: np.ndarray
    feasible_set: object
    on_margin: tuple
    amount: float
    branches: int

    def proof(self, part) -> Pointwise:
        """The certificate of the rows numbered so."""
        search, rows, more = self.search, self.rows, (self.feasible_set, self.on_margin, self.amount)
        block = rows[part].toarray() if sp.issparse(rows) else rows[part]
        signs = self.signs[part]
        a = signs[:, None] * np.column_stack([block, np.full(len(part), search.objective.one)])
        bundle = search.run(a, (0.0, 1.0) not in ways_of(search, self.branches)[0])
        proof = _proof(bundle, block, signs, *more)
        return _best(proof, [
            (own, [_proof(shared, block[own], signs[own], *more) for shared in bundles])
            for own, bundles in compared(bundle, self.branches)
        ])  # fmt: skip

    def attack(self, row, bound) -> Flip | None:
        """The fewest points found that flip the row of this number, which fewer than ``bound`` do not."""
        search, x = self.search, self.rows[row]
        data = search.X, search.y, search.objective, search.sample_weight, search.theta
        flips = Flips(*data, self.feasible_set, MOST * search.X.shape[0])
        return flips(x.toarray()[0] if sp.issparse(x) else x, self.signs[row], bound)


def _proof_of(part, about: _About):
    return about.proof(part)


def _attack_on(row, bound, about: _About):
    return about.attack(row, bound)


def _proof(bundle, block, signs, feasible_set, on_margin, amount) -> Pointwise:
    """The certificate of a batch, a part for each row, its bounds lowered to what its own arithmetic proves."""
    search, models, K = bundle.search, np.vstack(bundle.models), len(block)
    for _ in range(2):
        row, case, line = np.nonzero(bundle.mu)
        numbers = np.concatenate([[0, bundle.comparison], bundle.index[row, line]])
        used, place = np.unique(numbers, return_inverse=True)
        count = np.maximum(bundle.count, -1.0).astype(np.int64) + 1
        proof = Pointwise(
            models[0], search.objective, feasible_set, block, signs, count, models[used], np.arange(K), count,
            np.tile(search.ratios, (K, 1)), np.full(K, place[1]), row * bundle.mu.shape[1] + case,
            place[2:].astype(np.intp), bundle.mu[row, case, line], bundle.tau, bundle.lam, bundle.pi, *on_margin,
            search.width,
        )  # fmt: skip
        proved = np.where(proof.holding(bundle.joined(used), amount), count, 0)
        if np.all(proved == count):
            break
        bundle.give_up(np.flatnonzero(proved < count))
    return dataclasses.replace(proof, lower_bound=proved, part_bound=proved)


def _best(first: Pointwise, others) -> Pointwise:
    """Of every row the parts that prove most: ``others`` are (rows, proofs of parts) of some of the rows."""
    bound, chosen = first.lower_bound.copy(), np.full(len(first.signs), -1)
    for number, (rows, parts) in enumerate(others):
        proved = np.min([part.lower_bound for part in parts], axis=0)
        better = proved > bound[rows]
        bound[rows[better]], chosen[rows[better]] = proved[better], number
    pieces = [(first, np.flatnonzero(chosen == -1), np.arange(len(bound)))]
    for number, (rows, parts) in enumerate(others):
        pieces += [(part, np.flatnonzero(chosen[rows] == number), rows) for part in parts]
    return _joined(dataclasses.replace(first, lower_bound=bound), pieces)


def _joined(whole: Pointwise, pieces) -> Pointwise:
    """The certificate of the rows of ``whole`` from pieces ``(proof, parts, rows)``: some of the proof's parts, and for
    each row of the proof its number in the whole."""
    theta, J, N, n_models = whole.theta, whole.tau.shape[1], 0, 1
    models, found = [theta[None]], []
    for proof, parts, rows in pieces:
        number = np.full(len(proof.part_row), -1)
        number[parts] = N + np.arange(len(parts))
        of = number[proof.weight_of // J]
        keep = of >= 0
        found.append((
            rows[proof.part_row[parts]], proof.part_bound[parts], proof.ratios[parts],
            _after(proof.comparison[parts], n_models), of[keep] * J + proof.weight_of[keep] % J,
            _after(proof.weight_model[keep], n_models), proof.weight[keep], proof.tau[parts], proof.lam[parts],
            proof.pi[parts],
        ))  # fmt: skip
        models.append(proof.models[1:])
        n_models += len(proof.models) - 1
        N += len(parts)
    row, bound, ratios, comparison, weight_of, weight_model, weight, tau, lam, pi = (
        np.concatenate(part) for part in zip(*found, strict=True)
    )
    order = np.lexsort((ratios[:, 0], row))
    place = np.empty(N, dtype=np.intp)
    place[order] = np.arange(N)
    weight_of = place[weight_of // J] * J + weight_of % J
    used, number = np.unique(np.concatenate([[0], comparison, weight_model]), return_inverse=True)
    return dataclasses.replace(
        whole, models=np.vstack(models)[used], part_row=row[order], part_bound=bound[order], ratios=ratios[order],
        comparison=number[1 : N + 1][order], weight_of=weight_of, weight_model=number[N + 1 :], weight=weight,
        tau=tau[order], lam=lam[order], pi=pi[order],
    )  # fmt: skip


def _after(numbers, n_models):
    """Numbers of models, the first the clean victim, where all but that come after ``n_models`` others."""
    return np.where(numbers > 0, numbers + n_models - 1, 0)


def _on_margin(X, y, theta, objective, sample_weight):
    """The clean rows on the margin of the hinge, by their digests, and the slopes there that make theta stationary."""
    if objective.loss.smooth:
        return NO_ROWS, np.empty(0)
    tol = ON_MARGIN * (1.0 + abs(theta[-1]))
    try:
        clean = clean_gradient(X, y, theta, objective, sample_weight, margin_tol=tol)
    except MemoryError as error:
        more = "the clean rows on the margin of the victim take more than memory_limit: pass a larger one to in_parts"
        raise MemoryError(more) from error
    rows, labels, weights = clean.free_rows, clean.free_labels, clean.free_weights
    if not len(labels):
        return NO_ROWS, np.empty(0)
    Z = rows.toarray() if sp.issparse(rows) else rows
    Z = (weights * labels)[:, None] * np.column_stack([Z, np.full(len(labels), objective.one)])
    slopes = least_squares_in_unit(Z.T, clean.gradient, "bvls")
    found, place = np.unique(digests(rows, labels), return_inverse=True)
    weights = np.maximum(weights, 1e-300)
    return found, np.clip(np.bincount(place, weights * slopes) / np.bincount(place, weights), 0.0, 1.0)


def check_rows(rows, n):
    """Numbers of rows, each below n; or those of a mask."""
    rows = np.asarray(rows)
    if rows.dtype == bool and rows.shape == (n,):
        rows = np.flatnonzero(rows)
    if not rows.size:
        raise ValueError("rows must name one row at least, got none")
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or np.any((rows < 0) | (rows >= n)):
        raise ValueError(f"rows must be a list of whole numbers from 0 to {n - 1}, or a mask of {n}, got {rows!r:.80}")
    return rows.astype(np.intp)


def told(callback, verbose):
    """What calls the callback, and writes a line to the standard error where ``verbose``."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback must be callable, got {callback!r}")
    if not verbose:
        return callback

    def progress(done, n, seconds):
        sys.stderr.write(f"[certify] {done:,} of {n:,} steps, {seconds:.0f} s\n")
        if callback is not None:
            callback(done, n, seconds)

    return progress
