"""Some crops of each training image that stay the same over the epochs, so that their features can be kept."""

import dataclasses
import hashlib
from typing import ClassVar

import numpy as np
from etils import epath
from jaxtyping import Bool, Float, UInt8

from lift_jax.data.contents import DIGEST, digests
from lift_jax.data.dataset import Dataset
from lift_jax.data.train_step import TrainStep
from lift_jax.data.workers import CHOICE, MIRROR
from lift_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class _Crops:
    """The crops, all first ones before all second ones.

    Args:
        step: cuts them out: crop k of an image is that of epoch k.
        mirrored: whether half of them, at random, are mirrored.
    """

    step: TrainStep
    mirrored: bool

    def __len__(self) -> int:
        return self.step.num_epochs * len(self.step.dataset)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "side side 3"]:
        crop, image = divmod(int(index), len(self.step.dataset))
        pixels = self.step.example(image, crop)
        rng = np.random.default_rng((self.step.seed, MIRROR, crop, image))
        return np.ascontiguousarray(pixels[:, ::-1]) if self.mirrored and rng.random() < 0.5 else pixels

    def path(self, index: int) -> str:
        """Gives the name of the image that a crop is of."""
        return self.step.dataset.path(int(index) % len(self.step.dataset))

    def digests(self, known: epath.Path) -> list[bytes | None]:
        """Gives a digest of each crop, by that of its image and all that decides on how it is cut out.

        Args:
            known: see `lift_jax.data.contents.digests`.
        """
        images = digests(self.step.dataset, known)
        step = self.step
        how = (
            step.seed, step.resolution, step.crop, step.interpolation, step.fidelity, step.augment, step.exif_rotate,
            self.mirrored,
        )  # fmt: skip
        found: list[bytes | None] = []
        for crop in range(step.num_epochs):
            for image, content in enumerate(images):
                text = repr((*how, step.progress(crop), crop, image)).encode()
                found.append(content and hashlib.blake2b(content + text, digest_size=DIGEST).digest())
        return found


def fixed_crops(step: TrainStep, count: int, mirrored: bool) -> Dataset:
    """Makes a data set of fixed crops of the training images.

    Crop k of image i is a function of the seed, i and k: that which epoch k of a training of `count` epochs sees, and
    mirrored or not.

    Args:
        step: makes the training batches.
        count: crops of each image.
        mirrored: whether half of them, at random, are mirrored.

    Returns:
        The first crop of each image, then the second one of each, and so on.
    """
    images = step.dataset
    return dataclasses.replace(
        images,
        name=f"{images.name}, fixed crops",
        source=_Crops(dataclasses.replace(step, num_epochs=count), mirrored),
        labels=np.concatenate([images.labels] * count),
        image_groups=None,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureStep(TrainStep):
    """Makes this host's part of the global batch of a step, of features of fixed crops.

    An epoch takes one of the crops of all images. Each is taken once before any is taken again, in an order by the
    seed.

    Attributes:
        features: of the crops.
        found: which of them could be read.
    """

    key: ClassVar[str] = "features"

    features: Float[np.ndarray, "crops examples d"]
    found: Bool[np.ndarray, "crops examples"]

    def _empty(self, rows: int) -> np.ndarray:
        return np.zeros((rows, self.features.shape[-1]), np.float32)

    def example(self, index: int, epoch: int) -> np.ndarray:
        """Gives the features of an example's crop that an epoch takes."""
        turn, place = divmod(epoch, len(self.features))
        crop = np.random.default_rng((self.seed, CHOICE, turn)).permutation(len(self.features))[place]
        if not self.found[crop, index]:
            raise UserError(f"{self.dataset.path(index)} has no features, since it could not be read.")
        return self.features[crop, index]
