"""Pictures of a result: how near the models come to the target, and how many points that needs."""

import numpy as np

from mtpfast.proofs.bounds import NEVER

__all__ = ["plot"]


def plot(result, axes=None):
    """Two axes; see :meth:`mtpfast.PoisoningResult.plot`."""
    if axes is None:
        try:
            from matplotlib import pyplot as plt
        except ImportError as error:
            raise ImportError('plot needs matplotlib: pip install "mtpfast[plot]"') from error
        axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")[1]
    left, right = axes
    n = result.history["n_points"]
    for name, label in (("loss_difference", "loss difference"), ("distance", "distance")):
        if name in result.history:
            values = np.asarray(result.history[name], dtype=float)
            left.plot(n, np.where(values > 0, values, np.nan), label=label)
    if result.tol > 0:
        left.axhline(result.tol, color="0.5", linewidth=0.8, linestyle=":", label=f"tol ({result.stop})")
    left.set(xlabel="poisoning points", yscale="log", title="to the target")
    left.legend(frameon=False)
    right.plot(n, n, color="0.5", linewidth=0.8, label="points added")
    if "lower_bound" in result.history:
        bound = np.asarray(result.history["lower_bound"], dtype=float)
        right.plot(n, np.fmax.accumulate(bound), label="lower bound so far")
    if result.lower_bound < NEVER:
        label = f"proved: {result.lower_bound:,}"
        right.axhline(result.lower_bound, color="C3", linewidth=0.8, linestyle="--", label=label)
    right.set(xlabel="poisoning points", title="points needed")
    right.legend(frameon=False)
    return left.figure
