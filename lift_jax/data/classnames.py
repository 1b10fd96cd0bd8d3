"""The classes of a data set: their labels in order, and their names from files and from folders."""

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lift_jax.data import imagenet, name_files, text
from lift_jax.data.matching import is_digits
from lift_jax.data.name_files import Reading
from lift_jax.data.naming import Names
from lift_jax.data.shown import shown
from lift_jax.errors import UserError


class Classes(NamedTuple):
    """The classes of a data set, in label order.

    Attributes:
        labels: how the data set writes the label of each: folders, names or numbers.
        names: the name of each.
        source: where the names come from, for messages.
    """

    labels: tuple[str, ...] | tuple[int, ...]
    names: tuple[str, ...]
    source: str


def of_labels(labels: Sequence[str], names: str | Mapping[str, str], thing: str, where: str = "") -> Classes:
    """Gives the classes whose labels are folders or names, and takes their names from a file if there is one.

    The file is read in every form of `name_files`, and is taken by name where its keys or its names are the labels.
    It is taken in the order of the labels only where none of it is a label, or the labels are numbers.

    Args:
        labels: distinct, in label order.
        names: file of names; or the name of each label; or "" for the labels themselves.
        thing: what messages call a label, for example "class folder".
        where: the file that names which are no file come from.

    Raises:
        UserError: if the file cannot be read, or which of its names a label has is not sure.
    """
    readable = [_as_text(label) for label in labels]
    if not names:
        return Classes(tuple(labels), tuple(imagenet.readable(readable)), f"the {thing}s")
    given = _read(names, where)
    named = given.by_name(readable, thing)
    if named is not None:
        return Classes(tuple(labels), named, f"{given.where}, by name")
    are_numbers = all(map(is_digits, readable))
    given.check_order(readable, thing, strict=not are_numbers)
    by_number = None if are_numbers else given.by_number([])
    if by_number is not None:
        named = tuple(by_number.values())
    elif given.is_ordered() and not (are_numbers and given.is_numbered()):
        named = given.in_order(len(labels))
    if named is None or len(named) != len(labels):
        raise given.misfit(readable, thing)
    return Classes(tuple(labels), named, f"{given.where}, by position in the order of the {thing}s")


def of_numbers(
    labels: Sequence[int], names: str | Mapping[str, str], folders: Mapping[int, str], where: str
) -> Classes:
    """Gives the classes whose labels are numbers, named by number, by the folders of their images, or by position.

    Args:
        labels: of the training images; not negative, not empty.
        names: file of names, or the name of each label.
        folders: the folder of each label's images, or empty where a label has no folder of its own.
        where: the file that names which are no file come from.

    Raises:
        UserError: if the file cannot be read, or which of its names a label has is not sure.
    """
    present = sorted(set(labels))
    given = _read(names, where)
    by_number = given.by_number(present)
    if by_number is not None:
        return Classes(tuple(by_number), tuple(by_number.values()), f"{given.where}, by number")
    called = {"label": [str(label) for label in present]}
    if folders:
        called["folder"] = [folders[label] for label in present]
    for thing, keys in called.items():
        named = given.by_name(keys, thing, spaced=False)
        if named is not None:
            return Classes(tuple(present), named, f"{given.where}, by {thing}")
    if given.is_numbered() or not given.is_ordered():
        thing = max(called, key=lambda thing: given.overlap(called[thing]))
        raise given.misfit(called[thing], thing)
    if folders and not all(map(is_digits, folders.values())):  # numbers say nothing about names
        given.check_order(called["folder"], "folder", strict=False)
    named = given.in_order(len(present))
    first = 1 if present == list(range(1, len(named) + 1)) else 0
    return Classes(tuple(range(first, first + len(named))), named, f"{given.where}, by position, label {first} first")


def _read(names: str | Mapping[str, str], where: str) -> Names:
    if isinstance(names, str):
        return Names(names, name_files.read(names))
    return Names(where, [[Reading(tuple(names), tuple(names.values()))]])


def _as_text(label: str) -> str:
    """Reads a folder's name as text; where it is no UTF-8, its bytes are decoded as `text.decode` does, if it can."""
    try:
        label.encode("utf-8")
        return label
    except UnicodeEncodeError:
        pass
    try:
        return text.decode(os.fsencode(label), f"The folder's name {shown(label)}")
    except (UnicodeEncodeError, UserError):
        return label


def own_folders(paths: Sequence[str], labels: Sequence[int]) -> dict[int, str]:
    """Gives the folder of each label if the images of every label are in a folder of their own; otherwise nothing.

    Where the last part of the folders' paths is not distinct, as in Places, they are the paths below the folder that
    all have in common.

    Args:
        paths: relative paths of images.
        labels: their labels.
    """
    folders: dict[int, set[str]] = {}
    for path, label in zip(paths, labels, strict=True):
        folders.setdefault(label, set()).add(os.path.dirname(path))
    whole = {label: next(iter(names)) for label, names in folders.items() if len(names) == 1}
    if not len(folders) == len(whole) == len(set(whole.values())) or not all(whole.values()):
        return {}
    last = {label: os.path.basename(folder) for label, folder in whole.items()}
    if len(set(last.values())) < len(last):
        if len({os.path.isabs(folder) for folder in whole.values()}) > 1:
            return {}
        common = os.path.commonpath(list(whole.values())) or "."
        last = {label: os.path.relpath(folder, common) for label, folder in whole.items()}
    return {label: _as_text(folder) for label, folder in last.items()}
