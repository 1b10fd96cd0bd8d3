"""Batches for evaluation, made by Grain: every example once, grouped by the shape of its canvas."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import grain
import numpy as np

from lift_jax.data import images, resampling, views
from lift_jax.data.dataset import Dataset
from lift_jax.data.reading import printable
from lift_jax.data.workers import VIEWS, Batch, Skipped, check_some_readable, own, run, stop, stop_on
from lift_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class _TestChunk:
    """Prepares a few neighbouring examples of this host, one entry each."""

    dataset: Dataset
    resolution: int
    expand: int
    mode: str
    interpolation: str
    fidelity: str
    num_views: int
    seed: int
    size: int
    process_index: int
    process_count: int
    skip_bad: bool
    exif_rotate: bool

    def __call__(self, chunk: int) -> list[dict[str, Any]]:
        start = int(chunk) * self.size * self.process_count + self.process_index
        stop = min(len(self.dataset), start + self.size * self.process_count)
        entries, problems = [], []
        for index in range(start, stop, self.process_count):
            try:
                entry = self._example(index)
            except UserError as error:
                problems.append(str(error))
                entries.append({"failed": index, "problem": str(error)})
                continue
            entry["label"], entry["index"] = self.dataset.labels[index], np.int32(index)
            entries.append(entry)
        stop_on(problems, self.skip_bad)
        return entries

    def _example(self, index: int) -> dict[str, Any]:
        content, name = self.dataset.source[index], printable(self.dataset.path(index))
        with images.room(content):
            return self._canvas(content, name, index)

    def _canvas(self, content: images.Content, name: str, index: int) -> dict[str, Any]:
        whole = images.jpeg_shape(content) if self.fidelity == "scaled" and self.mode != "random" else None
        reduction = 1
        if whole is not None:
            reduction = images.largest_reduction(*whole, views.short_side(self.resolution, self.expand, self.mode))
        image = images.pixels(content, name, self.exif_rotate, reduction)
        rng = np.random.default_rng((self.seed, VIEWS, index))
        return views.prepare_test(
            image, self.resolution, self.expand, self.mode, self.interpolation, self.num_views, rng, name, self.fidelity
        )


class TestLoader:
    """Gives this host's test examples once each, anew on every `iter`; `test_loader` makes it."""

    __test__ = False  # no test case, whatever pytest makes of the name

    def __init__(self, make: _TestChunk, batch_size: int, num_workers: int, none_readable: bool):
        self._make = make
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._none_readable = none_readable
        self.num_examples = len(range(make.process_index, len(make.dataset), make.process_count))
        """Examples of this host."""
        self.num_views = views.num_views(make.mode, make.num_views)
        """Views of one image."""
        self.bytes_per_image = 0.0
        """Mean size of a canvas over the last (or running) pass."""
        self.skipped: list[str] = []
        """Images that could not be decoded in the last (or running) pass."""
        self.problems: dict[int, str] = {}
        """What was wrong with them, by their index."""

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What the pixels of a view depend on besides the image, where an image has one view, at its centre."""
        make = self._make
        assert make.mode in ("plain", "center")
        return {
            "short_side": views.short_side(make.resolution, make.expand, make.mode),
            "resolution": make.resolution,
            "interpolation": make.interpolation,
            "fidelity": make.fidelity,
            "exif_rotate": make.exif_rotate,
        }

    def no_labels(self, rows: int) -> np.ndarray:
        """Makes labels of so many rows that are padding."""
        return self._make.dataset.no_labels(rows)

    @property
    def batch_size(self) -> int:
        """Images of a batch of this host."""
        return self._batch_size

    def __iter__(self) -> Iterator[Batch]:
        skipped = Skipped(self._make.dataset)
        self.skipped, self.problems = skipped.names, skipped.problems
        waiting: dict[tuple[int, ...], list[dict[str, Any]]] = defaultdict(list)
        total = seen = 0
        chunks = grain.MapDataset.range(-(-self.num_examples // self._make.size)).map(self._make)
        iterator = run(chunks, self._num_workers)
        try:
            for entries in iterator:
                for entry in map(own, entries):
                    if "failed" in entry:
                        skipped.add({entry["failed"]: entry["problem"]})
                        continue
                    total, seen = total + entry["image"].nbytes, seen + 1
                    self.bytes_per_image = total / seen
                    group = waiting[entry["image"].shape]
                    group.append(entry)
                    if len(group) == self._batch_size:
                        yield _stack(group, self._batch_size)
                        group.clear()
        finally:
            stop(iterator, self._num_workers)
        for shape in sorted(waiting):
            if waiting[shape]:
                yield _stack(waiting[shape], self._batch_size)
        skipped.report()
        if skipped.problems and not seen and not self._none_readable:
            check_some_readable(self._make.dataset, self._make.exif_rotate)


def test_loader(
    dataset: Dataset,
    *,
    batch_size: int,
    resolution: int,
    expand: int = 0,
    mode: str = "plain",
    interpolation: str = "bilinear",
    fidelity: str = "exact",
    num_views: int = 10,
    seed: int = 0,
    num_workers: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    skip_bad_images: bool = False,
    exif_rotate: bool = False,
    none_readable: bool = False,
) -> TestLoader:
    """Makes the batches for evaluation: every example once over all hosts, grouped by canvas shape, padded at the end.

    The number of batches and their shapes differ between hosts, so a host evaluates its batches on its own devices and
    adds up with the others at the end.

    Args:
        dataset: the test split.
        batch_size: examples of one batch on this host.
        resolution, expand, mode, interpolation, num_views: see `views.prepare_test`.
        fidelity: one of `resampling.FIDELITIES`.
        seed: of the views in the mode "random".
        num_workers, process_index, process_count, skip_bad_images, exif_rotate: see `train_loader`. Skipped images are
            in no batch.
        none_readable: accepts a data set of which not one image can be read.

    Returns:
        An iterable of {"image" uint8 [b, canvas height, canvas width, 3], "corners" int32 [b, views, 2], "transposed"
        bool [b], "flipped" bool [b, views], "label" int32 [b], "mask" bool [b] (False is padding), "index" int32 [b]
        (-1 is padding)}, with `num_examples`, `num_views`, `bytes_per_image` and `skipped`.

    Raises:
        UserError: an unknown mode; while iterating, an image cannot be decoded, or not one can.
    """
    views.num_views(mode, num_views)
    resampling.check_fidelity(fidelity)
    chunk = min(16, batch_size)
    make = _TestChunk(
        dataset, resolution, expand, mode, interpolation, fidelity, num_views, seed, chunk, process_index,
        process_count, skip_bad_images, exif_rotate,
    )  # fmt: skip
    return TestLoader(make, batch_size, num_workers, none_readable)


test_loader.__test__ = False  # type: ignore[attr-defined]


def _stack(entries: list[dict[str, Any]], batch_size: int) -> Batch:
    """Stacks entries of one canvas shape to a batch, padded to `batch_size`."""
    batch = {}
    for key, first in entries[0].items():
        first = np.asarray(first)
        batch[key] = np.zeros((batch_size, *first.shape), first.dtype)
        for row, entry in enumerate(entries):
            batch[key][row] = entry[key]
    batch["mask"] = np.arange(batch_size) < len(entries)
    batch["index"][len(entries) :] = -1
    return batch
