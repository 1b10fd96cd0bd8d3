"""Evaluation: views averaged on the device, every example counted once, through pmap on all local devices."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Array, Float, Int

from lift_jax import devices, metrics, micro_batches
from lift_jax.data import TestLoader, views
from lift_jax.logs import Logs
from lift_jax.models.heads import Classifier
from lift_jax.models.text_head import with_features
from lift_jax.state import Tree

_AXIS = "devices"


@dataclasses.dataclass(frozen=True)
class Input:
    """What the device does with uint8 pixels.

    Attributes:
        resolution: side of a view, in pixels.
        mean, std: of the normalisation, per channel, for images in [0, 1].
        dtype: of the activations.
    """

    resolution: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dtype: Any

    def views(self, batch: dict[str, Array]) -> Float[Array, "n h w 3"]:
        """The normalised views of all images, image by image."""
        pixels = views.cut(batch["image"], batch["corners"], batch["transposed"], batch["flipped"], self.resolution)
        return views.normalize(pixels.reshape(-1, *pixels.shape[2:]), self.mean, self.std, self.dtype)


def mean_logits(
    classifier: Classifier, pixels: Input, params: Tree, batch: dict[str, Array], platform: str | None = None
) -> Float[Array, "batch classes"]:
    """Each image's logits in float32, averaged over its views; `platform` is the device's, if it is not one of here.

    The barrier keeps the compiler from fusing what follows into this: evaluation and prediction do different things
    with the logits, and get the same ones to the last bit.
    """
    features = _features(classifier, pixels, params, batch, platform)
    logits: Any = classifier.apply({"params": params}, features, method="logits")
    logits = logits.astype(jnp.float32).reshape(*batch["corners"].shape[:2], -1).mean(axis=1)
    return jax.lax.optimization_barrier(logits)


def _features(
    classifier: Classifier, pixels: Input, params: Tree, batch: dict[str, Array], platform: str | None = None
) -> Float[Array, "n d"]:
    """What the head sees of all views, image by image."""

    def features(images: Array) -> Any:
        return classifier.apply({"params": params}, images, method="features")

    images = pixels.views(batch)
    parts = micro_batches.number(classifier.backbone, images.shape, platform or jax.default_backend())
    return micro_batches.mapped(features, images, parts)


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One row an example, in the order of the data set; skipped examples are absent.

    Attributes:
        index: of the example in its data set.
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
        pixels: what the device does with the images first.
        local: devices of this host; all by default.
    """

    def __init__(self, classifier: Classifier, pixels: Input, local: Sequence[Any] | None = None):
        local = local or jax.local_devices()

        def step(params: Tree, batch: dict[str, Array]) -> tuple[metrics.Counts, tuple[Array, Array]]:
            logits = mean_logits(classifier, pixels, params, batch, local[0].platform)
            counts = jax.lax.psum(metrics.count(logits, batch["label"], batch["mask"]), _AXIS)
            return counts, (jnp.argmax(logits, axis=-1), jnp.max(jax.nn.softmax(logits, axis=-1), axis=-1))

        self.step = _pmap(step, local)
        self._classifier = classifier

    def __call__(self, params: Tree, loader: TestLoader, logs: Logs, desc: str) -> tuple[metrics.Counts, Predictions]:
        """The counts over all hosts, as NumPy arrays, and every example's prediction.

        Args:
            params: of the classifier, replicated over the mesh.
            loader: this host's examples.
            logs: for the progress bar.
            desc: what the bar says.
        """
        total, rows = None, []
        params = with_features(self._classifier, params)
        for batch, counts, (prediction, confidence) in _run(self.step, params, loader, logs, desc):
            # On the host the sums are 64 bits wide and do not saturate, however large the test set is.
            wide = jax.tree.map(lambda x: np.asarray(x, np.float64 if x.dtype.kind == "f" else np.int64), counts)
            total = wide if total is None else total + wide
            real = batch["mask"]
            rows.append((batch["index"][real], batch["label"][real], prediction[real], confidence[real]))
        if total is None:  # a host without examples
            total = jax.tree.map(
                np.asarray,
                metrics.count(np.zeros((1, self._classifier.head.num_classes)), np.zeros(1, int), np.zeros(1, bool)),
            )
            rows = [(np.zeros(0, np.int32),) * 3 + (np.zeros(0, np.float32),)]
        columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
        if jax.process_count() > 1:
            total = jax.tree.map(lambda x: x.sum(axis=0), multihost_utils.process_allgather(total))
            columns = _gather_rows(columns)
        order = np.argsort(columns[0], kind="stable")
        return total, Predictions(*(column[order] for column in columns))


class Predictor:
    """Gives every image's probabilities, by the program that the `Evaluator` runs up to the logits.

    Args:
        classifier: images to logits.
        pixels: what the device does with the images first.
        shift: added to the logits [classes], or None.
    """

    def __init__(self, classifier: Classifier, pixels: Input, shift: Float[np.ndarray, " classes"] | None = None):
        def step(params: Tree, batch: dict[str, Array]) -> tuple[None, Array]:
            logits = mean_logits(classifier, pixels, params, batch)
            return None, jax.nn.softmax(logits if shift is None else logits + shift, axis=-1)

        self._step = _pmap(step)

    def __call__(
        self, params: Tree, loader: TestLoader, logs: Logs, desc: str
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n classes"]]]:
        """The images' indices and their probabilities, batch by batch, in the loader's order; arguments as there."""
        for batch, _, probabilities in _run(self._step, params, loader, logs, desc):
            yield batch["index"][batch["mask"]], probabilities[batch["mask"]]


def extract_features(
    classifier: Classifier, params: Tree, pixels: Input, loader: TestLoader, logs: Logs, desc: str
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Features (averaged over an image's views), labels and indices of all examples, in the order of the data set."""

    def step(params: Tree, batch: dict[str, Array]) -> tuple[None, Array]:
        features = _features(classifier, pixels, params, batch)
        return None, features.astype(jnp.float32).reshape(*batch["corners"].shape[:2], -1).mean(axis=1)

    rows = []
    for batch, _, features in _run(_pmap(step), params, loader, logs, desc):
        real = batch["mask"]
        rows.append((batch["index"][real], features[real], batch["label"][real]))
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    if jax.process_count() > 1:
        columns = _gather_rows(columns)
    order = np.argsort(columns[0], kind="stable")
    index, features, labels = (column[order] for column in columns)
    return features, labels, index


def _pmap(step: Callable, local: Sequence[Any] | None = None) -> Callable:
    """A step over (parameters, a device's batch) to (sums over this host's devices, a result a row).

    The hosts evaluate each on its own, for they have batches of different number and shape.
    """
    local = local or jax.local_devices()
    return jax.pmap(step, axis_name=_AXIS, in_axes=(None, 0), out_axes=(None, 0), devices=local)


def _run(
    step: Callable, params: Tree, loader: TestLoader, logs: Logs, desc: str
) -> Iterator[tuple[dict[str, np.ndarray], Any, Any]]:
    """Each batch with the step's sums and rows on the host; the next batch is prepared while the devices work."""
    params = devices.local_replicas(params)

    def fetch(batch: dict[str, np.ndarray], result: Any) -> tuple[dict[str, np.ndarray], Any, Any]:
        sums, rows = jax.device_get(result)
        real = int(batch["mask"].sum())
        bar.update(real, images=real)
        return batch, sums, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)

    waiting = None
    with logs.progress(loader.num_examples, desc, unit="images") as bar:
        for batch in loader:
            mine = {k: v.reshape(jax.local_device_count(), -1, *v.shape[1:]) for k, v in batch.items() if k != "index"}
            result = step(params, mine)
            if waiting is not None:
                yield fetch(*waiting)
            waiting = batch, result
        if waiting is not None:
            yield fetch(*waiting)


def _gather_rows(columns: list[np.ndarray]) -> list[np.ndarray]:
    """The rows of all hosts, which may have different numbers of them."""
    length = multihost_utils.process_allgather(np.asarray(len(columns[0])))
    most = int(length.max())
    padded = [np.concatenate([c, np.zeros((most - len(c), *c.shape[1:]), c.dtype)]) for c in columns]
    gathered = multihost_utils.process_allgather(padded)
    return [np.concatenate([host[:n] for host, n in zip(column, length, strict=True)]) for column in gathered]
