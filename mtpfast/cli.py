"""``mtpfast demo``: both attacks on data that scikit-learn carries; ``mtpfast audit`` and ``verify`` are in reports."""

from __future__ import annotations

import argparse
import sys
import time
from typing import NamedTuple

import numpy as np

__all__ = ["main"]


ALPHA, TOL = 0.09, 0.02
EXAMPLES = """\
examples:
  mtpfast demo
  mtpfast audit train.csv --label default --where "AGE < 25" --goal error=0.5
  mtpfast verify audit/results.npz train.csv --label default

mtpfast COMMAND --help lists the options of a command.
"""


class Row(NamedTuple):
    """One line of the table; None leaves a cell empty."""

    name: str
    accuracy: float
    goal: str = ""
    n_points: int | None = None
    share: float | None = None
    bound: int | None = None
    distance: float | None = None
    seconds: float | None = None


class Progress:
    """One line on a terminal, rewritten ten times a second; nothing anywhere else."""

    def __init__(self, stream):
        self.stream, self.last = stream, 0.0
        self.shown = stream.isatty()

    def __call__(self, state):
        now = time.monotonic()
        if self.shown and now - self.last > 0.1:
            self.last = now
            self.stream.write(f"\r{state['n_points']:6d} points, loss difference {state['loss_difference']:.4f}\033[K")
            self.stream.flush()
        return False

    def say(self, text):
        if self.shown:
            self.stream.write(f"\r{text}\033[K")
            self.stream.flush()

    def clear(self):
        self.say("")


def main(argv=None) -> int:
    """Entry point of the console script; returns the exit status."""
    from . import __version__
    from .reports.command import add_commands, run

    parser = argparse.ArgumentParser(
        prog="mtpfast",
        description="How few inserted rows change a linear model, which rows, and what is proved.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"mtpfast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    text = "attack a linear SVM on the digits 1 and 7 that scikit-learn carries"
    command = commands.add_parser("demo", help=text, description=f"{text[0].upper()}{text[1:]}: a few seconds.",
                                  epilog="example: mtpfast demo --figure digits.png")  # fmt: skip
    command.add_argument("--figure", default="mtpfast_demo.png", help="where the picture goes (default: %(default)s)")
    command.add_argument("--no-figure", action="store_true", help="draw nothing")
    add_commands(commands)
    args = parser.parse_args(argv)
    try:
        if args.command != "demo":
            return run(args)
        demo(sys.stdout, sys.stderr, None if args.no_figure else args.figure)
    except KeyboardInterrupt:
        return 130
    return 0


def demo(out, err, figure=None):
    """Attack a linear SVM on the digits 1 and 7, print what it took, and draw it."""
    from sklearn.datasets import load_digits

    from . import FeatureSpace, MinimumPoisoner, ModelTargetedPoisoner, make_target

    images, digit = load_digits(return_X_y=True)
    keep = (digit == 1) | (digit == 7)
    X, y = images[keep] / 16.0, digit[keep]
    n, box, progress = len(y), FeatureSpace(0.0, 1.0), Progress(err)
    out.write(
        f"digits 1 and 7: {n} images of 8 x 8 pixels in [0, 1]; "
        f"linear SVM (hinge loss, alpha={ALPHA}, intercept penalised)\n"
    )

    progress.say("training the target")
    target = make_target(X, y, quantiles=[0.2], repeats=[5], goal=0.05, alpha=ALPHA)
    attacker = ModelTargetedPoisoner(alpha=ALPHA, feasible_set=box, tol=TOL).fit(X, y)
    rows = [
        Row("clean model", attacker.score(X, y)),
        Row(f"target, by {target.n_flips} label flips", _accuracy(target.coef_, target.intercept_, X, y)),
    ]

    def add(name, goal, result, seconds):
        rows.append(
            Row(
                name,
                _accuracy(result.coef_, result.intercept_, X, y),
                goal,
                result.n_points,
                result.n_points / (n + result.n_points),
                result.lower_bound,
                result.distance,
                seconds,
            )
        )

    start = time.perf_counter()
    online = attacker.attack(target, callback=progress)
    add("Algorithm 1", f"D <= {TOL:g}", online, time.perf_counter() - start)
    optimizer = MinimumPoisoner(alpha=ALPHA, feasible_set=box).fit(X, y)
    progress.say("finding the minimum")
    start = time.perf_counter()
    exact = optimizer.attack(target)
    add("exact minimum", "exact", exact, time.perf_counter() - start)

    progress.say("verifying")
    solver = {result.verify(X, y).solver for result in (online, exact)}
    progress.clear()
    _table(out, rows)
    out.write(
        "accuracy: on the clean images. needed: proved, no attack induces exactly this target with fewer points\n"
        "(beside Algorithm 1 by the bound of its paper, beside the minimum by the certificate).\n"
        "distance: l2, of (w, b) to the target. D: the largest loss difference to the target.\n"
        f"verified: retrained with {', '.join(sorted(solver))}; all points in the box; bounds recomputed.\n"
    )
    if figure is not None:
        tols = online.distance * np.array([0.1, 0.3, 1.0, 3.0, 10.0])
        progress.say("the price of accuracy")
        curve = optimizer.tradeoff(target, tols)
        progress.clear()
        if _draw(online, exact, tols, curve, figure):
            out.write(f"picture: {figure}\n")
        else:
            out.write('no picture: pip install "mtpfast[plot]"\n')


def _accuracy(coef, intercept, X, y):
    return float(np.mean((X @ coef[0] + intercept[0] > 0) == (y == y.max())))


def _table(out, rows):
    cells = [("", "goal", "accuracy", "points", "of all data", "needed", "distance", "seconds")]
    for row in rows:
        cells.append(
            (
                row.name,
                row.goal,
                f"{100 * row.accuracy:.1f} %",
                *(
                    "" if value is None else form.format(value)
                    for value, form in (
                        (row.n_points, "{:,}"),
                        (row.share if row.share is None else 100 * row.share, "{:.1f} %"),
                        (row.bound, "{:,}"),
                        (row.distance, "{:.2g}"),
                        (row.seconds, "{:.2f}"),
                    )
                ),
            )
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    for first, *others in cells:
        padded = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
        out.write("  ".join(padded).rstrip() + "\n")


def _draw(online, exact, tols, curve, path) -> bool:
    """The picture, if matplotlib is there."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(11, 3.4), layout="constrained", dpi=110)
    left, middle, right = figure.subplots(1, 3)
    online.plot((left, middle))
    left.set_title("Algorithm 1: distance to the target")
    middle.set_title("how many points?")
    middle.axhline(exact.n_points, color="C2", linewidth=1.2, label=f"exact minimum: {exact.n_points}")
    middle.legend(frameon=False)
    right.plot(tols, [result.n_points for result in curve], "o-", color="C2", label="points found")
    right.plot(tols, [result.lower_bound for result in curve], "s--", color="C3", label="proved necessary")
    right.plot([online.distance], [online.n_points], "k*", label="Algorithm 1")
    right.set(xlabel="within l2 distance", xscale="log", title="the price of accuracy")
    right.legend(frameon=False)
    figure.savefig(path)
    return True
