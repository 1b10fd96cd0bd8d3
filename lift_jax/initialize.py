"""The head before the first step: what `config.head_init` and `config.method` ask for."""

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

STARTS = ("text", "class_mean", "random", "linear_probe", "1_shot", "10_shot", "100_shot")


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
        projection, text, _ = head_init.zero_shot_head(experiment.backbone, _prompts(experiment))
        head: dict[str, Any] = {"projection": projection, "text": text}
    elif config.head_init == "random":
        return
    else:
        head = {**experiment.parts.head["head"], "kernel": _kernel(experiment, workdir, logs)}
    head = devices.replicate(jax.tree.map(lambda x: np.asarray(x, np.float32), head), experiment.mesh)
    experiment.parts = experiment.parts._replace(head={"head": head})


def _kernel(experiment: Experiment, workdir: Path, logs: Logs) -> Float[np.ndarray, "d c"]:
    config, num_classes = experiment.config, experiment.train.num_classes
    start = config.head_init
    if start not in STARTS:
        raise UserError(f"config.head_init is {start!r}; write one of {', '.join(STARTS)}.")
    if start == "text":
        return head_init.text_kernel(experiment.backbone, _prompts(experiment))
    features, labels = _features(experiment, workdir, logs)
    if start == "linear_probe":
        return head_init.linear_probe_kernel(features, labels, num_classes, config.seed)
    shots = int(start.removesuffix("_shot")) if start.endswith("_shot") else None
    return head_init.class_mean_kernel(features, labels, num_classes, shots, config.seed)


def _prompts(experiment: Experiment) -> list[list[str]]:
    return prompts.build(experiment.train.class_names, experiment.config.prompt)


def _features(
    experiment: Experiment, workdir: Path, logs: Logs
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]:
    """Features of the training images under a plain resize and centre crop, by the backbone without tuners."""
    cache = workdir / "train_features.npz"
    if cache.is_file():
        with np.load(cache) as saved:
            if str(saved["backbone_hash"]) == experiment.backbone.hash:
                return saved["features"], saved["labels"]
    plain = Classifier(experiment.backbone.vision.clone(dtype=experiment.pixels.dtype), experiment.classifier.head)
    loader = experiment.features_loader()
    features, labels, _ = extract_features(plain, experiment.params, experiment.pixels, loader, logs, "image features")
    if jax.process_index() == 0:
        part = cache.with_suffix(".part.npz")
        np.savez(part, features=features, labels=labels, backbone_hash=experiment.backbone.hash)
        part.replace(cache)
    return features, labels
