"""Features of images, before the head."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lift_jax.data import TestLoader
from lift_jax.evaluation.device_step import DeviceStep
from lift_jax.evaluation.evaluator import ordered_rows, view_features
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import Tree
from lift_jax.workdir.logs import Logs


def extract_features(
    classifier: Classifier, params: Tree, image_input: ImageInput, loader: TestLoader, logs: Logs, desc: str
) -> tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Extracts the features of all examples, averaged over an image's views.

    Args:
        classifier: its backbone gives the features.
        params: of the classifier, placed on the mesh.
        image_input: what the device does with the images first.
        loader: this host's examples.
        logs: for the progress bar.
        desc: what the bar says.

    Returns:
        Features in float32, labels and indices, in the order of the data set. Images that cannot be read are absent.
    """

    def step(params: Tree, batch: dict[str, Array]) -> tuple[None, Array]:
        features = view_features(classifier, image_input, params, batch)
        return None, features.astype(jnp.float32).reshape(*batch["corners"].shape[:2], -1).mean(axis=1)

    def plain(params: Tree, images: Array) -> Any:
        return classifier.apply({"params": params}, images, method="features")

    # A host without a readable image still tells the others how wide the features are.
    side = image_input.resolution
    width = jax.eval_shape(plain, params, jnp.zeros((1, side, side, 3))).shape[-1]
    rows: list[Any] = [(np.zeros(0, np.int32), np.zeros((0, width), np.float32), np.zeros(0, np.int32))]
    for batch, _, features in DeviceStep(step)(params, loader, logs, desc):
        real = batch["mask"]
        rows.append((batch["index"][real], features[real], batch["label"][real]))
    index, features, labels = ordered_rows(rows)
    return features, labels, index
