"""The head before the first step: what `config.head_init` and `config.method` ask for."""

import hashlib
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from lift_jax import devices, head_init
from lift_jax.data import prompts
from lift_jax.errors import UserError
from lift_jax.evaluate import extract_features
from lift_jax.experiment import Experiment
from lift_jax.logs import Logs
from lift_jax.models.heads import Classifier

STARTS = ("text", "class_mean", "random", "linear_probe")
_SHOTS = re.compile(r"([1-9]\d*)_shot")

_LIFT_PLUS_IMAGES = 100
"""LIFT+ takes at most so many images of a class for class means and linear probes."""


def initialize_head(experiment: Experiment, workdir: Path, logs: Logs) -> None:
    """Puts the starting values into the experiment's head.

    Args:
        experiment: its head is random so far.
        workdir: image features are kept here, so that a second start need not extract them again.
        logs: for what is worth saying.

    Raises:
        UserError: if the start is unknown, or needs a text tower that the backbone lacks.
    """
    config = experiment.config
    if experiment.tuning.text is not None:
        return  # the text side is the head
    if config.method == "zero_shot":
        texts = prompts.build(experiment.train.class_names, config.prompt)
        projection, text, _ = head_init.zero_shot_head(experiment.backbone, texts)
        head: dict[str, Any] = {"projection": projection, "text": text}
    elif config.head_init == "random":
        return
    else:
        head = {**experiment.parts.head["head"], "kernel": _kernel(experiment, workdir, logs)}
    head = devices.replicate(jax.tree.map(lambda x: np.asarray(x, np.float32), head), experiment.mesh)
    experiment.parts = experiment.parts._replace(head={"head": head})


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


def _kernel(experiment: Experiment, workdir: Path, logs: Logs) -> Float[np.ndarray, "d c"]:
    config, num_classes = experiment.config, experiment.train.num_classes
    start = config.head_init
    check(start)
    if start == "text":
        return head_init.text_kernel(experiment.backbone, prompts.build(experiment.train.class_names, config.prompt))
    most = _LIFT_PLUS_IMAGES if config.tuner.rules == "lift_plus" else None
    if shots := _SHOTS.fullmatch(start):
        most = int(shots[1])
    features, labels = _features(experiment, most, workdir, logs)
    if start == "linear_probe":
        return head_init.linear_probe_kernel(features, labels, num_classes, config.seed)
    return head_init.class_mean_kernel(features, labels, num_classes)


def _features(
    experiment: Experiment, most: int | None, workdir: Path, logs: Logs
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    """Features of training images under a plain resize and centre crop, by the backbone without tuners.

    Args:
        experiment: the run's.
        most: at most so many random images of a class; all if None.
        workdir: keeps them.
        logs: for the progress bar.
    """
    labels = experiment.train.labels
    indices = np.arange(len(labels))
    if most is not None:
        indices = head_init.few_shot(labels, experiment.train.num_classes, most, experiment.config.seed)
    cache, key = workdir / "train_features.npz", _key(experiment, indices)
    if cache.is_file():
        with np.load(cache) as saved:
            if "key" in saved and str(saved["key"]) == key:
                return saved["features"], saved["labels"]
    plain = Classifier(experiment.backbone.vision.clone(dtype=experiment.pixels.dtype), experiment.classifier.head)
    loader = experiment.features_loader(indices)
    features, labels, _ = extract_features(plain, experiment.params, experiment.pixels, loader, logs, "image features")
    if jax.process_index() == 0:
        part = cache.with_suffix(".part.npz")
        np.savez(part, features=features, labels=labels, key=key)
        part.replace(cache)
    return features, labels


def _key(experiment: Experiment, indices: Int[np.ndarray, " n"]) -> str:
    """Tells apart the features of other images, another backbone, or other pixels."""
    config, train = experiment.config, experiment.train
    settings = config.data.to_json(), experiment.pixels, config.interpolation, experiment.backbone.hash
    content = repr(settings).encode() + train.labels.tobytes() + indices.tobytes()
    return hashlib.sha256(content).hexdigest()
