"""Pictures of the reports: everything drawn is to be seen."""

import dataclasses

import numpy as np
import pytest
from etils import epath

from lift_jax.report import classes, comparison, style
from lift_jax.report.comparison import Row
from lift_jax.report.files import RunFiles
from lift_jax.workdir.record import Record


def run_of(num_classes: int, accuracy: float) -> RunFiles:
    """A run with classes of all groups, in each of which it has the same accuracy; five test images a class."""
    groups, names = [0, 1, 2] * (num_classes // 3), [str(label) for label in range(num_classes)]
    record = Record(
        command="", versions={}, devices="", backbone={}, trainable=[], class_names=names,
        train_counts=[(500, 50, 5)[g] for g in groups], test_counts=[5] * len(groups), class_groups=groups,
    )  # fmt: skip
    label = np.repeat(np.arange(len(groups)), 5)
    right = np.arange(len(label)) % 5 < 5 * accuracy / 100
    columns = dict(index=np.arange(len(label)), label=label, prediction=np.where(right, label, -1))
    return RunFiles(epath.Path("."), {}, record, {}, [], {**columns, "confidence": np.ones(len(label))})


@pytest.mark.parametrize("num_classes", [6, 60])
@pytest.mark.parametrize("accuracy", [100.0, 80.0])
def test_the_legend_of_the_classes_is_inside_of_the_picture(num_classes, accuracy):
    with style.settings():
        figure = classes.draw(run_of(num_classes, accuracy))
        figure.canvas.draw()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"{g} {accuracy:.1f} %" for g in style.GROUP_COLORS]
    box = legend.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width and 0 <= box.y0 < box.y1 <= figure.bbox.height


@pytest.mark.filterwarnings("error")
def test_names_that_the_font_lacks_are_in_the_page_and_no_warning(tmp_path):
    run = run_of(6, 80.0)
    names = ["🐝", "蜜蜂", "नेवला", *run.record.class_names[3:]]
    run = dataclasses.replace(run, record=dataclasses.replace(run.record, class_names=names))
    with style.settings():
        figure = classes.draw(run)
        style.to_png(figure, tmp_path / "classes.png")
        assert all(name in style.to_svg(figure, "classes") for name in names)


def test_of_curves_that_coincide_each_is_seen(tmp_path):
    lines = [{"step": step, "epoch": 1, "split": "train", "loss": 1 / step, "accuracy": 50.0} for step in range(1, 40)]
    run = run_of(6, 80.0)
    run = RunFiles(run.workdir, {}, run.record, {}, lines, run.predictions)
    rows = [Row(name, [run]) for name in ("head_only", "lift", "lora")]
    with style.settings():
        figure = comparison._convergence(rows)
        assert figure is not None
        pixels = style.to_png(figure, tmp_path / "curves.png")
    below_the_legend = pixels[len(pixels) // 5 :].reshape(-1, 3)
    for color in style.SERIES[: len(rows)]:
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (np.abs(below_the_legend - np.asarray(rgb, int)).max(axis=1) < 8).sum() > 100, color
