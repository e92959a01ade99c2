"""Bounds on the insertions that flip one prediction: no attack of fewer points flips it, and no edited proof passes."""

import dataclasses
import io
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.svm import LinearSVC

from mtpfast import CandidatePool, DocumentSpace, FeatureSpace, Guarantee, ModelTargetedPoisoner
from mtpfast.guarantee import comparison, per_row
from mtpfast.guarantee.flips import Flips
from mtpfast.losses.margin import LOSSES
from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit

CONVENTIONS = {
    "alpha": {"alpha": 0.1},
    "C": {"C": 0.3},
    "free": {"alpha": 0.1, "penalize_intercept": False},
    "free C": {"C": 0.05, "penalize_intercept": False},
    "absent": {"alpha": 0.05, "fit_intercept": False},
    "weighted": {"alpha": 0.1, "class_weight": {-1: 2.0, 1: 0.7}},
    "rows": {"alpha": 0.1, "class_weight": {-1: 0.5, 1: 1.5}, "count_rows": True},
}


def problem(rng, loss, convention):
    """A victim, rows to protect, and a space: a box, boxes by label, records, whole numbers or a pool."""
    d, n = int(rng.integers(2, 5)), int(rng.integers(15, 60))
    kind = rng.choice(["box", "boxes", "records", "whole", "one label", "pool", "documents"])
    groups = [[0, 1]] if kind == "records" else []
    space = {
        "box": lambda: FeatureSpace(0.0, 1.0),
        "boxes": lambda: FeatureSpace({1: -0.2, -1: 0.1}, {1: 0.9, -1: 1.3}),
        "records": lambda: FeatureSpace(0.0, 1.0, at_most_one=groups) if rng.random() < 0.5
        else FeatureSpace(0.0, 1.0, one_hot=groups),
        "whole": lambda: FeatureSpace(0.0, 1.0, integer=[0]),
        "one label": lambda: FeatureSpace(0.0, 1.0, labels=[int(rng.choice([-1, 1]))]),
        "documents": lambda: DocumentSpace(max_length=2, max_count=1),
        "pool": lambda: CandidatePool(rng.random((6, d)), rng.choice([-1, 1], 6) if rng.random() < 0.5 else None),
    }[kind]()  # fmt: skip
    X = rng.random((n, d))
    if kind == "records":
        X[:, 0] = X[:, 0] < 0.5
        X[:, 1] = 1.0 - X[:, 0]
    y = np.where(X @ rng.standard_normal(d) + 0.3 * rng.standard_normal(n) > 0.1, 1.0, -1.0)
    y[:2] = 1.0, -1.0
    victim = ModelTargetedPoisoner(loss, feasible_set=space, **CONVENTIONS[convention]).fit(X, y)
    return X, y, space, victim


def drawn(rng, space, d, label):
    """A point of the space with that label, or None."""
    if space.is_finite:
        may = np.arange(len(space.X)) if space.y is None else np.flatnonzero(space.y == label)
        return space.X[rng.choice(may)] if len(may) else None
    region = space.regions(d).get(label)
    if region is None:
        return None
    if region.is_convex and rng.random() < 0.3:
        return region.lower + rng.random(d) * (region.upper - region.lower)
    return region.linear_argmax(rng.standard_normal(d))


def attacks(rng, space, row, sign, m):
    """Mixtures of m points: copies of the row's opposite, of random points, and of both."""
    d = len(row)
    for _ in range(3):
        points, labels = [], []
        for label in (-sign, sign):
            for _ in range(2):
                point = drawn(rng, space, d, label)
                if point is not None:
                    points.append(point)
                    labels.append(label)
        if not space.is_finite:
            for label, region in space.regions(d).items():
                points.append(region.linear_argmax(-sign * label * row))
                labels.append(label)
        share = rng.dirichlet(np.full(len(points), 0.3))
        counts = np.floor(share * m).astype(int)
        counts[np.argmax(share)] += m - counts.sum()
        yield np.array(points), np.array(labels), counts


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("convention", CONVENTIONS)
def test_no_attack_of_fewer_points_than_certified_flips_a_row(loss, convention):
    """F8: the victim trained on clean rows plus m points, m below the bound, keeps the row on its side."""
    rng = np.random.default_rng([ord(c) for c in loss + convention])
    for _ in range(2 if loss == "hinge" else 1):  # a smooth loss has nine times as many cases to prove
        X, y, space, victim = problem(rng, loss, convention)
        rows = rng.random((4 if loss == "hinge" else 2, X.shape[1]))
        guarantee = victim.certify(rows, attack=loss == "hinge")
        assert np.all(guarantee.lower_bound <= guarantee.upper_bound)
        assert np.all(guarantee.lower_bound[np.abs(victim.decision_function(rows)) > 0.05] >= 1)
        assert guarantee.check(X, y).ok
        objective = guarantee.proof.objective
        for row, sign, bound in zip(rows, guarantee.proof.signs, guarantee.lower_bound, strict=True):
            m = int(bound) - 1
            if m < 1:
                continue
            for points, labels, counts in attacks(rng, space, row, sign, m):
                fit = refit(
                    np.vstack([X, points]),
                    np.append(y, labels),
                    objective,
                    sample_weight=np.append(np.ones(len(y)), counts),
                    total_weight=_amount(objective, y, labels, counts),
                    tol=1e-10,
                )
                assert sign * (row @ fit.theta[:-1] + fit.theta[-1]) > 0.0


def _amount(objective, y, labels, counts):
    per = [objective.per_point(label) for label in labels]
    return objective.amount(y) + float(np.dot(per, counts))


@pytest.mark.parametrize("loss", LOSSES)
def test_found_attacks_flip_the_row(loss, cancer):
    """``upper_bound`` points of the result, added to the data, flip the row: judged by another solver for the hinge."""
    X, y = cancer[0][::4, :8], cancer[1][::4]
    victim = ModelTargetedPoisoner(loss, C=0.2, feasible_set=FeatureSpace(0, 1)).fit(X, y)
    rows = cancer[0][1::200, :8]
    guarantee = victim.certify(rows)
    for i, row in enumerate(rows):
        points, labels, counts = guarantee.attack_on(i)
        assert counts.sum() == guarantee.upper_bound[i]
        X_all, y_all = np.vstack([X, np.repeat(points, counts, axis=0)]), np.append(y, np.repeat(labels, counts))
        if loss == "hinge":
            judge = LinearSVC(C=0.2, loss="hinge", tol=1e-8, max_iter=10**6).fit(X_all, y_all)
            score = judge.decision_function(row[None])[0]
        else:
            theta = refit(X_all, y_all, guarantee.proof.objective, tol=1e-10).theta
            score = row @ theta[:-1] + theta[-1]
        assert score * guarantee.proof.signs[i] < 0.0


def test_a_limit_on_the_length_of_documents_raises_the_bound():
    """A plane of the hull has a multiplier: the bound over short documents is above that over the box around them."""
    rng = np.random.default_rng(1)
    X = rng.poisson(0.3, (120, 12)).astype(float)
    y = np.where(X @ rng.standard_normal(12) + 0.3 * rng.standard_normal(120) > 0, 1.0, -1.0)
    top = int(X.max())
    box = ModelTargetedPoisoner(alpha=0.2, feasible_set=FeatureSpace(0, top)).fit(X, y)
    short = ModelTargetedPoisoner(alpha=0.2, feasible_set=DocumentSpace(max_length=3, max_count=top)).fit(X, y)
    low, high = box.certify(X[:20], attack=False), short.certify(X[:20])
    assert np.all(high.lower_bound >= low.lower_bound)
    assert np.mean(high.lower_bound) > 1.2 * np.mean(low.lower_bound)
    assert np.all(high.lower_bound <= high.upper_bound)
    assert high.check(X, y).ok
    proof = dataclasses.replace(high.proof, pi=0.5 * high.proof.pi)
    assert not dataclasses.replace(high, proof=proof).check(X, y).ok


def test_moves_from_copies_to_mixtures_never_need_more_points(cancer):
    """The search for an attack starts at copies of one point, and keeps what is fewest."""
    X, y = np.ascontiguousarray(cancer[0][::4, :8]), cancer[1][::4]
    objective, space = make_objective(alpha=0.1), FeatureSpace(0.0, 1.0)
    theta = refit(X, y, objective).theta
    copies, moves = (Flips(X, y, objective, None, theta, space, 1000, moves=moves) for moves in (0, 8))
    gains = []
    for row in cancer[0][1::60, :8]:
        sign = np.sign(row @ theta[:-1] + theta[-1])
        gains.append((copies(row, sign, 1).n_points, moves(row, sign, 1).n_points))
    gains = np.array(gains)
    assert np.all(gains[:, 1] <= gains[:, 0])
    assert gains[:, 1].sum() < 0.95 * gains[:, 0].sum()


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(3)
    X = rng.random((80, 4))
    y = np.where(X @ [1.0, -1.0, 0.5, 0.2] + 0.1 * rng.standard_normal(80) > 0.3, "yes", "no")
    victim = ModelTargetedPoisoner(alpha=0.1, feasible_set=FeatureSpace(0, 1)).fit(X, y)
    rows = rng.random((12, 4))
    return X, y, victim.certify(rows, victim.predict(rows))


EDITS = {
    "lower_bound": lambda p: {"lower_bound": p.lower_bound + 2, "part_bound": p.part_bound + 2},
    "ratios": lambda p: {"ratios": 0.9 * p.ratios},
    "theta": lambda p: {"theta": 1.1 * p.theta, "models": np.vstack([1.1 * p.theta, p.models[1:]])},
    "models": lambda p: {"models": np.vstack([p.models[:1], 0.3 * p.models[1:]])},
    "comparison": lambda p: {"comparison": np.zeros_like(p.comparison)},
    "weight": lambda p: {"weight": 0.9 * p.weight},
    "tau": lambda p: {"tau": 0.5 * p.tau},
    "rows": lambda p: {"rows": np.roll(p.rows, 1, axis=0)},
    "signs": lambda p: {"signs": -p.signs},
    "width": lambda p: {"width": 50.0},
    "objective": lambda p: {"objective": dataclasses.replace(p.objective, alpha=0.05)},
    "feasible_set": lambda p: {"feasible_set": FeatureSpace(0, 2)},
}


@pytest.fixture(scope="module")
def halves():
    """A victim, and the guarantee of rows from proofs of both halves of the ratios, where these prove most."""
    rng = np.random.default_rng(0)
    X = (rng.random((300, 6)) < 0.5) * 1.0
    y = np.where(X @ rng.standard_normal(6) + rng.standard_normal(300) > 0.5, 1.0, -1.0)
    victim = ModelTargetedPoisoner(alpha=0.5, feasible_set=FeatureSpace(0, 1)).fit(X, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "BOTH", 0)
        return X, y, victim, victim.certify((rng.random((12, 6)) < 0.5) * 1.0, attack=False)


def test_a_row_is_proved_only_by_parts_that_cover_all_ratios_of_the_labels(halves):
    """Attacks whose pulls have a ratio in no part are not excluded: with a gap between two parts nothing is proved."""
    X, y, _, guarantee = halves
    proof = guarantee.proof
    upper = proof.ratios[:, 0] == 0.5
    assert np.count_nonzero(upper) >= 6
    assert guarantee.check(X, y).ok
    gap = proof.ratios.copy()
    gap[upper, 0] = 0.6  # a smaller part: it is proved itself, and the row no more
    edited = dataclasses.replace(guarantee, proof=dataclasses.replace(proof, ratios=gap))
    assert set(edited.check(X, y).failed) == set(proof.part_row[upper])
    with pytest.raises(ValueError, match="part_row must grow"):
        dataclasses.replace(guarantee, proof=dataclasses.replace(proof, part_row=proof.part_row[::-1])).check(X, y)


def test_an_attacker_held_to_one_half_of_the_ratios_of_the_labels_needs_more_points(halves):
    """The cases of a part are mixtures of those of the whole: one half at least has a larger bound."""
    _, _, victim, guarantee = halves
    proof = guarantee.proof
    whole = victim.certify(proof.rows, attack=False, branches=1)
    assert np.all(whole.proof.ratios == (0.0, 1.0))
    split = proof.part_row[proof.ratios[:, 0] == 0.5]
    low, high = (proof.part_bound[proof.ratios[:, end] == 0.5] for end in (1, 0))
    assert np.maximum(low, high).sum() > 1.1 * whole.lower_bound[split].sum()
    assert np.all(victim.certify(proof.rows, attack=False).lower_bound >= whole.lower_bound)


def test_more_parts_cover_all_ratios(halves, monkeypatch):
    """Parts join from 0 to 1, alike for both labels, and are narrower in the middle, where attacks that bind are."""
    for n_parts in (1, 2, 3, 4, 7):
        ends = np.array(comparison.ends_of_parts(n_parts))
        assert (ends[0], ends[-1], len(ends)) == (0.0, 1.0, n_parts + 1)
        assert np.all(np.diff(ends) > 0.0)
        np.testing.assert_allclose(ends + ends[::-1], 1.0, atol=1e-15)  # rounding
        assert n_parts < 3 or np.argmin(np.diff(ends)) in (n_parts // 2, n_parts // 2 - 1)
    X, y, victim, guarantee = halves
    tried, Shared = [], comparison.Shared

    def noted(bundle, rows, ratios):
        tried.append(ratios)
        return Shared(bundle, rows, ratios)

    monkeypatch.setattr(comparison, "Shared", noted)
    more = victim.certify(guarantee.proof.rows, attack=False, branches=4)
    assert more.check(X, y).ok
    # which of both a row keeps is for their sums to say; that all four parts are tried is not
    assert set(tried) - {(0.0, 1.0)} == set(pairwise(comparison.ends_of_parts(4)))
    assert set(np.ravel(more.proof.ratios)) <= set(comparison.ends_of_parts(4))
    assert more.lower_bound.sum() >= guarantee.lower_bound.sum()


@pytest.mark.parametrize("loss, groups", [("hinge", [[0, 1]]), ("squared_hinge", [])])
def test_where_no_proof_by_parts_is_known_there_is_one_for_all_ratios(made, loss, groups):
    X, y, _ = made
    X = np.where(np.arange(4) < 2, np.round(X) * [1, 0, 1, 1], X) if groups else X
    victim = ModelTargetedPoisoner(loss, alpha=0.1, feasible_set=FeatureSpace(0, 1, at_most_one=groups)).fit(X, y)
    one, two = (victim.certify(X[:1], attack=False, branches=branches) for branches in (1, 2))
    assert np.array_equal(one.lower_bound, two.lower_bound)
    assert np.all(two.proof.ratios == (0.0, 1.0))
    ratios = np.tile([0.0, 0.5], (len(two.proof.ratios), 1))
    with pytest.raises(ValueError, match="ratios must be 0 to 1 for this loss and these points"):
        dataclasses.replace(two, proof=dataclasses.replace(two.proof, ratios=ratios)).check(X, y)


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_certificate_does_not_pass(made, name):
    """Every number that a proof rests on matters: with any of them changed, the claims are no longer proved."""
    X, y, guarantee = made
    assert guarantee.check(X, y).ok
    proof = dataclasses.replace(guarantee.proof, **EDITS[name](guarantee.proof))
    bound = proof.lower_bound if name == "lower_bound" else guarantee.lower_bound
    edited = dataclasses.replace(guarantee, proof=proof, lower_bound=bound)
    report = edited.check(X, y)
    assert not report.ok
    assert len(report.failed)


def test_another_comparison_model_than_the_clean_victim_proves_more(cancer, monkeypatch):
    """(4) is concave in the comparison model: the better of two models is taken, and the clean victim is not best."""
    X, y = np.ascontiguousarray(cancer[0][::4, :8]), cancer[1][::4]
    victim = ModelTargetedPoisoner(alpha=0.1, feasible_set=FeatureSpace(0, 1)).fit(X, y)
    rows = cancer[0][1::60, :8]
    better = victim.certify(rows, attack=False)
    monkeypatch.setattr(per_row, "compared", lambda bundle, branches: [])
    plain = victim.certify(rows, attack=False)
    assert np.all(better.lower_bound >= plain.lower_bound)
    assert better.lower_bound.sum() > 1.05 * plain.lower_bound.sum()
    assert better.check(X, y).ok


def test_a_claim_beyond_its_certificate_does_not_pass(made):
    X, y, guarantee = made
    bound = guarantee.lower_bound.copy()
    bound[3] += 1
    report = dataclasses.replace(guarantee, lower_bound=bound).check(X, y)
    assert not report.ok
    assert report.failed.tolist() == [3]


def test_other_data_do_not_pass(made):
    """The proof is of these clean rows: with as many others, labels flipped or rows missing, it proves less."""
    X, y, guarantee = made
    assert not guarantee.check(X, np.where(y == "yes", "no", "yes")).ok
    assert not guarantee.check(X[:-8], y[:-8]).ok


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("tau", -1.0, "tau must be at least 0"),
        ("lam", np.nan, "lam must be finite"),
        ("weight", -1.0, "weight must be at least 0"),
        ("margin_slopes", 2.0, "margin_slopes must be at most 1"),
        ("ratios", 1.5, "ratios must be intervals between 0 and 1"),
        ("part_bound", -1, "part_bound must be at least 0"),
    ],
)
def test_numbers_that_no_certificate_has_are_named(made, name, value, message):
    X, y, guarantee = made
    array = np.full_like(getattr(guarantee.proof, name), value)
    assert array.size
    proof = dataclasses.replace(guarantee.proof, **{name: array})
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(guarantee, proof=proof).check(X, y)


@pytest.mark.parametrize("width", [-0.1, np.nan, np.inf])
def test_a_width_that_no_line_has_is_named(made, width):
    X, y, guarantee = made
    proof = dataclasses.replace(guarantee.proof, width=width)
    with pytest.raises(ValueError, match="width must be at least 0 and finite"):
        dataclasses.replace(guarantee, proof=proof).check(X, y)


def test_saved_and_loaded_it_proves_the_same(made):
    """The file holds no pickle, and all that the check needs but the clean data."""
    X, y, guarantee = made
    file = io.BytesIO()
    guarantee.save(file)
    file.seek(0)
    loaded = Guarantee.load(file)
    assert np.array_equal(loaded.lower_bound, guarantee.lower_bound)
    assert np.array_equal(loaded.upper_bound, guarantee.upper_bound)
    assert loaded.check(X, y).ok
    with pytest.raises(ValueError, match="not a file of a Guarantee"):
        Guarantee.load(io.BytesIO(b"nothing"))


def test_dense_and_sparse_rows_prove_the_same(made):
    """The bound is of the numbers, whatever holds them: equal but for the path of the search."""
    X, y, guarantee = made
    victim = ModelTargetedPoisoner(alpha=0.1, feasible_set=FeatureSpace(0, 1)).fit(sp.csr_matrix(X), y)
    sparse = victim.certify(sp.csr_matrix(guarantee.proof.rows), attack=False)
    assert np.max(np.abs(sparse.lower_bound - guarantee.lower_bound)) <= 1
    assert sparse.check(sp.csr_matrix(X), y).ok
    assert guarantee.check(sp.csr_matrix(X), y).ok


def test_the_bound_is_no_less_than_the_plain_one():
    """Never below ``(J(theta_H) - J*) / M_c`` of F8, ``M_c = 1 + h(-theta_c)``, but for 5 % of it and one point."""
    rng = np.random.default_rng(8)
    for _ in range(2):
        X = rng.random((120, 3))
        y = np.where(X @ [1.0, -1.0, 0.5] + 0.2 * rng.standard_normal(120) > 0.3, 1.0, -1.0)
        victim = ModelTargetedPoisoner(C=0.1, feasible_set=FeatureSpace(0, 1)).fit(X, y)
        rows = rng.random((4, 3))
        guarantee = victim.certify(rows, attack=False)
        objective, theta = guarantee.proof.objective, guarantee.proof.theta
        region = FeatureSpace(0, 1).regions(3)[1.0]
        top = max(region.linear_maximum(-label * theta[:-1], -label * theta[-1])[0] for label in (1.0, -1.0))
        for row, bound in zip(rows, guarantee.lower_bound, strict=True):
            # The best model of the half-space, if it has to move at all, is on its edge: b = -w . row.
            fit = refit(X - row, y, dataclasses.replace(objective, fit_intercept=False), tol=1e-12)
            least = _minimum(partial(_on_edge, objective, X, y, row), fit.theta[:-1])
            plain = (least - objective.value(theta, X, y)) / (1.0 + top)
            assert bound >= 0.95 * plain - 1.0


@pytest.mark.parametrize("n, d, low", [(600, 30, 0.0), (1500, 40, -0.3)])
def test_the_bound_is_no_less_than_the_plain_one_where_the_penalty_is_weak(n, d, low):
    """The same, of it all, where cutting planes need more lines than a row has. Without an intercept theta_H is a
    training on rows less what they share with the protected one: its weights are orthogonal to that."""
    rng = np.random.default_rng(4)
    X = rng.random((n, d)) + low
    y = np.where((X - 0.5 - low) @ rng.standard_normal(d) + 0.5 * rng.standard_normal(n) > 0.0, 1.0, -1.0)
    victim = ModelTargetedPoisoner(C=1.0, feasible_set=FeatureSpace(low, low + 1.0), fit_intercept=False).fit(X, y)
    rows = X[np.argsort(-np.abs(victim.decision_function(X)))[:4]]
    guarantee = victim.certify(rows, attack=False)
    assert guarantee.check(X, y).ok
    objective, theta = guarantee.proof.objective, guarantee.proof.theta
    top = max(np.maximum(-label * low * theta, -label * (low + 1.0) * theta)[:-1].sum() for label in (1.0, -1.0))
    for row, bound in zip(rows, guarantee.lower_bound, strict=True):
        edge = refit(X - np.outer(X @ row, row) / (row @ row), y, objective, tol=1e-12).theta
        plain = (objective.value(edge, X, y) - objective.value(theta, X, y)) / (1.0 + top)
        assert bound >= plain > 3.0


def _on_edge(objective, X, y, row, w):
    return objective.value(np.append(w, -w @ row), X, y)


def _minimum(function, start):
    from scipy.optimize import minimize

    w = start
    for _ in range(4):
        w = minimize(function, w, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000}).x
    return function(w)


def test_one_candidate_makes_the_bound_nearly_tight():
    """The window law: with one point that may be added, and a pure ridge problem before it, lower and upper meet.

    All margins stay below 1, so the victim's theta is linear in the counts and (1) loses only what one comparison model
    loses: nothing along the line that the one point moves theta on.
    """
    rng = np.random.default_rng(5)
    for _ in range(5):
        X = np.abs(rng.standard_normal((60, 3)))
        y = np.where(rng.random(60) < 0.7, 1.0, -1.0)
        x = X[0]
        pool = CandidatePool(x[None], [-1])
        victim = ModelTargetedPoisoner(alpha=3.0, feasible_set=pool).fit(X, y)
        guarantee = victim.certify(x[None])
        low, high = int(guarantee.lower_bound[0]), int(guarantee.upper_bound[0])
        assert low <= high <= 1.1 * low + 1
