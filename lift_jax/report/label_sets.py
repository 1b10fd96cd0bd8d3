"""What the report of a run says of images that have several labels."""

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from lift_jax.evaluation.multilabel import Scores
from lift_jax.evaluation.ranking import average_precision
from lift_jax.files import parse_json
from lift_jax.report import classes, page
from lift_jax.report.files import RunFiles, percent

FIGURES = {
    "classes": (
        "Average precision of each class",
        "On the test images, by the number of training images of the class, and the mean of each group of classes.",
    ),
    "curves": (
        "Training",
        "Loss, share of the training images whose most probable class is one of theirs, and learning rate over the "
        "optimizer's steps.",
    ),
}

_CHOSEN_BY = {"own": "its own images", "group": "those of its group", "all": "those of all classes"}
_CLASSES_SHOWN = 1000


def draw(run: RunFiles) -> Figure:
    """Draws the average precision of each class."""
    return classes.draw_values(run, _average_precision(run), "average precision, %")


def intro(run: RunFiles) -> str:
    """Makes the sentences at the beginning of the page."""
    counts, best = np.asarray(run.record.train_counts), run.results[run.headline]
    untested = sum(n == 0 for n in run.record.test_counts)
    text = (
        f"The mean average precision on {int(best['num_examples']):,} test images is {percent(best['map'])} %"
        f"{', with test-time ensembling' if run.headline == 'tte' else ''}; at the thresholds of the classes, F1 is "
        f"{percent(best['macro_f1'])} % on average over classes. An image may be of several of the {len(counts):,} "
        f"classes, which have {counts.max():,} to {counts.min():,} training images each."
    )
    if untested:
        have, count = ("es have", "count") if untested > 1 else (" has", "counts")
        text += f" {untested} class{have} no test images and {count} in no mean."
    return page.paragraph(text)


def class_table(run: RunFiles) -> str:
    """Makes the table of all classes: average precision, and what is right at the threshold."""
    measured = parse_json((run.workdir / "eval.json").read_bytes())["classes"][run.headline]
    groups, order = run.group_names(), classes.order(run)
    note = ""
    if len(order) > _CLASSES_SHOWN:
        precision = np.nan_to_num(_average_precision(run)[order], nan=101)
        order = order[np.argsort(precision, kind="stable")][:_CLASSES_SHOWN]
        note = page.paragraph(f"The {_CLASSES_SHOWN:,} classes with the lowest average precision.", "muted")
    names, train, test = run.record.class_names, run.record.train_counts, run.record.test_counts
    rows = [
        [
            names[c],
            groups[c],
            f"{train[c]:,}",
            f"{test[c]:,}",
            *(_shown(measured[c][key]) for key in ("average_precision", "f1", "precision", "recall")),
            f"{measured[c]['threshold']:.2f}",
            _CHOSEN_BY[measured[c]["chosen_by"]],
        ]
        for c in order.tolist()
    ]
    header = ["class", "group", "training images", "test images", "average precision, %", "F1, %", "precision, %"]
    table = page.table([*header, "recall, %", "threshold (logit)", "chosen by"], rows)
    body = note + table if len(order) <= 20 else page.folded(f"{len(order):,} classes", note + table)
    return page.section("All classes", body, "wide long")


def _shown(value: float | None) -> str:
    return percent(np.nan if value is None else value)


def _average_precision(run: RunFiles) -> Float[np.ndarray, " classes"]:
    scores = Scores(run.predictions["index"], run.predictions["label"], run.predictions["score"])
    return 100 * average_precision(scores.label, scores.score)
