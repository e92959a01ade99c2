"""The figures of paper.py, from what it has measured: results/paper/*.json to PNG."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

AGAINST = "Algorithm 1 beside KKT"
IMPROVED = "Improved target: test error at shares of poison"
OURS, KKT, BOUND, GREY = "#0072B2", "#D55E00", "#009E73", "0.45"
LINES = {  # colour, marker, line; of one hue family those that are alike
    "damage (ours)": ("#0072B2", "o", "-"),
    "Algorithm 1": ("#56B4E9", "s", "-"),
    "KKT": ("#D55E00", "^", "--"),
    "gradient canceling": ("#E69F00", "v", "--"),
    "gradient ascent": ("#CC79A7", "D", "--"),
    "influence": ("#882255", "P", "--"),
    "min-max": ("#009E73", "X", "--"),
    "beta": ("#999933", "<", ":"),
    "flips, random": ("0.65", ".", ":"),
    "flips, margin": ("0.50", "1", ":"),
    "flips, loss": ("0.35", "2", ":"),
    "flips, ALFA": ("0.20", "3", ":"),
}
STYLE = {
    "font.family": "serif", "font.serif": ["STIXGeneral", "DejaVu Serif"], "mathtext.fontset": "stix", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.6, "axes.labelsize": 9,
    "axes.titlesize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8, "xtick.direction": "in", "ytick.direction": "in",
    "legend.frameon": False, "legend.fontsize": 8, "lines.linewidth": 1.3, "lines.markersize": 4.5, "savefig.dpi": 160,
}  # fmt: skip


def curves(folder):
    path = Path(folder) / "curves.json"
    return json.loads(path.read_text()) if path.exists() else {}


def tables(folder, name):
    path = Path(folder) / f"{name}.json"
    return json.loads(path.read_text())["tables"] if path.exists() else {}


def draw(folder):
    """Every figure for which there are figures; yields the files."""
    import matplotlib as mpl

    mpl.use("Agg")
    with mpl.rc_context(STYLE):
        for name in ("adult", "mnist", "digits"):
            known = tables(folder, name)
            for title, drawing, file in (
                (AGAINST, convergence, name),
                (AGAINST, bounds, f"{name}_bounds"),
                (IMPROVED, improved, f"{name}_improved"),
            ):
                if known.get(title):
                    figure = drawing(known[title], name, curves(folder))
                    yield _save(figure, Path(folder) / f"{file}.png")
        known = tables(folder, "budgets")
        if known:
            yield _save(budgets(known), Path(folder) / "budgets.png")


def _save(figure, path):
    from matplotlib import pyplot as plt
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", bbox_inches="tight", pad_inches=0.04)
    plt.close(figure)
    # 64 colours are as good as all, and a third of the bytes
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def cases(rows):
    """``[((target, loss), its rows)]``."""
    out = {}
    for row in rows:
        out.setdefault((row["target"], row["loss"]), []).append(row)
    return list(out.items())


def _name(title, loss):
    return f"{title.replace('%', ' %')}, {loss.replace('_', ' ')}"


def convergence(rows, name, known):
    """A row for every target: distance and D against points, and the error at shares of n."""
    from matplotlib import pyplot as plt

    found = cases(rows)
    figure, axes = plt.subplots(
        len(found), 3, figsize=(7.2, 1.75 * len(found) + 0.3), layout="constrained", squeeze=False, sharex="row"
    )
    for line, ((title, loss), own) in zip(axes, found, strict=True):
        curve, n = known.get(f"{name}|{title}|{loss}"), [row["points"] for row in own]
        for ax, column in zip(line[:2], ("distance", "D"), strict=True):
            if curve:
                ax.plot(curve["n"], curve[column], color=OURS, label="Algorithm 1")
            theirs = np.array([row[f"KKT, {column}"] for row in own])
            floor = 0.3 * min(row[f"Algorithm 1, {column}"] for row in own)  # what is all but 0 is written there
            ax.plot(n, np.maximum(theirs, floor), "^--", color=KKT, label="KKT", linewidth=0.9)
            for at, value in zip(n, theirs, strict=True):
                if 0.0 < value < floor:
                    power = int(np.floor(np.log10(value)))
                    ax.annotate(rf"${value / 10.0**power:.0f} \cdot 10^{{{power}}}$", (at, floor), xytext=(-5, 1),
                                textcoords="offset points", ha="right", fontsize=7, color=KKT)  # fmt: skip
            ax.set_yscale("log")
            ax.yaxis.set_minor_formatter(lambda *_: "")
        for method, style in (("Algorithm 1", {"color": OURS, "marker": "o"}), ("KKT", {"color": KKT, "marker": "^"})):
            lines = "-" if method == "Algorithm 1" else "--"
            line[2].plot(n, [row[f"{method}, error %"] for row in own], linestyle=lines, label=method, **style)
        line[2].set_ylim(0, 1.06 * line[2].dataLim.y1 or 1.0)
        line[0].set_ylabel(_name(title, loss) + "\n" + r"$\|\theta - \theta_p\|$")
        line[1].set_ylabel("loss difference $D$")
        line[2].set_ylabel("test error (%)")
        for ax in line:
            ax.set_xlim(0, None)
            ax.locator_params(axis="x", nbins=5)
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    for ax in axes[-1]:
        ax.set_xlabel("poisoning points")
    handles, labels = axes[0, 2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def bounds(rows, name, known):
    """The lower bound beside the points used, along the attack."""
    from matplotlib import pyplot as plt

    found = [(key, known.get("|".join((name, *key)))) for key, _ in cases(rows)]
    found = [(key, curve) for key, curve in found if curve]
    columns = min(3, len(found))
    lines = -(-len(found) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(2.4 * columns, 1.9 * lines + 0.25), layout="constrained", squeeze=False
    )
    for ax in axes.ravel()[len(found) :]:
        ax.set_visible(False)
    for ax, ((title, loss), curve) in zip(axes.ravel(), found, strict=False):
        n = np.array(curve["n"])
        ax.plot(n, n, color=GREY, linestyle=":", label="points used")
        ax.plot(n, curve["bound"], color=BOUND, label="proved lower bound")
        last = curve["bound"][-1]
        above = 4 if last < 0.15 * n[-1] else -10  # where there is no room below
        ax.annotate(f"{np.ceil(last):,.0f}", (n[-1], last), xytext=(0, above), ha="right",
                    textcoords="offset points", fontsize=7, color=BOUND)  # fmt: skip
        ax.set(title=_name(title, loss), xlim=(0, None), ylim=(0, None))
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        ax.locator_params(nbins=4)
    for ax in axes[-1]:
        ax.set_xlabel("poisoning points")
    for ax in axes[:, 0]:
        ax.set_ylabel("points")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


def improved(rows, name, known):
    """Test error against the share of poison; hollow: what is published."""
    from matplotlib import pyplot as plt

    figure, ax = plt.subplots(figsize=(3.6, 3.2), layout="constrained")
    shares = (5, 15, 30)
    for row in rows:
        colour, marker, line = LINES[row["attack"]]
        ax.plot(shares, [row[f"{s} %"] for s in shares], line, color=colour, marker=marker, label=row["attack"])
        theirs = [row.get(f"{s} %, published") for s in shares]
        if theirs[0] is not None:
            ax.plot(shares, theirs, linestyle="none", marker=marker, markerfacecolor="none", color=colour, alpha=0.7)
    ax.set(xlabel="poisoning points (% of clean rows)", ylabel="test error (%)", ylim=(0, None), xticks=shares)
    if name == "mnist":
        ax.plot([], [], linestyle="none", marker="o", markerfacecolor="none", color=GREY, label="hollow: published")
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def budgets(known):
    """Test error against the share of poison, a panel for every data set."""
    from matplotlib import pyplot as plt

    shares = ("1 %", "3 %", "5 %", "10 %")
    columns = 2 if len(known) > 1 else 1
    lines = -(-len(known) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(3.5 * columns, 2.5 * lines + 0.4), layout="constrained", squeeze=False
    )
    for ax in axes.ravel()[len(known) :]:
        ax.set_visible(False)
    for ax, (title, rows) in zip(axes.ravel(), known.items(), strict=False):
        by = {row["attack"]: row for row in rows}
        if "none" in by:
            ax.axhline(by["none"]["3 %"], color=GREY, linewidth=0.8, label="no poison")
        for attack, (colour, marker, line) in LINES.items():
            if attack in by:
                at = [(float(s.split()[0]), by[attack][s]) for s in shares if by[attack].get(s) is not None]
                ours = attack == "damage (ours)"
                ax.plot(*zip(*at, strict=True), line, color=colour, marker=marker, label=attack,
                        linewidth=2.0 if ours else 1.0, markersize=4, zorder=3 if ours else 2)  # fmt: skip
        ax.set(title=title.split(":")[0], xticks=[1, 3, 5, 10], xlim=(0.5, 10.5))
    for ax in axes[-1]:
        ax.set_xlabel("poisoning points (% of clean rows)")
    for ax in axes[:, 0]:
        ax.set_ylabel("test error (%)")
    named = {}
    for ax in axes.ravel():
        named |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=4)
    return figure
