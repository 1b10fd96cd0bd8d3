"""Data sets of images in buckets, which are fetched before they are trained on."""

import dataclasses
import logging
from collections.abc import Iterator

from lift_jax.data import archives, remote_copies
from lift_jax.data.dataset import Dataset, FileSource, SubsetSource
from lift_jax.data.reading import is_remote

_LOGGER = logging.getLogger(__name__)


def fetched(*datasets: Dataset) -> Iterator[Dataset]:
    """Yields data sets whose images are on the disk: those of files in buckets are fetched, others are as they were.

    If the disk has no room for all of them, a warning says so, and each image is read from its bucket when it is asked
    for.

    Args:
        datasets: of one run, such as both splits.

    Raises:
        UserError: see `remote_copies.fetch`.
    """
    paths = [_paths(dataset) for dataset in datasets]
    try:
        copies = iter(remote_copies.fetch([path for each in paths for path in each]))
    except remote_copies.FullError as error:
        _LOGGER.warning("%s Until then each epoch reads the images from where they are.", error)
        yield from datasets
        return
    for dataset, each in zip(datasets, paths, strict=True):
        files = [next(copies) for _ in each]
        yield dataclasses.replace(dataset, source=FileSource("", each, files)) if each else dataset


def _paths(dataset: Dataset) -> list[str]:
    """Gives the paths of the files of a data set; none if it has no files in buckets that are still to be fetched."""
    source = dataset.source
    while isinstance(source, SubsetSource):
        source = source.source
    if not isinstance(source, FileSource) or source.copies:
        return []
    paths = [dataset.path(index) for index in range(len(dataset))]
    remote = [path for path in paths if is_remote(path)]
    return paths if remote and not any(map(archives.divide, remote)) else []
