"""Accuracy of each class against how many training images it had."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from lift_jax.report.files import RunFiles, percent
from lift_jax.report.style import GROUP_COLORS, INK, MUTED, horizontal, new_figure, shorten

_MARKERS = {"many": "o", "medium": "s", "few": "^"}
_BARS_UP_TO = 20
_RASTER_FROM = 1500
_OVERHANG = 1.12
"""How far the line of a group's mean reaches beyond its classes, as a factor."""


def draw(run: RunFiles) -> Figure:
    """Draws a bar for each class, or of more than 20 classes a dot; a class without test images says so."""
    return draw_values(run, run.class_accuracy(), "accuracy, %")


def draw_values(run: RunFiles, values: np.ndarray, what: str) -> Figure:
    """Draws a value of each class as `draw` does the accuracy.

    Args:
        run: the files of the run.
        values: in percent, float64 [classes]; NaN where a class has no test images.
        what: what the axis says.
    """
    drawer = _bars if len(run.record.class_names) <= _BARS_UP_TO else _dots
    return drawer(run, values, what)


def order(run: RunFiles) -> np.ndarray:
    """Orders the classes from the most frequent in training to the rarest."""
    return np.argsort(-np.asarray(run.record.train_counts), kind="stable")


def _bars(run: RunFiles, accuracy: np.ndarray, what: str) -> Figure:
    groups, classes = run.group_names(), order(run)
    figure = new_figure(0.9 + 0.24 * len(classes))
    axes = figure.subplots()
    horizontal(axes, [f"{shorten(run.record.class_names[c], 18)} ({run.record.train_counts[c]:,})" for c in classes])
    for row, c in enumerate(classes.tolist()):
        if np.isnan(accuracy[c]):
            axes.text(1, row, "no test images", va="center", color=MUTED, style="italic")
        else:
            axes.barh(row, accuracy[c], height=0.7, color=GROUP_COLORS[str(groups[c])])
            axes.text(float(accuracy[c]) + 1, row, f"{accuracy[c]:.0f}", va="center", color=INK)
    axes.set_xlim(0, 108)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel(what)
    _legend(figure, accuracy, groups, dots=False)
    return figure


def _dots(run: RunFiles, accuracy: np.ndarray, what: str) -> Figure:
    groups = run.group_names()
    counts = np.asarray(run.record.train_counts, float)
    figure = new_figure(3.6)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_xlim(counts.min() * 0.8, counts.max() * 1.25)
    few_decades = counts.max() < 200 * counts.min()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few_decades else (1,)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    for group, color in GROUP_COLORS.items():
        tested = (groups == group) & ~np.isnan(accuracy)
        if tested.any():
            axes.scatter(
                counts[tested], accuracy[tested], s=14, c=color, marker=_MARKERS[group], alpha=0.55, linewidths=0,
                rasterized=len(counts) > _RASTER_FROM,
            )  # fmt: skip
            mean = accuracy[tested].mean()
            ends = counts[tested].min() / _OVERHANG, counts[tested].max() * _OVERHANG  # of classes of one size, too
            axes.plot(ends, [mean, mean], color=color, linewidth=2.2)
    untested = np.isnan(accuracy)
    if untested.any():
        axes.scatter(counts[untested], np.full(untested.sum(), -7.0), s=14, marker="x", c=MUTED, linewidths=0.8)
    axes.set_ylim(-12 if untested.any() else -3, 103)
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlabel("training images of the class")
    axes.set_ylabel(what)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _legend(figure, accuracy, groups, dots=True)
    return figure


def _legend(figure: Figure, accuracy: np.ndarray, groups: np.ndarray, dots: bool) -> None:
    """Draws a legend of the groups that there are, with their mean accuracy."""
    handles, labels = [], []
    axes = figure.axes[0]
    for group, color in GROUP_COLORS.items():
        members = accuracy[(groups == group) & ~np.isnan(accuracy)]
        if (groups == group).any():
            handles.append(axes.scatter([], [], c=color, marker=_MARKERS[group] if dots else "s", s=30))
            labels.append(f"{group} {percent(members.mean() if members.size else np.nan)} %")
    if dots and np.isnan(accuracy).any():
        handles.append(axes.scatter([], [], c=MUTED, marker="x", s=20, linewidths=0.8))
        labels.append(f"no test images: {np.isnan(accuracy).sum()}")
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=3 if len(handles) < 4 else 2,
        columnspacing=1.0,
        handletextpad=0.2,
        handlelength=1.0,
    )
