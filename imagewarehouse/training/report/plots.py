"""Plots and photos of the page, as data URIs: the page asks for no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from imagewarehouse.training.robustness import to_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from imagewarehouse.images.decoding import InputSpec, UInt8Array

CELLS = 250  # most rows of the heat map; of more classes several share one
PICTURE = 160  # pixels; larger pictures are made smaller, far smaller ones are shown enlarged

# Colours in the plots are written as these and become the page's own, which change with light and dark.
INK, FAINT, BLUE, ORANGE = "#010203", "#010204", "#010205", "#010206"
_VARIABLES = {INK: "--ink", FAINT: "--faint", BLUE: "--blue", ORANGE: "--orange"}
# The page's own, in each picture again: what is in an <img> does not see the variables of the page around it.
_THEME = (Path(__file__).parent / "templates" / "theme.css").read_text(encoding="utf-8")


def photo(pixels: UInt8Array, spec: InputSpec) -> tuple[str, bool]:
    """One image as the model received it, and whether it is small and so shown enlarged."""
    picture = to_picture(pixels, spec)
    small = max(picture.size) <= PICTURE // 2
    picture.thumbnail((PICTURE, PICTURE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    kind = "png" if small else "jpeg"
    picture.save(file, kind, **({"optimize": True} if small else {"quality": 85}))
    return _data_uri(f"image/{kind}", file.getvalue()), small


def _data_uri(media_type: str, content: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def _axes(width: float = 4.0, height: float = 2.8, rows: int = 1, **grid: Any) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, 1, **grid)).tolist()
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color=FAINT, linewidth=0.5)
        axis.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure) -> str:
    """As a data URI. Text stays text, and the colours follow light and dark as those of the page do."""
    file = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "imagewarehouse"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    head, tag, tail = svg.partition("<defs>")
    return _data_uri("image/svg+xml", f"{head}<style>{_THEME}</style>{tag}{tail}".encode())


def _styled() -> Any:
    return mpl.rc_context(
        {"font.size": 9.5, "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK, "axes.linewidth": 0.7,
         "xtick.color": INK, "ytick.color": INK, "lines.linewidth": 2, "legend.frameon": False}
    )  # fmt: skip


def reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    middles = [(bin_["lower"] + bin_["upper"]) / 2 for bin_ in bins]
    width = 0.9 * (bins[0]["upper"] - bins[0]["lower"])
    with _styled():
        figure, (upper, lower) = _axes(4.0, 4.0, 2, sharex=True, height_ratios=(3, 1))
        upper.bar(middles, [bin_["accuracy"] for bin_ in bins], width, color=BLUE)
        upper.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1.2)
        upper.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
        lower.bar(middles, [bin_["images"] for bin_ in bins], width, color=ORANGE)
        lower.set(xlabel="confidence", ylabel="images")
        return _svg(figure)


def severities(corruption: Mapping[str, Any], clean: float) -> str:
    levels = corruption["levels"]
    with _styled():
        figure, (axis,) = _axes()
        axis.axhline(clean, color=INK, linestyle="--", linewidth=1.2)
        axis.plot(range(len(levels)), [level["accuracy"] for level in levels], color=BLUE, marker="o")
        axis.set_xticks(range(len(levels)), [f"{level['severity']:g}" for level in levels])
        axis.set(ylim=(0, 1.02), xlim=(-0.3, len(levels) - 0.7), ylabel="accuracy")
        return _svg(figure)


def curves(lines: Mapping[str, Sequence[float | None]]) -> str:
    with _styled():
        figure, (axis,) = _axes()
        for name, values in lines.items():
            points = [np.nan if value is None else value for value in values]
            colour, style = (BLUE, "-") if name == "training" else (ORANGE, "--")
            mark = "o" if len(points) == 1 else None  # a line of one point cannot be seen
            axis.plot(range(1, len(points) + 1), points, color=colour, linestyle=style, marker=mark, label=name)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("epoch")
        if len(lines) > 1:
            axis.legend()
        return _svg(figure)


def heat_map(shares: np.ndarray) -> str:
    """Shares of each row as depth: blue on the diagonal, orange elsewhere."""
    step = -(-len(shares) // CELLS)
    right = np.diag(np.diag(shares))
    depth = [_pooled(part, step) ** 0.5 for part in (right, shares - right)]
    blue, orange = np.array([31, 95, 191]), np.array([224, 110, 30])
    pixels = np.zeros((*depth[0].shape, 4), dtype=np.uint8)
    wrong = depth[1] > depth[0]
    pixels[..., :3] = np.where(wrong[..., None], orange, blue)
    pixels[..., 3] = np.rint(255 * np.maximum(*depth))
    with _styled():
        figure, (axis,) = _axes(6.5, 6.0)
        axis.grid(visible=False)
        axis.imshow(pixels, interpolation="none", extent=(0, len(shares), len(shares), 0))
        axis.set(xlabel="predicted class, its number", ylabel="true class, its number")
        return _svg(figure)


def _pooled(values: np.ndarray, step: int) -> np.ndarray:
    """Blocks of step x step as their largest value, so that a single confusion stays visible."""
    starts = np.arange(0, len(values), step)
    return np.maximum.reduceat(np.maximum.reduceat(values, starts, axis=0), starts, axis=1)
