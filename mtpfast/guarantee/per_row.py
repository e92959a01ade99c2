"""The question "how few insertions could flip each row", answered from both sides."""

from __future__ import annotations

import dataclasses
import sys
import time
from contextlib import suppress

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from scipy.optimize import lsq_linear

from mtpfast.losses.objective import Objective
from mtpfast.proofs.hulls import hulls_of, planes_of
from mtpfast.proofs.lines import lines_of
from mtpfast.proofs.pointwise import Pointwise, cases_of, refusal
from mtpfast.results.guarantee import NEVER, SHARES, Guarantee, count_of

from .comparison import compared
from .flips import Flips
from .joint import joint_of
from .search import N_LINES, Search

__all__ = ["certify", "check_rows", "told"]


ON_MARGIN = 1e-6  # clean rows this near to margin 1 may have any slope in the first line
BATCH = 64  # rows that are searched together
BATCH_BYTES = 2**26  # of their lines
MOST = 1  # attacks have at most so many points per clean row
MANY = 20  # rows of which joint bounds are looked for
EMPTY = np.empty(0, dtype=np.intp)


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
    attack=True,
    joint=None,
    n_jobs=None,
    progress=None,
) -> Guarantee:
    """A guarantee for the prediction of every row.

    Parameters
    ----------
    X, y, sample_weight
        The clean data, labels -1. and +1.
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
    attack : bool
        Whether to look for attacks that flip the rows.
    joint : bool, optional
        Whether to bound what one attack does to all rows at once, at the budgets; by default where there are
        ``MANY`` rows or more.
    n_jobs : int, optional
        Threads.
    progress : callable, optional
        Told ``(number of rows done, number of rows, seconds)`` after every batch. A KeyboardInterrupt keeps what is
        done.

    Raises
    ------
    ValueError
        Where no bound can be proved: another loss than the built-in ones, balanced class weights.

    Notes
    -----
    About a dozen reads of the clean data per row, O(n_samples n_features) each, for the bound; about as many refits
    for the attack.
    """
    reason = refusal(objective)
    if reason:
        raise ValueError(f"no guarantee can be proved: {reason}")
    n_rows, d = rows.shape
    hulls = hulls_of(feasible_set, d, objective)
    cases = cases_of(objective, hulls, theta)
    on_margin = _on_margin(X, y, theta, objective, sample_weight)
    first = lines_of(theta[None], X, y, objective, sample_weight, *on_margin)
    search = Search(X, y, objective, sample_weight, theta, hulls, cases, first)
    amount = float(objective.amount(y, sample_weight))
    right = signs * (rows @ theta[:-1] + theta[-1]) > 0.0
    bound, upper = np.zeros(n_rows, dtype=np.int64), np.where(right, NEVER, 0)
    status = np.where(right, "interrupted", "wrong")
    tau, lam = np.zeros((n_rows, len(cases))), np.zeros((n_rows, len(cases)))
    pi, comparison = np.zeros((n_rows, len(cases), planes_of(hulls))), np.zeros(n_rows, dtype=np.intp)
    models, mixtures, found, n_models = [theta[None]], [], [], 1
    todo = np.flatnonzero(right)
    todo = todo[np.lexsort((np.abs(rows @ theta[:-1] + theta[-1])[todo], signs[todo]))]  # rows alike share models
    size = max(1, min(BATCH, BATCH_BYTES // (8 * N_LINES * (d + 1))))
    one = objective.one

    def work(part):
        block = rows[part].toarray() if sp.issparse(rows) else rows[part]
        a = signs[part, None] * np.column_stack([block, np.full(len(part), one)])
        bundle = search.run(a)
        proof = _proof(bundle, block, signs[part], feasible_set, on_margin, amount)
        others = [(own, _proof(shared, block[own], signs[part][own], feasible_set, on_margin, amount))
                  for own, shared in compared(bundle)]  # fmt: skip
        proof = _best(proof, others)
        if not attack:
            return part, proof, []
        flips = Flips(X, y, objective, sample_weight, theta, feasible_set, MOST * len(y))
        bounds = zip(block, signs[part], proof.lower_bound.tolist(), strict=True)
        return part, proof, [flips(x, sign, low) for x, sign, low in bounds]

    begin, done = time.perf_counter(), 0
    parts = [todo[at : at + size] for at in range(0, len(todo), size)]
    try:
        for part, proof, flips in _in_turn(work, parts, n_jobs):
            J = len(cases)
            weight_of = part[proof.weight_of // J] * J + proof.weight_of % J
            mixtures.append((weight_of, _after(proof.weight_model, n_models), proof.weight))
            comparison[part] = _after(proof.comparison, n_models)
            models.append(proof.models[1:])
            n_models += len(proof.models) - 1
            bound[part], tau[part], lam[part], pi[part] = proof.lower_bound, proof.tau, proof.lam, proof.pi
            status[part] = "done"
            for row, flip in zip(part, flips, strict=bool(flips)):
                if flip is not None:
                    upper[row] = flip.n_points
                    found.append((row, flip))
            done += len(part)
            if progress is not None:
                progress(done, len(todo), time.perf_counter() - begin)
    except KeyboardInterrupt:
        pass
    joined = [np.concatenate(part) for part in zip((EMPTY, EMPTY, np.empty(0)), *mixtures, strict=True)]
    proof = Pointwise(
        theta, objective, feasible_set, rows, signs, bound, np.vstack(models), comparison, *joined, tau, lam, pi,
        *on_margin,
    )  # fmt: skip
    together = None
    if len(right) >= MANY if joint is None else joint:
        with suppress(KeyboardInterrupt):
            together = joint_of(search, proof, [count_of(budget, len(y)) for budget in budgets])
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
        n_clean=len(y),
        budgets=tuple(budgets),
        proof=proof,
        joint=together,
    )


def _in_turn(work, parts, n_jobs):
    """The results of ``work`` on all parts, in their order, by so many threads."""
    if n_jobs in (None, 1):
        return map(work, parts)
    return Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")(delayed(work)(part) for part in parts)


def _proof(bundle, block, signs, feasible_set, on_margin, amount) -> Pointwise:
    """The certificate of a batch, its bounds lowered to what its own arithmetic proves."""
    search, models = bundle.search, np.vstack(bundle.models)
    for _ in range(2):
        row, case, line = np.nonzero(bundle.mu)
        numbers = np.concatenate([[0, bundle.comparison], bundle.index[row, line]])
        used, place = np.unique(numbers, return_inverse=True)
        proof = Pointwise(
            models[0], search.objective, feasible_set, block, signs,
            np.maximum(bundle.count, -1.0).astype(np.int64) + 1, models[used], np.full(len(block), place[1]),
            row * bundle.mu.shape[1] + case, place[2:].astype(np.intp), bundle.mu[row, case, line],
            bundle.tau, bundle.lam, bundle.pi, *on_margin,
        )  # fmt: skip
        lines = bundle.joined()
        lines = lines._replace(**{name: getattr(lines, name)[used] for name in ("c", "p", "error", "loss")})
        proved = proof.proved(lines, amount)
        if np.all(proved == proof.lower_bound):
            break
        bundle.give_up(np.flatnonzero(proved < proof.lower_bound))
    return dataclasses.replace(proof, lower_bound=proved)


def _after(numbers, n_models):
    """Numbers of models, the first the clean victim, where all but that come after ``n_models`` others."""
    return np.where(numbers > 0, numbers + n_models - 1, 0)


def _best(first: Pointwise, others) -> Pointwise:
    """Of every row the proof that proves most: ``others`` are (rows, proof) of parts of the rows."""
    bound, comparison = first.lower_bound.copy(), first.comparison.copy()
    tau, lam, pi = first.tau.copy(), first.lam.copy(), first.pi.copy()
    J, models = tau.shape[1], [first.models]
    chosen = np.zeros(len(bound), dtype=np.intp)  # 0 for the first
    mixtures = [(first.weight_of, first.weight_model, first.weight, np.zeros(len(first.weight), dtype=np.intp))]
    n_models = len(first.models)
    for number, (rows, proof) in enumerate(others, start=1):
        better = proof.lower_bound > bound[rows]
        own = rows[better]
        bound[own], chosen[own] = proof.lower_bound[better], number
        comparison[own] = _after(proof.comparison[better], n_models)
        tau[own], lam[own], pi[own] = proof.tau[better], proof.lam[better], proof.pi[better]
        weight_of = rows[proof.weight_of // J] * J + proof.weight_of % J
        source = np.full(len(weight_of), number)
        mixtures.append((weight_of, _after(proof.weight_model, n_models), proof.weight, source))
        models.append(proof.models[1:])
        n_models += len(proof.models) - 1
    weight_of, weight_model, weight, source = (np.concatenate(part) for part in zip(*mixtures, strict=True))
    keep = chosen[weight_of // J] == source
    numbers = np.concatenate([[0], comparison, weight_model[keep]])
    used, place = np.unique(numbers, return_inverse=True)
    return dataclasses.replace(
        first, lower_bound=bound, models=np.vstack(models)[used], comparison=place[1 : len(bound) + 1],
        weight_of=weight_of[keep], weight_model=place[len(bound) + 1 :], weight=weight[keep], tau=tau, lam=lam, pi=pi,
    )  # fmt: skip


def _on_margin(X, y, theta, objective, sample_weight):
    """The clean rows on the margin of the hinge, and the slopes there that make theta stationary."""
    nothing = EMPTY, np.empty(0)
    if objective.loss.smooth:
        return nothing
    margin = objective.margins(theta, X, y)
    near = np.flatnonzero(np.abs(margin - 1.0) <= ON_MARGIN * (1.0 + abs(theta[-1])))
    if not len(near):
        return nothing
    weights = objective.weights(y, sample_weight)
    weights = np.ones(len(y)) if weights is None else weights
    active = np.where(margin < 1.0, weights, 0.0)
    active[near] = 0.0
    one = objective.one
    R = objective.R(len(theta) - 1)
    k = objective.k(objective.amount(y, sample_weight))
    rest = k * R * theta - np.append((active * y) @ X, one * float(active @ y))
    Z = X[near].toarray() if sp.issparse(X) else X[near]
    Z = (weights[near] * y[near])[:, None] * np.column_stack([Z, np.full(len(near), one)])
    slopes = lsq_linear(Z.T, rest, bounds=(0.0, 1.0), method="bvls" if len(near) < 500 else "trf", tol=1e-12).x
    return near, np.clip(slopes, 0.0, 1.0)


def check_rows(rows, n):
    """Numbers of rows, each below n."""
    rows = np.asarray(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or np.any((rows < 0) | (rows >= n)):
        raise ValueError(f"rows must be a list of whole numbers from 0 to {n - 1}, got {rows!r:.80}")
    return rows.astype(np.intp)


def told(callback, verbose):
    """What calls the callback, and writes a line to the standard error where ``verbose``."""
    if not verbose:
        return callback

    def progress(done, n, seconds):
        sys.stderr.write(f"[certify] {done:,} of {n:,} rows, {seconds:.0f} s\n")
        if callback is not None:
            callback(done, n, seconds)

    return progress
