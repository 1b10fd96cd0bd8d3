"""The thresholds of a run whose images have several labels: which images choose them, and how that is told."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from lift_jax.evaluation.tasks import TASKS, AnyEvaluator
from lift_jax.evaluation.thresholds import Thresholds, choose
from lift_jax.inference import calibration, threshold_file
from lift_jax.run.reading import Evaluated, once


class Chosen(NamedTuple):
    """Thresholds, and what thresholds.json says of them."""

    thresholds: Thresholds
    content: dict[str, Any]


def chosen(
    runs: Sequence[Evaluated], held_out: Sequence[tuple[Any, Any]] | None, evaluator: AnyEvaluator
) -> list[Chosen | None]:
    """Chooses the thresholds by the held-out images, or where none are held out, by the training images.

    Args:
        runs: one run, or several that one program can hold.
        held_out: what `lift_jax.run.reading.validate` gives of them; None where none are held out.
        evaluator: evaluates any of their networks.

    Returns:
        None for each run where an image is of one class, and no thresholds are needed.
    """
    if not TASKS[runs[0].job.config.task].has_thresholds:
        return [None] * len(runs)
    source = "training images" if held_out is None else "held-out images"
    measured = (
        once(runs, lambda data: data.train, evaluator, "evaluation, thresholds") if held_out is None else held_out
    )
    return [_chosen(run, rows, source) for run, (_, rows) in zip(runs, measured, strict=True)]


def _chosen(run: Evaluated, scores: Any, source: str) -> Chosen:
    job, network, _, logs = run
    found = choose(scores.label, scores.score, job.data.groups)
    with logs.speaking():
        logs.info(f"Thresholds, chosen by {len(scores.index):,} {source}: {found.sentence}")
        if job.data.held_out is None and network.method.name != "zero_shot":
            logs.info(
                "The run was trained on these images, so that it is surer of them than of others, and the thresholds "
                "may be too high; --config.validation=fraction:0.1 holds out images for them."
            )
    owner = calibration.owner_of(job.config, network, job.record.backbone["hash"])
    return Chosen(found, threshold_file.content(found, owner, source, len(scores.index)))
