"""Rows of images, such as their probabilities, by the program of the evaluation up to the logits."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from lift_jax.data import Examples
from lift_jax.evaluation.device_step import DeviceStep
from lift_jax.evaluation.evaluator import mean_outputs
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import Tree
from lift_jax.workdir.logs import Logs


class Predictor:
    """Gives for every image what is made of the logits of one or several classifiers, such as probabilities.

    Args:
        classifiers: images to logits.
        image_input: what the device does with the images first.
        output: makes rows, or a tree of them, out of the logits of each classifier, float32 [batch, classes].
        with_features: whether there are pairs of that and of the features that the first classifier's logits are made
            of, float32 [batch, d].
    """

    def __init__(
        self, classifiers: Sequence[Classifier], image_input: ImageInput, output: Callable[..., Any],
        with_features: bool = False,
    ):  # fmt: skip
        def step(params: Sequence[Tree], batch: dict[str, Array]) -> tuple[None, Any]:
            pairs = zip(classifiers, params, strict=True)
            logits, features = zip(*(mean_outputs(each, image_input, own, batch) for each, own in pairs), strict=True)
            return None, (output(*logits), features[0]) if with_features else output(*logits)

        self._step = DeviceStep(step)

    def __call__(
        self, params: Sequence[Tree], loader: Examples, logs: Logs, desc: str
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Any]]:
        """Yields the images' indices and their rows, batch by batch in the loader's order.

        Args:
            params: of each classifier, placed on the mesh.
            loader: this host's images.
            logs: for the progress bar.
            desc: what the bar says.
        """
        for batch, _, rows in self._step(params, loader, logs, desc):
            real = batch["mask"]
            yield batch["index"][real], jax.tree.map(lambda values, real=real: values[real], rows)
