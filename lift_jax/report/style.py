"""How pictures look: one figure becomes a PNG file and an SVG that follows the page's light or dark colours."""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from lift_jax.files import replacing
from lift_jax.text import printable

INK, MUTED, GRID = "#1f2430", "#5c6470", "#d9dde3"
MANY, MEDIUM, FEW = "#0072b2", "#009e73", "#d55e00"  # Okabe and Ito's, which colour-blind readers can tell apart
GROUP_COLORS = {"many": MANY, "medium": MEDIUM, "few": FEW}
SERIES = (MANY, FEW, MEDIUM, "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b", "#767f8a")

VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", MANY: "--many", MEDIUM: "--medium", FEW: "--few"}
"""Colours that the page changes in the dark."""

WIDTH = 3.8
"""Inches: a figure as wide as a phone's screen, with text in its natural size there."""

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,  # a name may have dollar signs
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.dpi": 220,
}


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Gives the figures that are made and rendered inside the report's style."""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        # The page's text is drawn in the reader's fonts.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def new_figure(height: float) -> Figure:
    """Makes an empty figure, `height` inches high."""
    figure = Figure((WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def horizontal(axes: Axes, labels: list[str]) -> None:
    """Prepares axes for horizontal bars from top to bottom."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def shorten(name: str, length: int = 24) -> str:
    """Cuts a name to at most `length` characters in the middle; what cannot be printed is escaped before."""
    name, kept = printable(name, None), length - 1
    return name if len(name) <= length else name[: kept - kept // 2].rstrip() + "…" + name[-(kept // 2) :].lstrip()


def to_svg(figure: Figure, name: str) -> str:
    """Draws the figure for a page: as wide as its place, with the page's variables as its colours, and no ground.

    It comes after `to_png`, which puts everything into its place.
    """
    file = io.StringIO()
    for patch in (figure.patch, *(axes.patch for axes in figure.axes)):
        patch.set(facecolor="none", edgecolor="none")
    with matplotlib.rc_context({"svg.hashsalt": name}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # those of several figures in one page would be the same
    svg = re.sub(r'^<svg ([^>]*?)(?:width|height)="[^"]*pt" ?([^>]*?)(?:width|height)="[^"]*pt"', r"<svg \1\2", svg)
    for color, variable in VARIABLES.items():
        svg = svg.replace(color, f"var({variable})")
    return svg


def to_png(figure: Figure, file: Path | epath.Path) -> np.ndarray:
    """Writes the figure on white, and returns it as uint8 [height, width, 3]."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    with replacing(file) as part, part.open("wb") as opened:
        canvas.print_png(opened)  # `Figure.savefig` would draw twice
    figure.set_layout_engine("none")  # everything has its place now; to find it again for the SVG takes time
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
