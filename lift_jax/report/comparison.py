"""Runs side by side: what they differ in, mean and standard deviation over seeds, cost and convergence."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lift_jax.errors import UserError
from lift_jax.evaluation import metrics
from lift_jax.files import check_file, replacing, writing
from lift_jax.report import files, page, style, swept
from lift_jax.report.rows import Row, find_runs, group
from lift_jax.text import aligned

_MARKERS_EVERY = 0.2
"""How far apart the markers of a curve are, as a share of the picture's diagonal."""


def compare(folders: Sequence[epath.PathLike], output: Path) -> str:
    """Writes a page about several runs, and its pictures as PNG files into a folder of the page's name.

    Args:
        folders: of runs, or of several runs (a sweep's workdir).
        output: the page's file.

    Returns:
        The table as text.

    Raises:
        UserError: if a folder is no evaluated run of this version, or has none in it; or if the page cannot be written.
    """
    if not output.suffix:
        raise UserError(f"The page of the comparison is {output}; write a file's name that ends in .html.")
    remedy = "name another file with --output"
    check_file(output, remedy)
    rows = group([files.read(folder) for folder in find_runs(folders)])
    _check_task(rows)
    with writing(output, remedy):
        return _write(rows, output)


def _check_task(rows: Sequence[Row]) -> None:
    """Refuses runs that have no metric in common."""
    first = rows[0].runs[0]
    for run in (run for row in rows for run in row.runs):
        if (there := run.config["task"]) != (here := first.config["task"]):
            raise UserError(
                f"{run.workdir} has the config.task {there} and {first.workdir} {here}, which are measured in "
                "different ways; compare runs of one task."
            )


def _write(rows: Sequence[Row], output: Path) -> str:
    """Writes the page and its pictures (see `compare`)."""
    header, cells = _table(rows)
    pictures = output.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    sections = [page.section("Results", page.table(header, cells) + page.paragraph(_note(rows), "muted"), "wide")]
    if calibrated := [row for row in rows if all(run.calibration is not None for run in row.runs)]:
        sections.append(_calibrated(calibrated))
    figures = {
        "accuracy_and_parameters": (
            "Accuracy and trained parameters",
            "Each point is a row of the table, with its standard deviation over seeds.",
            _cost,
        ),
        "convergence": ("Convergence", "Loss and accuracy on the training images, averaged over seeds.", _convergence),
    }
    if (found := swept.find(rows)) is not None:
        figures = {"accuracy_over_number": (f"Accuracy over {found.key}", swept.CAPTION, found.draw), **figures}
        if len({row.parameters for row in rows}) == 1:  # all points would be above each other
            del figures["accuracy_and_parameters"]
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
    with replacing(output) as part:
        part.write_text(page.page(f"{', '.join(data)}: comparison", intro, sections), encoding="utf-8")
    return aligned([header, *cells])


def _table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    columns = rows[0].runs[0].task.columns
    header = ["", "runs", *columns, "trained parameters"]
    cells = [
        [row.name, str(len(row.runs)), *(_mean(row.values(k)) for k in columns.values()), f"{row.parameters:,}"]
        for row in rows
    ]
    return header, cells


def _calibrated(rows: Sequence[Row]) -> str:
    """Makes the table of what calibration does to runs, all of which are calibrated."""
    cells = []
    for row in rows:
        accuracies = [[run.results["calibrated"][key] for run in row.runs] for key in metrics.COLUMNS.values()]
        before = [run.results[run.headline]["expected_calibration_error"] for run in row.runs]
        after = [run.results["calibrated"]["expected_calibration_error"] for run in row.runs]
        cells.append([row.name, *map(_mean, [*accuracies, before, after])])
    header = ["", *metrics.COLUMNS, "calibration error before", "and after"]
    return page.section("Calibrated", page.table(header, cells), "wide")


def _mean(values: Sequence[float]) -> str:
    mean = files.percent(statistics.fmean(values))
    return mean if len(values) == 1 or np.isnan(values).any() else f"{mean} ± {statistics.stdev(values):.1f}"


def _note(rows: Sequence[Row]) -> str:
    sections = {files.SECTIONS[run.headline] for row in rows for run in row.runs}
    note = f"Percent; {' or '.join(sorted(sections))} evaluation."
    if any(len(row.runs) > 1 for row in rows):
        note += " Mean ± standard deviation of the runs, which differ in the seed or in what no result depends on."
    return note


def _look(index: int) -> dict[str, Any]:
    """Gives colour and marker of a row; no two of 40 rows have both alike."""
    return {"color": style.SERIES[index % len(style.SERIES)], "marker": "osD^v"[index // len(style.SERIES) % 5]}


def _cost(rows: Sequence[Row]) -> Figure:
    """Draws accuracy over the number of trained parameters, as in figure 1 of Shi et al. 2024, and that of the tail."""
    task = rows[0].runs[0].task
    all_images, few, axis = "accuracy", "few_acc", "accuracy, %"
    if task.has_thresholds:
        all_images, few, axis = task.score, task.columns["few"], f"{task.measure}, %"
    panels = {"all test images": all_images}
    if any(not np.isnan(row.values(few)).any() for row in rows):
        panels["classes with few training images"] = few
    figure = style.new_figure(0.5 + 2.0 * len(panels) + _legend_height(rows))
    trained = [row.parameters for row in rows if row.parameters]
    none = min(trained, default=1) / 10  # on a logarithmic axis nothing has no place of its own
    places = {row.parameters or none for row in rows}
    beside = (max(places) / min(places)) ** 0.12 if len(places) > 1 else 10
    low, high = min(places) / beside, max(places) * beside
    drawn = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, key) in zip(drawn, panels.items(), strict=True):
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.set_title(title)
        axes.set_ylabel(axis)
        for index, row in enumerate(rows):
            values = row.values(key)
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            place, mean = row.parameters or none, statistics.fmean(values)
            axes.errorbar(place, mean, yerr=spread or None, **_look(index), markersize=7, capsize=4, elinewidth=1.4)
        axes.margins(y=0.2)
    axes = drawn[-1]
    ticks = _parameter_ticks(trained, low, high)
    if len(trained) < len(rows):
        ticks = {none: "none"} | {place: name for place, name in ticks.items() if place > 2 * none}
    seen = {place: name for place, name in ticks.items() if low <= place <= high}
    axes.set_xticks(list(seen), list(seen.values()))
    axes.minorticks_off()
    axes.set_xlabel("trained parameters")
    _legend(figure, rows, range(len(rows)))
    return figure


def _parameter_ticks(trained: Sequence[int], low: float, high: float) -> dict[float, str]:
    """Gives the places and names of the powers of ten; where fewer than two are in sight, of the least and the most."""
    decades = 10.0 ** np.arange(np.ceil(np.log10(min(trained, default=1))) - 1, 13)
    if trained and np.count_nonzero((low < decades) & (decades < high)) < 2:
        return {float(each): f"{each:,}" for each in (min(trained), max(trained))}
    return {float(decade): _short(decade) for decade in decades}


def _short(value: float) -> str:
    """Writes a power of ten as 100, 10k or 1M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"


def _convergence(rows: Sequence[Row]) -> Figure | None:
    curves = {index: row for index, row in enumerate(rows) if len(row.curve("loss")[0])}
    if not curves:
        return None
    figure = style.new_figure(3.8 + _legend_height(rows))
    panels: Sequence[Axes] = figure.subplots(2, 1, sharex=True)
    # Where curves coincide, all are seen: the first is the widest, and their markers take turns.
    widths = np.linspace(4.8, 1.2, len(curves)) if len(curves) > 1 else [1.6]
    for axes, key, title in zip(panels, ("loss", "accuracy"), ("loss", "accuracy, %"), strict=True):
        for place, (index, row) in enumerate(curves.items()):
            turn = (_MARKERS_EVERY * place / len(curves), _MARKERS_EVERY)
            axes.plot(*row.curve(key), **_look(index), markevery=turn, markersize=4, linewidth=widths[place])
        axes.set_title(title)
        axes.set_ylim(bottom=0)
    panels[-1].set_xlabel("step")
    _legend(figure, rows, list(curves))
    return figure


def _legend_columns(rows: Sequence[Row]) -> int:
    return 2 if max(len(row.name) for row in rows) <= 18 else 1


def _legend_height(rows: Sequence[Row]) -> float:
    """Gives the height of the legend in inches."""
    return 0.18 * -(-len(rows) // _legend_columns(rows))


def _legend(figure: Figure, rows: Sequence[Row], indices: Sequence[int]) -> None:
    axes = figure.axes[0]
    handles = [axes.plot([], [], linestyle="", **_look(index))[0] for index in indices]
    names = [style.shorten(rows[index].name, 44) for index in indices]
    figure.legend(handles, names, loc="outside upper left", ncols=_legend_columns(rows), handletextpad=0.2)
