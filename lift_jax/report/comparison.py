"""Runs side by side: what they differ in, mean and standard deviation over seeds, cost and convergence."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lift_jax import metrics
from lift_jax.errors import UserError
from lift_jax.report import files, page, style
from lift_jax.report.files import RunFiles

_NOT_COMPARED = {
    "seed",
    "sweep",
    "report",
    "log_every",
    "checkpoint_every",
    "keep",
    "eval_batch_size",
    "data.num_workers",
}
"""Keys of a config that do not make another experiment of it."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Runs whose configs differ in the seed alone.

    Attributes:
        name: what tells them from the others.
        runs: one or more.
    """

    name: str
    runs: list[RunFiles]

    def values(self, key: str) -> list[float]:
        """A metric of each run, in percent: with test-time ensembling where it was enabled."""
        return [run.results[run.headline].get(key, float("nan")) for run in self.runs]

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return self.runs[0].record.trainable_parameters

    def curve(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Steps that all runs have logged, and the mean of what they logged then."""
        curves = [dict(zip(*run.curve(key), strict=True)) for run in self.runs]
        steps = sorted(set.intersection(*map(set, curves)))
        return np.array(steps), np.array([statistics.fmean(curve[step] for curve in curves) for step in steps])


def compare(folders: Sequence[Path], output: Path) -> str:
    """Writes a page about several runs, and its pictures as PNG files into a folder of the page's name.

    Args:
        folders: of runs, or of several runs (a sweep's workdir).
        output: the page's file.

    Returns:
        The table as text.

    Raises:
        UserError: if a folder is no evaluated run of this version, or has none in it.
    """
    rows = group([files.read(folder) for folder in find_runs(folders)])
    header, cells = _table(rows)
    pictures = output.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    sections = [page.section("Results", page.table(header, cells) + page.paragraph(_note(rows), "muted"), "wide")]
    figures = {
        "accuracy_and_parameters": (
            "Accuracy and trained parameters",
            "Each point is a row of the table, with its standard deviation over seeds.",
            _cost,
        ),
        "convergence": ("Convergence", "Loss and accuracy on the training images, averaged over seeds.", _convergence),
    }
    with style.settings():
        for name, (title, caption, draw) in figures.items():
            if (figure := draw(rows)) is not None:
                style.to_png(figure, pictures / f"{name}.png")
                sections.append(page.section(title, page.figure(style.to_svg(figure, name), caption)))
    commands = sorted({run.record.command for row in rows for run in row.runs if run.record.command})
    if commands:
        body = "".join(page.command(command) for command in commands)
        sections.append(page.section("How they were made", body, "wide long"))
    data = sorted({run.config["data"]["name"] for row in rows for run in row.runs})
    count = sum(len(row.runs) for row in rows)
    intro = page.paragraph(f"{count} runs of {len(rows)} configurations.")
    output.write_text(page.page(f"{', '.join(data)}: comparison", intro, sections), encoding="utf-8")
    return _text([header, *cells])


def group(runs: Sequence[RunFiles]) -> list[Row]:
    """One row for all runs whose configs differ in the seed alone, in the order of the first of each."""
    flat = [{k: v for k, v in _flatten(run.config).items() if k not in _NOT_COMPARED} for run in runs]
    keys = sorted(set().union(*flat), key=lambda key: (key != "method", key))
    differing = [key for key in keys if len({str(values.get(key)) for values in flat}) > 1] or ["method"]
    rows: dict[str, list[RunFiles]] = {}
    for run, values in zip(runs, flat, strict=True):
        name = ", ".join(_said(key, values.get(key)) for key in differing)
        rows.setdefault(name, []).append(run)
    return [Row(name, members) for name, members in rows.items()]


def _said(key: str, value: Any) -> str:
    return str(value) if key == "method" else f"{key}={value}"


def _flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """The runs that `folders` are, or have in them."""
    found: list[Path] = []
    for folder in folders:
        inside = sorted(file.parent for file in folder.glob("*/config.json"))
        if (folder / "config.json").is_file():
            found.append(folder)
        elif inside:
            found += inside
        else:
            raise UserError(f"{folder} is no run of lift_jax, and has none in it: there is no config.json.")
    return found


def _table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    header = ["", "runs", *metrics.COLUMNS, "trained parameters"]
    cells = [
        [row.name, str(len(row.runs)), *(_mean(row.values(k)) for k in metrics.COLUMNS.values()), f"{row.parameters:,}"]
        for row in rows
    ]
    return header, cells


def _mean(values: Sequence[float]) -> str:
    mean = files.percent(statistics.fmean(values))
    return mean if len(values) == 1 or np.isnan(values).any() else f"{mean} ± {statistics.stdev(values):.1f}"


def _note(rows: Sequence[Row]) -> str:
    sections = {files.SECTIONS[run.headline] for row in rows for run in row.runs}
    note = f"Percent; {' or '.join(sorted(sections))} evaluation."
    if any(len(row.runs) > 1 for row in rows):
        note += " Mean ± standard deviation of the runs, whose configs differ in the seed alone."
    return note


def _text(cells: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in cells
    )


def _color(number: int) -> str:
    return style.SERIES[number % len(style.SERIES)]


def _cost(rows: Sequence[Row]) -> Figure:
    """Accuracy over the number of trained parameters, as in figure 1 of the LIFT paper (Shi et al. 2024)."""
    figure = style.new_figure(3.4)
    axes = figure.subplots()
    trained = [row.parameters for row in rows if row.parameters]
    none = min(trained, default=1) / 10  # on a logarithmic axis nothing has no place of its own
    axes.set_xscale("log")
    for number, row in enumerate(rows):
        values = row.values("accuracy")
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        x = row.parameters or none
        axes.errorbar(x, statistics.fmean(values), yerr=spread or None, fmt="o", color=_color(number), capsize=2.5)
    axes.margins(x=0.12, y=0.15)
    if len({row.parameters for row in rows}) == 1:
        axes.set_xlim((trained or [none])[0] / 10, (trained or [none])[0] * 10)
    if len(trained) < len(rows):
        axes.axvline(none, color=style.GRID, linewidth=1, zorder=0)
        axes.text(none, 0.01, " none", color=style.MUTED, transform=axes.get_xaxis_transform())
    axes.set_xlabel("trained parameters")
    axes.set_ylabel("accuracy, %")
    _legend(figure, rows)
    return figure


def _convergence(rows: Sequence[Row]) -> Figure | None:
    curves = {number: row for number, row in enumerate(rows) if len(row.curve("loss")[0])}
    if not curves:
        return None
    figure = style.new_figure(4.2)
    panels: Sequence[Axes] = figure.subplots(2, 1, sharex=True)
    for axes, key, title in zip(panels, ("loss", "accuracy"), ("loss", "accuracy, %"), strict=True):
        for number, row in curves.items():
            axes.plot(*row.curve(key), color=_color(number), linewidth=1.6)
        axes.set_title(title)
        axes.set_ylim(bottom=0)
    panels[-1].set_xlabel("step")
    _legend(figure, rows, list(curves))
    return figure


def _legend(figure: Figure, rows: Sequence[Row], numbers: Sequence[int] | None = None) -> None:
    axes = figure.axes[0]
    numbers = range(len(rows)) if numbers is None else numbers
    handles = [axes.plot([], [], "o", color=_color(number))[0] for number in numbers]
    names = [style.shorten(rows[number].name, 44) for number in numbers]
    columns = 2 if max(map(len, names)) <= 20 else 1
    figure.legend(handles, names, loc="outside upper left", ncols=columns, handletextpad=0.2)
