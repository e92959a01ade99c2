"""Every program of the fractional minimum answers in the same words, and they say the same thing."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mtpfast import CandidatePool, DocumentSpace, FeatureSpace
from mtpfast.losses.objective import make_objective
from mtpfast.minimum.plan import program_of
from mtpfast.minimum.programs.hinge import HingeProgram
from mtpfast.minimum.programs.hull import SmoothHullProgram
from mtpfast.minimum.programs.narrow import NarrowHingeProgram
from mtpfast.minimum.programs.pool import PoolProgram
from mtpfast.minimum.programs.round import RoundProgram
from mtpfast.minimum.programs.smooth import SmoothProgram
from mtpfast.minimum.programs.wide import WideHingeProgram
from mtpfast.proofs.certificate import bound
from mtpfast.question import Problem, read_question

BOX, DOCUMENTS = FeatureSpace(0.0, 1.0), DocumentSpace(6, norm="l2")
CORNERS = CandidatePool(np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, -1).T)
KINDS = [
    ("hinge", BOX, HingeProgram),
    ("hinge", BOX, WideHingeProgram),
    ("hinge", BOX, NarrowHingeProgram),
    ("hinge", DOCUMENTS, RoundProgram),
    ("hinge", CORNERS, PoolProgram),
    ("log_loss", BOX, SmoothProgram),
    ("log_loss", BOX, SmoothHullProgram),
    ("squared_hinge", BOX, SmoothProgram),
    ("log_loss", DOCUMENTS, RoundProgram),
    ("log_loss", CORNERS, PoolProgram),
]


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(1)
    X = rng.random((40, 3))
    X[:, 0] /= np.linalg.norm(X, axis=1)
    y = np.where(X @ [1.0, -1.0, 0.5] + 0.2 * rng.normal(size=40) > 0.2, 1.0, -1.0)
    return X, y, np.array([-0.2, 0.3, 0.1, 0.05])


@pytest.mark.parametrize("loss, space, kind", KINDS)
def test_value_counts_weights_and_direction_agree(data, loss, space, kind):
    """``value = sum of counts``; ``E_y <= w_y N_y max s``; what the points supply is what is missing; and the direction
    proves the value (strong duality), to the tolerance of the solver."""
    X, y, theta = data
    objective = make_objective(loss, C=0.5)
    problem = Problem.of(read_question(X, y, theta, objective, space))
    program = program_of(problem)
    if type(program) is not kind:
        program = kind(problem.setting)
    solution = program.solve()
    value = solution.value
    assert value > 1.0
    assert_allclose(solution.counts.sum(), value, rtol=1e-7)
    assert np.all(solution.counts >= 0.0)
    proved = bound(problem.clean, solution.direction, theta, objective, space)[0]
    assert_allclose(proved, value, rtol=1e-3 if kind is RoundProgram else 1e-5)  # an ascent; two solvers' tolerances
    if kind is PoolProgram:
        return
    assert np.all(solution.weights <= solution.counts[:2] * (1.0 if loss != "squared_hinge" else 8.0) * (1.0 + 1e-9))
    if kind is not RoundProgram and loss != "hinge":  # no clean row is free
        E, F = solution.weights
        supply = solution.supply
        if supply is None:
            sums = [e * np.append(mean, 1.0) for e, mean in zip((E, F), solution.means, strict=True)]
            supply = sums[0] - sums[1]
        assert_allclose(supply, problem.clean.gradient, atol=1e-7 * (1.0 + E + F))
