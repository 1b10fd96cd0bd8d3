"""A run's own page: report.html beside its numbers, and the pictures as PNG files in report/."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from etils import epath
from matplotlib.figure import Figure

from lift_jax.data import Dataset
from lift_jax.data.thumbnails import data_uri
from lift_jax.evaluation import per_class
from lift_jax.files import check_file, replacing, writing
from lift_jax.report import calibration, classes, confusion, curves, examples, files, label_sets, page, style
from lift_jax.report.files import RunFiles, interval, percent
from lift_jax.report.results_file import CalibrationResults
from lift_jax.workdir.logs import Logs

PAGE = "report.html"
_CLASSES_SHOWN = 1000

_FIGURES = {
    "classes": (
        "Accuracy of each class",
        "Of the test images, by the number of training images of the class, and the mean of each group of classes.",
    ),
    "curves": ("Training", "Loss, accuracy on the training images and learning rate over the optimizer's steps."),
    "confusion": (
        "Most confused classes",
        "True class → predicted class: test images, and their share of the class's.",
    ),
    "calibration": (
        "Calibration",
        "Bars: accuracy of the predictions with that confidence. Dots: mean confidence; below the line it is too high.",
    ),
    "calibrated": (
        "After calibration",
        "Accuracy of the predictions with that confidence, before (hollow dots) and after (filled) python -m "
        "lift_jax.calibrate; the larger a dot, the more images. Below the line the confidence is too high.",
    ),
}


def write(workdir: epath.PathLike, test: Dataset | None = None, logs: Logs | None = None) -> epath.Path:
    """Draws a run's report.

    Args:
        workdir: the run's folder, evaluated.
        test: the test split, for pictures of the worst mistakes; without it those of an earlier report are kept.
        logs: gets the figures for TensorBoard.

    Returns:
        The page's file.

    Raises:
        UserError: if the folder is no evaluated run of this version, one of its files is damaged, or the report cannot
            be written.
    """
    run = files.read(workdir)
    with writing(run.workdir / PAGE, "remove what is in the way"):
        return _write(run, test, logs)


def _write(run: RunFiles, test: Dataset | None, logs: Logs | None) -> epath.Path:
    folder, file = run.workdir / examples.FOLDER, run.workdir / PAGE
    check_file(file, "remove what is in the way")
    folder.mkdir(exist_ok=True)
    several = run.task.has_thresholds
    pictures = [] if several else examples.worst(run, test)
    examples.save(pictures, run)
    sections = [_metrics(run)]
    arrays: dict[str, np.ndarray] = {}
    with style.settings():
        figures = {name: draw(run) for name, draw in _drawers(run).items()}
        for name, drawn in figures.items():
            title, caption = (label_sets.FIGURES if several else _FIGURES)[name]
            if drawn is None:
                nothing = "Nothing was trained." if name == "curves" else "There is no mistake."
                sections.append(page.section(title, page.paragraph(nothing)))
                continue
            arrays[f"report/{name}"] = style.to_png(drawn, folder / f"{name}.png")
            sections.append(page.section(title, page.figure(style.to_svg(drawn, name), caption)))
    if run.calibration is not None:
        sections.append(_reliability(run.calibration))
    sections.append(_trained(run))
    if not several and (pictures or not examples.mistakes(run).size):
        sections.append(_worst(run, pictures))
    sections += [label_sets.class_table(run) if several else _class_table(run), _origin(run)]
    if logs is not None:
        tiles = {"report/worst": np.stack([example.picture for example in pictures])} if pictures else {}
        logs.images(max((line["step"] for line in run.lines), default=0), {**arrays, **tiles})
    with replacing(file) as part:
        part.write_text(
            page.page(_title(run), label_sets.intro(run) if several else _intro(run), sections), encoding="utf-8"
        )
    return file


def _drawers(run: RunFiles) -> dict[str, Callable[[RunFiles], Figure | None]]:
    if run.task.has_thresholds:
        return {"classes": label_sets.draw, "curves": curves.draw}
    drawers: dict[str, Callable[[RunFiles], Figure | None]] = {
        "classes": classes.draw,
        "curves": curves.draw,
        "confusion": confusion.draw,
        "calibration": calibration.draw,
    }
    if (found := run.calibration) is not None:
        drawers["calibrated"] = lambda _: calibration.draw_before_and_after(found)
    return drawers


def _title(run: RunFiles) -> str:
    return f"{run.config['data']['name']}: {run.config['method']}"


def _intro(run: RunFiles) -> str:
    counts = np.asarray(run.record.train_counts)
    sizes = f"{counts.max():,} to {counts.min():,}" if counts.max() > counts.min() else f"{counts.max():,}"
    best = run.results[run.headline]
    untested = sum(n == 0 for n in run.record.test_counts)
    text = (
        f"{percent(best['accuracy'])} % of {int(best['num_examples']):,} test images are recognised, "
        f"{percent(best['mean_acc'])} % on average over classes"
        f"{', with test-time ensembling' if run.headline == 'tte' else ''}. "
        f"Trained on {counts.sum():,} images of {len(counts):,} classes, {sizes} a class."
    )
    if run.record.validation_counts:
        held_out = sum(run.record.validation_counts)
        text += f" {held_out:,} of these were held out, and the checkpoint that is the best on them is the one shown."
    if untested:
        have, count = ("es have", "count") if untested > 1 else (" has", "counts")
        text += f" {untested} class{have} no test images and {count} in no mean."
    return page.paragraph(text)


def _metrics(run: RunFiles) -> str:
    columns = {title: run.results[section] for section, title in files.SECTIONS.items() if section in run.results}
    if run.record.zero_shot is not None:
        columns = {"zero-shot": run.record.zero_shot, **columns}
    rows = [
        [name, *(percent(column.get(key, np.nan)) for column in columns.values())]
        for name, key in files.metric_rows(run)
    ]
    body = page.table(["percent", *columns], rows, strong=(0, 1))
    return page.section("Metrics", body)


def _reliability(found: CalibrationResults) -> str:
    """Makes the table of how far the confidences and the prediction sets of a calibrated run can be believed."""
    rows = [
        ("calibration error before, %", found.before.calibration_error),
        ("calibration error after, %", found.after.calibration_error),
        (f"sets that hold the class, % (meant: {found.sets.coverage:g})", found.sets.covered),
        ("classes in a set", found.sets.size),
    ]
    cells = [[name, *(percent(np.nan if value is None else value) for value in values)] for name, values in rows]
    return page.section("Confidences and prediction sets", page.table(["", *calibration.PARTS], cells))


def _trained(run: RunFiles) -> str:
    total, backbone = run.record.trainable_parameters, run.record.backbone
    if not run.record.trainable:
        return page.section("Trained parameters", page.paragraph("None: the head is made of the class names alone."))
    rows = [
        [row["group"], str(row["blocks"] or "–"), f"{row['params']:,}", f"{100 * row['share']:.3f} %"]
        for row in run.record.trainable
    ]
    rows.append(["together", "", f"{total:,}", f"{100 * total / backbone['parameters']:.3f} %"])
    body = page.table(["group", "blocks", "parameters", "of the backbone"], rows, strong=[len(rows) - 1])
    body += page.paragraph(f"The backbone has {backbone['parameters']:,} parameters.", "muted")
    return page.section("Trained parameters", body)


def _worst(run: RunFiles, pictures: list[examples.Example]) -> str:
    group = ("many", "medium", "few")[examples.tail_group(run)]
    if not pictures:
        return page.section(
            "Worst mistakes of the tail", page.paragraph(f"None: all of group {group} are right."), "wide"
        )
    names = run.record.class_names
    tiles = [
        page.picture(
            data_uri(example.picture),
            [
                names[example.label],
                f"taken for {names[example.prediction]}",
                f"{100 * example.confidence:.0f} % confident",
            ],
        )
        for example in pictures
    ]
    intro = page.paragraph(
        f"Classes with {group} training images: the wrong predictions that are most confident.", "muted"
    )
    return page.section("Worst mistakes of the tail", f'{intro}<div class="pictures">{"".join(tiles)}</div>', "wide")


def _class_table(run: RunFiles) -> str:
    accuracy, groups, order = run.class_accuracy(), run.group_names(), classes.order(run)
    note = ""
    if len(order) > _CLASSES_SHOWN:
        order = order[np.argsort(np.nan_to_num(accuracy[order], nan=101), kind="stable")][:_CLASSES_SHOWN]
        note = page.paragraph(f"The {_CLASSES_SHOWN:,} classes with the lowest accuracy.", "muted")
    names, train, test = run.record.class_names, run.record.train_counts, run.record.test_counts
    measured = run.per_class()
    rows = [
        [
            names[c],
            groups[c],
            f"{train[c]:,}",
            f"{test[c]:,}",
            percent(float(accuracy[c])) if test[c] else "no test images",
            interval(measured.recall_interval[c]),
            percent(float(measured.precision[c])),
            interval(measured.precision_interval[c]),
        ]
        for c in order.tolist()
    ]
    within = f"{per_class.COVERAGE:.0f} % interval"
    header = ["class", "group", "training images", "test images", "accuracy, %", within, "precision, %", within]
    table = page.table(header, rows)
    body = note + table if len(order) <= 20 else page.folded(f"{len(order):,} classes", note + table)
    return page.section("All classes", body, "wide long")


def _precision(config: Mapping[str, Any]) -> str:
    frozen = config["frozen_dtype"]
    return config["dtype"] if frozen == "auto" else f"{config['dtype']}, frozen kernels in {frozen}"


def _origin(run: RunFiles) -> str:
    config, known = run.config, run.record
    python = page.paragraph("Started from Python, by lift_jax.run.run with the config of config.json.")
    rows = [
        ("backbone", str(known.backbone["name"])),
        ("resolution", f"{config['resolution'] or 'the backbone’s'}"),
        ("loss", f"{config['loss']}, tau {config['tau']:g}"),
        ("head", f"{config['head']}, from {config['head_init']}"),
        ("epochs", str(config["num_epochs"])),
        ("batch", str(config["batch_size"])),
        ("learning rate", f"{config['lr']:g}"),
        ("seed", str(config["seed"])),
        ("precision", _precision(config)),
        ("devices", known.devices),
        ("versions", ", ".join(f"{name} {version}" for name, version in known.versions.items())),
    ]
    body = (page.command(known.command) if known.command else python) + page.facts(rows)
    return page.section("How it was made", body, "wide")
