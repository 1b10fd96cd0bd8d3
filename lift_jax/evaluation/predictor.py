"""Rows of images, such as their probabilities, by the program of the evaluation up to the logits."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Array, Float, Int

from lift_jax.data import Examples
from lift_jax.evaluation.device_step import DeviceStep
from lift_jax.evaluation.evaluator import mean_logits
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import Tree
from lift_jax.workdir.logs import Logs


class Predictor:
    """Gives for every image what is made of the logits of one or several classifiers, such as probabilities.

    Args:
        classifiers: images to logits.
        image_input: what the device does with the images first.
        output: makes rows out of the logits of each classifier, float32 [batch, classes].
    """

    def __init__(self, classifiers: Sequence[Classifier], image_input: ImageInput, output: Callable[..., Array]):
        def step(params: Sequence[Tree], batch: dict[str, Array]) -> tuple[None, Array]:
            pairs = zip(classifiers, params, strict=True)
            return None, output(*(mean_logits(each, image_input, own, batch) for each, own in pairs))

        self._step = DeviceStep(step)

    def __call__(
        self, params: Sequence[Tree], loader: Examples, logs: Logs, desc: str
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n ..."]]]:
        """Yields the images' indices and their rows, batch by batch in the loader's order.

        Args:
            params: of each classifier, placed on the mesh.
            loader: this host's images.
            logs: for the progress bar.
            desc: what the bar says.
        """
        for batch, _, rows in self._step(params, loader, logs, desc):
            yield batch["index"][batch["mask"]], rows[batch["mask"]]
