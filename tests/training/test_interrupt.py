"""Ctrl-C is heard while a training runs, not only after it."""

import signal
from collections import Counter

import numpy as np
import pytest

from mtpfast.losses.objective import make_objective
from mtpfast.training.victim import refit


def test_a_training_can_be_interrupted():
    """A signal every millisecond is heard several times within one call of the compiled solver, and may end it.

    Most rows lie at margin 1 together, as where the victim gives a rare class up: hundreds of steps over all rows.
    """
    rng = np.random.default_rng(0)
    X, y = (rng.random((12_000, 40)) < 0.3).astype(float), np.where(rng.random(12_000) < 0.1, 1.0, -1.0)
    heard = Counter()

    def hear(_, frame):
        if frame.f_code.co_filename.endswith("hinge.py"):  # it calls the compiled solver: one instruction
            heard[frame.f_code.co_name, frame.f_lasti] += 1
            if max(heard.values()) == 3:
                raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, hear)
    signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
    try:
        with pytest.raises(KeyboardInterrupt):
            refit(X, y, make_objective("hinge", alpha=1e-3))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert max(heard.values()) == 3
