"""Evaluation: views averaged on the device, every example counted once."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Int

from lift_jax.data import Examples
from lift_jax.evaluation import metrics
from lift_jax.evaluation.device_step import DeviceStep, Step
from lift_jax.models import micro_batches
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import BACKBONE, Tree
from lift_jax.models.sites import no_tuners
from lift_jax.models.text_head import with_features
from lift_jax.models.towers import Tower
from lift_jax.workdir.logs import Logs


def mean_logits(
    classifier: Classifier, image_input: ImageInput, params: Tree, batch: dict[str, Array], platform: str | None = None
) -> Float[Array, "batch classes"]:
    """Computes the logits of each image in float32, averaged over its views; for the arguments see `mean_outputs`."""
    return mean_outputs(classifier, image_input, params, batch, platform)[0]


def mean_outputs(
    classifier: Classifier, image_input: ImageInput, params: Tree, batch: dict[str, Array], platform: str | None = None
) -> tuple[Float[Array, "batch classes"], Float[Array, "batch d"]]:
    """Computes the logits of each image and the features that they are made of, in float32, averaged over its views.

    The barrier keeps the compiler from fusing what follows into this: evaluation and prediction do different things
    with the logits, and get the same ones to the last bit.

    Args:
        classifier: images to logits.
        image_input: what the device does with the images first.
        params: of the classifier.
        batch: canvases (see `lift_jax.data.test_loader`), or features (see `lift_jax.data.FeatureLoader`).
        platform: of the device, if it is not one of this machine.
    """
    if "features" in batch:
        num_images, num_views = batch["features"].shape[:2]
        features = batch["features"].reshape(num_images * num_views, -1)
    else:
        num_images, num_views = batch["corners"].shape[:2]
        features = view_features(classifier.backbone, image_input, params, batch, platform)
    logits: Any = classifier.apply({"params": params}, features, method="logits")
    return jax.lax.optimization_barrier(view_means(logits, num_views)), view_means(features, num_views)


def view_means(rows: Float[Array, "n d"], num_views: int) -> Float[Array, "batch d"]:
    """Averages what all views have given, image by image, in float32."""
    return rows.astype(jnp.float32).reshape(-1, num_views, rows.shape[-1]).mean(axis=1)


def view_features(
    backbone: nn.Module, image_input: ImageInput, params: Tree, batch: dict[str, Array], platform: str | None = None
) -> Float[Array, "n d"]:
    """Computes the features that the head gets, of all views image by image; for the arguments see `mean_outputs`."""

    def features(images: Array) -> Any:
        with image_input.products():
            return backbone.apply({"params": params[BACKBONE]}, images)

    images = image_input.views(batch)
    count = micro_batches.suitable(backbone, images.shape, platform or jax.default_backend())
    return micro_batches.map_rows(features, images, count)


@functools.lru_cache(maxsize=4)
def features_first(backbone: Tower, image_input: ImageInput, platform: str | None = None) -> Step | None:
    """Gives the step that computes the views' features, for a program of its own; None where the backbone has tuners.

    All methods that leave the network as it is then share this program, and runs of one frozen backbone its results.
    For the arguments see `mean_outputs`.
    """
    if backbone.tuners is not no_tuners:
        return None

    def step(params: Tree, batch: dict[str, Array]) -> tuple[None, Float[Array, "batch views d"]]:
        # As the head takes them. XLA need not round them to bfloat16 on the way there, nor does it then.
        features = view_features(backbone, image_input, params, batch, platform).astype(jnp.float32)
        return None, features.reshape(*batch["corners"].shape[:2], -1)

    return step


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One row an example, in the order of the data set; skipped examples are absent.

    Attributes:
        index: index of the example in its data set.
        label: true class.
        prediction: class of the largest logit.
        confidence: its softmax probability, 0 to 1.
    """

    index: Int[np.ndarray, " n"]
    label: Int[np.ndarray, " n"]
    prediction: Int[np.ndarray, " n"]
    confidence: Float[np.ndarray, " n"]


class Evaluator:
    """Counts what a classifier gets right.

    Args:
        classifier: images to logits.
        image_input: what the device does with the images first.
        local: devices of this host; all by default.
    """

    def __init__(self, classifier: Classifier, image_input: ImageInput, local: Sequence[Any] | None = None):
        platform = (local or jax.local_devices())[0].platform

        def step(params: Tree, batch: dict[str, Array]) -> tuple[metrics.Counts, tuple[Array, Array]]:
            logits = mean_logits(classifier, image_input, params, batch, platform)
            counts = metrics.count(logits, batch["label"], batch["mask"])
            return counts, (jnp.argmax(logits, axis=-1), jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1))

        self.step = DeviceStep(step, local, features_first(classifier.backbone, image_input, platform))
        self._classifier = classifier

    def __call__(self, params: Tree, loader: Examples, logs: Logs, desc: str) -> tuple[metrics.Counts, Predictions]:
        """Evaluates all examples.

        Args:
            params: of the classifier, placed on the mesh.
            loader: this host's examples.
            logs: for the progress bar.
            desc: what the bar says.

        Returns:
            The counts over all hosts, as NumPy arrays, and the prediction of every example.
        """
        return self.of_several([params], loader, [logs], desc)[0]

    def of_several(
        self, params: Sequence[Tree], loader: Examples, logs: Sequence[Logs], desc: str
    ) -> list[tuple[metrics.Counts, Predictions]]:
        """Evaluates all examples, which are read once, with several parameters.

        Args:
            params: of classifiers that differ in nothing else, placed on the mesh.
            loader: this host's examples.
            logs: of each of them, for its progress bar.
            desc: what the bars say.

        Returns:
            For each of them what a call gives.
        """
        totals = [metrics.no_counts(self._classifier.head.num_classes)] * len(params)
        rows = [[(np.zeros(0, np.int32),) * 3 + (np.zeros(0, np.float32),)] for _ in params]
        params = [with_features(self._classifier, each) for each in params]
        for batch, results in self.step.of_several(params, loader, logs, desc):
            real = batch["mask"]
            index, label = batch["index"][real], batch["label"][real]
            for member, (counts, (prediction, confidence)) in enumerate(results):
                totals[member] = totals[member] + jax.tree.map(_wide, counts)
                rows[member].append((index, label, prediction[real], confidence[real]))
        if jax.process_count() > 1:
            gathered = multihost_utils.process_allgather(totals)
            totals = jax.tree.map(lambda x: x.sum(axis=0), gathered)
        return [(total, Predictions(*ordered_rows(own))) for total, own in zip(totals, rows, strict=True)]


def _wide(counts: np.ndarray) -> np.ndarray:
    """Makes sums 64 bits wide on the host, where they then do not saturate however large the test set is."""
    return np.asarray(counts, np.float64 if counts.dtype.kind == "f" else np.int64)


def ordered_rows(rows: Sequence[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """Joins the rows of all batches and hosts to columns, ordered by the first one, the index in the data set."""
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    if jax.process_count() > 1:
        columns = _of_all_hosts(columns)
    order = np.argsort(columns[0], kind="stable")
    return [column[order] for column in columns]


def _of_all_hosts(columns: list[np.ndarray]) -> list[np.ndarray]:
    """Joins the rows of all hosts, which may have different numbers of them."""
    length = multihost_utils.process_allgather(np.asarray(len(columns[0])))
    most = int(length.max())
    padded = [np.concatenate([c, np.zeros((most - len(c), *c.shape[1:]), c.dtype)]) for c in columns]
    gathered = multihost_utils.process_allgather(padded)
    return [np.concatenate([host[:n] for host, n in zip(column, length, strict=True)]) for column in gathered]
