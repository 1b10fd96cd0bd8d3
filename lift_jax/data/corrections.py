"""Corrections that a person has made to the labels of a data set, such as with `python -m lift_jax.review`."""

import difflib
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lift_jax.data import named_classes, tables
from lift_jax.data.dataset import Dataset, source_path
from lift_jax.data.shown import and_more, shown
from lift_jax.errors import UserError

_SHOWN = 5
"""How many unknown paths a sentence lists."""


class _Correction(NamedTuple):
    """The label that an image gets, None to leave it out; and the line that says so."""

    label: int | None
    where: str


def name(dataset: Dataset, index: int, root: str) -> str | None:
    """Gives what corrections call an image: its path from the root of the data; None if it has no path."""
    path, start = source_path(dataset.source, index), os.path.join(root, "")
    return path.removeprefix(start) if path is not None and root else path


def apply(splits: Sequence[Dataset], path: str, root: str) -> list[Dataset]:
    """Gives the images of a file of corrections the labels that it says, and leaves out those that have none there.

    Args:
        splits: the images.
        path: a table with a column of paths and one of class names or labels, which may be empty (see
            `lift_jax.data.tables.read_table`).
        root: the folder that the paths start from; whole paths do as well.

    Raises:
        UserError: if a path or class is not known (the sentence says the nearest), an image comes twice, or the images
            have no paths.
    """
    corrections = _read(path, splits[0].class_names)
    names = [[name(split, i, root) for i in range(len(split))] for split in splits]
    if not any(each is not None for split in names for each in split):
        raise UserError(
            f"config.data.corrections is {path}, but the images of {splits[0].name} have no paths that it could name; "
            "leave it out."
        )
    whole = [[source_path(split.source, i) for i in range(len(split))] for split in splits]
    known = {each for kind in (names, whole) for split in kind for each in split if each is not None}
    _check_known(corrections, known, path, root)
    return [_applied(*each, corrections) for each in zip(splits, names, whole, strict=True)]


def _read(path: str, class_names: Sequence[str]) -> dict[str, _Correction]:
    """Reads the correction of each image."""
    rows = tables.read_table(path, may_lack_labels=True)
    written = [row.label for row in rows if row.label]
    labels = iter(named_classes.find(written, class_names, path))
    found: dict[str, _Correction] = {}
    for row in rows:
        if row.path in found:
            raise UserError(f"{row.where} has the image {shown(row.path)} a second time; write it in one line.")
        found[row.path] = _Correction(next(labels) if row.label else None, row.where)
    return found


def _check_known(corrections: Mapping[str, _Correction], known: set[str], path: str, root: str) -> None:
    missing = [each for each in corrections if each not in known]
    if not missing:
        return
    candidates = sorted(known)
    listed = []
    for each in missing[:_SHOWN]:
        same = [other for other in candidates if os.path.basename(other) == os.path.basename(each)] or candidates
        nearest = difflib.get_close_matches(each, same, n=1, cutoff=0)[0]
        listed.append(f"'{shown(each)}' (the nearest is '{shown(nearest)}')")
    raise UserError(
        f"{path} names images that are not in the data set: {', '.join(listed)}{and_more(missing, _SHOWN)}; write "
        f"paths that start from {root or 'the root of the data'}, or take these lines out."
    )


def _applied(
    split: Dataset, names: Sequence[str | None], whole: Sequence[str | None], corrections: Mapping[str, _Correction]
) -> Dataset:
    """Makes the data set with the corrections of its images."""
    labels, kept = split.labels.copy(), np.ones(len(split), bool)
    for index, spellings in enumerate(zip(names, whole, strict=True)):
        correction = next((corrections[each] for each in spellings if each is not None and each in corrections), None)
        if correction is None:
            continue
        if correction.label is None:
            kept[index] = False
        else:
            labels[index] = correction.label
    corrected = Dataset(split.name, split.source, labels, split.class_names, split.names_from)
    return corrected if kept.all() else corrected.subset(np.flatnonzero(kept))
