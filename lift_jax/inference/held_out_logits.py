"""The logits that a calibration is chosen by: of a run, of zero-shot, and of Gaussians of the training images."""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from lift_jax.classifier import untuned
from lift_jax.data import Dataset, Examples, TestLoader
from lift_jax.evaluation.features import examples, frozen_features, place_of
from lift_jax.evaluation.predictor import Predictor
from lift_jax.inference.frozen_classifiers import Classified, GaussianArrays
from lift_jax.inference.model import Model
from lift_jax.training import gaussian
from lift_jax.workdir.logs import Logs

_LOGGER = logging.getLogger(__name__)


class HeldOutLogits(NamedTuple):
    """The logits of those images of a data set that can be read, in its order, float32.

    Attributes:
        index: of the images in the data set.
        run: those of the run.
        zero_shot: those of the zero-shot classifier; None if there is none.
        gaussians: those of the Gaussians; None if there are none.
    """

    index: Int[np.ndarray, " n"]
    run: Float[np.ndarray, "n classes"]
    zero_shot: Float[np.ndarray, "n classes"] | None
    gaussians: Float[np.ndarray, "n classes"] | None


def fit_gaussians(model: Model, train: Dataset, logs: Logs) -> GaussianArrays:
    """Fits Gaussians to the training images of a run, whose features are kept where the config names a store.

    Args:
        model: the run's classifier.
        train: its training images.
        logs: for the progress bar.

    Returns:
        The parameters of a `lift_jax.models.heads.GaussianHead`.
    """

    def make_loader(images: Dataset) -> TestLoader:
        return model.loader(images, tte=False)

    backbone, kept = model.frozen.backbone, place_of(model.config)
    found = frozen_features(backbone, train, make_loader, logs, "features, training images", kept)
    labels = found.labels.astype(np.int64)
    return gaussian.fit_shrunk(found.rows, labels, train.num_classes, model.frozen.text()).centred_head()


def compute(model: Model, dataset: Dataset, gaussians: GaussianArrays | None, logs: Logs) -> HeldOutLogits:
    """Computes the logits of images; those that cannot be read are named in the logs.

    Features that a store has are not computed again, where each image has one view.

    Args:
        model: the run's classifier; its calibration is of no account.
        dataset: the images.
        gaussians: see `fit_gaussians`; None for none.
        logs: for the progress bar.
    """
    loaders: list[TestLoader] = []

    def make_loader(images: Dataset) -> TestLoader:
        loaders.append(model.loader(images))
        return loaders[-1]

    beside = model.frozen.classified(gaussians)
    run, others = _examples(model, dataset, beside is not None, make_loader, logs)
    if beside is None or run is others:
        index, logits = _through(model, [model.classified, *([beside] if beside else [])], run, logs)
    else:
        parts = [_through(model, [each], seen, logs) for each, seen in ((model.classified, run), (beside, others))]
        index, *rows = np.intersect1d(parts[0][0], parts[1][0], assume_unique=True, return_indices=True)
        logits = np.concatenate([part[own] for (_, part), own in zip(parts, rows, strict=True)], axis=1)
    for problem in sorted({each for loader in loaders for each in loader.problems.values()}):
        _LOGGER.warning("%s It is left out.", problem)
    own, *rest = np.split(logits, logits.shape[1] // len(model.class_names), axis=1)
    zero_shot = rest.pop(0) if model.zero_shot is not None else None
    return HeldOutLogits(index, own, zero_shot, *rest or [None])


def _examples(
    model: Model, dataset: Dataset, has_others: bool, make_loader: Callable[[Dataset], TestLoader], logs: Logs
) -> tuple[Examples, Examples]:
    """Gives what the run goes through, and what the classifiers of the backbone as it was go through."""
    kept = None if model.config.tte.enabled else place_of(model.config)
    if kept is None or jax.process_count() > 1:
        images = make_loader(dataset)
        return images, images
    frozen = model.frozen.backbone
    own = untuned.of_frozen(model.config, model.network, model.backbone.hash)
    is_frozen = own is not None and own.settings == frozen.settings
    if not is_frozen and not has_others:
        images = make_loader(dataset)
        return images, images
    features = examples(frozen, dataset, make_loader, logs, "features, held-out images", kept)
    return features if is_frozen else make_loader(dataset), features


def _through(
    model: Model, classifiers: Sequence[Classified], seen: Examples, logs: Logs
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n logits"]]:
    """Computes the logits of several classifiers, side by side; the images are in the order of their data set."""

    def output(*logits: jax.Array) -> jax.Array:
        return jnp.concatenate(logits, axis=-1)

    predictor = Predictor([each.classifier for each in classifiers], model.network.input, output)
    batches = predictor([each.params for each in classifiers], seen, logs, "held-out images")
    none = np.zeros(0, np.int64), np.zeros((0, len(model.class_names)), np.float32)
    found = list(batches) or [none]
    index, logits = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(index, kind="stable")
    return index[order], logits[order]
