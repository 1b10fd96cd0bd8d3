"""Held-out images: those training images by which a training is judged, and on which nothing is trained."""

import dataclasses
import math
import posixpath
import re
import sys
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from lift_jax.data import text
from lift_jax.data.dataset import Dataset, label_counts
from lift_jax.data.image_groups import folds
from lift_jax.data.shown import shown, some
from lift_jax.data.splits import draw, with_unlabelled
from lift_jax.errors import UserError
from lift_jax.files import expand

_STREAM = 0x76616C  # keeps the choice apart from the others that are made by the same seed


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """A training set without the images that were held out of it.

    Attributes:
        train: the images that are trained on.
        validation: the images that were held out, ascending by their index in the whole training set.
        whole: labels of the classes of which nothing was held out.
    """

    train: Dataset
    validation: Dataset
    whole: Int[np.ndarray, " classes"]

    @property
    def sentence(self) -> str:
        """Says what was held out, and names the classes of which nothing was."""
        counts = self.validation.class_counts
        tested = counts[counts > 0]
        each = f"{tested.max():,} to {tested.min():,}" if tested.max() > tested.min() else f"{tested.max():,}"
        images = f"{len(self.validation):,} training images of {len(tested):,} classes"
        said = f"Held out for validation: {images} ({each} a class)"
        if not len(self.whole):
            return f"{said}."
        names = some([self.train.class_names[label] for label in self.whole])
        plural = "classes have" if len(self.whole) > 1 else "class has"
        return f"{said}; {len(self.whole):,} {plural} none and stay{'' if len(self.whole) > 1 else 's'} whole: {names}."


def check(rule: str, patience: int) -> None:
    """Refuses a `config.validation` that is no rule; whether a list file is there is seen when it is read.

    Args:
        rule: see `hold_out`, or "" for none.
        patience: `config.patience`.

    Raises:
        UserError: if a number of the rule is missing or out of its range, or patience is asked for without a rule.
    """
    _parse(rule)
    if patience and not rule:
        raise UserError(
            f"config.patience is {patience}, but there are no held-out images to judge by; write config.validation=\
fraction:0.1, or leave config.patience out."
        )


def is_drawn(rule: str) -> bool:
    """Tells whether a seed chooses the images that a `config.validation` holds out; a list file names them."""
    return bool(rule) and _parse(rule) is not None


def hold_out(rule: str, train: Dataset, seed: int) -> HeldOut:
    """Holds out a part of the training images. Every class keeps at least one image, and no group is divided.

    Args:
        rule: "balanced:K" for K images of each class that has more than K; "fraction:F" for the share F of each class,
            rounded, and "fraction:F:K" for K at most; or a text file that names an image in each line.
        train: the training images.
        seed: chooses the images, the same ones whatever the number of processes.

    Raises:
        UserError: if the rule is none, holds out nothing, or takes all images of a class; or if the file cannot be read
            or names an image that there is not.
    """
    held_out = _listed(rule, train) if _parse(rule) is None else _drawn(rule, train, seed)
    kept = np.setdiff1d(np.arange(len(train)), held_out)
    name = f"{train.name} (held out)"
    rest, validation = train.subset(kept), train.subset(held_out, name)
    return HeldOut(rest, validation, np.flatnonzero(validation.class_counts == 0))


def cross(train: Dataset, count: int, seed: int) -> list[HeldOut]:
    """Holds out each fold of the training images once.

    A class that a fold would leave without an image is not held out there, nor is what belongs to the same group.

    Args:
        train: the training images.
        count: the number of folds.
        seed: divides the images.

    Returns:
        For each fold in which something is held out the training set without it.
    """
    fold = folds(train.labels, count, seed, train.image_groups)
    cuts = []
    for number in range(count):
        held_out = _sparing(np.flatnonzero(fold == number), train)
        if len(held_out):
            kept = np.setdiff1d(np.arange(len(train)), held_out)
            validation = train.subset(held_out, f"{train.name} (fold {number + 1} of {count})")
            cuts.append(HeldOut(train.subset(kept), validation, np.flatnonzero(validation.class_counts == 0)))
    return cuts


def _sparing(held_out: Int[np.ndarray, " images"], train: Dataset) -> Int[np.ndarray, " images"]:
    """Takes from images that are to be held out those whose classes would have no image left."""
    left = train.class_counts - np.bincount(train.labels[held_out], minlength=train.num_classes)
    needed = left[train.labels[held_out]] == 0
    if train.image_groups is not None:
        groups = train.image_groups[held_out]
        needed = np.isin(groups, groups[needed])
    return held_out[~needed]


def _parse(rule: str) -> tuple[float | None, int] | None:
    """Reads the share of a rule, None where it is balanced, and the most images of a class; None for a file's name."""
    kind, colon, written = rule.partition(":")
    if not colon or kind not in ("balanced", "fraction"):
        return None
    if kind == "balanced" and re.fullmatch("[0-9]{1,9}", written) and int(written) > 0:
        return None, int(written)
    share, colon, most = written.partition(":")
    if (
        kind == "fraction"
        and re.fullmatch(r"(?=.*[0-9])[0-9.]{1,20}", share)
        and share.count(".") < 2
        and 0 < float(share) < 1
    ):
        if not colon:
            return float(share), sys.maxsize
        if re.fullmatch("[0-9]{1,9}", most) and int(most) > 0:
            return float(share), int(most)
    raise UserError(
        f"config.validation is {rule!r}; write balanced:K with a whole number from 1, such as balanced:5, or "
        "fraction:F with a number between 0 and 1, such as fraction:0.1, or fraction:F:K for K of a class at most."
    )


def _drawn(rule: str, train: Dataset, seed: int) -> Int[np.ndarray, " images"]:
    """Draws the images of a rule with a number; the indices are ascending."""
    strata = with_unlabelled(train.labels)
    spared = _spared(rule, label_counts(strata, train.num_classes))
    if not spared.any():
        largest = train.class_counts.max()
        count, remedy = f"{largest:,} training images", "write a number that leaves some to train on and to hold out"
        if largest == 1:
            count, remedy = "one training image", "leave it out"
        raise UserError(
            f"config.validation={rule} holds out no image at all, since the largest class has {count}; {remedy}."
        )
    drawn = draw(strata, spared.tolist(), np.random.default_rng([_STREAM, seed]), train.image_groups)
    if not len(drawn):
        raise UserError(
            f"config.validation={rule} holds out no image at all, since no group of config.data.group_column is small "
            "enough; write a larger number, or leave data.group_column out."
        )
    return drawn


def _spared(rule: str, counts: Int[np.ndarray, " classes"]) -> Int[np.ndarray, " classes"]:
    """Gives the number of images that each class spares under a rule with a number."""
    parsed = _parse(rule)
    assert parsed is not None
    share, most = parsed
    if share is None:
        return np.where(counts > most, most, 0)
    return np.array([max(0, min(math.floor(share * count + 0.5), count - 1, most)) for count in counts.tolist()])


def _listed(file: str, train: Dataset) -> Int[np.ndarray, " images"]:
    """Finds the images that a file names; the indices are ascending."""
    path = expand(file, "config.validation")
    lines = [(n, line.strip()) for n, line in enumerate(text.read(path, keep_bytes=True).split("\n"), start=1)]
    lines = [(n, line) for n, line in lines if line]
    if not lines:
        raise UserError(f"{path} names no images to hold out; write an image's path in each line.")
    by_name: dict[str, list[int]] = {}
    for index in range(len(train)):
        by_name.setdefault(posixpath.basename(_slashes(train.path(index))), []).append(index)
    held_out = np.unique([_find(line, by_name, train, f"{path} line {n}") for n, line in lines])
    _check_undivided(held_out, train, path)
    left = train.class_counts - label_counts(train.labels[held_out], train.num_classes)
    if not left.all():
        names = some([train.class_names[label] for label in np.flatnonzero(left == 0)])
        raise UserError(
            f"{path} holds out all training images of {names}; leave at least one of each class to train on."
        )
    return held_out


def _check_undivided(held_out: Int[np.ndarray, " images"], train: Dataset, file: str) -> None:
    """Refuses a list that names some images of a group, but not all."""
    if train.image_groups is None:
        return
    kept = np.setdiff1d(np.arange(len(train)), held_out)
    divided = kept[np.isin(train.image_groups[kept], train.image_groups[held_out])]
    if len(divided):
        raise UserError(
            f"{file} holds out some images of a group of config.data.group_column, but not "
            f"{shown(train.path(divided[0]))} ({len(divided):,} such); add them, or leave out the others."
        )


def _find(line: str, by_name: Mapping[str, list[int]], train: Dataset, where: str) -> int:
    """Finds the image whose path is a line of a file, or ends in it."""
    wanted = posixpath.normpath(_slashes(line))
    candidates = by_name.get(posixpath.basename(wanted), [])
    paths = {index: f"/{_slashes(train.path(index))}" for index in candidates}
    found = [index for index, path in paths.items() if path.endswith(f"/{wanted.lstrip('/')}")]
    if not found:
        raise UserError(
            f"{where} is '{shown(line)}', which is no training image; write the image's path, such as "
            f"{shown(train.path(0))}."
        )
    if len(found) > 1:
        raise UserError(
            f"{where} is '{shown(line)}', which {len(found):,} training images are called, for example "
            f"{shown(train.path(found[0]))} and {shown(train.path(found[1]))}; write the whole path."
        )
    return found[0]


def _slashes(path: str) -> str:
    return path.replace("\\", "/")
