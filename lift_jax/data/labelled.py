"""From images with labels, as the files of a data set have them, to the training and the test split."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from lift_jax.data import classnames
from lift_jax.data.dataset import Dataset, Source, canonical_order
from lift_jax.data.lists import from_paths
from lift_jax.data.shown import some
from lift_jax.data.splits import hold_out, warn_of_unused
from lift_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Labelled:
    """The images of a split with their labels, as they are written.

    Attributes:
        where: what messages call the split.
        source: the images.
        labels: numbers or names.
        class_names: the names of the numbers, in order; None if the files do not say them.
        groups: what no split divides, such as the patient; None if that was not asked for.
    """

    where: str
    source: Source
    labels: Sequence[int] | Sequence[str]
    class_names: tuple[str, ...] | None = None
    groups: Sequence[str] | None = None


def splits(
    train: Labelled, test: Labelled | None, names_file: str, name: str, val_fraction: float, seed: int
) -> tuple[Dataset, Dataset]:
    """Makes both splits, each in the order of classes and of the names of the files.

    Args:
        train: the images to train on.
        test: those to test; None to hold a share of the others out.
        names_file: file of class names, see `name_files.read`; "" takes those of the data set.
        name: name of the data set.
        val_fraction: the share of each class that is held out where there is no test split.
        seed: chooses it.

    Raises:
        UserError: see `lists.from_paths`; or the splits have other class names.
    """
    if test is not None and test.class_names != train.class_names:
        raise UserError(
            f"{test.where} has other classes ({some(test.class_names or ['none'])}) than {train.where} "
            f"({some(train.class_names or ['none'])}); name splits of one data set."
        )
    tested = train if test is None else test
    if isinstance(next(iter(train.labels), 0), str) != isinstance(next(iter(tested.labels), 0), str):
        raise UserError(
            f"Of {train.where} and {tested.where}, one has numbers as labels and the other names; use one of them."
        )
    names: str | tuple[str, ...] = names_file if train.class_names is None else train.class_names
    made = from_paths("", _paths(train), _paths(tested), names, name, check=False)
    made = [dataclasses.replace(each, source=part.source) for each, part in zip(made, (train, tested), strict=True)]
    if train.class_names is not None and names_file:
        _, named, source = classnames.of_labels(list(train.class_names), names_file, "original name")
        made = [dataclasses.replace(each, class_names=named, names_from=source) for each in made]
    if train.groups is not None and tested.groups is not None:
        _, numbers = np.unique([*train.groups, *tested.groups], return_inverse=True)
        parts = numbers[: len(train.groups)], numbers[len(train.groups) :]
        made = [dataclasses.replace(each, image_groups=part) for each, part in zip(made, parts, strict=True)]
    whole, other = (each.subset(canonical_order(each)) for each in made)
    if test is not None:
        warn_of_unused(val_fraction, test.where)
        return whole, other
    kept, held_out = hold_out(whole.labels, val_fraction, seed, whole.image_groups)
    return whole.subset(kept, f"{name} train"), whole.subset(held_out, f"{name} test")


def _paths(part: Labelled) -> tuple[str, list[str], Sequence[int] | Sequence[str]]:
    return part.where, [""] * len(part.labels), part.labels
