"""The page of `python -m lift_jax.analyze`."""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from etils import epath
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lift_jax.evaluation.geometry import Geometry
from lift_jax.files import replacing, writing
from lift_jax.report import comparison, page, style
from lift_jax.report.files import RunFiles
from lift_jax.text import printable

PAGE = "analysis.html"
REMEDY = "remove what is in the way"


def write(
    workdir: epath.PathLike,
    columns: Mapping[str, Geometry],
    classes: Sequence[str],
    tail: Sequence[str],
    runs: Sequence[RunFiles] = (),
) -> epath.Path:
    """Writes analysis.html, and its pictures into analysis/.

    Args:
        workdir: the folder that the page is written into.
        columns: what was found, by the name of the network.
        classes, tail: the names of the classes in the heat maps, and of those whose distances are shown.
        runs: the runs of a sweep over the share of tuned parameters, or none.

    Raises:
        UserError: if the page or a picture cannot be written.
    """
    file = epath.Path(workdir) / PAGE
    with writing(file, REMEDY):
        return _write(file, columns, classes, tail, runs)


def _write(
    file: epath.Path,
    columns: Mapping[str, Geometry],
    classes: Sequence[str],
    tail: Sequence[str],
    runs: Sequence[RunFiles],
) -> epath.Path:
    folder = file.parent / "analysis"
    folder.mkdir(exist_ok=True)
    sections = [_summary(columns)]
    figures: list[tuple[str, str, str, Figure]] = []
    with style.settings():
        heat = "Cosine similarity of the classes' mean test features, the most frequent class first."
        spread = "Cosine distance of each image to the mean of its class in the same split; the lines are the averages."
        figures.append(("similarity", "Classes among one another", heat, _heat_maps(columns)))
        figures.append(("distances", "Images of the tail's classes", spread, _distances(columns)))
        if runs:
            caption = (
                "Accuracy of the sweep's runs, averaged over seeds; of several configurations with one share the best. "
                "The head is not counted, which all of them train."
            )
            figures.append(("share", "Accuracy and share of tuned parameters", caption, _share(comparison.group(runs))))
        for name, title, caption, figure in figures:
            style.to_png(figure, folder / f"{name}.png")
            sections.append(page.section(title, page.figure(style.to_svg(figure, name), caption)))
    listed = [
        page.folded(f"{len(names)} {where}", page.paragraph(", ".join(map(printable, names))))
        for names, where in ((classes, "in the heat maps"), (tail, "in the tail"))
    ]
    sections.append(page.section("Classes", "".join(listed), "wide long"))
    intro = page.paragraph(
        "Features after figures 3 and 4 of Shi et al. 2024, “Long-Tail Learning with Foundation Model: Heavy "
        "Fine-Tuning Hurts”. A good tuning makes classes less similar, and leaves the test images of the tail as close "
        "to one another as the training images are."
    )
    with replacing(file) as part:
        part.write_text(page.page("Features and the tail", intro, sections), encoding="utf-8")
    return file


def _summary(columns: Mapping[str, Geometry]) -> str:
    rows = [
        [
            name,
            f"{g.between:.3f}",
            f"{g.train.mean():.3f}",
            f"{g.test.mean():.3f}",
            f"{g.test.mean() - g.train.mean():+.3f}",
        ]
        for name, g in columns.items()
    ]
    header = ["means", "similarity", "training", "test", "gap"]
    note = "Similarity of two different classes; distances of training and test images, and their gap."
    return page.section("In numbers", page.table(header, rows) + page.paragraph(note, "muted"), "wide")


def _heat_maps(columns: Mapping[str, Geometry]) -> Figure:
    """Draws one heat map below the other, on one scale."""
    wide = 2 if len(columns) > 1 else 1
    high = -(-len(columns) // wide)
    figure = style.new_figure(0.5 + 2.2 * high)
    panels = figure.subplots(high, wide, squeeze=False)
    lowest = min(float(geometry.similarity.min()) for geometry in columns.values())
    image = None
    for axes, (name, geometry) in zip(panels.flat, columns.items(), strict=False):
        # Cells that are an image stay sharp, and are small, however many they are.
        image = axes.imshow(geometry.similarity, vmin=lowest, vmax=1, cmap="viridis", interpolation="nearest")
        axes.set_title(style.shorten(name))
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.set_yticks([])
    for axes in panels.flat[len(columns) :]:
        axes.axis("off")
    if image is not None:
        figure.colorbar(image, ax=list(panels.flat), orientation="horizontal", fraction=0.05, aspect=40, pad=0.02)
    return figure


def _distances(columns: Mapping[str, Geometry]) -> Figure:
    """Draws histograms of the training and the test images, one network below the other."""
    figure = style.new_figure(0.6 + 1.3 * len(columns))
    panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    most = max(float(max(g.train.max(), g.test.max())) for g in columns.values())
    edges = np.linspace(0, most * 1.02, 31)
    for axes, (name, geometry) in zip(panels, columns.items(), strict=True):
        for values, color, label in (geometry.train, style.MANY, "training"), (geometry.test, style.FEW, "test"):
            weights = np.full(len(values), 100 / len(values))
            axes.hist(values, edges, weights=weights, color=color, alpha=0.55, label=label)
            axes.axvline(values.mean(), color=color, linewidth=1.4)
        axes.set_title(style.shorten(name, 44))
        axes.set_ylabel("images, %")
    panels[-1].xaxis.set_major_locator(MaxNLocator(6))
    panels[-1].set_xlabel("cosine distance to the class's mean")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=2)
    return figure


def _share(rows: Sequence[comparison.Row]) -> Figure:
    """Draws the accuracy, overall and of each group, over the share of the backbone's parameters that were tuned."""
    best: dict[float, comparison.Row] = {}
    for row in sorted(rows, key=lambda row: statistics.fmean(row.values("accuracy"))):
        best[tuned_share(row.runs[0])] = row
    shares = sorted(best)
    figure = style.new_figure(3.4)
    axes = figure.subplots()
    for name, key, color in _LINES:
        values = np.array([statistics.fmean(best[share].values(key)) for share in shares])
        if not np.isnan(values).all():
            axes.plot(shares, values, "o-", color=color, markersize=4, linewidth=1.6, label=name)
    positive = [share for share in shares if share > 0] or [1.0]
    ticks = 10.0 ** np.arange(np.floor(np.log10(positive[0])), np.ceil(np.log10(positive[-1])) + 1)
    if shares[0] > 0:
        axes.set_xscale("log")
    else:
        axes.set_xscale("symlog", linthresh=positive[0])
        ticks = np.concatenate([[0], ticks[ticks >= positive[0]]])
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("tuned share of the backbone's parameters, %")
    axes.set_ylabel("accuracy, %")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, columnspacing=1.0, handletextpad=0.3)
    return figure


_LINES = (
    ("overall", "accuracy", style.INK),
    ("many", "many_acc", style.MANY),
    ("medium", "med_acc", style.MEDIUM),
    ("few", "few_acc", style.FEW),
)


def tuned_share(run: RunFiles) -> float:
    """Gives how many parameters the run tuned besides its head, in percent of the backbone's."""
    return 100 * sum(row["share"] for row in run.record.trainable if row["group"] != "head")
