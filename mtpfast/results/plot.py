"""Pictures of a result: how near the models come to the target, and how many points that needs."""

import numpy as np

from mtpfast.proofs.bounds import NEVER

__all__ = ["plot", "plot_guarantee"]


def plot(result, what=None, axes=None, **options):
    """See :meth:`mtpfast.PoisoningResult.plot`."""
    if what is not None and not isinstance(what, str):
        what, axes = None, what  # the axes came first
    if what is not None:
        return _curve(result, what, axes, options)
    if options:
        raise ValueError(f"{', '.join(sorted(options))}: only for what is drawn by name, such as plot('accuracy')")
    draw = _path if len(np.atleast_1d(result.history.get("n_points", ()))) > 1 else _points
    axes = _axes(2) if axes is None else axes
    return draw(result, *axes)


def plot_guarantee(guarantee, axes=None):
    """Error against insertions; see :meth:`mtpfast.Guarantee.plot`."""
    axes = _axes(1) if axes is None else axes
    joint = [] if guarantee.joint is None else guarantee.joint.counts
    for bound, error, ends, label in (
        (guarantee.upper_bound, guarantee.attacked_error, [], "attacked: found"),
        (guarantee.lower_bound, guarantee.certified_error, joint, "certified: at most"),
    ):
        known = np.unique(np.concatenate([[0], bound[bound < NEVER], ends, np.add(ends, 1)]).astype(np.int64))
        axes.step(known, [error(int(k)) for k in known], where="post", label=label)
    axes.axhline(guarantee.clean_error, color="0.5", linewidth=0.8, linestyle=":", label="clean")
    axes.set(xlabel="inserted points", ylabel="error", ylim=(0, 1), xlim=(0, None))
    axes.legend(frameon=False, loc="lower right")
    return axes.figure


def _axes(n):
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError('plot needs matplotlib: pip install "mtpfast[plot]"') from error
    return plt.subplots(1, n, figsize=(4.5 * n, 3.4), layout="constrained")[1]


def _path(result, left, right):
    """What the steps did: loss difference and distance; the points added and what is proved."""
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


def _points(result, left, right):
    """What the distinct points are: how often each is used, and where the search over multiples found the least."""
    counts = result.counts
    order = np.argsort(-counts, kind="stable")[:30]
    labels = [str(label) for label in result.labels[order]]
    names = sorted(set(labels))
    colours = [f"C{names.index(label)}" for label in labels]
    left.bar(np.arange(len(order)), counts[order], color=colours)
    for i, label in enumerate(names):
        left.bar([0], [0], color=f"C{i}", label=f"label {label}")
    more = "" if len(order) == len(counts) else f", the {len(order)} most used of {len(counts)}"
    left.set(xlabel=f"distinct points{more}", ylabel="copies", title=f"{result.n_points:,} points")
    if names:
        left.legend(frameon=False)
    if "scale" in result.history:
        cost = np.asarray(result.history["cost"], dtype=float)
        right.plot(result.history["scale"], np.where(np.isfinite(cost), cost, np.nan), marker=".")
        right.set(xscale="log", xlabel="multiple of the target", ylabel="fewest points, fractional", title="trade-off")
        return left.figure
    bars = {"found": result.n_points}
    if result.lower_bound < NEVER:
        bars["proved"] = result.lower_bound
    if result.damage is not None:
        bars = {
            f"{name}, {part}": 100.0 * values[name]
            for name in result.damage.after
            for part, values in (("before", result.damage.before), ("after", result.damage.after))
        }
    right.barh(list(bars), list(bars.values()), color="C0")
    right.invert_yaxis()
    for i, value in enumerate(bars.values()):
        right.text(value, i, f" {value:,.4g}", va="center")
    right.margins(x=0.2)
    right.set(xlabel="points needed" if result.damage is None else f"{result.damage.metric}, in hundredths")
    return left.figure


def _curve(result, what, axis, options):
    """One metric against the number of points."""
    frame = result.curve(scorers=what, **options) if options.get("X") is not None else result.curve()
    columns = [name for name in frame.columns if name == what or name.startswith((f"{what} of ", f"{what}_"))]
    if not columns:
        raise ValueError(f"{what!r} is not in the history ({', '.join(result.history)}): pass X and y to score it")
    axis = _axes(1) if axis is None else axis
    for name in columns:
        axis.plot(frame.index, frame[name], label=name, marker="." if len(frame) < 30 else None)
    axis.set(xlabel="poisoning points", ylabel=what)
    if len(columns) > 1:
        axis.legend(frameon=False)
    return axis.figure
