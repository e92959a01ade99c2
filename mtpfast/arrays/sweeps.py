"""Tasks that do not depend on each other, on joblib's backend: loky, threads, Dask or Ray, which send and retry."""

from __future__ import annotations

import pickle
import warnings
from collections import deque

from joblib import Parallel, delayed
from joblib.parallel import get_active_backend

__all__ = ["sweep"]


class _Held:
    """What all tasks read, where it is a value: loky's workers get its arrays of a MB or more as memory maps."""

    def __init__(self, value):
        self.value = value

    def get(self):
        return self.value


class _Whole(_Held):
    """The same, pickled into one piece.

    Dask's workers would lay arrays over what they receive, from any byte on: sums of arrays that are not aligned are
    taken in another order.
    """

    def __reduce__(self):
        from cloudpickle import dumps  # which Dask has

        return _unpickled, (dumps(self.value),)


def _unpickled(piece):
    return _Whole(pickle.loads(piece))


class _InRay:
    """What all tasks read, in Ray's object store."""

    def __init__(self, value):
        import ray

        self.reference = ray.put(value)

    def get(self):
        import ray

        return ray.get(self.reference)


def _itself(held):
    return held


def _one(function, task, shared):
    return function(*task.get(), shared.get())


def _on_dask(client, function, tasks, shared):
    """The results of a client's tasks.

    What all tasks read is the result of one: where the worker that holds it dies it is computed, that is sent, again.
    (What joblib scatters by itself is lost with its worker, and where a task's workers died once too often joblib waits
    for it for ever: so the client is asked directly.)
    """
    with warnings.catch_warnings():  # that it is large
        warnings.simplefilter("ignore", UserWarning)
        common = client.submit(_itself, _Whole(shared), pure=False)
    futures = deque(client.submit(_one, function, _Whole(task), common, pure=False) for task in tasks)
    try:
        while futures:
            yield futures[0].result()
            futures.popleft()
    finally:
        client.cancel(list(futures))


def sweep(function, tasks, shared, n_jobs=None, prefer=None):
    """Yield ``function(*task, shared)`` of every task, in the order of the tasks.

    Parameters
    ----------
    function : callable
        It and its arguments must pickle where tasks run in other processes.
    tasks : list of tuple
        What differs; small.
    shared : object
        What all of them read.
    n_jobs : int, optional
        joblib's, which ``joblib.parallel_config`` sets too.
    prefer : {"threads", "processes"}, optional
        joblib's: which workers, where no backend is chosen.

    Notes
    -----
    Results are yielded as they come, so that a caller can count them; where the backend cannot (Ray's) all come at the
    end. A worker that dies is replaced by Dask and Ray; loky raises TerminatedWorkerError.
    """
    backend, _ = get_active_backend()
    client = getattr(backend, "client", None)
    if client is not None:
        yield from _on_dask(client, function, tasks, shared)
        return
    common = (_InRay if type(backend).__module__.startswith("ray.") else _Held)(shared)
    calls = (delayed(_one)(function, _Held(task), common) for task in tasks)
    try:
        parallel = Parallel(n_jobs=n_jobs, prefer=prefer, return_as="generator")
    except ValueError:  # a backend without it
        parallel = Parallel(n_jobs=n_jobs, prefer=prefer)
    results = parallel(calls)
    try:
        for result in results:  # noqa: UP028 (yield from would close it before the filter of warnings is there)
            yield result
    finally:
        if hasattr(results, "close"):
            with warnings.catch_warnings():  # a caller who has enough gives up the other tasks
                warnings.simplefilter("ignore", UserWarning)
                results.close()
