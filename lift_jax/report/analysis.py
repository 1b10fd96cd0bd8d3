"""The page of `python -m lift_jax.analyze`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lift_jax.features import Geometry
from lift_jax.report import comparison, files, page, style
from lift_jax.report.files import RunFiles


def write(workdir: Path, columns: Mapping[str, Geometry], class_names: Sequence[str], sweep: Path | None) -> Path:
    """Writes analysis.html, and its pictures into analysis/.

    Args:
        workdir: where.
        columns: what was found, by the name of the network.
        class_names: of the classes of the heat maps.
        sweep: folder of runs, or None.
    """
    folder = workdir / "analysis"
    folder.mkdir(exist_ok=True)
    sections = [_summary(columns)]
    figures: list[tuple[str, str, str, Figure]] = []
    with style.settings():
        heat = "Cosine similarity of the classes' mean test features, the rarest class last."
        spread = (
            "Cosine distance of each image to the mean of its class's training images (of the others, for one of them)."
        )
        figures.append(("similarity", "Classes among one another", heat, _heat_maps(columns, len(class_names))))
        figures.append(("distances", "Images of a tail class", spread, _distances(columns)))
        if sweep is not None:
            runs = [files.read(run) for run in comparison.find_runs([sweep])]
            caption = "Accuracy of the runs of the sweep; the head is not counted, which all of them train."
            figures.append(("share", "Accuracy and share of tuned parameters", caption, _share(runs)))
        for name, title, caption, figure in figures:
            style.to_png(figure, folder / f"{name}.png")
            sections.append(page.section(title, page.figure(style.to_svg(figure, name), caption)))
    listed = page.paragraph(", ".join(class_names))
    sections.append(page.section("Classes", page.folded(f"{len(class_names)} classes", listed), "wide long"))
    intro = page.paragraph(
        f"Features of the {len(class_names)} rarest classes, after figures 3 and 4 of Shi et al. 2024, “Long-Tail "
        "Learning with Foundation Model: Heavy Fine-Tuning Hurts”. A good tuning makes classes less similar, and "
        "leaves test images as close to their class as training images are."
    )
    file = workdir / "analysis.html"
    file.write_text(page.page("Features of the tail", intro, sections), encoding="utf-8")
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
    header = ["", "similarity of classes", "distance, training", "distance, test", "test − training"]
    return page.section("Means", page.table(header, rows), "wide")


def _heat_maps(columns: Mapping[str, Geometry], classes: int) -> Figure:
    """One below the other, on one scale."""
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
    """Histograms of training and test images, one network below the other."""
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


def _share(runs: Sequence[RunFiles]) -> Figure:
    """Overall accuracy and that of each group over the share of the backbone's parameters that were tuned."""
    figure = style.new_figure(3.4)
    axes = figure.subplots()
    shares = np.array([tuned_share(run) for run in runs])
    lines = {"overall": ("accuracy", style.INK)}
    lines |= {name: (key, style.GROUP_COLORS[name]) for name, key in _GROUP_METRICS.items()}
    for name, (key, color) in lines.items():
        values = np.array([run.results[run.headline].get(key, np.nan) for run in runs])
        known = ~np.isnan(values)
        places = np.unique(shares[known])
        if places.size:
            means = [values[known & (shares == place)].mean() for place in places]
            axes.plot(places, means, "o-", color=color, markersize=4, linewidth=1.6, label=name)
    positive = shares[shares > 0]
    axes.set_xscale("symlog", linthresh=float(positive.min()) if positive.size else 1e-3)
    axes.set_xlim(left=0)
    axes.set_xlabel("tuned share of the backbone's parameters, %")
    axes.set_ylabel("accuracy, %")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, columnspacing=1.0, handletextpad=0.3)
    return figure


_GROUP_METRICS = {"many": "many_acc", "medium": "med_acc", "few": "few_acc"}


def tuned_share(run: RunFiles) -> float:
    """Percent of the backbone's number of parameters that the run tuned, its head apart."""
    return 100 * sum(row["share"] for row in run.record.trainable if row["group"] != "head")
