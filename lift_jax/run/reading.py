"""Which images runs are evaluated on, and how those that have the same ones share one reading of them."""

import functools
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lift_jax.classifier import untuned
from lift_jax.classifier.network import Network
from lift_jax.data import Dataset, Examples, RunData
from lift_jax.data.run_data import drawn_by, evaluation_loader
from lift_jax.evaluation.features import examples, place_of
from lift_jax.evaluation.tasks import TASKS, AnyEvaluator
from lift_jax.run.job import Job
from lift_jax.workdir.logs import Logs


class Evaluated(NamedTuple):
    """A run that is evaluated: what it is, the network that its results are of, its folder, and its logs."""

    job: Job
    network: Network
    workdir: Path
    logs: Logs


def shares_test_images(jobs: Sequence[Job]) -> bool:
    """Tells whether runs that differ in nothing but members' own keys are tested on the same views of the same images.

    The seed chooses the views of the mode "random", and what becomes the test split of a data set that has none.
    """
    config = jobs[0].config
    draws = config.data.val_fraction > 0 or (config.tte.enabled and config.tte.mode == "random")
    return not draws or len({job.config.seed for job in jobs}) == 1


def validate(runs: Sequence[Evaluated], evaluator: AnyEvaluator) -> list[tuple[dict[str, float], Any]]:
    """Evaluates runs on their held-out images; for the arguments see `once`.

    Returns:
        For each run the metrics, and the row of every image.
    """
    measured = once(runs, held_out_images, evaluator, "evaluation, validation")
    summarize = TASKS[runs[0].job.config.task].summarize
    pairs = zip(runs, measured, strict=True)
    return [(summarize(counted, run.job.data.groups, None), rows) for run, (counted, rows) in pairs]


def once(
    runs: Sequence[Evaluated],
    split: Callable[[RunData], Dataset],
    evaluator: AnyEvaluator,
    desc: str,
    mode: str = "plain",
) -> list[tuple[Any, Any]]:
    """Evaluates runs on training or held-out images, which are read once for all runs that have the same ones.

    Args:
        runs: one run, or several that one program can hold (see `lift_jax.run.run_together`).
        split: takes the images out of the data of a run.
        evaluator: evaluates any of their networks.
        desc: what the progress bars say.
        mode: the views of an image, one of `lift_jax.data.views.MODES`.

    Returns:
        For each run what was measured, and the row of every image.
    """
    by_images: dict[Hashable, list[int]] = {}
    for place, run in enumerate(runs):
        by_images.setdefault(drawn_by(run.job.config), []).append(place)
    found: dict[int, tuple[Any, Any]] = {}
    for places in by_images.values():
        alike = [runs[place] for place in places]
        job, network, _, logs = alike[0]
        with logs.speaking():
            images, resolution = split(job.data), network.input.resolution
            if mode == "plain":
                loader = with_one_view(job, network, images, logs)
            else:
                loader = evaluation_loader(job.config, images, resolution, mode)
        params, all_logs = [each.network.params for each in alike], [each.logs for each in alike]
        found.update(zip(places, evaluator.of_several(params, loader, all_logs, desc), strict=True))
    return [found[place] for place in range(len(runs))]


def with_one_view(job: Job, network: Network, images: Dataset, logs: Logs) -> Examples:
    """Gives images with one view each, or their features where these are kept and the run has not changed them."""
    make_loader = functools.partial(job.data.plain_loader, network.input.resolution)
    tower = untuned.of_frozen(job.config, network, job.record.backbone["hash"])
    if tower is None:
        return make_loader(images)
    return examples(tower, images, make_loader, logs, f"features, {images.name}", place_of(job.config))


def held_out_images(data: RunData) -> Dataset:
    """Takes the held-out images out of the data of a run that has some."""
    assert data.validation is not None
    return data.validation
