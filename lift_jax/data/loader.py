"""Batches for training, made by Grain.

Everything about a batch is a function of the seed and the step: which examples it holds, and how each is cropped. So
neither the number of hosts nor that of workers changes it, and the state of the iterator is one number.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from lift_jax.data import images, resampling, transforms
from lift_jax.data.dataset import Dataset
from lift_jax.data.randaugment import RandAugment
from lift_jax.data.reading import printable
from lift_jax.data.samplers import EpochOrder
from lift_jax.data.workers import AUGMENT, CROP, Batch, Skipped, check_some_readable, own, run, stop, stop_on
from lift_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class _TrainStep:
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

    def __call__(self, step: int) -> tuple[Batch, dict[int, str]]:
        """Makes a batch, and says by index what is wrong with the images that are left out of it."""
        steps_per_epoch = -(-len(self.dataset) // self.batch_size)
        epoch, step_in_epoch = divmod(int(step), steps_per_epoch)
        local = self.batch_size // self.process_count
        start = step_in_epoch * self.batch_size + self.process_index * local
        indices = self.order(epoch)[start : start + local]
        batch: Batch = {
            "image": np.zeros((local, self.resolution, self.resolution, 3), np.uint8),
            "label": self.dataset.no_labels(local),
            "mask": np.zeros(local, np.bool_),
            "index": np.full(local, -1, np.int32),
        }
        progress = epoch / (self.num_epochs - 1) if self.num_epochs > 1 else 0.0
        problems: dict[int, str] = {}
        for row, index in enumerate(indices.tolist()):
            try:
                batch["image"][row] = self._example(index, epoch, progress)
            except UserError as error:
                problems[index] = str(error)
                continue
            batch["label"][row] = self.dataset.labels[index]
            batch["mask"][row] = True
            batch["index"][row] = index
        stop_on(list(problems.values()), self.skip_bad)
        return batch, problems

    def _example(self, index: int, epoch: int, progress: float) -> np.ndarray:
        """Cuts out the random part of an example that this epoch sees."""
        content, name = self.dataset.source[index], printable(self.dataset.path(index))
        rng = np.random.default_rng((self.seed, CROP, epoch, index))
        with images.room(content):
            image = self._crop(content, name, rng, progress)
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


class TrainLoader(Iterator[Batch]):
    """This host's batches of all epochs, made by `train_loader`.

    An epoch is a permutation of the examples (see `samplers` for others), from (seed, epoch) alone, in steps_per_epoch
    = ceil(examples / batch_size) batches, of which the last is padded. Host h of H has the rows [h b / H, (h + 1) b /
    H) of each. An example's crop comes from (seed, epoch, index) alone. Flips are left to the device (`views.flip`).

    A batch is {"image" uint8 [b/H, resolution, resolution, 3], "label" int32 [b/H], "mask" bool [b/H] (False is
    padding), "index" int32 [b/H] (the example's index, -1 is padding)}.
    """

    def __init__(self, make: _TrainStep, num_workers: int):
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
    make = _TrainStep(
        dataset, order, batch_size, seed, resolution, crop or transforms.RandomResizedCrop(), interpolation, fidelity,
        augment or RandAugment(0), num_epochs, process_index, process_count, skip_bad_images, exif_rotate,
    )  # fmt: skip
    return TrainLoader(make, num_workers)
