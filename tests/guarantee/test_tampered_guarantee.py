"""No edited guarantee passes its check, whatever is written into its fields, in memory or in a file."""

import dataclasses
import io

import numpy as np
import pytest

from mtpfast import FeatureSpace, Guarantee, ModelTargetedPoisoner
from mtpfast.results.guarantee import NEVER


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(4)
    X, rows = rng.random((70, 3)), rng.random((16, 3))
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.2 * rng.standard_normal(70) > 0.3, 1, 0)
    victim = ModelTargetedPoisoner(alpha=0.1, feasible_set=FeatureSpace(0, 1)).fit(X, y)
    y_rows = np.where(np.arange(16) % 5, victim.predict(rows), 1 - victim.predict(rows))
    guarantee = victim.certify(rows, y_rows, joint=True, budgets=(3, 6))
    assert guarantee.check(X, y).ok
    return X, y, victim, guarantee, victim.certify(rows, y_rows, rows=[1], attack=False)


def fractional(g):
    """Bounds raised by a hundredth, where the certificate has room for it: a whole point more is claimed then."""
    own = g.lower_bound > 0
    for row in np.flatnonzero(own):  # one row at a time, until one has room
        more = np.where(np.arange(len(own)) == row, 0.01, 0.0)
        bound = g.lower_bound + more
        proof = dataclasses.replace(
            g.proof, lower_bound=bound, part_bound=g.proof.part_bound + more[g.proof.part_row]
        )
        yield {"lower_bound": bound, "proof": proof, "joint": None}


def beyond(g, at=1e308, column=1):
    """A comparison model so large that the loss there is no number."""
    joint = g.joint
    far = at * np.where(np.arange(joint.models.shape[1]) % 2, 1, -1)
    comparison = joint.comparison.copy()
    comparison[:, column] = len(joint.models)
    return {"models": np.vstack([joint.models, far]), "comparison": comparison}


def nothing(joint):
    """Claims that no attack does anything."""
    return {"wrong": 0 * joint.wrong, "score": np.full_like(joint.score, -np.inf), "loss": 0 * joint.loss,
            "error": 0 * joint.error, "below": 0 * joint.below}  # fmt: skip


def parts(name, field):
    """An edit of the proof, or of the joint bounds."""
    return lambda g: {name: dataclasses.replace(getattr(g, name), **field(getattr(g, name)))}


def at(array, i, value):
    array = np.array(array)
    array[i] = value
    return array


def wrong_row(g):
    return int(np.flatnonzero(g.status == "wrong")[0])


def attacked(g):
    """The row whose attack needs most points beyond its bound."""
    return int(np.argmax(np.where(np.isin(np.arange(len(g.row)), g.attack_row), g.upper_bound - g.lower_bound, -1)))


OF_PARTS = ("part_row", "part_bound", "ratios", "comparison", "weight_of", "weight_model", "weight", "tau", "lam", "pi")


def other_victim(change, of_rows=1.0):
    """Another model, or another objective, in place of the clean victim's, all else as it says; no bounds claimed."""

    def edit(g):
        proof = dataclasses.replace(g.proof, lower_bound=0 * g.lower_bound, **change(g.proof))
        proof = dataclasses.replace(proof, models=np.vstack([proof.theta[None], proof.models[1:]]))
        right = proof.signs * (proof.rows @ proof.theta[:-1] + proof.theta[-1]) > 0
        proof = dataclasses.replace(proof, rows=of_rows * proof.rows)
        return {
            "proof": proof, "joint": None, "lower_bound": proof.lower_bound, "attack_row": g.attack_row[:0],
            "points": g.points[:0], "attack_label": g.attack_label[:0], "attack_count": g.attack_count[:0],
            "status": np.where(right, "done", "wrong"), "upper_bound": np.where(right, NEVER, 0),
        }  # fmt: skip

    return edit


EDITS = {
    "another model": other_victim(lambda p: {"theta": -p.theta}),
    "a model like it": other_victim(lambda p: {"theta": 1.002 * p.theta}),
    "the same model, of another penalty": other_victim(lambda p: {
        "objective": dataclasses.replace(p.objective, alpha=0.11)
    }),
    "the same model, of no slopes on the margin": other_victim(lambda p: {
        "margin_rows": p.margin_rows[:0], "margin_slopes": p.margin_slopes[:0]
    }),
    "another model, and weights whose squares are 0": other_victim(lambda p: {
        "theta": 0.1 * p.theta, "objective": dataclasses.replace(p.objective, class_weight=(1e-170, 1e-170))
    }),
    "rows beyond all numbers said to be wrong": lambda g: {
        **other_victim(lambda p: {"rows": p.signs[:, None] * np.sign(p.theta[:-1])}, of_rows=1.7e308)(g),
        "status": np.full(len(g.row), "wrong"), "upper_bound": 0 * g.upper_bound
    },
    "an attack from outside the feasible set": lambda g: {"points": g.points + 1.0},
    "bounds that are NaN": lambda g: {"lower_bound": np.full(len(g.row), np.nan), "joint": None},
    "bounds found that are NaN": lambda g: {"upper_bound": np.full(len(g.row), np.nan)},
    "bounds below 0": lambda g: {"lower_bound": at(g.lower_bound, wrong_row(g), -3)},
    "bounds that are objects": lambda g: {"lower_bound": g.lower_bound.astype(object)},
    "bounds that are floats": lambda g: {"lower_bound": g.lower_bound.astype(float)},
    "a status that is none": lambda g: {"status": np.full(len(g.row), "fine")},
    "a wrong row said to be right": lambda g: {"status": np.full(len(g.row), "done")},
    "a right row said to be wrong": lambda g: {"status": np.full(len(g.row), "wrong")},
    "a wrong row that takes points": lambda g: {"upper_bound": at(g.upper_bound, wrong_row(g), 9)},
    "an attack of fewer points": lambda g: {"upper_bound": at(g.upper_bound, attacked(g), g.lower_bound[attacked(g)])},
    "a bound found by no attack": lambda g: {
        **other_victim(lambda p: {})(g), "upper_bound": np.where(g.status == "wrong", 0, NEVER - 100)
    },
    "an attack of more points than can be counted": lambda g: {"attack_count": 0 * g.attack_count + NEVER},
    "an attack of no points": lambda g: {"attack_count": 0 * g.attack_count},
    "an attack of half a point": lambda g: {"attack_count": g.attack_count.astype(float)},
    "an attack on no row": lambda g: {"attack_row": g.attack_row + len(g.row)},
    "attacks without points": lambda g: {"points": g.points[:1]},
    "labels that are none": lambda g: {"labels": at(g.labels.astype(object), g.labels == 0, "zebra")},
    "labels turned": lambda g: {"labels": 1 - g.labels},
    "labels turned, and no bounds claimed": lambda g: {
        "labels": 1 - g.labels, "lower_bound": 0 * g.lower_bound, "joint": None
    },
    "the label of a wrong row turned": lambda g: {
        "labels": at(g.labels, wrong_row(g), 1 - g.labels[wrong_row(g)])
    },
    "classes that are one": lambda g: {"classes": np.array([1, 1])},
    "too few rows": lambda g: {"row": g.row[:1]},
    "joint counts that are NaN": lambda g: {
        "joint": dataclasses.replace(g.joint, counts=np.full(2, np.nan), **nothing(g.joint))
    },
    "joint counts that are floats": parts("joint", lambda j: {"counts": j.counts + 0.5}),
    "joint counts that fall, unsigned": parts("joint", lambda j: {"counts": j.counts[::-1].astype(np.uint64)}),
    "a joint count of wrong rows that is NaN": parts("joint", lambda j: {"wrong": np.full(2, np.nan)}),
    "a joint loss that is NaN": parts("joint", lambda j: {"loss": np.full(2, np.nan)}),
    "a joint loss below 0": parts("joint", lambda j: {"loss": np.full(2, -1.0)}),
    "joint scores that are NaN": parts("joint", lambda j: {"score": np.full_like(j.score, np.nan)}),
    "a loss compared beyond all numbers": lambda g: {
        "joint": dataclasses.replace(g.joint, **beyond(g), loss=np.zeros(2), error=np.zeros(2))
    },
    "scores compared beyond all numbers": lambda g: {
        "joint": dataclasses.replace(g.joint, **beyond(g, column=0), wrong=0 * g.joint.wrong)
    },
    "joint weights of half precision": parts("joint", lambda j: {"weight": j.weight.astype(np.float32)}),
    "weights of half precision": parts("proof", lambda p: {"weight": p.weight.astype(np.float32)}),
    "bounds of parts that are floats": parts("proof", lambda p: {"part_bound": p.part_bound.astype(float)}),
    "class weights below 0": parts("proof", lambda p: {
        "objective": dataclasses.replace(p.objective, class_weight=(-1.0, 1.0))
    }),
    "class weights that are none": parts("proof", lambda p: {
        "objective": dataclasses.replace(p.objective, class_weight=(True, "a"))
    }),
    "rows that are a list": parts("proof", lambda p: {"rows": p.rows.tolist()}),
    "rows that are objects": parts("proof", lambda p: {"rows": p.rows.astype(object)}),
    "rows that are complex": parts("proof", lambda p: {"rows": p.rows.astype(complex)}),
    "numbers of rows that are a list": parts("proof", lambda p: {"part_row": p.part_row.tolist()}),
    "digests that are a list": parts("proof", lambda p: {"margin_rows": p.margin_rows.tolist()}),
    "numbers of rows that are a number": parts("proof", lambda p: {"part_row": np.array(3)}),
    "no penalty": other_victim(lambda p: {
        "objective": dataclasses.replace(p.objective, class_weight=(0.0, 0.0)),
        **{name: getattr(p, name)[:0] for name in OF_PARTS},
    }),
    "digests of two dimensions": parts("proof", lambda p: {
        "margin_rows": p.margin_rows[:, None], "margin_slopes": p.margin_slopes[:, None]
    }),
    "a width that is no number": parts("proof", lambda p: {"width": None}),
    "a width that is a word": parts("proof", lambda p: {"width": "a"}),
    "no feasible set": parts("proof", lambda p: {"feasible_set": None}),
    "models beyond all numbers": parts("proof", lambda p: {
        "models": np.vstack([p.models[:1], np.full_like(p.models[1:], 1e308)])
    }),
    "multipliers beyond all numbers": parts("proof", lambda p: {"tau": np.full_like(p.tau, 1e308)}),
    "weights beyond all numbers": parts("proof", lambda p: {"weight": np.full_like(p.weight, 1e308)}),
}  # fmt: skip


def passes(guarantee, X, y):
    """Whether a guarantee passes, as it is or from a file."""
    for by_file in (False, True):
        try:
            if by_file:
                file = io.BytesIO()
                guarantee.save(file)
                file.seek(0)
                guarantee = Guarantee.load(file)
            if guarantee.check(X, y).ok:
                return True
        except ValueError:
            pass
    return False


@pytest.mark.parametrize("name", EDITS)
def test_a_tampered_guarantee_does_not_pass(made, name):
    """What is NaN, a fraction, of another shape or beyond all numbers is a proof of nothing."""
    X, y, _, guarantee, _ = made
    assert not passes(dataclasses.replace(guarantee, **EDITS[name](guarantee)), X, y)


def test_a_guarantee_of_nothing_passes(made):
    """The edits of the victim above are refused for the victim's sake alone."""
    X, y, _, guarantee, _ = made
    edited = dataclasses.replace(guarantee, **other_victim(lambda p: {})(guarantee))
    assert passes(edited, X, y)
    assert guarantee.check(X, y).gap < 1e-10


def test_a_bound_raised_by_a_fraction_does_not_pass(made):
    X, y, _, guarantee, _ = made
    assert not any(passes(dataclasses.replace(guarantee, **edit), X, y) for edit in fractional(guarantee))


@pytest.mark.parametrize("status", ["done", "wrong"])
def test_an_intercept_that_is_absent_is_no_rounding_error(made, status):
    """A huge one in ``theta``, which nothing else reads, allowed of any status."""
    X, y, _, guarantee, _ = made
    victim = ModelTargetedPoisoner(alpha=0.1, fit_intercept=False, feasible_set=FeatureSpace(0, 1)).fit(X, y)
    y_rows = np.where(np.arange(16) % 5, victim.predict(guarantee.proof.rows), 1)
    honest = victim.certify(guarantee.proof.rows, y_rows, attack=False, joint=False)
    assert honest.check(X, y).ok
    assert 0 < honest.clean_error < 1
    edit = other_victim(lambda p: {"theta": np.append(p.theta[:-1], 1e20)})(honest)
    edit |= {"status": np.full(16, status), "upper_bound": np.full(16, NEVER if status == "done" else 0)}
    assert not passes(dataclasses.replace(honest, **edit), X, y)


def test_a_penalty_of_half_precision_is_refused(made):
    """All that follows from it would be rounded to it."""
    _, _, _, guarantee, _ = made
    for edit in ({"alpha": np.float16(0.1)}, {"class_weight": (np.float16(2.0), 1.0)}):
        objective = dataclasses.replace(guarantee.proof.objective, **edit)
        with pytest.raises(ValueError, match="objective must have"):
            dataclasses.replace(guarantee.proof, objective=objective).validate()


def test_the_proof_of_one_row_is_not_one_of_many(made):
    """Arrays of all rows beside the certificate of a single one are no guarantee."""
    X, y, _, guarantee, one = made
    assert one.check(X, y).ok
    n = len(guarantee.row)
    alike = {name: np.repeat(getattr(one, name), n) for name in ("lower_bound", "upper_bound", "status", "labels")}
    edited = dataclasses.replace(one, **alike, row=guarantee.row)
    assert not passes(edited, X, y)
    assert not passes(dataclasses.replace(guarantee, joint=None, proof=one.proof), X, y)


@pytest.mark.parametrize(
    "weight, message",
    [
        (-np.ones(70), "sample_weight must be finite and non-negative"),
        (np.full(70, np.nan), "sample_weight must be finite and non-negative"),
        (np.zeros(70), "sample_weight must not be zero everywhere"),
        (np.ones(3), "sample_weight must have shape"),
        (np.ones((70, 1)), "sample_weight must have shape"),
    ],
)
def test_a_check_with_weights_that_are_none_is_refused(made, weight, message):
    X, y, _, guarantee, _ = made
    with pytest.raises(ValueError, match=message):
        guarantee.check(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match=message):
        guarantee.proof.check(X, np.where(y == 1, 1.0, -1.0), weight)
    assert guarantee.check(X, y, sample_weight=np.ones(70)).ok


@pytest.mark.parametrize(
    "wrong, error, message",
    [
        (lambda v, X, g: v.certify(X[:2], budgets=5), TypeError, "budgets must be a list"),
        (lambda v, X, g: v.certify(X[:2], budgets="5%"), TypeError, "budgets must be a list"),
        (lambda v, X, g: v.certify(X[:2], budgets=[1, "5%"]), TypeError, "budgets must hold .* of number 1"),
        (lambda v, X, g: v.certify(X[:2], budgets=[-1]), ValueError, "budgets must hold .* of number 0"),
        (lambda v, X, g: v.certify(X[:2], budgets=[10**30]), ValueError, r"budgets must hold .* less than 2\*\*63 - 1"),
        (lambda v, X, g: v.certify(X[:2], budgets=[1e308]), ValueError, r"budgets must hold .* less than 2\*\*63 - 1"),
        (lambda v, X, g: g.certified_error(10**30), ValueError, r"k must be less than 2\*\*63 - 1"),
        (lambda v, X, g: v.certify(X, rows=[]), ValueError, "rows must name one row at least"),
        (lambda v, X, g: v.certify(X, rows=np.array([], int)), ValueError, "rows must name one row at least"),
        (lambda v, X, g: v.certify(X[:2], attack="no"), TypeError, "attack must be True or False, got 'no'"),
        (lambda v, X, g: v.certify(X[:2], joint=1), TypeError, "joint must be True or False, got 1"),
        (lambda v, X, g: v.certify(1e300 * X[:2], outside="allow"), ValueError, "X_eval is too large"),
        (lambda v, X, g: g.attack_on(16), IndexError, "i must be the number of one of the 16 rows, got 16"),
        (lambda v, X, g: v.certify(X[:2], callback=3), TypeError, "callback must be callable, got 3"),
        (lambda v, X, g: g.certified_error(1, [None] + ["a"] * 15), ValueError, "groups must name .* None for row 0"),
        (lambda v, X, g: g.certified_loss(1, [1, np.nan] + [2] * 14), ValueError, "groups must name .* for row 1"),
        (lambda v, X, g: g.attacked_error(1, np.array([1, "a"] * 8, object)), TypeError, "groups must hold names of"),
    ],
)
def test_odd_questions_are_named(made, wrong, error, message):
    X, _, victim, guarantee, _ = made
    with pytest.raises(error, match=message):
        wrong(victim, X, guarantee)
