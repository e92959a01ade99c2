"""Joint bounds: no single attack has more rows wrong, or the clean rows lose more, and no edited proof passes."""

import dataclasses
import io

import numpy as np
import pytest

from mtpfast import FeatureSpace, Guarantee, ModelTargetedPoisoner
from mtpfast.training.victim import refit

VICTIMS = {
    "hinge": {"alpha": 0.1},
    "hinge C": {"loss": "hinge", "C": 0.05},
    "hinge absent": {"alpha": 0.1, "fit_intercept": False},
    "hinge weighted": {"alpha": 0.1, "class_weight": {-1: 1.5, 1: 0.7}},
    "log loss": {"loss": "log_loss", "alpha": 0.1},
    "hinge free": {"alpha": 0.1, "penalize_intercept": False},
    "log loss free": {"loss": "log_loss", "C": 0.05, "penalize_intercept": False, "class_weight": {-1: 0.8, 1: 1.2}},
}


def planted(seed, records=False):
    rng = np.random.default_rng(seed)
    X = rng.random((70, 3))
    if records:
        X[:, 0] = X[:, 0] < 0.5
        X[:, 1] = 1.0 - X[:, 0]
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.2 * rng.standard_normal(70) > 0.3, 1.0, -1.0)
    rows = rng.random((24, 3))
    return rng, X, y, rows, np.where(rows @ [1.0, -1.0, 0.5] > 0.3, 1.0, -1.0)


@pytest.mark.parametrize("name", VICTIMS)
def test_no_attack_exceeds_the_joint_bounds(name):
    """Whatever m points are added: as many rows are right, scores as high and the clean loss as low as was proved."""
    rng, X, y, rows, y_rows = planted(len(name), records=name == "hinge C")
    space = FeatureSpace(0, 1, one_hot=[[0, 1]]) if name == "hinge C" else FeatureSpace(0, 1)
    victim = ModelTargetedPoisoner(feasible_set=space, **VICTIMS[name]).fit(X, y)
    counts = (3, 12) if "hinge" in name[:5] else (6,)
    guarantee = victim.certify(rows, y_rows, attack=False, joint=True, budgets=counts)
    assert guarantee.check(X, y).ok
    joint, objective, loss = guarantee.joint, guarantee.proof.objective, guarantee.proof.objective.loss
    weights = np.ones(len(y)) if objective.class_weight is None else objective.weights(y)
    region, closest = space.regions(3)[1.0], np.inf
    for b, count in enumerate(counts):
        for _ in range(25):
            points = np.array([region.linear_argmax(rng.standard_normal(3)) for _ in range(2)])
            labels = rng.choice([-1.0, 1.0], 2)
            first = int(rng.integers(count + 1))
            own = np.array([first, count - first])
            model = refit(
                np.vstack([X, points]),
                np.append(y, labels),
                objective,
                sample_weight=np.append(np.ones(len(y)), own),
                total_weight=objective.amount(y) + float(own @ [objective.per_point(label) for label in labels]),
                tol=1e-10,
            )
            score = y_rows * (rows @ model.theta[:-1] + model.theta[-1])
            margin = objective.margins(model.theta, X, y)
            assert np.count_nonzero(score <= 0.0) <= joint.wrong[b]
            assert np.all(score >= joint.score[b] - 1e-6)  # of the refit's gap
            mean = float(weights @ loss.value(margin)) / weights.sum()
            assert mean <= joint.loss[b] + 1e-8
            assert float(weights @ (margin <= 0.0)) / weights.sum() <= joint.error[b]
            closest = min(closest, joint.loss[b] - mean)
    assert closest < 0.3  # of losses from 0 to 2: the bound says something


@pytest.fixture(scope="module")
def made():
    _, X, y, rows, y_rows = planted(1)
    victim = ModelTargetedPoisoner(alpha=0.1, feasible_set=FeatureSpace(0, 1)).fit(X, y)
    return X, y, victim, victim.certify(rows, y_rows, attack=False, joint=True, budgets=(4, 0.1))


def test_the_certified_error_is_the_better_of_two_bounds(made):
    """Rows on their own are granted an attack each, and all of them one by the joint bound of the next budget."""
    _, _, _, guarantee = made
    joint, n = guarantee.joint, len(guarantee.lower_bound)
    assert joint.counts.tolist() == [4, 7]
    for k in range(12):
        alone = np.mean(guarantee.lower_bound <= k)
        together = 1.0 if k > 7 else joint.wrong[0 if k <= 4 else 1] / n
        assert guarantee.certified_error(k) == min(alone, together)
    assert np.any(joint.wrong < [np.count_nonzero(guarantee.lower_bound <= k) for k in joint.counts])


def test_the_certified_loss_grows_and_ends_with_the_budgets(made):
    """The bound of the least budget that is no smaller; infinite beyond the largest; by group from scores."""
    X, y, victim, guarantee = made
    low, high = guarantee.certified_loss(4), guarantee.certified_loss(0.1)
    margins = y * victim.decision_function(X)
    assert np.mean(np.maximum(0.0, 1.0 - margins)) <= low.loss <= high.loss < np.inf
    assert np.mean(margins <= 0.0) <= low.error <= high.error <= 1.0
    assert guarantee.certified_loss(3) == low
    assert guarantee.certified_loss(8) == (np.inf, 1.0)
    groups = np.repeat(["a", "b"], 12)
    by_group = guarantee.certified_loss(4, groups)
    scores = guarantee.proof.signs * victim.decision_function(guarantee.proof.rows)
    for name, part in (("a", slice(12)), ("b", slice(12, None))):
        assert np.mean(np.maximum(0.0, 1.0 - scores[part])) <= by_group[name] < np.inf
    with pytest.raises(ValueError, match="k must be at least 0"):
        guarantee.certified_loss(-1)
    with pytest.raises(ValueError, match="groups must have shape"):
        guarantee.certified_loss(1, groups[:3])


def test_the_mean_score_of_a_group_is_certified_as_the_row_of_its_means(made):
    """Scores are linear: the mean row of a group has the mean score, so its count bounds what flips the mean's sign."""
    X, y, victim, _ = made
    group = X[y > 0]
    guarantee = victim.certify(group.mean(axis=0)[None])
    assert 1 < guarantee.lower_bound[0] <= guarantee.upper_bound[0]
    points, labels, counts = guarantee.attack_on(0)
    model = refit(np.vstack([X, np.repeat(points, counts, axis=0)]), np.append(y, np.repeat(labels, counts)),
                  guarantee.proof.objective)  # fmt: skip
    assert np.mean(group @ model.theta[:-1] + model.theta[-1]) < 0.0


EDITS = {
    "wrong": lambda j: {"wrong": j.wrong - 1},
    "score": lambda j: {"score": j.score + 0.01},
    "loss": lambda j: {"loss": 0.999 * j.loss},
    "error": lambda j: {"error": 0.999 * j.error},
    "counts": lambda j: {"counts": j.counts + 1},
    "models": lambda j: {"models": np.vstack([j.models[:1], 0.3 * j.models[1:]])},
    "weight": lambda j: {"weight": 0.9 * j.weight},
    "lam": lambda j: {"lam": 0.5 * j.lam},
    "comparison": lambda j: {"comparison": np.zeros_like(j.comparison)},
    "e": lambda j: {"e": 1.5 * j.e},
    "eta": lambda j: {"eta": 3.0 * j.eta},
    "below": lambda j: {"below": 3.0 * j.below},
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_joint_bound_does_not_pass(made, name):
    X, y, _, guarantee = made
    joint = dataclasses.replace(guarantee.joint, **EDITS[name](guarantee.joint))
    assert not dataclasses.replace(guarantee, joint=joint).check(X, y).ok


@pytest.mark.parametrize("name", ["e", "eta", "weight", "lam", "above"])
def test_numbers_that_no_joint_bound_has_are_named(made, name):
    X, y, _, guarantee = made
    joint = dataclasses.replace(guarantee.joint, **{name: np.full_like(getattr(guarantee.joint, name), -1.0)})
    with pytest.raises(ValueError, match=f"{name} must be at least 0"):
        dataclasses.replace(guarantee, joint=joint).check(X, y)


def test_saved_and_loaded_it_bounds_the_same(made):
    X, y, _, guarantee = made
    file = io.BytesIO()
    guarantee.save(file)
    file.seek(0)
    loaded = Guarantee.load(file)
    assert loaded.certified_loss(4) == guarantee.certified_loss(4)
    assert loaded.check(X, y).ok


def test_a_free_intercept_is_enclosed_by_the_slopes_on_either_side(made):
    """A case's multipliers bound the intercept on the side where they pull it: tight for no points, where it is the
    victim's own to within what the level set of Q leaves, and of no use on the other side."""
    X, y, _, guarantee = made
    victim = ModelTargetedPoisoner(alpha=0.1, penalize_intercept=False, feasible_set=FeatureSpace(0, 1)).fit(X, y)
    free = victim.certify(guarantee.proof.rows, guarantee.labels, attack=False, budgets=(2, 5))  # joint by default
    assert free.check(X, y).ok
    assert np.all(np.isfinite(free.joint.loss))
    assert np.any(free.joint.wrong < len(free.labels))
    joint = free.joint
    swapped = np.array([0, 1, 2, 4, 3])  # the bound from above as the one from below
    n_roles, place = 5, joint.weight_of
    edits = {
        "lam": {"lam": joint.lam[..., swapped]},
        "weight": {"weight": joint.weight * np.where(place % n_roles >= 3, 0.5, 1.0)},
        "place": {"weight_of": place // n_roles * n_roles + swapped[place % n_roles]},
    }
    for edit in edits.values():
        edited = dataclasses.replace(free, joint=dataclasses.replace(joint, **edit))
        assert not edited.check(X, y).ok


@pytest.mark.parametrize("loss, has_ends", [("hinge", True), ("log_loss", False)])
def test_points_that_outweigh_a_label_leave_a_free_intercept_without_an_end(loss, has_ends):
    """Of the log loss, points of slopes up to 0.4 of the largest, whatever their margin, may outweigh the clean rows of
    the other label: nothing bounds the intercept then; of the hinge margins above 1 pull no more."""
    _, X, y, rows, _ = planted(1)
    few = np.append(np.flatnonzero(y > 0)[:30], np.flatnonzero(y < 0)[:3])
    victim = ModelTargetedPoisoner(loss, C=0.1, penalize_intercept=False, feasible_set=FeatureSpace(0, 1))
    joint = victim.fit(X[few], y[few]).certify(rows[:1], attack=False, joint=True, budgets=[40]).joint
    assert np.isfinite(joint.loss[0]) == has_ends


def test_a_proof_of_weak_regularisation_can_be_checked():
    """Where the search for lines runs away (C = 2692, a range of 20), lines stay finite, and the claims are proved."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(43, 3)) * [8.0, 2.0, 0.5]
    y = np.where(X @ [0.2, -1.0, 1.0] + 0.3 * rng.normal(size=43) > 0.0, 1, -1)
    space = FeatureSpace(X.min(axis=0), X.max(axis=0))
    victim = ModelTargetedPoisoner("squared_hinge", C=2692.0, feasible_set=space).fit(X, y)
    guarantee = victim.certify(X[:1], y[:1], attack=False, joint=True, budgets=[8])
    assert np.all(np.isfinite(guarantee.joint.models))
    assert guarantee.check(X, y).ok
