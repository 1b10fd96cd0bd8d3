"""Gaussian discriminant analysis: a classifier of image features that has a closed form (Wang et al., ICLR 2024).

"A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation" (arXiv 2402.04087) takes the features of each class
for Gaussian, with means of their own and one covariance. Its precision is the ridge estimate of Kubokawa and Srivastava
(2008), which exists however few images there are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lift_jax.errors import UserError
from lift_jax.models.unit_rows import unit_rows

SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
"""How much of the differences between class means the text may explain."""

_FLOOR = 1e-6
"""The least variance of unit features."""


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

    def centred_head(self) -> dict[str, Float[np.ndarray, "..."]]:
        """Gives the parameters of a `GaussianHead` with the same probabilities, whose logits are smaller.

        They lack what the logits of all classes have in common. With the mean c of all means they are P (m - c), and
        -(m - c) P (m + c) / 2.
        """
        centre = self.means.mean(axis=0)
        kernel = self.precision @ (self.means - centre).T
        bias = -0.5 * np.einsum("cd,dc->c", self.means + centre, kernel)
        return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}

    def logits(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n c"]:
        """Gives the logits of that head, in float64 but for its parameters; the features are made unit vectors."""
        head = self.centred_head()
        return _unit(features) @ head["kernel"] + head["bias"]

    def directions(self) -> Float[np.ndarray, "d c"]:
        """Gives for each class the unit vector along which it differs most from the mean of all classes."""
        centred = (self.means - self.means.mean(axis=0)) @ self.precision
        return unit_rows(centred).T.astype(np.float32)


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
    found = _scatter(features, labels, num_classes)
    if absent := np.flatnonzero(found.counts == 0).tolist():
        raise UserError(
            f"Class {absent[0]} has no training image (as {len(absent)} of {num_classes} classes), so that it has no "
            "Gaussian; add images of it, or take config.method=zero_shot and config.head_init=text."
        )
    if found.ridge < 1e-12:
        raise UserError(
            "No class has two training images whose features differ, so that Gaussians have no covariance; add images, "
            "or take config.method=zero_shot and config.head_init=text."
        )
    return Gaussians(found.means, found.precision(len(found.scatter), found.ridge))


def fit_shrunk(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    num_classes: int,
    text: Float[np.ndarray, "c e"] | None = None,
) -> Gaussians:
    """Estimates the Gaussians with means that are drawn towards what other classes and the text predict of them.

    The precision has the shape of `fit`'s, but the size of the covariance S / (n - c), so that logits are logarithms of
    densities. Any class may be without an image.

    Args:
        features: of the frozen backbone; they are made unit vectors. There is at least one.
        labels: 0 to num_classes - 1.
        num_classes: c.
        text: features of the class names; None where there is no text.
    """
    found = _scatter(features, labels, num_classes)
    degrees = max(1, len(labels) - int(np.count_nonzero(found.counts)))
    within = max(np.trace(found.scatter) / degrees, _FLOOR)
    means = shrunk_means(found.means, found.counts, within, text)
    return Gaussians(means, found.precision(degrees, max(found.ridge, _FLOOR * degrees)))


def shrunk_means(
    means: Float[np.ndarray, "c d"],
    counts: Int[np.ndarray, " c"],
    within: float,
    text: Float[np.ndarray, "c e"] | None = None,
) -> Float[np.ndarray, "c d"]:
    """Gives the posterior means of the class means, which for classes with few images are those that others predict.

    Around their centre the true means are taken for Gaussian (kriging; Rasmussen and Williams 2006, eq. 2.23), with a
    covariance between classes of b (s K + (1 - s) I), where K are the products of the centred text features, with a
    mean diagonal of one. The variance b is that of the means beyond their noise, and the share s of the text is the
    most likely one of `SHARES`. The mean of n images has the noise within / n.

    Args:
        means: of the images of each class; of a class without images they are of no account.
        counts: images of each class.
        within: the variance of an image around the mean of its class, summed over the dimensions.
        text: features of the class names; without them s is 0, and means are drawn towards their centre.
    """
    seen = counts > 0
    centre = means[seen].mean(axis=0)
    around, noise = means[seen] - centre, within / counts[seen]
    between = max(np.sum(around**2) / max(1, seen.sum() - 1) - noise.mean(), _FLOOR)
    found = []
    for kernel in _kernels(len(means), text):
        root = np.linalg.cholesky(between * kernel[np.ix_(seen, seen)] + np.diag(noise))
        whitened = np.linalg.solve(root, around)
        unlikely = 2 * np.log(np.diag(root)).sum() + np.sum(whitened**2)
        found.append((unlikely, between * kernel[:, seen] @ np.linalg.solve(root.T, whitened)))
    return centre + min(found, key=lambda each: each[0])[1]


def _kernels(count: int, text: Float[np.ndarray, "c e"] | None) -> Iterator[Float[np.ndarray, "c c"]]:
    """Yields the covariances between classes that are tried."""
    centred = np.zeros((count, 1)) if text is None else text.astype(np.float64) - text.mean(axis=0, dtype=np.float64)
    products = centred @ centred.T
    size = np.trace(products) / count
    for share in SHARES if size > _FLOOR else SHARES[:1]:
        yield share * products / max(size, _FLOOR) + (1 - share) * np.eye(count)


class _Scatter(NamedTuple):
    """What is counted of unit features, float64.

    Attributes:
        counts: images of each class.
        means: of each class; zero where there are no images.
        scatter: the sum of the outer products of the distances from these means.
        ridge: trace(scatter / (n - 1)), of n images.
    """

    counts: Int[np.ndarray, " c"]
    means: Float[np.ndarray, "c d"]
    scatter: Float[np.ndarray, "d d"]
    ridge: float

    def precision(self, factor: int, ridge: float) -> Float[np.ndarray, "d d"]:
        return factor * np.linalg.inv(self.scatter + ridge * np.eye(len(self.scatter)))


def _scatter(features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], num_classes: int) -> _Scatter:
    counts = np.bincount(labels, minlength=num_classes)
    unit = _unit(features)
    means = np.zeros((num_classes, unit.shape[1]))
    np.add.at(means, labels, unit)
    means /= np.maximum(counts, 1)[:, None]
    around = unit - means[labels]
    scatter = around.T @ around
    return _Scatter(counts, means, scatter, float(np.trace(scatter) / max(1, len(unit) - 1)))


def _unit(features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Makes features unit vectors, float64."""
    return unit_rows(features.astype(np.float64))
