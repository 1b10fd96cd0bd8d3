"""Data sets that TFDS prepared as array_record files, read without TensorFlow."""

import contextlib
import dataclasses
import logging
import os
from typing import Any

import numpy as np
from etils import epath
from jaxtyping import Int
from tqdm import tqdm

from lift_jax.data import inaturalist
from lift_jax.data.classnames import of_labels
from lift_jax.data.dataset import ArraySource, Dataset, check_labels
from lift_jax.data.lists import from_paths, read_list
from lift_jax.data.shown import some
from lift_jax.data.workers import pixels
from lift_jax.errors import UserError, reason

_LOGGER = logging.getLogger(__name__)

FINISHED = "features.json"
"""The file that a folder of records has once all the others are there."""

_NAME_FEATURES = ("file_name", "filename", "image/filename", "id")
_IN_MEMORY_PIXELS = 64 * 64
"""Images of a fixed size up to this one are decoded once and kept."""


@dataclasses.dataclass(frozen=True)
class RecordSource:
    """Encoded images of a prepared split.

    Args:
        records: the TFDS data source, whose images are not decoded.
        order: which of its records, in what order, int [images].
        names: one file name or id an image.
    """

    records: Any
    order: Int[np.ndarray, " images"]
    names: np.ndarray

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> bytes:
        return self.records[int(self.order[index])]["image"]

    def path(self, index: int) -> str:
        """Gives the image's file name or id."""
        return str(self.names[index])


def load_records(
    name: str, data_dir: str, train_split: str, test_split: str, class_names: str, level: str
) -> tuple[Dataset, Dataset]:
    """Loads the training and the test split of a data set that TFDS prepared as array_record files.

    Images come in the order of their file names or ids, which is CIFAR's original order.

    Args:
        name: TFDS's name of the data set (cifar10, cifar100, imagenet_lt, i_naturalist2018, or places_lt as
            `lift_jax.data.prepare` makes it), possibly with `/config`.
        data_dir: TFDS's data directory, local or remote; "" stands for ~/tensorflow_datasets.
        train_split, test_split: names of splits; "" stands for `train`, and for `test`, or `validation` where that is
            the labelled one (i_naturalist2018). Or two list files (.txt) of images of a larger data set, such as those
            of Places-LT over places365_small: of its splits `train` and `validation`.
        class_names: a file of names in place of the data set's own; for levels of i_naturalist2018 its categories.json.
        level: of i_naturalist2018's taxonomy; "species" leaves the classes as they are.

    Raises:
        UserError: the data set is not there, is not in array_record format, or has no such split.
    """
    builder = open_builder(name, data_dir)
    if train_split.endswith(".txt") and test_split.endswith(".txt"):
        return _load_listed(builder, train_split, test_split, class_names, name)
    default = "validation" if name.startswith("i_naturalist") or "test" not in builder.info.splits else "test"
    train = _split(builder, train_split or "train", name)
    test = _split(builder, test_split or default, name)
    own_names = list(builder.info.features["label"].names)
    if level != "species":
        return _at_level(train, own_names, class_names, level), _at_level(test, own_names, class_names, level)
    _, names, source = of_labels(own_names, class_names, "original name")
    named = dict(class_names=names, names_from=source if class_names else "the data set")
    return dataclasses.replace(train, **named), dataclasses.replace(test, **named)


def _load_listed(builder: Any, train_list: str, test_list: str, class_names: str, name: str) -> tuple[Dataset, Dataset]:
    """Loads the images of two list files out of the splits of a larger data set."""
    train, test = from_paths(
        "", (train_list, *read_list(train_list)), (test_list, *read_list(test_list)), class_names, name, check=False
    )
    test_split = "validation" if "validation" in builder.info.splits else "test"
    return _of_split(train, builder, "train", train_list), _of_split(test, builder, test_split, test_list)


def _of_split(listed: Dataset, builder: Any, split: str, where: str) -> Dataset:
    """Finds the listed images among the records of a split.

    An image is known by its label and the name of its file, for the folders may be laid out in two ways, as those of
    Places365 are.
    """
    labels, names = read_index(builder, split)
    keys = zip(labels.tolist(), map(os.path.basename, names.tolist()), strict=True)
    records = {key: record for record, key in enumerate(keys)}
    if len(records) < len(labels):
        raise UserError(f"{builder.name} {split} has files of one label and name; list files cannot tell them apart.")
    paths = [listed.path(index) for index in range(len(listed))]
    keys = zip(listed.labels.tolist(), map(os.path.basename, paths), strict=True)
    order = np.array([records.get(key, -1) for key in keys])
    if missing := [path for path, record in zip(paths, order, strict=True) if record < 0]:
        raise UserError(
            f"{where} names images ({len(missing):,} in all) that {builder.name} {split} lacks, by label and name of "
            f"the file: {some(missing)}; give the lists of this data set."
        )
    return dataclasses.replace(listed, source=RecordSource(_records(builder, split), order, names[order]))


def open_builder(name: str, data_dir: str) -> Any:
    """Opens the newest prepared version of a data set.

    Raises:
        UserError: there is none, or its files are no array_record files.
    """
    import tensorflow_datasets as tfds  # Slow to import, and only this format needs it.

    top = epath.Path(data_dir or "~/tensorflow_datasets").expanduser() / name
    try:
        versions = (
            [each for each in top.iterdir() if each.name[0].isdigit() and (each / FINISHED).exists()]
            if top.exists()
            else []
        )
    except (OSError, ImportError) as error:
        raise UserError(f"{top} cannot be read: {reason(error)}.") from error
    if not versions:
        raise UserError(
            f"{top} holds no prepared data set; run python -m lift_jax.data.prepare {name} --data_dir {top.parent}, "
            f"or set config.data.root to the TFDS data directory."
        )
    newest = max(versions, key=lambda each: [int(part) for part in each.name.split(".") if part.isdigit()])
    builder = tfds.builder_from_directory(newest)
    form = builder.info.file_format.value if builder.info.file_format else "unknown"
    if form != "array_record":
        raise UserError(
            f"{newest} is in the format {form}, which has no random access; run "
            f"python -m lift_jax.data.prepare {name} --data_dir with a new directory."
        )
    return builder


def _split(builder: Any, split: str, name: str) -> Dataset:
    if split not in builder.info.splits:
        raise UserError(f"{name} has no split {split!r}; it has {', '.join(builder.info.splits)}.")
    labels, names = read_index(builder, split)
    order = np.argsort(names, kind="stable")
    where = f"{name} {split}"
    array = check_labels(labels[order].tolist(), builder.info.features["label"].num_classes, where)
    source = RecordSource(_records(builder, split), order, names[order])
    return Dataset(where, source, array, tuple(builder.info.features["label"].names))


def _records(builder: Any, split: str) -> Any:
    """Gives the records by index, with the images still encoded."""
    import tensorflow_datasets as tfds

    return builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})


def read_index(builder: Any, split: str) -> tuple[Int[np.ndarray, " images"], np.ndarray]:
    """Gives label and file name (or id) of every record.

    They are inside the records, beside the images, so reading them means reading everything; so they are kept in a file
    beside the records (or, where that cannot be written, read again each time).
    """
    features = builder.info.features
    key = next((each for each in _NAME_FEATURES if each in features), None)
    count = builder.info.splits[split].num_examples
    file = epath.Path(builder.data_dir) / f"lift_jax_index-{split}.npz"
    if file.exists():
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as saved:
            if len(saved["labels"]) == count:
                return saved["labels"], saved["names"]
    records = _records(builder, split)
    labels = np.zeros(count, np.int32)
    names: list[str] = []
    for index in tqdm(range(count), desc=f"labels of {split}", unit="image", disable=None, leave=False):
        record = records[index]
        labels[index] = record["label"]
        name = record[key] if key else f"{index:08d}"
        names.append(name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name))
    part = epath.Path(builder.data_dir) / f"lift_jax_index-{split}.npz.{os.getpid()}"
    try:
        with part.open("wb") as stream:
            np.savez(stream, labels=labels, names=np.array(names))
        part.replace(file)
    except OSError as error:
        _LOGGER.warning("%s cannot be written (%s); the labels are read from the records each time.", file, error)
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return labels, np.array(names)


def in_memory(dataset: Dataset) -> Dataset:
    """Decodes the images of a data set if the first is small and all are of its size; else leaves the set unchanged."""
    images: np.ndarray | None = None
    for index in range(len(dataset)):
        try:
            image = pixels(dataset, index, exif_rotate=False)
        except UserError:  # The loader says so when it comes to this image, or skips it.
            return dataset
        if images is None:
            if image.shape[0] * image.shape[1] > _IN_MEMORY_PIXELS:
                return dataset
            images = np.zeros((len(dataset), *image.shape), np.uint8)
        if image.shape != images.shape[1:]:
            return dataset
        images[index] = image
    return dataset if images is None else dataclasses.replace(dataset, source=ArraySource(images))


def _at_level(split: Dataset, own_names: list[str], categories_json: str, level: str) -> Dataset:
    """Gives the split with the taxa of a level as classes."""
    if not categories_json:
        raise UserError(
            f"config.data.level is {level}; set data.class_names to the categories.json, which has the taxa."
        )
    numbers, names = inaturalist.taxa(inaturalist.read_json(categories_json), level, categories_json)
    _, species = inaturalist.taxa(inaturalist.read_json(categories_json), "species", categories_json)
    by_species = dict(zip(species, (numbers[each] for each in sorted(numbers)), strict=True))
    missing = [name for name in own_names if name not in by_species]
    if missing:
        raise UserError(
            f"{categories_json} has no category {missing[0]!r} ({len(missing)} such); give the same year's file."
        )
    table = np.array([by_species[name] for name in own_names], np.int32)
    return dataclasses.replace(split, labels=table[split.labels], class_names=tuple(names))
