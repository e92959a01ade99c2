"""Programs of a few columns, and what is asked of them: the same minima and multipliers as HiGHS, in fewer steps."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import linprog

from mtpfast import FeatureSpace, MinimumPoisoner, minimum_poisoning
from mtpfast.losses.objective import make_objective
from mtpfast.minimum import within
from mtpfast.minimum.directions import ball_direction
from mtpfast.minimum.programs.ascent import BallAscent
from mtpfast.minimum.programs.few import FewColumns
from mtpfast.minimum.programs.hinge import HingeProgram
from mtpfast.minimum.programs.narrow import NarrowHingeProgram
from mtpfast.minimum.programs.smooth import SmoothProgram
from mtpfast.minimum.whole import box_counts
from mtpfast.proofs.certificate import Rounding
from mtpfast.question import Problem, moved_to, read_question

COST, LOW = np.array([1.0, 1.0, 0.5, 0.0]), np.array([0.0, 0.0, 0.0, -np.inf])


def random_program(rng, n_rows, degenerate):
    """Rows with a solution: of whole numbers, and many of them active at one point, where they are degenerate."""
    rows = rng.integers(-2, 3, (n_rows, 4)).astype(float) if degenerate else rng.normal(size=(n_rows, 4))
    inside = np.append(rng.integers(0, 4, 3), rng.integers(-3, 4)).astype(float)
    room = rng.integers(0, 2, n_rows) if degenerate else rng.random(n_rows)
    return rows, rows @ inside + room


@pytest.mark.parametrize("degenerate", [False, True])
def test_few_columns_agree_with_highs_before_and_after_rows_are_added(degenerate):
    """The value, and multipliers that prove it: ``b . y = -value`` and ``A' y <= -c`` on what has a lower end."""
    rng, solved = np.random.default_rng(int(degenerate)), 0
    for _ in range(60):
        rows, right = random_program(rng, 40, degenerate)
        program, told = FewColumns(COST, LOW), 0
        for n in (10, 25, 40):
            program.add(rows[told:n], right[told:n])
            told = n
            found = program.solve()
            theirs = linprog(COST, rows[:n], right[:n], bounds=np.column_stack([LOW, np.full(4, np.inf)]))
            if found is None:
                continue
            solved += 1
            x, y = found
            assert_allclose(COST @ x, theirs.fun, atol=1e-8)
            assert np.all(rows[:n] @ x <= right[:n] + 1e-9)
            assert np.all(x[:3] >= -1e-9)
            assert np.all(y >= 0.0)
            assert_allclose(-right[:n] @ y, theirs.fun, atol=1e-8)
            left = COST + rows[:n].T @ y
            assert np.all(left[:3] >= -1e-9)
            assert abs(left[3]) <= 1e-9
    assert solved >= 150


def test_few_columns_answer_nothing_where_there_is_no_answer():
    """Rows that contradict each other, and a column that nothing holds."""
    program = FewColumns(COST, LOW)
    assert program.solve() is None  # the last column is free
    program.add(np.eye(4)[[3, 3]] * [[1.0], [-1.0]], [2.0, -1.0])  # 1 <= x_3 <= 2
    assert_allclose(program.solve()[0][:3], 0.0)
    program.add([[1.0, 0.0, 0.0, 1.0]], [-3.0])
    assert program.solve() is None


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(7)
    X = rng.random((300, 6))
    y = np.where(X @ rng.normal(size=6) + 0.4 * rng.normal(size=300) > 0.1, 1.0, -1.0)
    return X, y


def problem_of(rows, loss, theta, **options):
    objective = make_objective(loss, **{"alpha": 0.05, **options})
    return Problem.of(read_question(*rows, theta, objective, FeatureSpace(0.0, 1.0)))


@pytest.mark.parametrize(
    "options", [{}, {"fit_intercept": False}, {"C": 2.0, "alpha": None}, {"class_weight": {-1: 3.0}}]
)
@pytest.mark.parametrize("loss", ["hinge", "log_loss", "squared_hinge"])
def test_eliminated_programs_have_the_minimum_of_those_that_hold_coordinates(rows, loss, options, monkeypatch):
    """To 1e-8, with multipliers that agree where HiGHS solves the rows, too."""
    rng, seen = np.random.default_rng(3), 0
    for size in (0.2, 0.5, 1.0):
        theta = size * rng.normal(size=7)
        if options.get("fit_intercept") is False:
            theta[-1] = 0.0
        setting = problem_of(rows, loss, theta, **options).setting
        if loss == "hinge":
            program, plain = NarrowHingeProgram(setting), HingeProgram(setting)
        else:
            program, plain = SmoothProgram(setting), SmoothProgram(setting)
            plain._solve_few = lambda: None
        one, two = program.solve(), plain.solve()
        assert (one is None) == (two is None)
        if one is not None:
            seen += 1
            assert_allclose(one.value, two.value, rtol=1e-8)
            assert_allclose(one.counts.sum(), one.value, rtol=1e-9)
            unit = np.linalg.norm(one.direction) * np.linalg.norm(two.direction)
            assert one.direction @ two.direction >= (1.0 - 1e-6) * unit
    assert seen


def test_between_two_directions_the_best_is_found_by_a_few_proofs():
    """To 2e-5 of the best of a fine grid, by fewer proofs than a search by thirds makes."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        lines, planes = rng.normal(size=(8, 3)), rng.normal(size=(8, 3))
        calls = []

        def prove(v, lines=lines, planes=planes, calls=calls):
            calls.append(v)
            unit = v / np.max(np.abs(v))
            above, below = np.min(lines @ unit) + 3.0 * unit.sum(), np.max(np.abs(planes @ unit)) + 0.1
            return max(0.0, above / below), Rounding(float(above), 0.0, float(below), 0.0)

        one, two = np.abs(rng.normal(size=(2, 3)))
        found = prove(ball_direction(prove, [one, two]))[0]
        assert len(calls) <= 20
        a, b = one / np.linalg.norm(one), two / np.linalg.norm(two)
        grid = max(prove((1.0 - t) * a + t * b)[0] for t in np.linspace(0.0, 1.0, 500))
        assert found >= grid * (1.0 - 2e-3)
        assert found >= max(prove(one)[0], prove(two)[0])


def test_tolerances_share_the_clean_victim(rows, monkeypatch):
    """It is trained once for a trade-off, and not for every tolerance."""
    trained, retrain = [], within.retrain_victim

    def counted(problem, points, labels, counts):
        trained.append(len(points))
        return retrain(problem, points, labels, counts)

    monkeypatch.setattr(within, "retrain_victim", counted)
    attacker = MinimumPoisoner(alpha=0.05, feasible_set=FeatureSpace(0.0, 1.0)).fit(*rows)
    theta = 0.3 * np.random.default_rng(5).normal(size=7)
    attacker.tradeoff((theta[:-1], theta[-1]), [0.05, 0.1, 0.2])
    assert trained.count(0) == 1


def test_rows_far_from_zero_are_linear_in_the_ascent(rows):
    """The quotient of the rows near 0 is that of all rows, up to what is smoothed of the others."""
    theta = 0.3 * np.random.default_rng(5).normal(size=7)
    problem = problem_of(rows, "hinge", theta)
    ball = moved_to(problem, theta, 0.5)
    ascent = BallAscent(ball.setting, 0.5)
    x = np.append(-theta, [0.1, 0.1])
    slopes = ascent.rows @ x[:7]
    far = float(np.median(np.abs(slopes)))
    part = ascent._part(slopes, far)
    assert 0 < len(part.weights) < len(slopes)
    sizes = 1e-4, 1e-4, 1e-2
    some, whole = ascent._quotient(x, *sizes, part), ascent._quotient(x, *sizes)
    assert_allclose(some[0], whole[0], rtol=1e-6)
    assert_allclose(some[1], whole[1], rtol=1e-4, atol=1e-4 * np.max(np.abs(whole[1])))


@pytest.mark.parametrize("free", [False, True])
def test_counts_next_to_the_fractional_minimum_are_as_few_as_branch_and_bound_finds(monkeypatch, free):
    """Where many rows lie on the margin they mostly can be placed, and no branch and bound is asked."""
    theta, space, asked = np.array([2.0, -1.5, 0.3]), FeatureSpace(np.full(2, -2.0), 3.0), []
    branch, counts_near = HingeProgram.whole, box_counts.round_counts
    kind = {"feasible_set": space, "alpha": 0.05, "penalize_intercept": not free}
    monkeypatch.setattr(HingeProgram, "whole", lambda self, *args: asked.append(args) or branch(self, *args))
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = rng.random((200, 2))
        y = np.where(X @ theta[:2] + theta[2] > 0.2, 1.0, -1.0)
        y[60:] *= np.where(rng.random(140) < 0.4, -1.0, 1.0)
        X[:60, 0] = (y[:60] - theta[2] - X[:60, 1] * theta[1]) / theta[0]  # on the margin
        found = minimum_poisoning(X, y, (theta[:2], theta[2]), **kind)
        with monkeypatch.context() as patch:
            patch.setattr(box_counts, "round_counts", lambda weights, total: counts_near(weights, total + 1))
            theirs = minimum_poisoning(X, y, (theta[:2], theta[2]), **kind)
        assert found.status == theirs.status == "reached"
        assert found.n_points == theirs.n_points
    assert 8 < len(asked) <= 12  # by all of theirs, and by few of the others
