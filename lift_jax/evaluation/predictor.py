"""Probabilities of images, by the program of the evaluation up to the logits."""

from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from lift_jax.data import TestLoader
from lift_jax.evaluation.device_step import DeviceStep
from lift_jax.evaluation.evaluator import mean_logits
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import Tree
from lift_jax.workdir.logs import Logs


class Predictor:
    """Gives every image's probabilities.

    Args:
        classifier: images to logits.
        image_input: what the device does with the images first.
        shift: added to the logits [classes], or None.
    """

    def __init__(
        self, classifier: Classifier, image_input: ImageInput, shift: Float[np.ndarray, " classes"] | None = None
    ):
        def step(params: Tree, batch: dict[str, Array]) -> tuple[None, Array]:
            logits = mean_logits(classifier, image_input, params, batch)
            return None, jax.nn.softmax(logits if shift is None else logits + shift, axis=-1)

        self._step = DeviceStep(step)

    def __call__(
        self, params: Tree, loader: TestLoader, logs: Logs, desc: str
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n classes"]]]:
        """Yields the images' indices and their probabilities, batch by batch in the loader's order.

        Args:
            params: of the classifier, placed on the mesh.
            loader: this host's images.
            logs: for the progress bar.
            desc: what the bar says.
        """
        for batch, _, probabilities in self._step(params, loader, logs, desc):
            yield batch["index"][batch["mask"]], probabilities[batch["mask"]]
