"""What the backbone can do without any training, which a training has to beat."""

import functools
from collections.abc import Mapping

import ml_collections
import numpy as np

from lift_jax.classifier import untuned
from lift_jax.classifier.network import Network
from lift_jax.classifier.text_features import zero_shot_head
from lift_jax.cluster import placement
from lift_jax.data import RunData, prompts
from lift_jax.errors import UserError
from lift_jax.evaluation.features import examples, place_of
from lift_jax.evaluation.tasks import TASKS, Task
from lift_jax.models.heads import Classifier
from lift_jax.models.partition import HEAD
from lift_jax.weights import Backbone
from lift_jax.workdir.logs import Logs


def measure(
    config: ml_collections.FrozenConfigDict, network: Network, backbone: Backbone, data: RunData, logs: Logs
) -> dict[str, float] | None:
    """Evaluates the backbone's zero-shot classifier on the test images, with one view each.

    It is that of the method `zero_shot`, and costs as much as the plain evaluation.

    Args:
        config: the resolved config.
        network: the network before its first step, placed on the mesh.
        backbone: the foundation model, with its weights.
        data: the run's images.
        logs: for the progress bar.

    Returns:
        The metrics of the task's columns in percent, without those of groups that have no classes; None where the
        backbone has no text tower, or the class names cannot be turned into prompts.
    """
    if backbone.text is None or backbone.tokenizer is None:
        return None
    try:
        head, arrays = zero_shot_head(backbone, prompts.build(network.class_names, config.prompt))
    except UserError as error:  # a head that starts from images needs no prompts
        logs.info(f"Zero-shot accuracy is left out: {error}")
        return None
    classifier = Classifier(backbone.vision.clone(dtype=network.input.dtype), head)
    params = {**network.params, HEAD: placement.replicate(arrays, placement.make_mesh())}
    seen = examples(
        untuned.of_start(config, network, backbone),
        data.test,
        functools.partial(data.plain_loader, network.input.resolution),
        logs,
        "features, test images",
        place_of(config),
    )
    task = TASKS[config.task]
    measured, _ = task.evaluator(classifier, network.input)(params, seen, logs, "evaluation, zero-shot")
    results = task.summarize(measured, data.groups, None)
    return {key: results[key] for key in task.columns.values() if not np.isnan(results.get(key, np.nan))}


def warning(
    zero_shot: Mapping[str, float], trained: Mapping[str, float], task: Task = TASKS["multiclass"]
) -> str | None:
    """Says that a training did not beat the backbone that it began with, if this is so.

    Args:
        zero_shot: the metrics of the backbone.
        trained: those of the trained network on the same images and views.
        task: of both.

    Returns:
        The sentence, or None where the training has gained.
    """
    before, after = zero_shot[task.score], trained[task.score]
    if after > before:
        return None
    return (
        f"The training did not beat the backbone's zero-shot {task.measure}: {after:.1f} % on average over classes, "
        f"against {before:.1f} % without any training; try a lower config.lr, fewer config.num_epochs or "
        "config.validation, or take config.method=zero_shot."
    )
