"""The pairs of classes that are taken for one another most often."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from lift_jax.report.files import RunFiles
from lift_jax.report.style import FEW, INK, MUTED, new_figure, shorten


class Pair(NamedTuple):
    """Test images of one class that are predicted as another.

    Attributes:
        label: the true class.
        prediction: the other.
        count: number of images.
        share: of the true class's test images, 0 to 1.
    """

    label: int
    prediction: int
    count: int
    share: float


def pairs(label: np.ndarray, prediction: np.ndarray, top: int = 10) -> list[Pair]:
    """Finds the `top` most frequent mistakes, the most frequent first; of equals that of the smaller class."""
    wrong = label != prediction
    both, counts = np.unique(np.stack([label[wrong], prediction[wrong]]), axis=1, return_counts=True)
    totals = np.bincount(label)
    found = [Pair(int(a), int(b), int(n), float(n / totals[a])) for (a, b), n in zip(both.T, counts, strict=True)]
    return sorted(found, key=lambda pair: (-pair.count, -pair.share, pair.label, pair.prediction))[:top]


def draw(run: RunFiles) -> Figure | None:
    """Draws a bar for each pair with its names above it; None if there is no mistake."""
    found = pairs(run.predictions["label"], run.predictions["prediction"])
    if not found:
        return None
    names = [shorten(name) for name in run.record.class_names]
    figure = new_figure(0.2 + 0.4 * len(found))
    axes = figure.subplots()
    axes.axis("off")
    longest = max(pair.count for pair in found)
    for row, pair in enumerate(found):
        length = pair.count / longest
        axes.barh(row + 0.22, length, height=0.3, color=FEW)
        axes.text(0, row - 0.16, f"{names[pair.label]}  →  {names[pair.prediction]}", va="center", color=INK)
        of_all = f"{pair.count} of {round(pair.count / pair.share)}"
        axes.text(length + 0.02, row + 0.22, f"{of_all}, {100 * pair.share:.0f} %", va="center", color=MUTED)
    axes.set_xlim(0, 1.5)
    axes.set_ylim(len(found) - 0.5, -0.5)
    return figure
