"""A loss of one's own: compiled or told why not, and where its functions are a built-in loss's, so is all else."""

import io
import math
import pickle
import sys
import types
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from planted import planted

from mtpfast import CandidatePool, FeatureSpace, PoisoningResult, make_target
from mtpfast.attacks.online import poison
from mtpfast.losses.custom import custom
from mtpfast.losses.margin import LOG_LOSS, SQUARED_HINGE, Loss, get_loss
from mtpfast.losses.objective import make_objective
from mtpfast.minimum.minimum import minimum_poisoning
from mtpfast.proofs.poison_maximum import poison_maximum

BOX = FeatureSpace(0.0, 1.0)


def log_value(m):
    return math.log1p(math.exp(-m)) if m > 0.0 else math.log1p(math.exp(m)) - m


def log_derivative(m):
    return -1.0 / (1.0 + math.exp(m)) if m < 700.0 else 0.0


def log_bend(m):
    s = 1.0 / (1.0 + math.exp(m)) if m < 700.0 else 0.0
    return s * (1.0 - s)


def square(m):
    return max(0.0, 1.0 - m) ** 2


def square_derivative(m):
    return -2.0 * max(0.0, 1.0 - m)


def square_bend(m):
    return 2.0 if m < 1.0 else 0.0


def two_slopes(m):
    return max(0.0, 1.0 - m) ** 2 + 10.0 * max(0.0, -5.0 - m) ** 2


def two_slopes_derivative(m):
    return -2.0 * max(0.0, 1.0 - m) - 20.0 * max(0.0, -5.0 - m)


def two_slopes_bend(m):
    return 2.0 if -5.0 <= m < 1.0 else (22.0 if m < -5.0 else 0.0)


@pytest.fixture(scope="module")
def own():
    """The built-in smooth losses, each with its copy from scalar functions."""
    return {
        "log_loss": custom(log_value, log_derivative, log_bend, name="own log"),
        "squared_hinge": custom(square, square_derivative, square_bend, name="own square"),
    }


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.random((80, 3))
    return X, np.where(X @ [1.0, -1.0, 0.5] > 0.2, 1.0, -1.0)


@pytest.mark.parametrize("name", ["log_loss", "squared_hinge"])
@pytest.mark.parametrize("penalize_intercept", [True, False])
def test_algorithm_1_is_that_of_the_built_in_loss(own, rows, name, penalize_intercept):
    """Equal functions, equal attack: the same points up to the accuracy of training, D, and no larger a bound."""
    kind = {"alpha": 0.05, "penalize_intercept": penalize_intercept}
    target = make_target(*rows, quantiles=[0.2], repeats=[2], goal=0, loss=name, **kind)
    known, mine = (
        poison(*rows, target, loss=loss, feasible_set=BOX, tol=0.0, max_points=12, **kind) for loss in (name, own[name])
    )
    assert_array_equal(known.y_poison, mine.y_poison)
    # models are trained to a gap of 1e-8 or so, its root is what a point on an edge of the box may move by
    assert_allclose(known.X_poison, mine.X_poison, atol=1e-3)
    assert_allclose(known.loss_difference, mine.loss_difference, rtol=1e-5)
    assert 0 < mine.lower_bound <= known.lower_bound
    check = mine.certificate.check(*rows)
    assert check.holds
    assert check.n_poison >= mine.lower_bound


@pytest.mark.parametrize("name", ["log_loss", "squared_hinge"])
@pytest.mark.parametrize(
    "space",
    [BOX, FeatureSpace(0.0, 1.0, integer=[0, 1, 2])],
    ids=["box", "records"],
)
def test_the_minimum_is_that_of_the_built_in_loss(own, rows, name, space):
    """Equal functions, equal program: the same fractional minimum, count and status, and a certificate that holds."""
    target = make_target(*rows, quantiles=[0.2], repeats=[3], goal=0, loss=name, alpha=0.05)
    known, mine = (
        minimum_poisoning(*rows, target, loss=loss, feasible_set=space, alpha=0.05) for loss in (name, own[name])
    )
    assert (known.status, known.n_points) == (mine.status, mine.n_points)
    assert_allclose(known.history["minimum"], mine.history["minimum"], rtol=1e-7)  # of a program cut to 1e-9
    check = mine.certificate.check(*rows)
    assert check.holds
    assert known.lower_bound - 1 <= mine.lower_bound <= known.lower_bound
    # intervals of s in the ball of hits in place of Taylor's formula: of the order of the ball, 1e-6 of the target
    assert_allclose(check.value, known.certificate.value, rtol=1e-4)
    assert check.value <= known.certificate.value * (1.0 + 1e-9)
    assert mine.verify(*rows).ok or mine.status != "reached"


@pytest.mark.parametrize("name", ["log_loss", "squared_hinge"])
def test_planted_points_are_found_and_bounded_as_for_the_built_in_loss(own, name):
    """Any convention, boxes, labels, weights: the same status, count and minimum, no bound above what was planted."""
    for seed in range(5):
        problem = planted(seed, name)
        kind = {key: value for key, value in problem.kind.items() if key != "loss"}
        known, mine = (
            minimum_poisoning(*problem[:3], loss=loss, feasible_set=problem.feasible_set, **kind)
            for loss in (name, own[name])
        )
        assert (known.status, known.n_points) == (mine.status, mine.n_points), problem.about
        assert_allclose(known.history["minimum"], mine.history["minimum"], rtol=1e-6)  # cut to 1e-9 each
        assert mine.certificate.check(problem.X, problem.y).holds
        assert mine.lower_bound <= problem.k


def test_a_pool_asks_for_no_more_than_the_derivative(own, rows):
    """A column of the pool's program is s at one margin: any convex loss has it."""
    X, y = rows
    candidates = np.random.default_rng(1).random((160, 3))
    plain = custom(log_value, log_derivative, name="plain log")
    assert plain.missing() == "second_derivative"
    target = make_target(X, y, quantiles=[0.2], repeats=[1], goal=0, loss="log_loss", alpha=0.05)
    pool = CandidatePool(candidates)
    known, mine = (
        minimum_poisoning(X, y, target, loss=loss, feasible_set=pool, alpha=0.05) for loss in ("log_loss", plain)
    )
    assert (known.status, known.n_points) == (mine.status, mine.n_points)
    assert mine.certificate.check(X, y).holds


@pytest.mark.parametrize(
    "functions, lacks",
    [
        ((log_value, log_derivative), "second_derivative"),
        ((two_slopes, two_slopes_derivative, two_slopes_bend), r"a convex 1 / pull \(its slope falls near margin -5"),
        ((log_value, log_derivative, square_bend), "a second_derivative that belongs to its derivative"),
    ],
)
def test_the_minimum_names_what_a_loss_lacks_and_what_still_works(rows, functions, lacks):
    loss = custom(*functions, name="lacking")
    with pytest.raises(ValueError, match=f"loss 'lacking' lacks {lacks}.*poison.*CandidatePool need value and deriv"):
        minimum_poisoning(*rows, (np.ones(3), 0.5), loss=loss, feasible_set=BOX, alpha=0.05)
    target = make_target(*rows, quantiles=[0.2], repeats=[2], goal=0, loss=loss, alpha=0.05)
    found = poison(*rows, target, loss=loss, feasible_set=BOX, tol=0.0, max_points=3, alpha=0.05)
    assert found.n_points == 3
    assert found.verify(*rows).ok


def test_a_minimum_is_saved_and_pickled_with_its_loss(own, rows):
    loss = own["squared_hinge"]
    target = make_target(*rows, quantiles=[0.2], repeats=[2], goal=0, loss=loss, alpha=0.05)
    result, file = minimum_poisoning(*rows, target, loss=loss, feasible_set=BOX, alpha=0.05), io.BytesIO()
    result.save(file)
    file.seek(0)
    assert PoisoningResult.load(file, loss=loss).certificate.objective == result.objective
    again = pickle.loads(pickle.dumps(loss))
    assert (again.missing(), again.zero_from, again.name) == ("", 1.0, loss.name)


def test_zero_loss_begins_where_the_derivative_ends(own):
    """zero_from is the least margin of no pull, to the last digit; inf where the pull never ends."""
    assert own["squared_hinge"].zero_from == SQUARED_HINGE.zero_from == 1.0
    assert math.isinf(own["log_loss"].zero_from)
    shifted = custom(lambda m: max(0.0, 0.7 - m) ** 2, lambda m: -2.0 * max(0.0, 0.7 - m), name="shifted")
    assert shifted.pull(shifted.zero_from) == 0.0 < shifted.pull(np.nextafter(shifted.zero_from, 0.0))
    assert_allclose(shifted.zero_from, 0.7, rtol=1e-15)


@pytest.mark.parametrize("name", ["log_loss", "squared_hinge"])
def test_intervals_of_the_pull_prove_nearly_what_tangents_do(own, name):
    """max_F s p is bounded from above, without a tangent, to a few parts in 1e8; of either sign."""
    rng = np.random.default_rng(0)
    known = {"log_loss": LOG_LOSS, "squared_hinge": SQUARED_HINGE}[name]
    for _ in range(12):
        theta, v = rng.normal(size=(2, 4))
        bounds = []
        for loss in (known, own[name]):
            bounds.append(sum(poison_maximum(v, theta, make_objective(loss, alpha=0.1), BOX)))
        assert bounds[0] - 1e-12 <= bounds[1] <= bounds[0] + 1e-7 * (1.0 + abs(bounds[0]))


# ---------------------------------------------------------------- numba, there or not


class Refusal(Exception):
    """What a compiler that cannot type a function raises."""


def compiler(monkeypatch, fails=()):
    """A numba that records what it is asked for, and refuses some functions."""
    asked = []

    def vectorize(signatures, **options):
        def compiled(function):
            asked.append((signatures, options, function))
            if function in fails:
                raise Refusal("cannot determine\nNumba type of <class 'object'>")
            return np.vectorize(function, otypes=[float])

        return compiled

    class Float64:
        def __call__(self, argument):
            return "float64(float64)" if argument is self else None

    float64 = Float64()
    monkeypatch.setitem(sys.modules, "numba", types.SimpleNamespace(vectorize=vectorize, float64=float64))
    return asked


def test_functions_are_compiled_with_a_signature_and_without_fastmath(monkeypatch):
    asked = compiler(monkeypatch)
    dispatcher = types.SimpleNamespace(py_func=log_bend, __call__=log_bend)  # as numba.njit makes them
    with pytest.raises(TypeError, match="second_derivative must be a function"):
        custom(log_value, log_derivative, dispatcher)

    class Dispatcher:
        py_func = staticmethod(log_bend)

        def __call__(self, m):
            raise AssertionError("the Python function is compiled, not called through another compiled one")

    asked.clear()
    loss = custom(log_value, log_derivative, Dispatcher(), name="jitted")
    assert [function for *_, function in asked] == [log_value, log_derivative, log_bend]
    assert all(signatures == ["float64(float64)"] for signatures, *_ in asked)
    assert all(options == {"nopython": True} for _, options, _ in asked)
    assert loss.second_derivative(0.0) == 0.25


def test_a_failure_to_compile_is_told(monkeypatch):
    """Which functions, of which loss, and the compiler's reason; the loss works all the same."""
    compiler(monkeypatch, fails=[log_derivative])
    with pytest.warns(UserWarning, match="numba cannot compile these functions of loss 'told'") as told:
        loss = custom(log_value, log_derivative, log_bend, name="told")
    reason = "derivative: Refusal: cannot determine Numba type of <class 'object'>"
    assert [str(warning.message).rpartition("as they are: ")[2] for warning in told] == [reason]
    m = np.linspace(-3.0, 3.0, 7)
    assert_allclose(loss.derivative(m), LOG_LOSS.derivative(m), rtol=1e-14)
    with warnings.catch_warnings():  # once is enough: not again where the loss is unpickled
        warnings.simplefilter("error")
        pickle.loads(pickle.dumps(loss))


def test_a_broken_numba_is_told_and_a_missing_one_is_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)  # as if it were not installed
    assert custom(log_value, log_derivative, name="plain").value(0.0) == math.log(2.0)
    monkeypatch.setitem(sys.modules, "numba", types.ModuleType("numba"))
    with pytest.warns(UserWarning, match="compile these functions of loss 'broken'.*value: .*no attribute 'vectorize'"):
        custom(log_value, log_derivative, name="broken")


def test_a_kink_is_refused_and_named():
    """The hinge as a custom loss: its derivative jumps at margin 1; a steep bend, a hundredth wide, is none."""
    with pytest.raises(ValueError, match=r"jumps at margin 1\b"):
        custom(lambda m: np.maximum(0.0, 1.0 - m), lambda m: np.where(m < 1.0, -1.0, 0.0), name="kinked")

    def value(m):
        return 0.0 if m > 1.0 else 50.0 * (1.0 - m) ** 2 if m > 0.99 else 0.995 - m

    custom(value, lambda m: min(0.0, max(-1.0, 100.0 * (m - 1.0))), name="smoothed hinge")


def test_a_small_kink_beside_a_steep_bend_is_refused_too():
    """phi' rises by 0.2 in every interval of the grid on [0, 1]; its jump by 0.1 at -0.5 is found all the same."""

    def derivative(m):
        return -4.0 * (min(1.0, max(0.0, 1.0 - m))) - (0.1 if m < -0.5 else 0.0)

    def value(m):
        return (2.0 * max(0.0, 1.0 - m) ** 2 if m >= 0.0 else 2.0 - 4.0 * m) + 0.1 * max(0.0, -0.5 - m)

    with pytest.raises(ValueError, match=r"jumps at margin -0.5\b"):
        custom(value, derivative, name="kinked")


def test_a_class_without_a_name_says_so():
    """A file, a message and a kernel go by the name."""

    class Nameless(Loss):
        def value(self, margin):
            return np.exp(-np.asarray(margin))

        def derivative(self, margin):
            return -np.exp(-np.asarray(margin))

        def second_derivative(self, margin):
            return np.exp(-np.asarray(margin))

    with pytest.raises(ValueError, match="Nameless lacks its name"):
        get_loss(Nameless())
