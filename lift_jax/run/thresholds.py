"""The thresholds of a run whose images have several labels: which images choose them, and how that is told."""

from collections.abc import Callable
from typing import Any, NamedTuple

from lift_jax.classifier.network import Network
from lift_jax.data import Dataset, Examples
from lift_jax.evaluation.tasks import TASKS, AnyEvaluator
from lift_jax.evaluation.thresholds import Thresholds, choose
from lift_jax.inference import calibration, threshold_file
from lift_jax.run.job import Job
from lift_jax.workdir.logs import Logs


class Chosen(NamedTuple):
    """Thresholds, and what thresholds.json says of them."""

    thresholds: Thresholds
    content: dict[str, Any]


def chosen(
    job: Job, network: Network, evaluator: AnyEvaluator, make_examples: Callable[[Dataset], Examples], logs: Logs
) -> Chosen | None:
    """Chooses the thresholds by the held-out images, or where none are held out, by the training images.

    Args:
        job: what is evaluated.
        network: with the trained parameters, on all devices.
        evaluator: evaluates the network.
        make_examples: gives images with one view each.
        logs: get the sentence about them.

    Returns:
        None where an image is of one class, and no thresholds are needed.
    """
    if not TASKS[job.config.task].has_thresholds:
        return None
    held_out = job.data.validation
    images = job.data.train if held_out is None else held_out
    source = "training images" if held_out is None else "held-out images"
    scores: Any = evaluator(network.params, make_examples(images), logs, "evaluation, thresholds")[1]
    found = choose(scores.label, scores.score, job.data.groups)
    logs.info(f"Thresholds, chosen by {len(scores.index):,} {source}: {found.sentence}")
    if held_out is None and job.network.method.name != "zero_shot":
        logs.info(
            "The run was trained on these images, so that it is surer of them than of others, and the thresholds may "
            "be too high; --config.validation=fraction:0.1 holds out images for them."
        )
    owner = calibration.owner_of(job.config, network, job.record.backbone["hash"])
    return Chosen(found, threshold_file.content(found, owner, source, len(scores.index)))
