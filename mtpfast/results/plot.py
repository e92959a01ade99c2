"""Pictures of a result: how near the models come to the target, and how many points that needs."""

import numpy as np

from mtpfast.proofs.bounds import NEVER

__all__ = ["plot", "plot_guarantee"]


def plot(result, axes=None):
    """Two axes; see :meth:`mtpfast.PoisoningResult.plot`."""
    if axes is None:
        axes = _subplots(1, 2, figsize=(9, 3.4))
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


def plot_guarantee(guarantee, axes=None):
    """Error against insertions; see :meth:`mtpfast.Guarantee.plot`."""
    if axes is None:
        axes = _subplots(figsize=(5, 3.4))
    for bound, label in ((guarantee.upper_bound, "attacked: found"), (guarantee.lower_bound, "certified: at most")):
        known = np.sort(bound[bound < NEVER])
        share = np.arange(1, len(known) + 1) / len(bound)
        axes.step(np.append(0, known), np.append(guarantee.clean_error, share), where="post", label=label)
    axes.axhline(guarantee.clean_error, color="0.5", linewidth=0.8, linestyle=":", label="clean")
    axes.set(xlabel="inserted points", ylabel="error", ylim=(0, 1), xlim=(0, None))
    axes.legend(frameon=False)
    return axes.figure


def _subplots(*shape, figsize):
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError('plot needs matplotlib: pip install "mtpfast[plot]"') from error
    return plt.subplots(*shape, figsize=figsize, layout="constrained")[1]
