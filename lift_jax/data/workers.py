"""What the training and the test loader share: worker processes, decoding, and images that cannot be decoded."""

import atexit
import contextlib
import gc
import logging
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import grain
import numpy as np
from absl import flags
from jaxtyping import UInt8

from lift_jax.data import images
from lift_jax.data.dataset import Dataset
from lift_jax.data.reading import printable
from lift_jax.errors import UserError

_LOGGER = logging.getLogger(__name__)

Batch = dict[str, np.ndarray]

CROP, VIEWS, AUGMENT, MIRROR, CHOICE = 1, 2, 3, 4, 5
"""One stream of random numbers for each purpose; the order of an epoch is stream 0."""

_SHARED_MEMORY_FROM = 1 << 16
"""Bytes from which an array comes from a worker through shared memory; smaller ones go through its pipe."""


def pixels(dataset: Dataset, index: int, exif_rotate: bool) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes an image.

    Raises:
        UserError: it cannot be read or decoded.
    """
    return images.pixels(dataset.source[index], printable(dataset.path(index)), exif_rotate)


def run(dataset: grain.MapDataset, num_workers: int) -> Any:
    """Iterates over a map in worker processes, each with one thread, or in threads if there are none."""
    threads = 0 if num_workers else min(8, _usable_cores())
    iterable = dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads))
    if num_workers:
        if not flags.FLAGS.is_parsed():  # Outside of an absl program; Grain reads its flags before it starts a worker.
            flags.FLAGS.mark_as_parsed()
        options = grain.experimental.DatasetOptions(min_shm_size=_SHARED_MEMORY_FROM)
        iterable = grain.experimental.WithOptionsIterDataset(iterable, options)
        processes = grain.MultiprocessingOptions(num_workers, per_worker_buffer_size=2)
        iterable = iterable.mp_prefetch(processes, worker_init_fn=_end_with_parent)
    iterator = iter(iterable)
    _OPEN.add(iterator)
    return iterator


def stop(iterator: Any, num_workers: int) -> None:
    """Ends an iterator of `run`, and its workers."""
    iterator.close()
    if num_workers:
        gc.collect()  # Grain leaves batches that nobody took in a reference cycle, and with them shared memory.


def _usable_cores() -> int:
    """Counts the cores that this process may run on, which a job scheduler or `taskset` may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_parent(worker: int, count: int) -> None:
    """Ends this worker when the process that started it is killed, which Grain's workers would outlive.

    It does not end by itself at SIGTERM, which some clusters send to all: the last step still needs its images.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


_OPEN: weakref.WeakSet[Any] = weakref.WeakSet()


@atexit.register
def _close_open() -> None:
    """Stops workers while Python still has its modules: Grain's own finalizers come too late for that."""
    for iterator in list(_OPEN):
        iterator.close()
    gc.collect()


def own(entry: dict[str, Any]) -> dict[str, Any]:
    """Copies arrays out of the memory shared with a worker, which can then use it again."""
    return {
        key: np.array(value, subok=False) if isinstance(value, np.ndarray) else value for key, value in entry.items()
    }


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Lets no warning name images that cannot be decoded inside the block, whose caller names them."""
    before = _LOGGER.level
    _LOGGER.setLevel(logging.ERROR)
    try:
        yield
    finally:
        _LOGGER.setLevel(before)


def stop_on(problems: list[str], skip: bool) -> None:
    """Raises the first problem of a batch's images, with how many there are, unless they are to be skipped.

    Raises:
        UserError: there is a problem and `skip` is False.
    """
    if problems and not skip:
        more = f" {len(problems)} images nearby have problems." if len(problems) > 1 else ""
        raise UserError(
            f"{problems[0]}{more} Replace the file, or set config.data.skip_bad_images=True to leave it out."
        )


def check_some_readable(dataset: Dataset, exif_rotate: bool) -> None:
    """Reads images until one can be read, so that no run goes on with nothing.

    It looks at the whole data set, not at a host's part of it: so all hosts come to the same conclusion.

    Raises:
        UserError: not one can be read.
    """
    first = ""
    for index in range(len(dataset)):
        try:
            pixels(dataset, index, exif_rotate)
            return
        except UserError as error:
            first = first or str(error)
    raise UserError(f"Not one of the {len(dataset)} images of {dataset.name} can be read; the first: {first}")


class Skipped:
    """The images that were left out, and why.

    Attributes:
        problems: what is wrong with each, by its index.
        names: of the images, in the order in which they were met.
    """

    def __init__(self, dataset: Dataset):
        self._dataset = dataset
        self.problems: dict[int, str] = {}
        self.names: list[str] = []
        self._new: list[str] = []
        self._again = 0

    def add(self, problems: Mapping[int, str]) -> None:
        """Notes images that were left out."""
        for index, problem in problems.items():
            if index in self.problems:
                self._again += 1
                continue
            self.problems[index] = problem
            self.names.append(self._dataset.path(index))
            self._new.append(problem)

    def report(self, when: str = "") -> None:
        """Warns, in one message, about those that were left out since the last report, if there are any.

        Args:
            when: how the message begins, such as "Epoch 2: ".
        """
        if self._new:
            count, more = len(self._new), len(self._new) - 10
            _LOGGER.warning(
                "%s%s of %s could not be decoded and %s skipped: %s%s",
                when, "1 image" if count == 1 else f"{count} images", self._dataset.name,
                "was" if count == 1 else "were", " ".join(self._new[:10]), f" And {more} more." if more > 0 else "",
            )  # fmt: skip
        if self._again:
            again = "1 image" if self._again == 1 else f"{self._again} images"
            _LOGGER.warning("%sskipped again: %s of %s, named above.", when, again, self._dataset.name)
        self._new, self._again = [], 0
