"""How a run's features lie: classes among one another, and tail classes in training and test.

After figure 3 of the LIFT paper (Shi et al. 2024, "Long-Tail Learning with Foundation Model: Heavy Fine-Tuning Hurts",
section 4), which shows these two without tuning, with a tuned classifier, and with full fine-tuning: heavy tuning
separates the classes, but draws the training images of a tail class together and not its test images.
"""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from lift_jax import devices
from lift_jax.data import Dataset
from lift_jax.evaluate import extract_features
from lift_jax.inference import Model
from lift_jax.logs import Logs
from lift_jax.models.heads import Classifier


class Geometry(NamedTuple):
    """What the features of some classes look like.

    Attributes:
        similarity: cosine of the mean test features of each two classes, -1 to 1, [classes, classes].
        train, test: cosine distance of each image to the mean training feature of its class, 0 to 2.
    """

    similarity: Float[np.ndarray, "c c"]
    train: Float[np.ndarray, " n"]
    test: Float[np.ndarray, " m"]

    @property
    def between(self) -> float:
        """The mean similarity of two different classes."""
        different = ~np.eye(len(self.similarity), dtype=bool)
        return float(self.similarity[different].mean()) if different.any() else float("nan")


def tail(train: Dataset, test: Dataset, most: int) -> Int[np.ndarray, " c"]:
    """The rarest classes with at least two training images and one test image, the most frequent of them first."""
    counts = train.class_counts
    eligible = np.flatnonzero((counts > 1) & (test.class_counts > 0))
    return eligible[np.argsort(-counts[eligible], kind="stable")][-most:]


def geometry(
    train: Float[np.ndarray, "n d"],
    train_labels: Int[np.ndarray, " n"],
    test: Float[np.ndarray, "m d"],
    test_labels: Int[np.ndarray, " m"],
    classes: Int[np.ndarray, " c"],
) -> Geometry:
    """Similarities and distances of the unit features, in float64.

    A training image is left out of the mean that it is compared with. It would pull the mean towards itself, and of the
    few images of a tail class each would seem closer to it than any test image can be, whatever the training did.

    Args:
        train, test: features.
        train_labels, test_labels: their classes.
        classes: which to look at, each with two training images and a test image at least.
    """
    train, test = _unit(train), _unit(test)
    means, near, far = [], [], []
    for label in classes:
        own, others = train[train_labels == label], test[test_labels == label]
        means.append(_unit(others.mean(axis=0)))
        near.append(1 - np.sum(own * _unit(own.sum(axis=0) - own), axis=1))
        far.append(1 - others @ _unit(own.mean(axis=0)))
    stacked = np.stack(means)
    return Geometry(stacked @ stacked.T, np.concatenate(near), np.concatenate(far))


def of_run(model: Model, train: Dataset, test: Dataset, tuned: bool, logs: Logs) -> tuple[np.ndarray, np.ndarray]:
    """Features of all images, plain views.

    Args:
        model: a run's.
        train, test: the images.
        tuned: those of the run, or those of its backbone as it was.
        logs: for the progress bars.
    """
    classifier, params = model.classifier, model.params
    if not tuned:
        classifier = Classifier(model.backbone.vision.clone(dtype=model.pixels.dtype), classifier.head)
        own = jax.tree.map(lambda x: np.asarray(x).astype(model.pixels.dtype), dict(model.backbone.params["vision"]))
        params = devices.replicate({"backbone": own}, devices.make_mesh())
    which = "tuned" if tuned else "untuned"
    found = []
    for dataset, split in (train, "training"), (test, "test"):
        loader = model.loader(dataset, tte=False)
        features, _, index = extract_features(
            classifier, params, model.pixels, loader, logs, f"{which} features, {split} images"
        )
        if len(index) < len(dataset):  # images that cannot be read have none
            whole = np.full((len(dataset), features.shape[1]), np.nan, np.float32)
            whole[index] = features
            features = whole
        found.append(features)
    return found[0], found[1]


def _unit(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)
