"""Sweeps: the same results for any backend of joblib and any number of workers, and tasks that are counted."""

import pickle

import joblib
import numpy as np
import pytest
from joblib._parallel_backends import SequentialBackend
from numpy.testing import assert_allclose

from mtpfast import DamagePoisoner, FeatureSpace, MinimumPoisoner, compare, make_target
from mtpfast.arrays.sweeps import _Whole, sweep
from mtpfast.attacks.aim import Aim
from mtpfast.attacks.damage import runs, search_for
from mtpfast.attacks.damage_question import read_damage_question
from mtpfast.losses.objective import make_objective

BACKENDS = [("sequential", 1), ("threading", 2), ("loky", 2)]
BOX = FeatureSpace(np.zeros(3), 1.0)

# A thread of joblib 1.6 may look for a task of loky that was given up a moment ago; nobody waits for it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


def rows(n=120):
    rng = np.random.default_rng(0)
    X = rng.random((n, 3))
    return X, np.where(X @ [1.0, -1.0, 0.5] + 0.2 * rng.normal(size=n) > 0.3, 1, -1)


def on_every_backend(work):
    """What ``work(n_jobs)`` returns by each."""
    found = []
    for backend, n_jobs in BACKENDS:
        with joblib.parallel_config(backend=backend):
            found.append(work(n_jobs))
    return found


def points_of(results):
    return [(r.status, r.n_points, r.lower_bound, r.theta.tolist(), r.points.tolist(), r.message) for r in results]


def test_a_curve_is_the_same_on_every_backend():
    """Every budget is a search of its own, from its own seed: bit for bit the same, and never worse at a larger one."""
    X, y = rows()
    attacker = DamagePoisoner(alpha=0.05, feasible_set=BOX, n_starts=2, max_iter=10).fit(X, y)
    found = on_every_backend(lambda n_jobs: points_of(attacker.curve([8, 2, 4], n_jobs=n_jobs)))
    assert found[0] == found[1] == found[2]
    told = []
    results = attacker.curve([8, 2, 4], n_jobs=2, callback=told.append)
    assert points_of(results) == found[0]
    assert [(state["n_done"], state["n"]) for state in told] == [(1, 3), (2, 3), (3, 3)]
    values = [results[i].damage.after["aimed"] for i in (1, 2, 0)]
    assert values == sorted(values)
    alone = attacker.curve([2], n_jobs=1)[0]
    assert points_of([alone]) == points_of(results[1:2])


def test_a_search_writes_nothing_into_what_its_tasks_share(monkeypatch):
    """Weights of the rows aimed at that a start tries are its own: another thread's start would meet them."""
    X, y = rows()
    question = read_damage_question(X, y, make_objective(alpha=0.05), BOX, X_eval=X[:60], y_eval=y[:60])
    limits = {"n_starts": 3, "max_iter": 10, "random_state": 0, "callback": None, "time_limit": None, "verbose": 0}
    search, common, written = search_for(question, **limits), (question.aim, question.training_aim), []

    def keep(self, name, value):
        if any(self is aim for aim in common):
            written.append(name)
        object.__setattr__(self, name, value)

    monkeypatch.setattr(Aim, "__setattr__", keep)
    assert runs(search, [4])[0].n_points == 4
    assert not written


def test_a_curve_ended_by_its_callback_keeps_the_smaller_budgets_points():
    """One result for every budget all the same."""
    X, y = rows()
    attacker = DamagePoisoner(alpha=0.05, feasible_set=BOX, n_starts=1, max_iter=12).fit(X, y)
    results = attacker.curve([2, 4, 6], n_jobs=2, callback=lambda state: state["n_done"] == 2)
    assert results[2].points.tolist() == results[1].points.tolist()
    assert "stopped by the callback after 2 of 3 budgets" in results[2].message


@pytest.mark.parametrize("loss", ["hinge", "log_loss"])
def test_tapes_are_the_same_on_every_backend(loss):
    """A task for every quantile, started from the clean model: bit for bit the same; one model after the other to the
    accuracy of a training, 1e-8 of its size, of two."""
    X, y = rows()
    asked = {"quantiles": [0.1, 0.3, 0.6], "repeats": [1, 3], "goal": 0.0, "alpha": 0.05, "loss": loss}
    told = []

    def work(n_jobs):
        target = make_target(X, y, n_jobs=n_jobs, **asked)
        return [(c.quantile, c.repeats, c.error, c.n_flips, c.coef_.tolist()) for c in target.candidates]

    found = on_every_backend(work)
    assert found[0] == found[1] == found[2]
    make_target(X, y, n_jobs=2, callback=lambda state: told.append(state["n_done"]), **asked)
    assert told == [2, 4, 6]
    one = make_target(X, y, **asked)
    assert [(c.quantile, c.repeats, c.n_flips) for c in one.candidates] == [(q, r, n) for q, r, _, n, _ in found[0]]
    for candidate, (*_, coef) in zip(one.candidates, found[0], strict=True):
        assert_allclose(candidate.coef_, coef, rtol=0.0, atol=1e-7 * np.linalg.norm(coef))
    with pytest.raises(ValueError, match="n_jobs must be None with improved=True"):
        make_target(X, y, n_jobs=2, improved=True, **asked)


def test_tapes_end_where_the_callback_says():
    """The target is the best of the models so far."""
    X, y = rows()
    asked = {"quantiles": [0.1, 0.3, 0.6], "repeats": [1, 3], "goal": 0.0, "alpha": 0.05}
    for n_jobs, n in ((None, 1), (2, 2)):
        target = make_target(X, y, n_jobs=n_jobs, callback=lambda state: True, **asked)
        assert len(target.candidates) == n


def test_a_trade_off_is_the_same_on_every_backend():
    """A task for every tolerance."""
    X, y = rows(60)
    attacker = MinimumPoisoner(alpha=0.05, feasible_set=BOX).fit(X, y)
    target = -attacker.coef_, -attacker.intercept_
    found = on_every_backend(lambda n_jobs: points_of(attacker.tradeoff(target, [0.0, 0.3], n_jobs=n_jobs)))
    assert found[0] == found[1] == found[2]


def test_a_comparison_is_the_same_on_every_backend():
    """A task for every method and seed; rows but for their seconds."""
    X, y = rows(60)

    def work(n_jobs):
        table = compare(["label_flip", "min_max"], X, y, budgets=[2, 4], alpha=0.05, feasible_set=BOX, n_jobs=n_jobs)
        return [repr(row | {"seconds": 0.0}) for row in table.rows]  # a NaN is not itself

    found = on_every_backend(work)
    assert found[0] == found[1] == found[2]


def test_a_backend_without_generators_returns_all_at_the_end():
    """As Ray's: the same results in the same order."""

    class Silent(SequentialBackend):
        supports_return_generator = False

    with joblib.parallel_config(backend=Silent()):
        assert list(sweep(pow, [(2,), (3,)], 5)) == [32, 243]


def test_dask_is_asked_for_the_results_of_its_own_tasks():
    """What all tasks read is the result of one, which is computed again where its worker dies; an error of the engine
    (KilledWorker) is raised, and what is not needed any more is given up. Here by a client that computes at once."""
    submitted, given_up = [], []

    class Future:
        def __init__(self, work):
            self.work = work

        def result(self):
            return self.work()

    class Client:
        def submit(self, function, *args, pure):
            submitted.append(function)
            return Future(lambda: function(*(a.result() if isinstance(a, Future) else a for a in args)))

        def cancel(self, futures):
            given_up.append(len(futures))

    class Dask(SequentialBackend):
        client = Client()

    with joblib.parallel_config(backend=Dask()):
        assert list(sweep(pow, [(2,), (3,)], 5)) == [32, 243]
        assert len(submitted) == 3
        with pytest.raises(ZeroDivisionError):
            list(sweep(divmod, [(2,), (3,), (4,)], 0))
    assert given_up == [0, 3]


def test_what_dask_tasks_share_arrives_aligned():
    """Buffers out of band would be laid over a message, from any byte on, and sums of them differ in the last digit."""
    buffers = []
    piece = pickle.dumps(_Whole(np.arange(5.0)), protocol=5, buffer_callback=buffers.append)
    assert buffers == []
    value = pickle.loads(piece).get()
    assert value.flags.aligned
    assert value.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
