"""How far the confidences can be believed."""

import numpy as np
from matplotlib.figure import Figure

from lift_jax.evaluation.metrics import NUM_BINS
from lift_jax.report.files import RunFiles
from lift_jax.report.results_file import CalibrationResults
from lift_jax.report.style import FEW, GRID, INK, MANY, MEDIUM, MUTED, new_figure

PARTS = {"all test images": INK, "many": MANY, "medium": MEDIUM, "few": FEW}
"""What calibration is measured over, and the colours; see `lift_jax.report.results_file.Reliability`."""


def bins(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts the images of ten bins of confidence, open below and closed above, and averages accuracy and confidence.

    They are the bins of the expected calibration error (`lift_jax.evaluation.metrics.summarize`).

    Args:
        confidence: the probability of each prediction, float [n] from 0 to 1.
        right: whether it is right, bool [n].

    Returns:
        The number of images in each bin; their accuracy and their mean confidence in percent, NaN for an empty bin.
    """
    which = np.clip(np.ceil(confidence.astype(np.float64) * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    total = np.bincount(which, minlength=NUM_BINS)
    filled = np.maximum(total, 1)
    accuracy = np.bincount(which, weights=right, minlength=NUM_BINS) / filled
    mean = np.bincount(which, weights=confidence, minlength=NUM_BINS) / filled
    empty = np.where(total > 0, 1.0, np.nan)
    return total, 100 * accuracy * empty, 100 * mean * empty


def draw(run: RunFiles) -> Figure:
    """Draws accuracy against confidence, and below it how many images have that confidence."""
    total, accuracy, confidence = bins(run.predictions["confidence"], run.right)
    figure = new_figure(3.8)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    middles = (np.arange(NUM_BINS) + 0.5) * 100 / NUM_BINS
    width = 100 / NUM_BINS * 0.86
    above.bar(middles, np.nan_to_num(accuracy), width=width, color=MANY)
    above.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    above.plot(confidence, accuracy, "o", color=INK, markersize=3.5)
    above.set_ylim(0, 100)
    above.set_ylabel("accuracy, %")
    below.bar(middles, 100 * total / max(1, total.sum()), width=width, color=GRID, edgecolor=MUTED, linewidth=0.6)
    below.set_ylabel("images, %")
    below.set_xlabel("confidence of the prediction, %")
    below.set_xlim(0, 100)
    below.set_xticks(range(0, 101, 20))
    return figure


def draw_before_and_after(found: CalibrationResults) -> Figure:
    """Draws accuracy against confidence without and with the calibration, for all test images and for each group.

    The area of a dot is the share of the images that have its confidence.
    """
    parts = [i for i, error in enumerate(found.after.calibration_error) if error is not None]
    figure = new_figure(0.4 + 1.9 * -(-len(parts) // 2))
    panels = list(figure.subplots(-(-len(parts) // 2), 2, sharex=True, sharey=True, squeeze=False).flat)
    for axes in panels[len(parts) :]:
        axes.set_axis_off()
    for axes, part in zip(panels, parts, strict=False):
        name, color = list(PARTS.items())[part]
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for which, look in (found.before, {"facecolor": "none"}), (found.after, {"facecolor": color}):
            share, confidence, accuracy = np.array([row for row in which.bins[part] if row[0] > 0]).T
            axes.plot(100 * confidence, 100 * accuracy, color=color, linewidth=0.8, alpha=0.5)
            axes.scatter(100 * confidence, 100 * accuracy, s=12 + 120 * share, edgecolor=color, zorder=3, **look)
        axes.set_title(name)
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
    figure.supxlabel("confidence, %", fontsize=9)
    figure.supylabel("accuracy, %", fontsize=9)
    return figure
