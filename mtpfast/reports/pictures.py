"""The pictures of a report: SVG by matplotlib, in base64, light and dark."""

from __future__ import annotations

import base64
import io

__all__ = ["curve_picture", "draw_curve"]


INK = {"light": ("#1f2328", "#d0d7de"), "dark": ("#e6edf3", "#3d444d")}
COLORS = {
    "light": {"attack": "#c4320a", "flips": "#6e5494", "proved": "#1a7f37", "clean": "#57606a"},
    "dark": {"attack": "#ff8f66", "flips": "#c7a6ff", "proved": "#56d364", "clean": "#9198a1"},
}


def curve_picture(tree: dict, scheme: str) -> str | None:
    """The metric against the number of records, as a data URI; None without matplotlib, or without a curve."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        return None
    points = tree["curve"]
    if not points:
        return None
    ink, line = INK[scheme]
    colors = COLORS[scheme]
    with rc_context({"svg.hashsalt": "mtpfast", "svg.fonttype": "path", "font.size": 11}):
        figure = Figure(figsize=(8.6, 4.2), layout="constrained")
        axes = figure.subplots()
        draw_curve(axes, tree, points, colors)
        axes.grid(color=line, linewidth=0.6)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(line)
        axes.tick_params(colors=ink)
        for text in (axes.xaxis.label, axes.yaxis.label):
            text.set_color(ink)
        figure.legend(frameon=False, loc="outside lower center", ncols=3, labelcolor=ink)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def draw_curve(axes, tree, points, colors):
    """Every number of records that has a row in the table below the picture, the one found for the goal included."""
    clean, fewest = tree["clean"]["measured"], tree["fewest"]
    points = sorted([*points, *([fewest] if fewest else [])], key=lambda point: point["allowed"])
    budgets = [0, *(point["allowed"] for point in points)]
    attack = [clean, *(point["attack"]["measured"] for point in points)]
    axes.errorbar(
        budgets,
        [100 * one["value"] for one in attack],
        yerr=[100 * (one["standard_error"] or 0.0) for one in attack],
        marker="o",
        capsize=3,
        color=colors["attack"],
        label="attack (found), with standard error",
        zorder=3,
    )
    flips = [(p["records"], p["flips"]["measured"]["value"]) for p in points if p["flips"] is not None]
    if flips:
        axes.plot(
            *zip(*[(n, 100 * v) for n, v in flips], strict=True), "s--", color=colors["flips"], label="label flips"
        )
    proved = [(p["allowed"], p["certified"]) for p in points if p["certified"] is not None]
    if proved:
        axes.plot(
            *zip(*[(n, 100 * v) for n, v in proved], strict=True),
            "^:",
            color=colors["proved"],
            label="at most (proved)",
        )
    axes.axhline(100 * clean["value"], color=colors["clean"], linewidth=1, linestyle=(0, (1, 2)), label="clean")
    if fewest:
        axes.plot(
            fewest["records"],
            100 * fewest["attack"]["measured"]["value"],
            "*",
            markersize=13,
            color=colors["attack"],
            label=f"{fewest['records']:,} records: the goal",
            zorder=4,
        )
    goal = tree["question"]["goal"]
    if goal is not None:
        axes.axhline(100 * goal, color=colors["clean"], linewidth=1, linestyle="-.", label="goal")
    axes.set_xlabel("records inserted")
    axes.set_ylabel(f"{tree['question']['metric'].replace('_', ' ')}, %")
    axes.set_ylim(0, 103)
    axes.set_xlim(left=0)
