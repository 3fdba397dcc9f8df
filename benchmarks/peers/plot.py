"""The result as one picture: images a second and the 99th percentile, over the number of connections."""

from __future__ import annotations

import statistics
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.peers.measure import Point, Result
from benchmarks.peers.systems import BEFORE, OURS

# Okabe and Ito's colours, which people who see red and green alike can tell apart.
_COLOURS = {
    OURS: "#0072B2",
    BEFORE: "#7FB8D8",
    "bare": "#666666",
    "mosec": "#E69F00",
    "litserve": "#009E73",
    "bentoml": "#CC79A7",
    "ray": "#D55E00",
}
_WORDS = {OURS: "image warehouse", BEFORE: "image warehouse before", "bare": "bare server"}


def draw(result: Result, path: Path) -> None:
    kinds = list(dict.fromkeys(point.kind for point in result.points))
    names = [name for name in result.conditions["systems"] if any(point.system == name for point in result.points)]
    figure, grid = plt.subplots(2, len(kinds), figsize=(6.5 * len(kinds), 7), squeeze=False, layout="constrained")
    for column, kind in enumerate(kinds):
        points = [point for point in result.points if point.kind == kind]
        _draw(grid[0][column], points, names, "images/s", rate=True)
        _draw(grid[1][column], points, names, "p99, ms (logarithmic)", rate=False)
        grid[0][column].set_title(f"{kind}: {result.conditions['pictures'][kind]}", fontsize=9)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(names), 3 * len(kinds) + 1), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw(axes: Axes, points: list[Point], names: list[str], label: str, *, rate: bool) -> None:
    """Medians with the range over the rounds: bars from 0 for rates, dots for latencies, whose axis has no 0."""
    connections = sorted({point.connections for point in points})
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        middles, lows, highs, at = [], [], [], []
        for index, number in enumerate(connections):
            of = [point.load for point in points if (point.system, point.connections) == (name, number)]
            values = [load.images_per_second if rate else load.p99 for load in of]
            if not values:
                continue
            middle = statistics.median(values)
            middles.append(middle)
            lows.append(middle - min(values))
            highs.append(max(values) - middle)
            at.append(index + (place - (len(names) - 1) / 2) * width)
        colour, batch = _COLOURS.get(name.removesuffix("-batch"), "#999999"), name.endswith("-batch")
        spread, label_of = (lows, highs), _WORDS.get(name, name)
        if rate:
            hatch = "///" if batch else ""
            bars = axes.bar(at, middles, width * 0.9, color=colour, hatch=hatch, edgecolor="white", linewidth=0.3)
            bars.set_label(label_of)
            axes.errorbar(at, middles, yerr=spread, fmt="none", ecolor="#333333", elinewidth=0.8)
        else:
            axes.errorbar(
                at, middles, yerr=spread, fmt="s" if batch else "o", color=colour, markersize=5, elinewidth=1.2
            )
    axes.set_xticks(range(len(connections)), [str(number) for number in connections])
    axes.set_xlabel("connections")
    axes.set_ylabel(label)
    if not rate:
        axes.set_yscale("log")
    axes.grid(axis="y", linewidth=0.4, alpha=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
