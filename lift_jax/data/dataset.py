"""A labelled set of images with random access, and what is checked about one before anything is trained on it."""

import dataclasses
import os
import posixpath
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Int, UInt8

from lift_jax.data import archives, spans
from lift_jax.data.reading import read_bytes
from lift_jax.data.shown import some
from lift_jax.data.spans import SpanSource
from lift_jax.errors import UserError


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
        copies: the files on the disk that are read instead, one an image; none if the paths are read themselves.
    """

    root: str
    paths: Sequence[str]
    copies: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> bytes:
        return read_bytes(self.file(index))

    def path(self, index: int) -> str:
        """Gives the full path of the image, by which messages and corrections call it."""
        return os.path.join(self.root, self.paths[index])

    def file(self, index: int) -> str:
        """Gives the full path of the file that is read for the image."""
        return self.copies[index] if self.copies else self.path(index)


def file_source(root: str, paths: Sequence[str]) -> Source:
    """Makes the source of files below a root, which may be an archive.

    Args:
        root: folder that the paths are relative to.
        paths: one relative path an image.
    """
    if place := archives.divide(root):
        members = archives.open_archive(place.archive).members
        inside = [posixpath.normpath(posixpath.join(place.inside, path)) for path in paths]
        if all(each in members for each in inside):  # a list may name a file beside the archive by its whole path
            where = spans.as_array(members[each] for each in inside)
            names = tuple(posixpath.join(root, path) for path in paths)
            return SpanSource((place.archive,), np.zeros(len(where), np.int32), where, names)
    return FileSource(root, tuple(paths))


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


def canonical_order(dataset: Dataset) -> Int[np.ndarray, " images"]:
    """Sorts a data set by label, if an image has one, and file name.

    So the same images have the same order, whatever held them.
    """
    names = [os.path.splitext(os.path.basename(dataset.path(index)))[0] for index in range(len(dataset))]
    by_label = () if dataset.labels.ndim == 2 else (dataset.labels,)
    return np.lexsort((np.array(names), *by_label))


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

    Raises:
        UserError: there is one class only; or one has no training image, and the message says whether the test split
            asks for it.
    """
    if train.num_classes == 1 and train.labels.ndim == 1:
        raise UserError(
            f"{train.name} has images of one class only ({train.class_names[0]}), and a classifier needs two or more; "
            "add images of another."
        )
    empty = np.flatnonzero(train.class_counts == 0)
    if empty.size:
        tested = int(np.count_nonzero(test.class_counts[empty]))
        named = some([f"{label} ({train.class_names[label]})" for label in empty])
        raise UserError(
            f"{train.name} has no image of class {named}"
            + (f", and {test.name} tests {tested} such class{'es' if tested > 1 else ''}" if tested else "")
            + "; add training images or take the class out of the data set."
        )
