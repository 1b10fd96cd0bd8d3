"""A labelled set of images with random access, and what is checked about one before anything is trained on it."""

import dataclasses
import os
import re
import stat
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from absl import logging
from etils import epath
from jaxtyping import Bool, Int, UInt8

from lift_jax import text
from lift_jax.data.shown import some
from lift_jax.errors import UserError, reason
from lift_jax.files import expand

MAX_FILE_BYTES = 1 << 31
"""Larger files are refused: an image with the most pixels that are accepted has less, in 32-bit floats."""


class Source(Protocol):
    """Gives images by index: the encoded file as bytes, the pixels as uint8 [height, width, 3], or an image of Pillow.

    A source is pickled once for each worker process, so it holds names, handles or small arrays, no photographs.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> bytes | UInt8[np.ndarray, "height width 3"]: ...


@dataclasses.dataclass(frozen=True)
class FileSource:
    """Image files, read when they are asked for.

    Args:
        root: folder that the paths are relative to; anything that etils.epath opens (a local path, gs://, s3://).
        paths: one relative path an image.
    """

    root: str
    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> bytes:
        return read_bytes(self.path(index))

    def path(self, index: int) -> str:
        """Gives the full path of the image's file."""
        return os.path.join(self.root, self.paths[index])


@dataclasses.dataclass(frozen=True)
class ArraySource:
    """Images held in memory, all of one size.

    Args:
        images: uint8 [images, height, width, 3].
    """

    images: UInt8[np.ndarray, "images height width 3"]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        return self.images[index]


@dataclasses.dataclass(frozen=True)
class SubsetSource:
    """Some images of another source, in a given order.

    Args:
        source: the whole.
        indices: which of its images, int [images].
    """

    source: Source
    indices: Int[np.ndarray, " images"]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> bytes | np.ndarray:
        return self.source[int(self.indices[index])]

    def path(self, index: int) -> str | None:
        """Gives the name that the whole source has for the image, if it has one."""
        return source_path(self.source, int(self.indices[index]))


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One split of a data set.

    Args:
        name: what messages call it, for example "cifar100 train".
        source: images by index.
        labels: int32 [images], in 0 .. classes - 1; of images with several labels bool [images, classes].
        class_names: one human-readable name a class, in label order.
        names_from: where the names come from, for messages: "the class folders", "names.txt, by position".
        image_groups: the group of each image, which no split divides; None if each is on its own.
    """

    name: str
    source: Source
    labels: Int[np.ndarray, " images"] | Bool[np.ndarray, "images classes"]
    class_names: tuple[str, ...]
    names_from: str = ""
    image_groups: Int[np.ndarray, " images"] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def path(self, index: int) -> str:
        """Names an image in messages: by the path of its file if it has one, otherwise as "NAME[index]"."""
        return source_path(self.source, index) or f"{self.name}[{index}]"

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def class_counts(self) -> Int[np.ndarray, " classes"]:
        """The number of images of each class, int64 [classes]."""
        return label_counts(self.labels, self.num_classes)

    def no_labels(self, rows: int) -> np.ndarray:
        """Makes labels of so many rows that are padding."""
        shape = self.labels.shape[1:]
        return np.zeros((rows, *shape), bool if shape else np.int32)

    def subset(self, indices: Int[np.ndarray, " images"], name: str | None = None) -> "Dataset":
        """Makes a data set of the images `indices`, in that order, with the same classes."""
        source = SubsetSource(self.source, indices)
        groups = None if self.image_groups is None else self.image_groups[indices]
        return dataclasses.replace(
            self, name=name or self.name, source=source, labels=self.labels[indices], image_groups=groups
        )  # fmt: skip


def label_counts(
    labels: Int[np.ndarray, " images"] | Bool[np.ndarray, "images classes"], num_classes: int
) -> Int[np.ndarray, " classes"]:
    """Counts the images of each class, int64."""
    if labels.ndim == 2:
        return labels.sum(axis=0, dtype=np.int64)
    return np.bincount(labels, minlength=num_classes).astype(np.int64)


def source_path(source: Source, index: int) -> str | None:
    """Gives the name that a source has for an image, or None if it has no names."""
    path = getattr(source, "path", None)
    return path(index) if path is not None else None


def printable(name: str) -> str:
    """Makes the whole of a file's name fit to be shown anywhere (see `lift_jax.text.printable`)."""
    return text.printable(name, None)


def is_remote(path: str) -> bool:
    """Tells whether a path is in a bucket.

    Raises:
        UserError: the path, or a part of it from which on it stands alone, is at an address that cannot be read.
    """
    address = re.search(r"(?:^|/)([A-Za-z][A-Za-z0-9+.-]*://)", path)
    if address is None:
        return False
    expand(path[address.start(1) :], "The path of a file")
    return True


def read_bytes(path: str) -> bytes:
    """Reads a local or remote file.

    Raises:
        UserError: the file cannot be read, is no regular file, or has more than `MAX_FILE_BYTES`.
    """
    try:
        if is_remote(path):
            return epath.Path(path).read_bytes()
        status = os.stat(path)  # Before it is opened: to open a pipe is to wait for who writes into it.
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{printable(path)} is {special(status.st_mode)}, not a file; name a file.")
        if status.st_size > MAX_FILE_BYTES:
            raise UserError(
                f"{printable(path)} has {status.st_size:,} bytes, more than the {MAX_FILE_BYTES:,} that are read."
            )
        with open(path, "rb") as file:
            return file.read()
    except UserError:
        raise
    except Exception as error:  # That of a bucket's library can be any.
        relative = not is_remote(path) and not os.path.isabs(path)
        place = f" from the current folder {os.getcwd()}" if relative else ""
        raise UserError(f"{printable(path)} cannot be read{place}: {reason(error)}.") from error


def special(mode: int) -> str:
    """Names what is no regular file by its mode, such as "a folder" or "a pipe"."""
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def list_folder(folder: str) -> set[str]:
    """Lists the names of what is in a local or remote folder.

    Raises:
        UserError: the folder does not exist, is none, or cannot be read.
    """
    try:
        if is_remote(folder):
            return {child.name for child in epath.Path(folder).iterdir()}
        return set(os.listdir(folder or "."))
    except UserError:
        raise
    except Exception as error:  # As above.
        raise UserError(f"The folder {printable(folder)} cannot be read: {reason(error)}.") from error


def is_folder(path: str) -> bool:
    """Tells whether a local or remote path is a folder.

    Raises:
        UserError: the bucket cannot be asked.
    """
    if not is_remote(path):
        return os.path.isdir(path)
    try:
        return epath.Path(path).is_dir()
    except Exception as error:  # As above.
        raise UserError(f"{printable(path)} cannot be read: {reason(error)}.") from error


def check_labels(labels: Sequence[int], num_classes: int | None, where: str) -> Int[np.ndarray, " images"]:
    """Checks that the labels of a split are in range, and gives them as int32 [images].

    Args:
        labels: one integer an image.
        num_classes: number of classes, or None where this split defines it as its largest label plus one.
        where: what the message calls the split, for example the list file.

    Raises:
        UserError: if there are no labels, or one is outside 0 .. num_classes - 1, or, where this split defines the
            number of classes, one of them has no image.
    """
    if not len(labels):
        raise UserError(f"{where} has no images; give a list or folder with at least one image a class.")
    present = set(labels)
    low, high = min(present), max(present)
    if low < 0:
        raise UserError(f"{where} has the label {low}; labels are the integers 0 to the number of classes - 1.")
    if num_classes is None and (low, high) == (1, len(present)):
        raise UserError(
            f"{where} has labels from 1 to {high} and no image of 0; subtract one from each, or name the classes by "
            f"number in config.data.class_names."
        )
    if num_classes is None and high >= len(present):
        # There can be billions of numbers without an image.
        empty = [label for label in range(min(high, len(present) + 10)) if label not in present][:10]
        more = high + 1 - len(present) - len(empty)
        raise UserError(
            f"{where} has labels up to {high} but no image of {', '.join(map(str, empty))}"
            f"{f' and {more:,} more' if more else ''}; number the classes 0 to n-1 without a gap."
        )
    if num_classes is not None and high >= num_classes:
        raise UserError(
            f"{where} has the label {high}, but there are {num_classes:,} classes, 0 to {num_classes - 1}"
            f"{'; subtract one from each label if you began with 1' if (low, high) == (1, num_classes) else ''}."
        )
    return np.asarray(labels, np.int32)


def check_splits(train: Dataset, test: Dataset) -> None:
    """Checks the training and the test split against each other.

    Images that are in both (by file name) are only warned about, with their number.

    Raises:
        UserError: a class has no training image; the message says whether the test split asks for it.
    """
    empty = np.flatnonzero(train.class_counts == 0)
    if empty.size:
        tested = int(np.count_nonzero(test.class_counts[empty]))
        named = some([f"{label} ({train.class_names[label]})" for label in empty])
        raise UserError(
            f"{train.name} has no image of class {named}"
            + (f", and {test.name} tests {tested} such class{'es' if tested > 1 else ''}" if tested else "")
            + "; add training images or take the class out of the data set."
        )
    trained = {source_path(train.source, i) for i in range(len(train))}
    both = {path for i in range(len(test)) if (path := source_path(test.source, i)) is not None and path in trained}
    if both:
        logging.warning(
            "%d images are in both %s and %s, for example %s; the test accuracy is too high by them.",
            len(both), train.name, test.name, printable(min(both)),
        )  # fmt: skip
