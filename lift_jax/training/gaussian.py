"""Gaussian discriminant analysis: a classifier of image features that has a closed form (Wang et al., ICLR 2024).

"A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation" (arXiv 2402.04087) takes the features of each class
for Gaussian, with means of their own and one covariance. Its precision is the ridge estimate of Kubokawa and Srivastava
(2008), which exists however few images there are.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lift_jax.errors import UserError


class Gaussians(NamedTuple):
    """Gaussians of one covariance, of unit features.

    Attributes:
        means: of each class.
        precision: the inverse of the covariance, as it is estimated.
    """

    means: Float[np.ndarray, "c d"]
    precision: Float[np.ndarray, "d d"]

    def head(self) -> dict[str, Float[np.ndarray, "..."]]:
        """Gives the parameters of a `lift_jax.models.heads.GaussianHead`: the class is the most probable one.

        With the mean m and the precision P these are P m, and -m P m / 2, for classes that are equally frequent.
        """
        kernel = self.precision @ self.means.T
        bias = -0.5 * np.einsum("cd,dc->c", self.means, kernel)
        return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}

    def directions(self) -> Float[np.ndarray, "d c"]:
        """Gives for each class the unit vector along which it differs most from the mean of all classes."""
        centred = (self.means - self.means.mean(axis=0)) @ self.precision
        return (centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)).T.astype(np.float32)


def fit(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], num_classes: int) -> Gaussians:
    """Estimates the Gaussians; the sums are float64.

    With the scatter S of n features of d dimensions around the means of their classes, and the covariance
    S / (n - 1), the precision is d (S + trace(S / (n - 1)) I)^-1.

    Args:
        features: of the frozen backbone; they are made unit vectors.
        labels: 0 to num_classes - 1.
        num_classes: c.

    Raises:
        UserError: if a class has no image, or no class has two that differ.
    """
    counts = np.bincount(labels, minlength=num_classes)
    if absent := np.flatnonzero(counts == 0).tolist():
        raise UserError(
            f"Class {absent[0]} has no training image (as {len(absent)} of {num_classes} classes), so that it has no "
            "Gaussian; add images of it, or take config.method=zero_shot and config.head_init=text."
        )
    unit = features.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    means = np.zeros((num_classes, unit.shape[1]))
    np.add.at(means, labels, unit)
    means /= counts[:, None]
    around = unit - means[labels]
    scatter = around.T @ around
    ridge = np.trace(scatter) / max(1, len(unit) - 1)
    if ridge < 1e-12:
        raise UserError(
            "No class has two training images whose features differ, so that Gaussians have no covariance; add images, "
            "or take config.method=zero_shot and config.head_init=text."
        )
    precision = len(scatter) * np.linalg.inv(scatter + ridge * np.eye(len(scatter)))
    return Gaussians(means, precision)
