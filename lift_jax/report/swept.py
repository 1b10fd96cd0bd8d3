"""Accuracy over a number in which alone the rows of a comparison differ, such as the strength of a tuner."""

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lift_jax.report import style
from lift_jax.report.rows import Row, differing_keys
from lift_jax.workdir import config_file

CAPTION = (
    "On the test images: all of them, and the mean over the classes of each group. Bars are the standard deviation "
    "over seeds."
)
_SERIES = {
    "overall": ("accuracy", style.INK, "D"),
    "many": ("many_acc", style.MANY, "o"),
    "medium": ("med_acc", style.MEDIUM, "s"),
    "few": ("few_acc", style.FEW, "^"),
}
_LEAST = 3
_LOGARITHMIC_FROM = 20


@dataclasses.dataclass(frozen=True)
class SweptNumber:
    """A key of the config whose value is another number in each row.

    Attributes:
        key: the whole name of the key.
        values: those of the rows.
    """

    key: str
    values: Sequence[float]

    def draw(self, rows: Sequence[Row]) -> Figure:
        """Draws a curve for all test images and for each group of classes that has test images."""
        figure = style.new_figure(3.3)
        axes = figure.subplots()
        order = np.argsort(self.values)
        places = np.asarray(self.values, float)[order]
        for index, (name, (metric, color, marker)) in enumerate(_SERIES.items()):
            measured = [rows[row].values(metric) for row in order]
            if np.isnan(np.concatenate(measured)).any():
                continue
            means = [statistics.fmean(values) for values in measured]
            spread = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in measured]
            axes.errorbar(
                places, means, yerr=spread if any(spread) else None, label=name, color=color, marker=marker,
                markersize=5, linewidth=2.6 - 0.5 * index, capsize=3,
            )  # fmt: skip
        self._scale(axes, places)
        axes.set_xlabel(self.key)
        axes.set_ylabel("accuracy, %")
        figure.legend(loc="outside upper left", ncols=len(_SERIES), columnspacing=1.0, handlelength=1.4)
        return figure

    def _scale(self, axes: Axes, places: np.ndarray) -> None:
        """Makes the axis logarithmic where the numbers are of several orders of magnitude."""
        if places[0] > 0 and places[-1] >= _LOGARITHMIC_FROM * places[0]:
            axes.set_xscale("log")
            axes.minorticks_off()
            axes.set_xticks(places, [f"{place:g}" for place in places])


def find(rows: Sequence[Row]) -> SweptNumber | None:
    """Finds the number in which alone rows differ; None if they differ in more or in other things, or are too few."""
    runs = [run for row in rows for run in row.runs]
    keys = differing_keys(runs)
    if len(keys) != 1 or len(rows) < _LEAST:
        return None
    found = [config_file.effective(row.runs[0].config).get(keys[0]) for row in rows]
    values = [float(value) for value in found if isinstance(value, int | float) and not isinstance(value, bool)]
    return SweptNumber(keys[0], values) if len(values) == len(rows) else None
