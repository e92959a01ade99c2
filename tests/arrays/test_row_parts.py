"""Rows in parts: a bound does not depend on how rows are split, and a part that is not like the others is named."""

import dataclasses
import math
from fractions import Fraction

import joblib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from mtpfast import FeatureSpace, MinimumPoisoner, ModelTargetedPoisoner, in_parts, minimum_poisoning
from mtpfast.arrays.parts import RowParts
from mtpfast.arrays.rows import digests
from mtpfast.attacks.online import poison
from mtpfast.guarantee import per_row
from mtpfast.losses.objective import make_objective
from mtpfast.minimum import near_rows
from mtpfast.proofs.certificate import Certificate, prove
from mtpfast.proofs.clean_pass import CleanPass, clean_gradient
from mtpfast.proofs.goal import Goal
from mtpfast.proofs.lines import lines_of
from mtpfast.training.victim import refit

LOSSES = ["hinge", "squared_hinge", "log_loss"]


def problem(seed):
    """(X, y, weight, theta, objective, direction): any loss, convention, dtype; rows of uneven size."""
    rng = np.random.default_rng([seed, 20])
    n, d = int(rng.integers(2, 30)), int(rng.integers(1, 6))
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, size=(n, 1))
    X = np.round(X, 2) if seed % 3 else X.astype(np.float32)
    y = np.where(rng.random(n) < 0.4, 1.0, -1.0)
    theta = np.round(rng.normal(size=d + 1), 1)
    fit_intercept = bool(rng.integers(2))
    theta[-1] *= fit_intercept
    weight = rng.random(n) if seed % 4 == 0 else None
    size = {"alpha": 0.01} if seed % 2 else {"C": 2.0}
    objective = make_objective(
        LOSSES[seed % 3], fit_intercept=fit_intercept, class_weight={1: 3.0} if seed % 5 == 0 else None, **size
    )
    return X, y, weight, theta, objective, rng.normal(size=d + 1)


def splits(y):
    """Rows of every part: 1, 7 and 1,000 a part, by label, with empty parts between, and at random."""
    n, rng = len(y), np.random.default_rng(len(y))
    order = np.arange(n)
    for size in (1, 7, 1000):
        yield [order[i : i + size] for i in range(0, n, size)]
    by_label = np.argsort(y, kind="stable")
    yield [by_label[i : i + 7] for i in range(0, n, 7)]
    yield [order[:0], order[y > 0], order[:0], order[:0], order[y < 0], order[:0]]
    yield np.array_split(rng.permutation(n), 5)


def reduced(asked, values, rng):
    """The merge of neighbours in a random order: any tree that an engine may grow."""
    values = list(values)
    while len(values) > 1:
        i = int(rng.integers(len(values) - 1))
        values[i : i + 2] = [asked.merge(values[i], values[i + 1])]
    return asked.finish(values[0])


def rows_of(clean):
    rows = clean.free_rows.toarray() if sp.issparse(clean.free_rows) else clean.free_rows
    return sorted(map(tuple, np.column_stack([rows, clean.free_labels, clean.free_weights]).tolist()))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", ["exact", "ball", "direction"])
def test_the_certified_value_does_not_depend_on_how_rows_are_split(kind, sparse):
    """Two bounds of the same direction differ by no more than both have subtracted for rounding.

    So both are below the exact one: whatever the tree of merges, the stated error covers its additions.
    """
    for seed in range(3 if sparse else 34):
        X, y, weight, theta, objective, v = problem(seed)
        X = sp.csr_matrix(X) if sparse else X
        more = {"ball": {"tol": 0.01, "direction": v}, "direction": {"tol": 1e-6, "compact": True, "direction": v}}
        asked = CleanPass(theta, objective, 0.05, **more.get(kind, {}))
        goal = Goal(theta, objective, FeatureSpace(-np.ones(X.shape[1]), 1.0), asked.tol, 0.05)
        whole = asked.finish(asked(X, y, weight))
        value, rounding = prove(whole, v, goal)
        for rows in splits(y):
            values = [asked(X[i], y[i], None if weight is None else weight[i]) for i in rows]
            clean = reduced(asked, values, np.random.default_rng(seed))
            assert clean.n_rows == whole.n_rows
            assert rows_of(clean) == rows_of(whole)
            assert np.all(np.abs(clean.gradient - whole.gradient) <= clean.error + whole.error)
            np.testing.assert_array_equal([clean.lower, clean.upper], [whole.lower, whole.upper])
            other, off = prove(clean, v, goal)
            errors = rounding.numerator_error + off.numerator_error
            assert abs(off.numerator - rounding.numerator) <= errors
            if math.isfinite(value) and off.denominator > 0.0:
                # 16 units: of the quotients themselves
                assert abs(other - value) <= (2.0 * errors / off.denominator) + 16 * 2.0**-53 * value


def test_the_error_covers_the_exact_sum():
    """Hinge, numbers of two decimals: G in rational arithmetic lies within its error for every split and tree."""
    for seed in range(0, 60, 3):
        X, y, weight, theta, objective, _ = problem(seed)
        asked = CleanPass(theta, objective)
        for rows in splits(y):
            values = [asked(X[i], y[i], None if weight is None else weight[i]) for i in rows]
            clean = reduced(asked, values, np.random.default_rng(seed))
            free = rows_of(clean)
            exact = [Fraction(0)] * len(theta)
            total = Fraction(0)
            for i in range(len(y)):
                x = [*map(Fraction, X[i].tolist()), Fraction(objective.one)]
                c = Fraction(objective.weight_of(y[i])) * (1 if weight is None else Fraction(float(weight[i])))
                total += c
                margin = Fraction(y[i]) * sum(a * Fraction(b) for a, b in zip(x, theta.tolist(), strict=True))
                if margin < 1 and (*X[i].tolist(), y[i], float(c)) not in free:
                    exact = [g - c * Fraction(y[i]) * a for g, a in zip(exact, x, strict=True)]
            k = Fraction(objective.alpha) * total if objective.alpha else 1 / Fraction(objective.C)
            R = objective.R(X.shape[1])
            penalty = (R * theta).tolist()  # R holds 0 and 1
            exact = [g + k * Fraction(p) for g, p in zip(exact, penalty, strict=True)]
            for g, found, error in zip(exact, clean.gradient.tolist(), clean.error.tolist(), strict=True):
                assert abs(g - Fraction(found)) <= Fraction(error)


def test_the_roundings_of_merges_are_counted():
    """3,000 rows of 0.1, one after the other, miss 300 by more than the parts' own errors: merge adds the rest."""
    objective = make_objective(C=1.0)
    asked = CleanPass(np.zeros(2), objective)
    one = asked(np.array([[0.1]]), np.array([1.0]), None)
    exact, total = Fraction(0.1) * 3000, one
    for _ in range(2999):
        total = asked.merge(total, one)
    off = abs(exact + Fraction(float(total.gradient[0])))
    assert 3000 * Fraction(float(one.error[0])) < off < Fraction(float(total.error[0]))
    assert (total.n_rows, total.weight) == (3000, 3000)


def test_one_part_is_the_pass_in_memory_bit_for_bit():
    """What is added for parts takes no part where there is one."""
    for seed in range(12):
        X, y, weight, theta, objective, v = problem(seed)
        parts = in_parts(X, y, weight, rows=1000)
        for more in ({}, {"tol": 0.01, "direction": v}, {"tol": 1e-6, "compact": True}):
            here = clean_gradient(X, y, theta, objective, weight, **more)
            there = clean_gradient(parts, None, theta, objective, **more)
            for name in ("gradient", "error", "free_rows", "free_weights", "weight", "k", "slack", "slack_error"):
                np.testing.assert_array_equal(getattr(here, name), getattr(there, name))


def planted(loss, seed=1):
    rng = np.random.default_rng(seed)
    X = rng.random((150, 3))
    y = np.sign(X @ [1.0, -1.0, 0.5] - 0.2 + 0.3 * rng.normal(size=150))
    added = np.repeat([[0.0, 1.0, 1.0]], 20, axis=0)
    objective = make_objective(loss, alpha=0.01)
    return X, y, refit(np.vstack([X, added]), np.append(y, np.ones(20)), objective, tol=1e-12).theta


@pytest.mark.parametrize("loss", LOSSES)
def test_the_minimum_does_not_depend_on_how_rows_are_split(loss):
    """Status, whole number and bound of the planted problem; the program sees the same sums."""
    X, y, theta = planted(loss)
    asked = {"loss": loss, "alpha": 0.01, "feasible_set": FeatureSpace(np.zeros(3), 1.0)}
    whole = minimum_poisoning(X, y, theta, **asked)
    assert whole.lower_bound <= 20
    assert whole.status == "reached"
    for rows in (1, 7, 1000):
        parts = in_parts(X, y, rows=rows)
        result = minimum_poisoning(parts, None, theta, **asked)
        assert (result.status, result.n_points, result.lower_bound) == ("reached", whole.n_points, whole.lower_bound)
        assert "not retrained" in result.message
        assert result.n_clean == 150
        # the solver's directions differ by what it leaves open: 1e-9 of the optimum
        np.testing.assert_allclose(result.certificate.value, whole.certificate.value, rtol=1e-8)
        assert result.certificate.check(parts).holds
        assert result.certificate.check(X, y).holds


def test_what_is_not_measured_is_unverified(monkeypatch):
    """Hinge with a free intercept, and a training that ends before its gap says where: the status says so."""
    monkeypatch.setattr(near_rows, "HELD_BYTES", 500)
    monkeypatch.setattr(near_rows, "MOST_PASSES", 3)
    X, y, theta = planted("hinge")
    parts = in_parts(X, y, rows=40)
    asked = {"alpha": 0.01, "penalize_intercept": False, "feasible_set": FeatureSpace(np.zeros(3), 1.0)}
    with pytest.warns(ConvergenceWarning, match="not trained to the end"):
        result = minimum_poisoning(parts, None, theta, **asked)
    assert result.status == "unverified"
    assert np.all(np.isnan(result.theta))
    with pytest.raises(ValueError, match="retrain=True takes rows that are held in memory"):
        minimum_poisoning(parts, None, theta, alpha=0.01, retrain=True)


def write(kind, folder, X, y, weight, cut):
    """Files of this kind, cut after ``cut`` rows, and what in_parts takes of them."""
    for i, rows in enumerate((slice(0, cut), slice(cut, None))):
        table = pd.DataFrame(X[rows], columns=["a", "b", "c"]).assign(y=y[rows], w=weight[rows])
        path = folder / f"part-{i}.{kind}"
        if kind == "npy":
            np.save(path, X[rows])
        elif kind == "npz":
            np.savez(path, X=X[rows], y=y[rows], w=weight[rows])
        elif kind == "parquet":
            table.to_parquet(path, row_group_size=40)
        else:
            table.to_csv(path, index=False)
    return (str(folder / f"*.{kind}"), y, weight) if kind == "npy" else (str(folder / f"*.{kind}"), "y", "w")


@pytest.mark.parametrize("kind", ["npy", "npz", "parquet", "csv"])
def test_files_are_read_in_blocks_and_prove_the_same(kind, tmp_path):
    X, y, theta = planted("hinge")
    weight = np.random.default_rng(0).integers(1, 4, size=150).astype(float)
    claim = Certificate(
        "direction",
        theta,
        make_objective(alpha=0.01),
        FeatureSpace(np.zeros(3), 1.0),
        direction=-theta,
        margin_tol=1e-6,
    )
    parts = in_parts(*write(kind, tmp_path, X, y, weight, 90), rows=32)
    assert parts.shape == (150, 3)
    assert sum(len(part.y) for part in parts.parts()) == 150
    # the text of a csv holds every digit; sums are added in another order
    np.testing.assert_allclose(claim.check(parts).value, claim.check(X, y, weight).value, rtol=1e-12)
    if kind in ("parquet", "csv"):
        narrow = in_parts(parts.paths, "y", columns=["c", "a"])
        assert narrow.n_features == 2
        np.testing.assert_array_equal(next(narrow.parts()).X[:5], X[:5, [2, 0]])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.rename(columns={"b": "z"}), r"part-1.parquet, rows from 0: column 'b' is missing"),
        (lambda t: t.assign(z=1.0), r"part-1.parquet, rows from 0: column 'z' was not expected"),
        (lambda t: t.assign(b=t.b.where(t.index != 2)), r"part-1.parquet, .*NaN or infinity in column 'b'"),
        (
            lambda t: t.assign(y=t.y.where(t.index != 2, 3.0)),
            r"part-1.parquet, .*column 'y' must hold the labels \[-1(\.0)?, 1(\.0)?\], got 3.0 in row 2",
        ),
        (lambda t: t.assign(b=t.b.astype("float32")), r"part-1.parquet, .*column 'b' has dtype float32, in .*part-0"),
        (lambda t: t.assign(b="much"), r"part-1.parquet, .*column 'b' has dtype object, expected numbers"),
    ],
    ids=["missing", "more", "nan", "label", "dtype", "text"],
)
def test_a_part_that_is_not_like_the_others_is_named(change, message, tmp_path):
    X, y, theta = planted("hinge")
    table = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=y)
    table[:100].to_parquet(tmp_path / "part-0.parquet")
    change(table[100:].reset_index(drop=True)).to_parquet(tmp_path / "part-1.parquet")
    parts = in_parts(tmp_path / "*.parquet", "y")
    for use in (lambda: minimum_poisoning(parts, None, theta, alpha=0.01), lambda: MinimumPoisoner().fit(parts)):
        with pytest.raises((ValueError, TypeError), match=message):
            use()


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize("width", [2, 4])
def test_arrays_of_another_width_are_named(kind, width, tmp_path):
    """Before anything is multiplied by them."""
    X, y, theta = planted("hinge")
    for i, rows in enumerate((X[:90], np.resize(X[90:], (60, width)))):
        if kind == "npy":
            np.save(tmp_path / f"X{i}.npy", rows)
        else:
            np.savez(tmp_path / f"X{i}.npz", X=rows, y=y[:90] if i == 0 else y[90:])
    parts = in_parts(tmp_path / f"*.{kind}", y if kind == "npy" else "y")
    with pytest.raises(ValueError, match=rf"X1\.{kind}, rows from 0: there are {width} columns, in the first part 3"):
        minimum_poisoning(parts, None, theta, alpha=0.01, feasible_set=FeatureSpace(np.zeros(3), 1.0), margin_tol=1e-6)


def test_arrays_name_the_part_too():
    X, y, theta = planted("hinge")
    X[77, 1] = np.nan
    with pytest.raises(ValueError, match=r"rows 70 to 79: X must be finite, got NaN or infinity in column 1"):
        minimum_poisoning(in_parts(X, y, rows=10), None, theta, alpha=0.01)
    with pytest.raises(ValueError, match=r"rows 0 to 9: y must hold the labels \[0, 1\], got -1.0"):
        minimum_poisoning(in_parts(np.abs(X), -np.abs(y), rows=10, classes=(0, 1)), None, theta, alpha=0.01)


def test_too_many_rows_on_the_margin_say_what_to_do():
    X, y, _ = planted("hinge")
    parts, theta = in_parts(X, y, rows=10, memory_limit=1000), np.zeros(4)
    with pytest.raises(MemoryError, match=r"margin_tol=1 .*larger memory_limit to in_parts, or a smaller margin_tol"):
        minimum_poisoning(parts, None, theta, alpha=0.01, margin_tol=1.0)
    attacker = MinimumPoisoner(alpha=0.01, feasible_set=FeatureSpace(np.zeros(3), 1.0))
    attacker.fit(in_parts(np.ones_like(X), np.where(np.arange(len(y)), 1, -1), rows=10, memory_limit=1000))
    with pytest.raises(MemoryError, match=r"rows on the margin of the victim .*pass a larger one to in_parts"):
        attacker.certify(X[:2])


def test_workers_do_not_change_a_bit():
    """The order of the sum is that of the parts: one thread, three, or another process say the same."""
    X, y, theta = planted("log_loss")
    asked = CleanPass(theta, make_objective("log_loss", alpha=0.01))
    alone = in_parts(X, y, rows=7).map_reduce(asked, asked.merge)
    threads = in_parts(X, y, rows=7, n_jobs=3)
    with joblib.parallel_config(backend="threading"):
        together = threads.map_reduce(asked, asked.merge)
    for name in ("gradient", "error", "weight"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(together, name))


def test_the_estimator_trains_smooth_losses_by_passes():
    """Newton's method over parts ends where training in memory does."""
    X, y, theta = planted("log_loss")
    labels = np.where(y > 0, "yes", "no")
    here = MinimumPoisoner("log_loss", alpha=0.01).fit(X, labels)
    there = MinimumPoisoner("log_loss", alpha=0.01).fit(in_parts(X, labels, rows=40))
    # both solve to about 1e-8
    np.testing.assert_allclose(there.coef_, here.coef_, rtol=1e-6)
    assert there.predict(X[:5]).tolist() == here.predict(X[:5]).tolist()
    target = theta[:-1], theta[-1]
    one, other = here.attack(target), there.attack(target)
    assert (one.status, one.n_points, one.lower_bound) == (other.status, other.n_points, other.lower_bound)
    assert other.y_poison.tolist() == one.y_poison.tolist()
    np.testing.assert_array_equal(other.feasible_set.lower, one.feasible_set.lower)


class Halves(RowParts):
    """An engine of one's own: pieces, and the join of what the task makes of them."""

    def __init__(self, X, y):
        super().__init__()
        self.X, self.y = X, y

    def pieces(self):
        from mtpfast.arrays.layout import Piece

        half = len(self.y) // 2
        yield Piece("first half", self.X[:half], self.y[:half])
        yield Piece("second half", self.X[half:], self.y[half:])

    def _reduced(self, task, join):
        return join.all(map(task.one, self.pieces()))


def test_an_engine_is_two_methods():
    X, y, theta = planted("squared_hinge")
    result = minimum_poisoning(Halves(X, y), None, theta, loss="squared_hinge", alpha=0.01)
    assert result.lower_bound == minimum_poisoning(X, y, theta, loss="squared_hinge", alpha=0.01).lower_bound


def test_a_csv_part_with_a_head_alone_holds_no_rows(tmp_path):
    """What a cluster writes of an empty partition; without a head the file is named."""
    X, y = np.random.default_rng(0).random((6, 2)), np.array([-1, 1, 1, -1, 1, -1])
    table = pd.DataFrame(X, columns=["a", "b"]).assign(label=y)
    for name, part in (("0", table[:0]), ("1", table[:4]), ("2", table[:0]), ("3", table[4:])):
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    parts = list(in_parts(f"{tmp_path}/*.csv", "label").parts())
    assert np.array_equal(np.vstack([part.X for part in parts]), X)
    (tmp_path / "4.csv").write_text("")
    with pytest.raises(ValueError, match=r"4\.csv is empty"):
        list(in_parts(f"{tmp_path}/*.csv", "label").parts())
    with pytest.raises(ValueError, match=r"4\.csv is empty"):
        in_parts(tmp_path / "4.csv", "label")
    with pytest.raises(IsADirectoryError, match="is a folder, expected files"):
        in_parts(tmp_path, "label")
    with pytest.raises(ValueError, match="y is a name, 'label': of rows in memory"):
        in_parts(table, "label")


def test_what_wants_rows_in_memory_says_so_after_a_fit_on_parts():
    """``make_target`` and attacks on rows of an attacker that has seen parts; Algorithm 1 on parts."""
    rng = np.random.default_rng(0)
    X, y = rng.random((20, 2)), np.repeat([-1, 1], 10)
    parts = in_parts(X, y, rows=7)
    attacker = MinimumPoisoner("log_loss", C=0.1).fit(parts)
    with pytest.raises(TypeError, match="the X of fit comes in parts"):
        attacker.make_target()
    with pytest.raises(ValueError, match="attack must be False or None: the victim of rows in parts"):
        attacker.certify(X[:2], attack=True)
    for use in (lambda: ModelTargetedPoisoner().fit(parts), lambda: poison(parts, None, ([1.0, 0.0], 0.0))):
        with pytest.raises(TypeError, match=r"X comes in parts, .* or a memory map of float32"):
            use()
    with pytest.warns(ConvergenceWarning, match="was not trained"):
        attacker = MinimumPoisoner(class_weight="balanced").fit(parts)
    for use in (attacker.predict, attacker.certify):
        with pytest.raises(NotFittedError, match="the victim of rows in parts was not trained"):
            use(X[:2])


def test_lines_do_not_depend_on_how_rows_are_split():
    """``c``, ``p`` and ``loss`` of two ways to split differ by no more than both were rounded by: ``error`` for p; for
    c and the loss, whose roundings are in them already, gamma(n) times the sum of the sizes of their terms."""
    for seed in range(60):
        X, y, weight, theta, objective, v = problem(seed)
        if len(y) < 3:
            continue
        models = np.stack([theta, theta + v])
        whole = lines_of(models, X, y, objective, weight, compared=(0, 1))
        for rows in (1, 7, 1000):
            split = lines_of(models, in_parts(X, y, weight, rows=rows), None, objective, compared=(0, 1))
            assert np.all(np.abs(split.p - whole.p) <= split.error + whole.error)
            size = 1e-12 * (1.0 + np.abs(whole.loss) + np.abs(whole.c))  # 30 rows: some 100 roundings of 1e-16
            assert np.all(np.abs(split.c - whole.c) <= size)
            assert np.all(np.abs(split.loss - whole.loss) <= size)
            assert split.n_rows == whole.n_rows


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_guarantees_on_parts_are_proved_however_rows_are_split(loss):
    """What is certified on parts checks in memory, and the reverse, in any order of the rows; five points more do not.
    (The two searches read sums of other precision and may end at other numbers: by a tenth here.)"""
    rng = np.random.default_rng(1)
    X, weight = rng.random((60, 2)), rng.random(60)
    y = np.where(X @ [1.0, -1.0] + 0.2 * rng.normal(size=60) > 0.0, "b", "a")
    asked = {"loss": loss, "alpha": 0.05, "class_weight": {"a": 2.0}, "feasible_set": FeatureSpace([0, 0], 1.0)}
    ways = [
        in_parts(X[order], y[order], weight[order], rows=rows, classes=("a", "b"))
        for order, rows in ((np.arange(60), 1), (np.arange(60), 1000), (np.argsort(y, kind="stable"), 7))
    ]
    whole = MinimumPoisoner(**asked).fit(X, y, weight).certify(X[:2], attack=False)
    split = MinimumPoisoner(**asked).fit(ways[2]).certify(X[:2])
    assert split.n_clean == 60
    np.testing.assert_allclose(split.lower_bound, whole.lower_bound, rtol=0.1, atol=1)
    for guarantee in (whole, split):
        assert guarantee.lower_bound.min() >= 1
        assert guarantee.check(X, y, weight).ok
        above = dataclasses.replace(guarantee, lower_bound=guarantee.lower_bound + 5)
        for parts in ways:
            assert guarantee.check(parts).ok
            assert not above.check(parts).ok


def test_an_interrupted_guarantee_on_parts_keeps_what_is_done(monkeypatch):
    """Ctrl-C after the first batch of two: its rows are done and checked, the others claim nothing."""
    monkeypatch.setattr(per_row, "BATCH", 1)
    X, y, _ = planted("hinge")
    parts, told = in_parts(X, y, rows=40), []

    def stop(*state):
        told.append(state[:2])
        raise KeyboardInterrupt

    attacker = MinimumPoisoner(alpha=0.1, feasible_set=FeatureSpace(np.zeros(3), 1.0)).fit(parts)
    guarantee = attacker.certify(X[:2], callback=stop)
    assert told == [(1, 2)]
    assert sorted(guarantee.status.tolist()) == ["done", "interrupted"]
    assert sorted(guarantee.lower_bound > 0) == [False, True]
    assert guarantee.check(parts).ok


def test_a_guarantee_with_rows_on_the_margin_checks_on_parts():
    """The hinge leaves slopes open there; a certificate gives them by the row's entries, wherever the row stands."""
    rng = np.random.default_rng(2)
    X = rng.random((60, 3))
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.1 * rng.normal(size=60) > 0.3, 1, -1)
    attacker = MinimumPoisoner(C=0.5, feasible_set=FeatureSpace(np.zeros(3), 1.0)).fit(X, y)
    guarantee = attacker.certify(X[:2], attack=False, joint=True, budgets=(2,))
    assert len(guarantee.proof.margin_rows) > 0
    for order, rows in ((np.arange(60), 7), (np.arange(60), 60), (np.argsort(y, kind="stable"), 11)):
        for data in (X[order], sp.csr_matrix(X[order])):
            check = guarantee.check(in_parts(data, y[order], rows=rows))
            assert check.ok
            assert np.array_equal(check.lower_bound, guarantee.lower_bound)
    numbers = dataclasses.replace(guarantee.proof, margin_rows=np.arange(len(guarantee.proof.margin_rows)))
    with pytest.raises(ValueError, match="margin_rows must hold digests of 64 bits, got dtype int64"):
        dataclasses.replace(guarantee, proof=numbers).check(X, y)


def test_slopes_of_rows_on_the_margin_are_needed():
    """Without them the first line is one of the many that touch there, and proves less."""
    rng = np.random.default_rng(2)
    X = rng.random((60, 3))
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.1 * rng.normal(size=60) > 0.3, 1.0, -1.0)
    objective = make_objective("hinge", C=0.5)
    theta = refit(X, y, objective).theta
    parts = in_parts(X, y, rows=7)
    rows, slopes = per_row._on_margin(parts, None, theta, objective, None)
    with_slopes, without = (lines_of(theta[None], parts, None, objective, None, *own) for own in ((rows, slopes), ()))

    def lowest(lines):  # of the line and the penalty, over all models
        return float(lines.c[0] - 0.5 * lines.p[0] @ lines.p[0] / objective.k(60.0))

    value = objective.value(theta, X, y)
    assert lowest(with_slopes) >= value * (1.0 - 1e-9)  # the dual optimum: no gap but rounding
    assert lowest(without) < value - 0.01


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix, lambda X: sp.csr_matrix(X)[::-1][::-1]])
def test_a_digest_is_of_the_row_alone(kind):
    """Dense or sparse, in single or double precision, -0. or 0.; another entry, column or label is another digest."""
    X = np.array([[0.0, 0.5, 0.0], [0.5, 0.0, 0.0], [0.0, 0.5, 0.25], [-0.0, 0.5, 0.0], [0.0, 0.5, 0.0]])
    labels = np.array([1.0, 1.0, 1.0, 1.0, -1.0])
    expected = digests(X, labels)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(digests(kind(X.astype(dtype)), labels), expected)
    assert expected[0] == expected[3]
    assert len(set(expected.tolist())) == 4


def test_lines_take_a_bad_row_by_name():
    """A NaN in a part is named in the pass of the guarantees, too."""
    X = np.random.default_rng(0).random((9, 2))
    y, objective = np.tile([-1.0, 1.0, 1.0], 3), make_objective("log_loss", C=1.0)
    X[7, 1] = np.nan
    with pytest.raises(ValueError, match="rows 6 to 8: X must be finite, got NaN or infinity in column 1"):
        lines_of(np.zeros((1, 3)), in_parts(X, y, rows=3), None, objective)
