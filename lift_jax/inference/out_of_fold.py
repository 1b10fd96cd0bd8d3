"""Probabilities of training images by classifiers that have not seen them, of the features of a frozen backbone."""

import numpy as np
from jaxtyping import Float, Int

from lift_jax.data.image_groups import folds
from lift_jax.inference.cross_fitting import FOLDS
from lift_jax.training import gaussian


def logits(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    num_classes: int,
    seed: int = 0,
    image_groups: Int[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "n classes"]:
    """Gives the logits of each image by the images of the folds that it is not in, under the uniform prior.

    The classifier is Gaussian discriminant analysis (see `lift_jax.training.gaussian.fit_shrunk`). Few images suffice
    for that, and there is nothing to train.

    Args:
        features: of the frozen backbone, finite.
        labels: the classes.
        num_classes: their number.
        seed: divides the images into folds.
        image_groups: which images belong together and are never divided; None if each is on its own.
    """
    fold = folds(labels, FOLDS, seed, image_groups)
    result = np.empty((len(labels), num_classes), np.float32)
    for k in range(FOLDS):
        own = fold == k
        result[own] = gaussian.fit_shrunk(features[~own], labels[~own], num_classes).logits(features[own])
    return result
