"""WebDataset: tar files (shards) in which the files of a sample follow each other, such as 000001.jpg and 000001.cls.

The images are read where they lie.
"""

import logging
import os
import posixpath
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from lift_jax.data import archives, labelled, remote_copies, shards, spans
from lift_jax.data.dataset import Dataset
from lift_jax.data.image_files import SUFFIXES
from lift_jax.data.labelled import Labelled
from lift_jax.data.labels import number_or_name
from lift_jax.data.reading import is_file, printable
from lift_jax.data.shown import shown, some
from lift_jax.data.spans import Span, SpanSource
from lift_jax.data.tables import LABEL
from lift_jax.errors import UserError
from lift_jax.files import parse_json

_LOGGER = logging.getLogger(__name__)

SHARD = ".tar"
_LABELS = (".cls", ".json", ".txt")
"""What a label's file ends with; the first one that a sample has is read."""

_KEYS = tuple(key for key in LABEL if key != "text")  # which is a caption beside images
_NAMES = "classnames.txt"
"""A file of class names that may lie beside the shards."""

Sample = dict[str, Span]
"""The files of a sample by their endings."""


def load_webdataset(
    root: str,
    train_split: str,
    test_split: str,
    class_names: str,
    name: str,
    val_fraction: float,
    seed: int,
    label_column: str = "",
) -> tuple[Dataset, Dataset]:
    """Loads both splits from shards of images and labels.

    Args:
        root: a folder of shards, or one of them.
        train_split, test_split: names of splits, which the names of the shards or of their folders say; "" takes
            `train`, and `test` or else `validation`.
        class_names: file of class names; "" for a `classnames.txt` in the root, or the labels themselves.
        name: name of the data set.
        val_fraction: share of each class that becomes the test split where there is only one.
        seed: chooses that share.
        label_column: the key of the label in a sample's .json file; "" for a usual one.

    Raises:
        UserError: there are no shards, one is damaged or compressed, or an image has no label.
    """
    found = shards.find(root, (SHARD,), train_split, test_split)
    names_file = os.path.join(found.root, _NAMES)
    class_names = class_names or (names_file if is_file(names_file) else "")
    train = _read(found, found.names[0], found.train, label_column)
    test = _read(found, found.names[1], found.test, label_column) if found.test else None
    return labelled.splits(train, test, class_names, name, val_fraction, seed)


def has_samples(members: Collection[str]) -> bool:
    """Tells whether the members of an archive are samples: beside its first image is a label."""
    first = next((path for path in members if _divided(path)[1] in SUFFIXES), None)
    return first is not None and any(_divided(first)[0] + ending in members for ending in _LABELS)


def _read(found: shards.Shards, split: str, files: Sequence[str], label_key: str) -> Labelled:
    """Reads the shards of a split."""
    where = f"{printable(found.root or os.curdir)} (split {split})"
    paths = [os.path.join(found.root, file) for file in files]
    local = remote_copies.fetch(paths)
    which, places, names, labels = [], [], [], []
    for number, (file, path) in enumerate(zip(local, paths, strict=True)):
        lonely = []
        for key, sample in _samples(file).items():
            ending = _image(sample, posixpath.join(path, key))
            if not ending:
                lonely.append(key)
                continue
            which.append(number)
            places.append(sample[ending])
            names.append(posixpath.join(path, key + ending))
            labels.append(_label(sample, file, posixpath.join(path, key), ending, label_key))
        if lonely:
            _LOGGER.warning("%s: left out: samples without an image: %s.", printable(path), some(lonely))
    if not names:
        raise UserError(f"{where} has no images in its shards; each sample is an image and a label of the same name.")
    source = SpanSource(local, np.array(which, np.int32), spans.as_array(places), names)
    return Labelled(where, source, number_or_name(labels, [printable(each) for each in names]))


def _samples(path: str) -> dict[str, Sample]:
    """Gives the samples of a shard by their names."""
    samples: dict[str, Sample] = defaultdict(dict)
    for member, span in archives.open_archive(path).members.items():
        key, ending = _divided(member)
        samples[key][ending] = span
    return samples


def _divided(member: str) -> tuple[str, str]:
    """Divides the path of a member into the name of its sample and an ending, at the first point of the file's name."""
    folder, file = posixpath.split(member)
    stem, point, ending = file.partition(".")
    return posixpath.join(folder, stem), (point + ending).lower()


def _image(sample: Sample, where: str) -> str:
    """Gives the ending of a sample's image; "" if it has none."""
    found = [ending for ending in sample if ending in SUFFIXES]
    if len(found) > 1:
        raise UserError(
            f"{printable(where)} has several images ({', '.join(found)}); leave one of them in each sample."
        )
    return found[0] if found else ""


def _label(sample: Mapping[str, Span], file: str, where: str, image: str, label_key: str) -> str:
    """Reads the label of a sample in a shard, as it is written; messages call the sample as `where` says."""
    ending = next((each for each in _LABELS if each in sample), "")
    if not ending:
        raise UserError(
            f"{printable(where + image)} has no label beside it; add "
            f"{printable(posixpath.basename(where))}{_LABELS[0]} (or {' or '.join(_LABELS[1:])}), or take it out."
        )
    content = spans.read(file, sample[ending], where + ending)
    if ending == ".json":
        return _of_json(content, where + ending, label_key)
    text = content.decode("utf-8", "replace").strip()
    if not text:
        raise UserError(f"{printable(where + ending)} is empty; write the number or the name of the class into it.")
    return text


def _of_json(content: bytes, where: str, label_key: str) -> str:
    try:
        found: Any = parse_json(content)
    except ValueError as error:
        raise UserError(f"{printable(where)} is no valid JSON ({error}).") from error
    keys = (label_key,) if label_key else _KEYS
    values = found if isinstance(found, dict) else {} if label_key else {keys[0]: found}
    label = next((values[key] for key in keys if key in values), None)
    if not isinstance(label, str | int | float) or isinstance(label, bool):
        raise UserError(
            f"{printable(where)} has no label ({shown(found)}); give it the key {keys[0]!r} with a number or a name, "
            "or name its key with config.data.label_column."
        )
    return str(label).strip()
