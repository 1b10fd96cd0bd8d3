"""Data sets with flipped labels or without some classes, as tables that a config can name."""

import csv
import dataclasses
import os
from pathlib import Path

import ml_collections
import numpy as np
from jaxtyping import Int
from PIL import Image

from lift_jax.data import Dataset
from lift_jax.data.dataset import FileSource, source_path
from lift_jax.data.workers import pixels
from lift_jax.errors import UserError

_GROUP = "group"
"""The column of a table that says which images belong together."""


def flip(labels: Int[np.ndarray, " n"], num_classes: int, share: float, seed: int) -> Int[np.ndarray, " n"]:
    """Gives a share of labels another class, each of the others with the same probability.

    Every class keeps an image that is labelled rightly: the last one of each class in the order that the seed gives.

    Args:
        labels: the classes.
        num_classes: their number.
        share: of the labels that are flipped, above 0 and below 1; their number is rounded.
        seed: chooses the labels and their new classes.

    Raises:
        UserError: if the share is no label, or more than can be flipped.
    """
    count = round(share * len(labels))
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(labels))
    _, last_of_class = np.unique(labels[order[::-1]], return_index=True)
    can_flip = np.delete(order[::-1], last_of_class)[::-1]
    if not 0 < count <= len(can_flip) or num_classes < 2:
        raise UserError(
            f"--flipped is {share}, which is {count:,} of {len(labels):,} training labels; from 1 to {len(can_flip):,} "
            "can be flipped while each class keeps an image, so write another share."
        )
    chosen, flipped = can_flip[:count], labels.copy()
    flipped[chosen] = (labels[chosen] + generator.integers(1, num_classes, count)) % num_classes
    return flipped


def draw_classes(num_classes: int, count: int, seed: int) -> Int[np.ndarray, " drawn"]:
    """Draws the classes that are left out, ascending.

    Raises:
        UserError: if fewer than two classes would remain.
    """
    if not 0 < count <= num_classes - 2:
        raise UserError(
            f"--unknown-classes is {count}, but the data have {num_classes:,} classes, of which two must remain; write "
            f"a whole number from 1 to {num_classes - 2}."
        )
    return np.sort(np.random.default_rng(seed).choice(num_classes, count, replace=False))


def without(split: Dataset, classes: Int[np.ndarray, " left_out"]) -> Dataset:
    """Takes classes and their images out of a split; those that remain are numbered anew, in their order."""
    kept = np.flatnonzero(~np.isin(split.labels, classes))
    remaining = np.setdiff1d(np.arange(split.num_classes), classes)
    names = tuple(split.class_names[label] for label in remaining.tolist())
    labels = np.searchsorted(remaining, split.labels[kept]).astype(np.int32)
    return dataclasses.replace(split.subset(kept), labels=labels, class_names=names)


def stored(split: Dataset, folder: Path) -> Dataset:
    """Makes all images of a split files: those that are none on a disk yet are written into a folder, as they are."""
    folder.mkdir(parents=True)
    return dataclasses.replace(split, source=FileSource("", [_file(split, i, folder) for i in range(len(split))]))


def _file(split: Dataset, index: int, folder: Path) -> str:
    path = source_path(split.source, index) or ""
    if os.path.isfile(path):
        return os.path.abspath(path)
    file = folder / f"{index}{Path(path).suffix}"
    image = split.source[index]
    if isinstance(image, bytes):
        file.write_bytes(image)
    else:
        Image.fromarray(pixels(split, index, exif_rotate=False)).save(file, format="PNG")
    return str(file)


def use(config: ml_collections.ConfigDict, train: Dataset, test: Dataset, table: Path) -> None:
    """Writes splits whose images are files into a table, and lets a config train and test on them.

    Args:
        config: whose data section is changed; `data.cap` stays, as the number of training images depends on it.
        train, test: the splits (see `stored`).
        table: the CSV file.
    """
    has_groups = train.image_groups is not None
    with table.open("w", newline="", encoding="utf-8", errors="surrogateescape") as opened:
        writer = csv.writer(opened)
        writer.writerow(["path", "label", "class_name", "split", _GROUP])
        for name, split in ("train", train), ("test", test):
            for index, label in enumerate(split.labels.tolist()):
                group = f"{name} {index}" if split.image_groups is None else split.image_groups[index]
                writer.writerow([source_path(split.source, index), label, split.class_names[label], name, group])
    config.data.update(
        format="csv", root=str(table.parent), train_list=str(table), test_list="", class_names="", corrections="",
        imbalance=0, permute_classes=0, val_fraction=0.0, label_column="", group_column=_GROUP if has_groups else "",
    )  # fmt: skip
