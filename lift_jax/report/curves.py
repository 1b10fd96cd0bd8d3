"""The training as curves: loss, accuracy on the training images, learning rate."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lift_jax.report.files import RunFiles
from lift_jax.report.style import FEW, MANY, MEDIUM, new_figure

_PANELS = (
    ("loss", "loss", FEW),
    ("accuracy", "accuracy on the training images, %", MANY),
    ("lr", "learning rate", MEDIUM),
)


def draw(run: RunFiles) -> Figure | None:
    """Draws one panel above the other over the steps; None if nothing was trained."""
    if not run.curve("loss")[0]:
        return None
    figure = new_figure(4.4)
    panels = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    for axes, (key, title, color) in zip(panels, _PANELS, strict=True):
        steps, values = run.curve(key)
        axes.plot(
            steps,
            values,
            color=color,
            linewidth=1.6,
            marker="o" if len(steps) < 12 else "",
            markersize=3,
            clip_on=False,
        )
        axes.set_title(title)
        axes.set_ylim(bottom=0)
    steps, values = run.curve(run.task.score, "validation")
    if steps:
        panels[1].plot(
            steps,
            values,
            color=FEW,
            linewidth=1.6,
            marker="o",
            markersize=3,
            label=f"held-out images, {'mean over classes' if run.task.measure == 'accuracy' else run.task.measure}",
            clip_on=False,
        )
        both = "accuracy on training and held-out images, %"
        panels[1].set_title(both if run.task.measure == "accuracy" else f"{_PANELS[1][1]}; {run.task.measure}")
        panels[1].legend(loc="lower right")
    panels[1].set_ylim(0, 100)
    panels[-1].set_xlabel("step")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
