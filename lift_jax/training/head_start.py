"""The head before the first step, as `config.head_init` asks for it."""

import functools
import re
from pathlib import Path

import ml_collections
import numpy as np
from jaxtyping import Float, Int

from lift_jax.classifier import untuned
from lift_jax.classifier.network import Network
from lift_jax.classifier.text_features import text_kernel
from lift_jax.data import RunData, prompts
from lift_jax.errors import UserError
from lift_jax.evaluation.features import Features, frozen_features, place_of
from lift_jax.models.partition import HEAD, Parts
from lift_jax.training import image_starts
from lift_jax.weights import Backbone
from lift_jax.workdir.logs import Logs

STARTS = ("text", "class_mean", "random", "linear_probe")
STORE = "features"
"""The folder in a run's own that keeps the features of its training images."""

_SHOTS = re.compile(r"([1-9]\d*)_shot")

_LIFT_PLUS_IMAGES = 100
"""LIFT+ takes at most so many images of a class for class means and linear probes."""


def check(start: str) -> None:
    """Refuses a `config.head_init` that is not known.

    Raises:
        UserError: with the known ones.
    """
    if start not in STARTS and not _SHOTS.fullmatch(start):
        raise UserError(
            f"config.head_init is {start!r}; write one of {', '.join(STARTS)}, or such as 10_shot for class means of "
            "10 images."
        )


def start_head(
    config: ml_collections.FrozenConfigDict,
    network: Network,
    backbone: Backbone,
    data: RunData,
    workdir: Path,
    logs: Logs,
) -> Parts:
    """Gives the parameters of a network with the head where the config lets it start.

    Args:
        config: the resolved config.
        network: the network, placed on the mesh; its head is random, unless it is made of the class names already.
        backbone: the foundation model, with its weights.
        data: the run's images.
        workdir: the run's folder, which keeps features of images unless the config names a place for them, so that a
            second start need not extract them again.
        logs: for the progress bar.

    Returns:
        The parts; the head as NumPy arrays.

    Raises:
        UserError: if the start is not known, or needs a text tower that the backbone lacks.
    """
    if network.method.zero_shot or network.method.tunes_text or config.head_init == "random":
        return network.parts
    check(config.head_init)
    if config.head_init == "text":
        kernel = text_kernel(backbone, prompts.build(network.class_names, config.prompt))
    else:
        indices = _chosen_images(config, network.method.plus, data)
        features = _features(config, network, backbone, data, indices, workdir / STORE, logs)
        kernel = _image_kernel(config, features.rows, features.labels, data.train.num_classes)
    head = {**network.parts.head[HEAD], "kernel": np.asarray(kernel, np.float32)}
    return network.parts._replace(head={HEAD: head})


def from_images(start: str) -> bool:
    """Tells whether a `config.head_init` takes features of training images."""
    return start not in ("text", "random")


def _chosen_images(config: ml_collections.FrozenConfigDict, plus: bool, data: RunData) -> Int[np.ndarray, " n"]:
    """Chooses the training images that the head starts from: all of them, or so many of each class."""
    most = _LIFT_PLUS_IMAGES if plus else None
    if shots := _SHOTS.fullmatch(config.head_init):
        most = int(shots[1])
    if most is None:
        return np.arange(len(data.train))
    return image_starts.few_shot(data.train.labels, data.train.num_classes, most, config.seed)


def _image_kernel(
    config: ml_collections.FrozenConfigDict,
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    num_classes: int,
) -> Float[np.ndarray, "d c"]:
    """Computes the kernel that the features of images start the head with."""
    if config.head_init == "linear_probe":
        return image_starts.linear_probe_kernel(features, labels, num_classes, config.seed)
    return image_starts.class_mean_kernel(features, labels, num_classes)


def _features(
    config: ml_collections.FrozenConfigDict,
    network: Network,
    backbone: Backbone,
    data: RunData,
    indices: Int[np.ndarray, " n"],
    own: Path,
    logs: Logs,
) -> Features:
    """Gives features of training images under a plain resize and centre crop, by the backbone without tuners."""
    return frozen_features(
        untuned.of_start(config, network, backbone),
        data.train.subset(indices) if len(indices) < len(data.train) else data.train,
        functools.partial(data.features_loader, network.input.resolution),
        logs,
        "image features",
        place_of(config, own),
    )
