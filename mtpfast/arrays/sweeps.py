"""Tasks that do not depend on each other, on joblib's backend: loky, threads, Dask or Ray, which send and retry."""

from __future__ import annotations

import warnings

from joblib import Parallel, delayed

__all__ = ["sweep"]


class Shared:
    """What all tasks of a sweep read: sent once.

    Dask scatters an argument that ``sys.getsizeof`` finds large, and it looks no further than that; loky and Dask know
    an argument again that is the same object. Arrays of a MB or more go to loky's workers as one memory map.
    """

    def __init__(self, value):
        self.value = value

    def __sizeof__(self):
        return 2**20


def _one(function, task, shared):
    return function(*task, shared.value)


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
    common = Shared(shared)
    calls = (delayed(_one)(function, task, common) for task in tasks)
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
