"""Batches for training, made by Grain.

Everything about a batch is a function of the seed and the step: which examples it holds, and how each is cropped. So
neither the number of hosts nor that of workers changes it, and the state of the iterator is one number.
"""

from collections.abc import Iterator
from typing import Any

import grain
import numpy as np
from jaxtyping import Bool, Float

from lift_jax.data import resampling, transforms
from lift_jax.data.dataset import Dataset
from lift_jax.data.fixed_crops import FeatureStep, fixed_crops
from lift_jax.data.randaugment import RandAugment
from lift_jax.data.samplers import EpochOrder
from lift_jax.data.train_step import TrainStep
from lift_jax.data.workers import Batch, Skipped, check_some_readable, own, run, stop
from lift_jax.errors import UserError


class TrainLoader(Iterator[Batch]):
    """This host's batches of all epochs, made by `train_loader`.

    An epoch is a permutation of the examples (see `samplers` for others), from (seed, epoch) alone, in steps_per_epoch
    = ceil(examples / batch_size) batches, of which the last is padded. Host h of H has the rows [h b / H, (h + 1) b /
    H) of each. An example's crop comes from (seed, epoch, index) alone. Flips are left to the device (`views.flip`).

    A batch is {"image" uint8 [b/H, resolution, resolution, 3], "label" int32 [b/H], "mask" bool [b/H] (False is
    padding), "index" int32 [b/H] (the example's index, -1 is padding)}.
    """

    def __init__(self, make: TrainStep, num_workers: int):
        self._make = make
        self._num_workers = num_workers
        self._skipped = Skipped(make.dataset)
        self._some_readable = False
        self._step = 0
        self._iterator: Any = None
        self._fetched: tuple[Batch, dict[int, str]] | None = None
        self._error: Exception | None = None
        self.steps_per_epoch = -(-len(make.dataset) // make.batch_size)
        """Batches of one epoch; the last one may be padded."""
        self.num_steps = self.steps_per_epoch * make.num_epochs
        """Batches of all epochs."""

    def __next__(self) -> Batch:
        if self._step >= self.num_steps:
            self.close()
            raise StopIteration
        self.fetch()
        if self._error is not None:
            raise self._error
        assert self._fetched is not None
        (batch, problems), self._fetched = self._fetched, None
        self._step += 1
        self._note(batch, problems)
        return batch

    def fetch(self) -> Batch | None:
        """Gives the batch that `next` will give, without going on to it.

        Returns:
            None after the last batch, and if there is none because of an error, which `next` raises.
        """
        if self._fetched is None and self._error is None and self._step < self.num_steps:
            try:
                self._fetched = self._following()
            except Exception as error:  # is about a later step, which may never be taken
                self._error = error
        return None if self._fetched is None else self._fetched[0]

    def _following(self) -> tuple[Batch, dict[int, str]]:
        """Takes a batch from the workers."""
        if self._iterator is None:
            steps = grain.MapDataset.range(self._step, self.num_steps)
            self._iterator = run(steps.map(self._make), self._num_workers)
        batch, problems = next(self._iterator)
        return own(batch) if self._num_workers else batch, problems

    def _note(self, batch: Batch, problems: dict[int, str]) -> None:
        """Notes the images that the newest batch lacks; at the end of an epoch they are reported."""
        self._some_readable |= bool(batch["mask"].any())
        if problems and not self._some_readable:
            check_some_readable(self._make.dataset, self._make.exif_rotate)
            self._some_readable = True  # by another host, or later
        self._skipped.add(problems)
        epoch, rest = divmod(self._step, self.steps_per_epoch)
        if rest == 0:
            self._skipped.report(f"Epoch {epoch}: ")

    @property
    def step(self) -> int:
        """The number of the next batch, counted over all epochs."""
        return self._step

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """The shape of a batch's images over all hosts: (batch, height, width, 3)."""
        return self._make.batch_size, self._make.resolution, self._make.resolution, 3

    def fixed_crops(self, count: int, mirrored: bool) -> Dataset:
        """Gives fixed crops of the examples (see `lift_jax.data.fixed_crops.fixed_crops`)."""
        return fixed_crops(self._make, count, mirrored)

    def of_features(
        self, features: Float[np.ndarray, "crops examples d"], found: Bool[np.ndarray, "crops examples"]
    ) -> "TrainLoader":
        """Makes the loader of the same batches with features of fixed crops, "features" float32 [b/H, d], as "image".

        Args:
            features: of the crops of `fixed_crops`.
            found: which of them could be read.
        """
        return TrainLoader(FeatureStep(**vars(self._make), features=features, found=found), 0)

    @property
    def skipped(self) -> list[str]:
        """The names of the images that could not be decoded so far."""
        return self._skipped.names

    def seek(self, step: int) -> None:
        """Continues with the batch of this step, at the cost of starting the workers anew."""
        self.close()
        self._step = step

    def get_state(self) -> dict[str, int]:
        """Gives what `set_state` needs to continue with the next batch: a few integers, the same on every host."""
        make = self._make
        return {"step": self._step, "seed": make.seed, "batch_size": make.batch_size, "num_examples": len(make.dataset)}

    def set_state(self, state: dict[str, int]) -> None:
        """Continues where `get_state` was called, even with another number of hosts or workers.

        Raises:
            UserError: the state is of a run with another seed, batch size or training set.
        """
        own = self.get_state()
        for key in ("seed", "batch_size", "num_examples"):
            if int(state[key]) != own[key]:
                raise UserError(
                    f"The checkpoint was made with {key}={int(state[key])}, this run has {key}={own[key]}; "
                    f"continue with the same value or choose a new workdir."
                )
        self.seek(int(state["step"]))

    def close(self) -> None:
        """Stops the workers."""
        self._fetched = self._error = None
        if self._iterator is not None:
            stop(self._iterator, self._num_workers)
            self._iterator = None


def train_loader(
    dataset: Dataset,
    *,
    batch_size: int,
    seed: int,
    resolution: int,
    crop: transforms.TrainCrop | None = None,
    interpolation: str = "bilinear",
    fidelity: str = "exact",
    augment: RandAugment | None = None,
    sampler: str = "shuffle",
    num_epochs: int,
    num_workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    skip_bad_images: bool = False,
    exif_rotate: bool = False,
) -> TrainLoader:
    """Makes the iterator of this host's training batches.

    Args:
        dataset: the training split.
        batch_size: examples of one step over all hosts.
        seed: decides the order and the crops.
        crop: `RandomResizedCrop()` (the default) or `SquareCrop(...)`.
        resolution, interpolation, fidelity: of the crops: the side in pixels, "bilinear" or "bicubic", and one of
            `resampling.FIDELITIES`.
        augment: further augmentation of the crops, from (seed, epoch, index) alone as well; None for none.
        sampler: one of `samplers.SAMPLERS`; others than "shuffle" do not visit every example once an epoch.
        num_epochs: how many epochs the iterator goes through.
        num_workers: worker processes; 0 works in threads of this process.
        process_index, process_count: this host, and how many there are.
        skip_bad_images: mask images that cannot be decoded instead of stopping; after each epoch the log names them.
        exif_rotate: turn photographs as their EXIF tag says.

    Returns:
        An iterator of all epochs' batches; `TrainLoader` says what is in them.

    Raises:
        UserError: the hosts do not divide the batch; while iterating, an image cannot be decoded, or not one can.
    """
    if batch_size < 1 or batch_size % process_count:
        raise UserError(f"config.batch_size is {batch_size}, which {process_count} hosts do not divide.")
    resampling.check_fidelity(fidelity)
    order = EpochOrder(dataset.labels, dataset.num_classes, sampler, seed)
    make = TrainStep(
        dataset, order, batch_size, seed, resolution, crop or transforms.RandomResizedCrop(), interpolation, fidelity,
        augment or RandAugment(0), num_epochs, process_index, process_count, skip_bad_images, exif_rotate,
    )  # fmt: skip
    return TrainLoader(make, num_workers)
