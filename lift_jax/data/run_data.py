"""The data of a run: its splits, its groups of classes, and the loaders that its config asks for."""

import dataclasses
from typing import Any

import jax
import ml_collections
import numpy as np
from jaxtyping import Int

from lift_jax.data.dataset import Dataset
from lift_jax.data.evaluation_loader import TestLoader, test_loader
from lift_jax.data.fetched_images import fetched
from lift_jax.data.groups import class_groups
from lift_jax.data.loader import TrainLoader, train_loader
from lift_jax.data.randaugment import RandAugment
from lift_jax.data.sources import load
from lift_jax.data.splits import capped
from lift_jax.data.transforms import RandomResizedCrop, SquareCrop
from lift_jax.data.validation import HeldOut, hold_out, is_drawn


@dataclasses.dataclass(frozen=True)
class RunData:
    """The images that a run is made from.

    Attributes:
        config: the resolved config.
        train, test: the images that are trained on, of each class at most `config.data.cap`, and those that are tested.
        groups: the group of each class, as an index into `lift_jax.data.groups.GROUPS`.
        train_counts: training images of each class, with those that are held out or left out by `config.data.cap`.
        held_out: what `config.validation` took from the training images; None without it.
    """

    config: ml_collections.FrozenConfigDict
    train: Dataset
    test: Dataset
    groups: Int[np.ndarray, " classes"]
    train_counts: Int[np.ndarray, " classes"]
    held_out: HeldOut | None = None

    @property
    def validation(self) -> Dataset | None:
        """The images by which the training is judged, if there are any."""
        return None if self.held_out is None else self.held_out.validation

    def train_loader(self, resolution: int) -> TrainLoader:
        """Makes the loader of this host's training batches, of square crops with sides of `resolution` pixels."""
        c = self.config
        return train_loader(
            self.train,
            batch_size=c.batch_size,
            resolution=resolution,
            crop=SquareCrop(c.crop_schedule) if c.crop == "square" else RandomResizedCrop(),
            num_epochs=c.num_epochs,
            fidelity=c.data.fidelity,
            augment=RandAugment(c.data.randaugment, c.data.randaugment_magnitude),
            sampler=c.data.sampler,
            **_common_options(c),
        )

    def fixed_crops(self, resolution: int) -> Dataset:
        """Gives `config.cache_views` crops of each training image (see `lift_jax.data.fixed_crops`)."""
        c = self.config
        return self.train_loader(resolution).fixed_crops(c.cache_views, mirrored=c.crop == "random_resized")

    def test_loader(self, resolution: int, mode: str) -> TestLoader:
        """Makes the loader of this host's test images, with the views of an evaluation mode (`views.MODES`)."""
        return evaluation_loader(self.config, self.test, resolution, mode)

    def features_loader(self, resolution: int, images: Dataset) -> TestLoader:
        """Makes the loader of this host's part of images that a head starts from, resized and cropped at the centre."""
        return evaluation_loader(self.config, images, resolution, "center", expand=0)

    def plain_loader(self, resolution: int, images: Dataset) -> TestLoader:
        """Makes the loader of this host's part of images, with one view each as the test images have it."""
        return evaluation_loader(self.config, images, resolution, "plain")


def load_run_data(config: ml_collections.FrozenConfigDict) -> RunData:
    """Loads the splits that a resolved config names, holds out what is for validation, and caps what is left.

    Raises:
        UserError: if something is wrong with the data section or with what it names.
    """
    train, test = load(config.data, config.seed, config.task)
    counts = train.class_counts
    groups = class_groups(config.class_groups, counts)
    held_out = hold_out(config.validation, train, config.seed) if config.validation else None
    train = train if held_out is None else held_out.train
    if config.data.cap:
        train = train.subset(capped(train.labels, config.data.cap, config.seed))
        train, test = fetched(train, test)
        if held_out is not None:
            held_out = dataclasses.replace(held_out, validation=next(fetched(held_out.validation)))
    return RunData(config, train, test, groups, counts, held_out)


def drawn_by(config: ml_collections.FrozenConfigDict) -> int | None:
    """Gives the seed of a run if it chooses which images are in the splits; None where these are those of any seed."""
    draws = config.data.val_fraction > 0 or config.data.cap > 0 or is_drawn(config.validation)
    return config.seed if draws else None


def evaluation_loader(
    config: ml_collections.FrozenConfigDict, dataset: Dataset, resolution: int, mode: str, **changes: Any
) -> TestLoader:
    """Makes the loader with which a run evaluates images; every other place that evaluates a run's images uses it too.

    Args:
        config: the resolved config of the run.
        dataset: the images, of which this process gets its share.
        resolution: side of a view, in pixels.
        mode: one of `views.MODES`.
        changes: arguments of `test_loader` that differ from the run's own. The batch size, which counts the images of
            one host, is rounded up to a multiple of its devices.
    """
    c, local = config, jax.local_device_count()
    options: dict[str, Any] = dict(
        batch_size=c.eval_batch_size,
        expand=c.tte.expand,
        fidelity=c.data.test_fidelity,
        num_views=c.tte.views,
        **_common_options(c),
    )
    options |= changes
    options["batch_size"] = -(-options["batch_size"] // local) * local
    return test_loader(dataset, resolution=resolution, mode=mode, **options)


def _common_options(config: ml_collections.FrozenConfigDict) -> dict[str, Any]:
    """Gives the options in which the loaders of a run's training and test images agree."""
    return dict(
        seed=config.seed,
        interpolation=config.interpolation,
        num_workers=config.data.num_workers,
        skip_bad_images=config.data.skip_bad_images,
        exif_rotate=config.data.exif_rotate,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
