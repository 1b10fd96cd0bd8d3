"""Probabilities of training images by classifiers that have not seen them, of the features of a frozen backbone."""

import numpy as np
from jaxtyping import Float, Int

from lift_jax.data.image_groups import folds
from lift_jax.inference.cross_fitting import FOLDS

_PSEUDO_IMAGES = 1.0
"""How many images at the mean of all images each class has besides its own."""


def logits(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    num_classes: int,
    seed: int = 0,
    image_groups: Int[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, "n classes"]:
    """Gives the logits of each image by the images of the folds that it is not in, under the uniform prior.

    The classifier is Gaussian discriminant analysis: each class is a Gaussian around its mean, and all of them have one
    covariance. Few images suffice for that, and there is nothing to train.

    Args:
        features: of the frozen backbone, finite.
        labels: the classes.
        num_classes: their number.
        seed: divides the images into folds.
        image_groups: which images belong together and are never divided; None if each is on its own.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    fold = folds(labels, FOLDS, seed, image_groups)
    result = np.empty((len(labels), num_classes), np.float32)
    for k in range(FOLDS):
        own = fold == k
        weights, bias = gaussian_classifier(unit[~own], labels[~own], num_classes)
        result[own] = unit[own] @ weights + bias
    return result


def gaussian_classifier(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], num_classes: int
) -> tuple[Float[np.ndarray, "d classes"], Float[np.ndarray, " classes"]]:
    """Gives weights and biases of the linear classifier that Gaussians with one covariance make.

    The covariance S of n images is taken to be S + trace(S) / (n - 1) I, after Kubokawa and Srivastava 2008, as Wang et
    al. 2024 (arXiv 2402.04087) do it for CLIP. The mean of a class is drawn towards that of all images, which it has
    where it has no image.
    """
    x = features.astype(np.float64)
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.zeros((num_classes, x.shape[1]))
    np.add.at(sums, labels, x)
    rest = x - (sums / np.maximum(counts, 1)[:, None])[labels]
    covariance = rest.T @ rest / max(len(x) - np.count_nonzero(counts), 1)
    ridge = max(np.trace(covariance) / max(len(x) - 1, 1), 1e-6)
    means = (sums + _PSEUDO_IMAGES * x.mean(axis=0)) / (counts + _PSEUDO_IMAGES)[:, None]
    weights = np.linalg.solve(covariance + ridge * np.eye(len(covariance)), means.T)
    return weights, -0.5 * np.einsum("cd,dc->c", means, weights)
