"""List files in the format of the ImageNet-LT and Places-LT releases (OLTR, Liu et al. 2019): `relative/path label`."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from lift_jax.data import classnames, delimited, imagenet, text
from lift_jax.data.classnames import Classes
from lift_jax.data.dataset import Dataset, check_labels, file_source
from lift_jax.data.labels import whole_number
from lift_jax.data.listed_files import find_files
from lift_jax.data.matching import in_order, match
from lift_jax.data.shown import shown, some
from lift_jax.errors import UserError

_SEPARATORS = " \t,;|"

Split = tuple[str, Sequence[str], Sequence[int] | Sequence[str]]
"""(the file or folder that a split comes from, relative paths of its images, their labels)."""


def read_list(path: str) -> tuple[list[str], list[int]]:
    """Reads the relative paths and labels of a list file.

    The label is the last word of a line, after spaces, or after a comma, semicolon or bar in all lines; the path before
    it may hold spaces, and may be in quotes. Empty lines are skipped.

    Raises:
        UserError: if the file cannot be read, is empty, or a line does not end in a whole number.
    """
    paths, labels, separators = [], [], set()
    _, content = delimited.declared(text.read(path, keep_bytes=True))
    for line_number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        name, separator, word = _parts(line.strip())
        label = whole_number(word)
        if label is None:
            raise UserError(
                f"{path} line {line_number} ends in '{shown(word)}'; each line is an image's path, a space, and a "
                f"label, which is a whole number (a table whose first line names its columns is read with "
                f"config.data.format=csv)."
            )
        if not name:
            raise UserError(f"{path} line {line_number} has no path before the label {label}.")
        separators.add(separator)
        if len(separators) > 1:
            raise UserError(
                f"{path} line {line_number} has {separator or 'a space'} before the label, unlike the lines before "
                f"it; write a space in all lines."
            )
        paths.append(_unquoted(name))
        labels.append(label)
    if not paths:
        raise UserError(f"{path} lists no images; each line is an image's path, a space, and its label.")
    return paths, labels


def _parts(line: str) -> tuple[str, str, str]:
    """Splits a line into the path, the separator ("" for spaces), and the last word."""
    end = 1 + max(line.rfind(each) for each in _SEPARATORS)
    name = line[:end].rstrip(_SEPARATORS)
    return name, line[len(name) : end].strip(), line[end:].strip('"')


def _unquoted(path: str) -> str:
    quoted = len(path) > 1 and path[0] == path[-1] and path[0] in "\"'"
    return path[1:-1] if quoted else path


def load_lists(root: str, train_list: str, test_list: str, class_names: str, name: str) -> tuple[Dataset, Dataset]:
    """Loads the training and the test split from two list files over one image root.

    Args:
        root: folder that the lists' paths are relative to.
        train_list, test_list: the list files.
        class_names: file of class names (see `name_files.read`), or "" for the names of the images' folders.
        name: name of the data set.

    Raises:
        UserError: see `read_list`, `find_files`, `check_labels`; or if the names are not those of the classes.
    """
    for key, value in (("root", root), ("train_list", train_list), ("test_list", test_list)):
        if not value:
            raise UserError(
                f"config.data.{key} is empty; config.data.format=lists needs root, train_list and test_list."
            )
    train_paths, train_labels = read_list(train_list)
    test_paths, test_labels = read_list(test_list)
    return from_paths(
        root, (train_list, train_paths, train_labels), (test_list, test_paths, test_labels), class_names, name
    )


def from_paths(
    root: str,
    train: Split,
    test: Split,
    class_names: str | Sequence[str] | Mapping[str, str],
    name: str,
    check: bool = True,
    thing: str = "label",
) -> tuple[Dataset, Dataset]:
    """Makes the training and the test split from paths and labels, each with the name of the file they come from.

    Args:
        root: folder that the paths are relative to.
        train, test: (where they come from, relative paths, labels). The labels are numbers, or they are names or
            folders, which make the classes in the order of `matching.in_order`.
        class_names: a file of names; or the names in label order, or the name of each label as it is written; or ""
            for the labels, or, where they are numbers, for the names of the images' folders.
        name: name of the data set.
        check: whether to look if the files exist.
        thing: what messages call a label that is a name, for example "class folder".

    Raises:
        UserError: as `load_lists`.
    """
    if check:
        train, test = ((each, find_files(root, paths, each), labels) for each, paths, labels in (train, test))
    where, train_paths, train_labels = train
    if isinstance(class_names, str | Mapping) and isinstance(next(iter(train_labels), 0), str):
        classes = classnames.of_labels(in_order(map(str, train_labels)), class_names, thing, where)
    else:
        classes = _of_numbers(where, train_paths, [int(label) for label in train_labels], class_names)
    splits = []
    for kind, (each, paths, labels) in ("train", train), ("test", test):
        array = _class_numbers(labels, classes.labels, each, where)
        source = file_source(root, paths)
        splits.append(Dataset(f"{name} {kind}", source, array, classes.names, classes.source))
    return splits[0], splits[1]


def _of_numbers(
    where: str, paths: Sequence[str], labels: Sequence[int], class_names: str | Sequence[str] | Mapping[str, str]
) -> Classes:
    """Gives the classes of training images whose labels are numbers."""
    if class_names and isinstance(class_names, str | Mapping) and labels:
        return classnames.of_numbers(labels, class_names, classnames.own_folders(paths, labels), where)
    check_labels(labels, len(class_names) or None, where)
    numbers = tuple(range(len(class_names) or max(labels) + 1))
    if class_names:
        return Classes(numbers, tuple(class_names), "the data set")
    folders = classnames.own_folders(paths, labels)
    if not folders:
        return Classes(numbers, tuple(f"class {label}" for label in numbers), "the labels, which are numbers")
    return Classes(numbers, tuple(imagenet.readable([folders[label] for label in numbers])), "the images' folders")


def _class_numbers(
    labels: Sequence[int] | Sequence[str], known: Sequence[int] | Sequence[str], where: str, train_where: str
) -> Int[np.ndarray, " images"]:
    """Gives the class index of each label, int32 [images].

    Args:
        labels: one an image.
        known: the labels of the classes in order. Names may be spelt in another way, see `matching.match`.
        where: what messages call the split.
        train_where: what messages call the training split.
    """
    if list(known) == list(range(len(known))):
        numbers = [int(label) for label in labels]
        if where != train_where and max(numbers, default=0) >= len(known):
            raise UserError(
                f"{where} has the label {max(numbers)}, which {train_where} lacks: "
                f"training has {len(known)} classes, 0 to {len(known) - 1}."
            )
        return check_labels(numbers, len(known), where)
    names = [str(label) for label in known]
    distinct = sorted(set(labels))
    places = match([str(label) for label in distinct], names)
    if places is None:
        unknown = [label for label in distinct if match([str(label)], names) is None] or distinct
        tested, trained = (
            ("The test split of " + where, "the training split") if where == train_where else (where, train_where)
        )
        raise UserError(
            f"{tested} has the class '{shown(unknown[0])}' ({len(unknown)} such), which {trained} lacks; add "
            f"images of it there, or take it out (the classes are {some(names)})."
        )
    positions = dict(zip(distinct, places, strict=True))
    return np.array([positions[label] for label in labels], np.int32)
