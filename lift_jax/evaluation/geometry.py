"""How features lie: classes among one another, and images of the tail about the mean of their class.

After figure 3 of the LIFT paper (Shi et al. 2024, "Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts",
section 3), which shows both without tuning, with a tuned classifier, and with full fine-tuning: heavy tuning separates
the classes, but draws the training images of a tail class together and not its test images. The measures are those of
the notebooks that draw the paper's figures (plot/plot_imagenet_lt_*.ipynb of github.com/shijxcs/LIFT).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lift_jax.data import Dataset


class Geometry(NamedTuple):
    """Measures of how features lie.

    Attributes:
        similarity: cosine of the mean test features of each two classes, -1 to 1, [classes, classes].
        train, test: cosine distance of each image of the tail to the mean of its class in the same split, 0 to 2.
    """

    similarity: Float[np.ndarray, "c c"]
    train: Float[np.ndarray, " n"]
    test: Float[np.ndarray, " m"]

    @property
    def between(self) -> float:
        """The mean similarity of two different classes."""
        different = ~np.eye(len(self.similarity), dtype=bool)
        return float(self.similarity[different].mean()) if different.any() else float("nan")


def compared(train: Dataset, test: Dataset, most: int) -> Int[np.ndarray, " c"]:
    """Gives the classes that have test images, the most frequent in training first; at most `most`, evenly spread."""
    counts = train.class_counts
    tested = np.flatnonzero(test.class_counts)
    ordered = tested[np.argsort(-counts[tested], kind="stable")]
    return ordered[np.unique(np.linspace(0, len(ordered) - 1, min(most, len(ordered))).round().astype(int))]


def tail(train: Dataset, test: Dataset, groups: Int[np.ndarray, " classes"]) -> Int[np.ndarray, " c"]:
    """Gives the classes with two training images and a test image of the rarest group that has any.

    A single training image is its class's mean, and its distance of 0 says nothing.
    """
    eligible = np.flatnonzero((train.class_counts > 1) & (test.class_counts > 0))
    return eligible[groups[eligible] == max(groups[eligible], default=0)]


def similarity(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], classes: Int[np.ndarray, " c"]
) -> Float[np.ndarray, "c c"]:
    """Gives the cosine of the mean features of each two classes, float64 [classes, classes]."""
    means = _unit(np.stack([features[labels == label].mean(axis=0, dtype=np.float64) for label in classes]))
    return means @ means.T


def distances(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], classes: Int[np.ndarray, " c"]
) -> Float[np.ndarray, " m"]:
    """Gives 1 - cosine of each image's feature and the mean feature of its class, in float64, class by class.

    The mean is over all images of the class in this split, the image itself among them, as in the authors' notebooks: a
    few images are closer to their own mean than many are, whatever the training did. What tuning does is therefore seen
    against the distances before it.
    """
    own = [features[labels == label].astype(np.float64) for label in classes]
    return np.concatenate([1 - _unit(rows) @ _unit(rows.mean(axis=0)) for rows in own])


def geometry(
    train: tuple[Float[np.ndarray, "n d"], Int[np.ndarray, " n"]],
    test: tuple[Float[np.ndarray, "m d"], Int[np.ndarray, " m"]],
    classes: Int[np.ndarray, " c"],
    tail: Int[np.ndarray, " t"],
) -> Geometry:
    """Measures how features lie.

    Args:
        train, test: features and labels of the images; rows of images that could not be read are NaN, and left out.
        classes: the classes whose similarities are measured.
        tail: the classes whose distances are measured.
    """
    train_rows, test_rows = _readable(*train), _readable(*test)
    return Geometry(similarity(*test_rows, classes), distances(*train_rows, tail), distances(*test_rows, tail))


def _readable(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    there = ~np.isnan(features).any(axis=1)
    return features[there], labels[there]


def _unit(x: Float[np.ndarray, "*n d"]) -> Float[np.ndarray, "*n d"]:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
