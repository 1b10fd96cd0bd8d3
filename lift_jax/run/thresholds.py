"""The thresholds of a run whose images have several labels: which images choose them, and how that is told."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from lift_jax.evaluation.tasks import TASKS, AnyEvaluator
from lift_jax.evaluation.thresholds import Thresholds, choose
from lift_jax.inference import calibration, threshold_file
from lift_jax.run.reading import Evaluated, held_out_images, once


class Chosen(NamedTuple):
    """The thresholds of each section of the results, and what thresholds.json says of them."""

    thresholds: dict[str, Thresholds]
    content: dict[str, Any]


def chosen(
    runs: Sequence[Evaluated], held_out: Sequence[tuple[Any, Any]] | None, evaluator: AnyEvaluator
) -> list[Chosen | None]:
    """Chooses the thresholds by the held-out images, or where none are held out, by the training images.

    The mean over several views is another score than that of one view, and has thresholds of its own.

    Args:
        runs: one run, or several that one program can hold.
        held_out: what `lift_jax.run.reading.validate` gives of them; None where none are held out.
        evaluator: evaluates any of their networks.

    Returns:
        None for each run where an image is of one class, and no thresholds are needed.
    """
    config = runs[0].job.config
    if not TASKS[config.task].has_thresholds:
        return [None] * len(runs)
    source, images, desc = "held-out images", held_out_images, "evaluation, thresholds"
    if held_out is None:
        source, images = "training images", lambda data: data.train
        held_out = once(runs, images, evaluator, desc)
    measured = {"plain": held_out}
    if config.tte.enabled:
        measured["tte"] = once(runs, images, evaluator, f"{desc}, tte", config.tte.mode)
    rows = [{section: pairs[place][1] for section, pairs in measured.items()} for place in range(len(runs))]
    return [_chosen(run, own, source) for run, own in zip(runs, rows, strict=True)]


def _chosen(run: Evaluated, scores: dict[str, Any], source: str) -> Chosen:
    job, network, _, logs = run
    found = {section: choose(rows.label, rows.score, job.data.groups) for section, rows in scores.items()}
    images = len(scores["plain"].index)
    with logs.speaking():
        logs.info(f"Thresholds, chosen by {images:,} {source}: {found['plain'].sentence}")
        if job.data.held_out is None and network.method.name != "zero_shot":
            logs.info(
                "The run was trained on these images, so that it is surer of them than of others, and the thresholds "
                "may be too high; --config.validation=fraction:0.1 holds out images for them."
            )
    owner = calibration.owner_of(job.config, network, job.record.backbone["hash"])
    return Chosen(found, threshold_file.content(found, owner, source, images))
