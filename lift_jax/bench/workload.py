"""What `lift_jax.bench.step` compares, and what each of its sides can do."""

import dataclasses
import functools
from typing import Any, Protocol

import jax
import numpy as np

from lift_jax.models import partition
from lift_jax.models.heads import Classifier, CosineHead
from lift_jax.models.vit import VisionTransformer
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.tuners.adaptformer import AdaptFormer

LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4
HYPERPARAMETERS = Hyperparameters(LR, MOMENTUM, WEIGHT_DECAY)
PEAK_SIDE = 2048
"""Rows and columns of the matrices whose product is taken for the peak."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """The computation of both sides: AdaptFormer of width `dim` in every block of `vision`, and a cosine head.

    With `partial` it is in so many of the last blocks alone, which the peer's side does not have.

    A training step takes the batch in `accumulate` micro-batches, which divide it; 0 is each side's own way: PyTorch
    takes it as a whole, the package in as many as `lift_jax.models.micro_batches` says.
    """

    vision: VisionTransformer
    resolution: int
    dim: int
    num_classes: int
    batch: int
    accumulate: int = 0
    partial: int = 0

    @property
    def classifier(self) -> Classifier:
        made, first = functools.partial(AdaptFormer, self.dim), self.vision.depth - (self.partial or self.vision.depth)
        tuned = self.vision.clone(tuners=lambda block: {"adaptformer": made} if block >= first else {})
        return Classifier(tuned, CosineHead(self.num_classes))

    @property
    def class_counts(self) -> np.ndarray:
        return np.arange(self.num_classes, 0, -1)

    def parts(self) -> partition.Parts:
        """Draws random parameters, the same in every process; none has a special value such as 0."""
        images = jax.ShapeDtypeStruct((1, self.resolution, self.resolution, 3), np.float32)
        shapes = jax.eval_shape(self.classifier.init, jax.random.key(0), images)["params"]
        generator = np.random.default_rng(0)

        def draw(path: Any, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            centre = 1 if path[-1].key == "scale" else 0
            return centre + 0.03 * generator.standard_normal(leaf.shape, np.float32)

        params = jax.tree_util.tree_map_with_path(draw, shapes)
        return partition.split(params, lambda path: "tuner_adaptformer" in path)

    def rows(self) -> dict[str, np.ndarray]:
        """Makes a batch as the training loader gives it."""
        generator = np.random.default_rng(1)
        return {
            "image": generator.integers(0, 256, (self.batch, self.resolution, self.resolution, 3), np.uint8),
            "label": generator.integers(0, self.num_classes, self.batch).astype(np.int32),
            "mask": np.ones(self.batch, bool),
        }


class Side(Protocol):
    """One of the two programs that are compared."""

    def train(self) -> float:
        """Takes a training step, and returns its loss."""
        ...

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        """Gives the predicted classes of the batch and their probabilities."""
        ...

    def product(self) -> None:
        """Computes the matrix product by which the peak is measured."""
        ...

    def trained(self) -> dict[str, Any]:
        """Copies the parameters that are trained, in the form of `TrainState.trainable`."""
        ...
