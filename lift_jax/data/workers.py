"""What the training and the test loader share: running in worker processes, decoding, and images that cannot be."""

import atexit
import gc
import multiprocessing
import os
import signal
import threading
import weakref
from typing import Any

import grain
import numpy as np
from absl import flags, logging
from jaxtyping import Int, UInt8

from lift_jax.data import images
from lift_jax.data.dataset import Dataset
from lift_jax.errors import UserError

Batch = dict[str, np.ndarray]

CROP, VIEWS, AUGMENT = 1, 2, 3
"""One stream of random numbers for each purpose; the order of an epoch is stream 0."""

_SHARED_MEMORY_FROM = 1 << 16
"""Bytes from which an array comes from a worker through shared memory; smaller ones go through its pipe."""


def pixels(dataset: Dataset, index: int, exif_rotate: bool) -> UInt8[np.ndarray, "height width 3"]:
    """The decoded image.

    Raises:
        UserError: it cannot be read or decoded.
    """
    return images.pixels(dataset.source[index], dataset.path(index), exif_rotate)


def run(dataset: grain.MapDataset, num_workers: int) -> Any:
    """Iterate over a map in worker processes, each with one thread, or in threads if there are none."""
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
    """End an iterator of `run`, and its workers."""
    iterator.close()
    if num_workers:
        gc.collect()  # Grain leaves batches that nobody took in a reference cycle, and with them shared memory.


def _usable_cores() -> int:
    """Cores that this process may run on: a job scheduler, or `taskset`, may have given it a part of the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end_with_parent(worker: int, count: int) -> None:
    """End this worker when the process that started it is killed, which Grain's workers would outlive.

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
    """Stop workers while Python still has its modules: Grain's own finalizers come too late for that."""
    for iterator in list(_OPEN):
        iterator.close()
    gc.collect()


def own(entry: dict[str, Any]) -> dict[str, Any]:
    """Copy arrays out of the memory shared with a worker, which can then use it again."""
    return {
        key: np.array(value, subok=False) if isinstance(value, np.ndarray) else value for key, value in entry.items()
    }


def stop_on(problems: list[str], skip: bool) -> None:
    """Raise the first of the problems that images of one batch have, with their number, unless they are to be skipped.

    Raises:
        UserError: there is a problem and `skip` is False.
    """
    if problems and not skip:
        more = f" {len(problems) - 1} more images nearby have problems too." if len(problems) > 1 else ""
        raise UserError(
            f"{problems[0]}{more} Replace the file, or set config.data.skip_bad_images=True to leave it out."
        )


class Skipped:
    """Names of the images that were left out, reported once at the end."""

    def __init__(self, dataset: Dataset):
        self._dataset = dataset
        self._seen: set[int] = set()
        self.names: list[str] = []
        self._reported = False

    def add(self, indices: Int[np.ndarray, " rows"]) -> None:
        """Note these images; -1 stands for none."""
        for index in indices[indices >= 0].tolist():
            if index not in self._seen:
                self._seen.add(index)
                self.names.append(self._dataset.path(index))

    def report(self) -> None:
        """Warn about all of them in one message, the first time."""
        if self.names and not self._reported:
            self._reported = True
            logging.warning(
                "%d images of %s could not be decoded and were skipped: %s%s",
                len(self.names), self._dataset.name, ", ".join(self.names[:10]),
                ", ..." if len(self.names) > 10 else "",
            )  # fmt: skip
