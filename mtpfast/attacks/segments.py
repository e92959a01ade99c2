"""Algorithm 1 in segments, each of which goes on from a file: an attack that was killed ends as it would have ended.

A segment begins with the points of the one before and a refit of its own, whether that was in memory or in the file. So
the models of a checkpointed attack are those of its segments, and it does not matter where one of them was killed.
"""

from __future__ import annotations

import math
import os

from mtpfast.arrays.replacing import replacing
from mtpfast.results.result import PoisoningResult

__all__ = ["in_segments", "next_end"]


FIRST, SHARE = 100, 0.25  # points of a segment: at least, and of those that are there


def next_end(n_points, repeats) -> int:
    """The number of points with which the segment ends that begins with so many: a function of nothing else."""
    return n_points + repeats * math.ceil(max(FIRST, SHARE * n_points) / repeats)


def in_segments(run, checkpoint, *, loss, resume, max_points, repeats, callback, **options) -> PoisoningResult:
    """``run(resume=, max_points=, repeats=, callback=, **options)``, its segments kept in the file ``checkpoint``."""
    if os.path.exists(checkpoint):
        kept = PoisoningResult.load(checkpoint, loss=loss)
        resume = kept if resume is None or kept.n_points > resume.n_points else resume
    stopped = []

    def watch(state):
        if callback is not None and callback(state):
            stopped.append(True)
        return bool(stopped)

    while True:
        end = next_end(0 if resume is None else resume.n_points, repeats)
        last = max_points is not None and end >= max_points
        result = run(
            resume=resume, max_points=max_points if last else end, repeats=repeats, callback=watch, **options
        )
        if last or stopped or result.status != "budget":
            return result
        with replacing(checkpoint) as file:
            result.save(file)
        resume = result
