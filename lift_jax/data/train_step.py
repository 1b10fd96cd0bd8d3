"""One host's part of a training batch: which examples it holds, and how each is cropped."""

import dataclasses
from typing import ClassVar

import numpy as np

from lift_jax.data import images, transforms
from lift_jax.data.dataset import Dataset
from lift_jax.data.randaugment import RandAugment
from lift_jax.data.reading import printable
from lift_jax.data.samplers import EpochOrder
from lift_jax.data.workers import AUGMENT, CROP, Batch, stop_on
from lift_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class TrainStep:
    """Makes this host's part of the global batch of a step."""

    dataset: Dataset
    order: EpochOrder
    batch_size: int
    seed: int
    resolution: int
    crop: transforms.TrainCrop
    interpolation: str
    fidelity: str
    augment: RandAugment
    num_epochs: int
    process_index: int
    process_count: int
    skip_bad: bool
    exif_rotate: bool

    key: ClassVar[str] = "image"
    """What the examples are called in a batch."""

    def __call__(self, step: int) -> tuple[Batch, dict[int, str]]:
        """Makes a batch, and says by index what is wrong with the images that are left out of it."""
        steps_per_epoch = -(-len(self.dataset) // self.batch_size)
        epoch, step_in_epoch = divmod(int(step), steps_per_epoch)
        local = self.batch_size // self.process_count
        start = step_in_epoch * self.batch_size + self.process_index * local
        indices = self.order(epoch)[start : start + local]
        examples = self._empty(local)
        batch: Batch = {
            self.key: examples,
            "label": self.dataset.no_labels(local),
            "mask": np.zeros(local, np.bool_),
            "index": np.full(local, -1, np.int32),
        }
        problems: dict[int, str] = {}
        for row, index in enumerate(indices.tolist()):
            try:
                examples[row] = self.example(index, epoch)
            except UserError as error:
                problems[index] = str(error)
                continue
            batch["label"][row] = self.dataset.labels[index]
            batch["mask"][row] = True
            batch["index"][row] = index
        stop_on(list(problems.values()), self.skip_bad)
        return batch, problems

    def _empty(self, rows: int) -> np.ndarray:
        """Makes room for so many examples."""
        return np.zeros((rows, self.resolution, self.resolution, 3), np.uint8)

    def progress(self, epoch: int) -> float:
        """Says how much of the training is over, from 0 to 1."""
        return epoch / (self.num_epochs - 1) if self.num_epochs > 1 else 0.0

    def example(self, index: int, epoch: int) -> np.ndarray:
        """Cuts out the random part of an example that an epoch sees."""
        content, name = self.dataset.source[index], printable(self.dataset.path(index))
        rng = np.random.default_rng((self.seed, CROP, epoch, index))
        with images.room(content):
            image = self._crop(content, name, rng, self.progress(epoch))
        if self.augment.operations:
            image = self.augment(image, np.random.default_rng((self.seed, AUGMENT, epoch, index)))
        return image

    def _crop(self, content: images.Content, name: str, rng: np.random.Generator, progress: float) -> np.ndarray:
        whole = images.jpeg_shape(content) if self.fidelity == "scaled" and not self.exif_rotate else None
        if whole is None:
            image = images.pixels(content, name, self.exif_rotate)
            box = self.crop.box(rng, image.shape[0], image.shape[1], progress)
        else:  # Where the crop will be is known before the image is decoded, and so how large it has to be.
            box = self.crop.box(rng, *whole, progress)
            image = images.pixels(content, name, reduction=images.largest_reduction(*box[2:], self.resolution))
            box = transforms.scaled(box, whole, image.shape[:2])
        return transforms.resized_crop(image, box, self.resolution, self.interpolation, self.fidelity)
