"""The groups many, medium and few, into which the paper's tables divide the classes."""

import re

import numpy as np
from jaxtyping import Int
from numpy.typing import ArrayLike

from lift_jax.data.longtail import class_sizes
from lift_jax.errors import UserError

GROUPS = ("many", "med", "few")

_LARGEST = 10**9


def groups(train_class_counts: ArrayLike, high: int = 100, low: int = 20) -> Int[np.ndarray, " classes"]:
    """Gives the group of each class by its training images: 0 (many) above `high`, 2 (few) below `low`, else 1.

    The number is the index into `GROUPS`. The default limits are those of Liu et al. 2019, "Large-Scale Long-Tailed
    Recognition in an Open World", section 4, which the paper takes.

    Args:
        train_class_counts: training images of each class [classes].
        high: the most images of a medium class.
        low: the fewest images of a medium class.
    """
    counts = np.asarray(train_class_counts)
    return np.where(counts > high, 0, np.where(counts >= low, 1, 2))


def thirds(train_class_counts: ArrayLike) -> Int[np.ndarray, " classes"]:
    """Divides the classes, from the largest to the smallest, into three groups of as many classes as possible.

    Classes of equal size stay together, in the group of the larger ones; so a group may be larger, and another empty.

    Args:
        train_class_counts: training images of each class [classes].

    Returns:
        For each class the index into `GROUPS`.
    """
    counts = np.asarray(train_class_counts)
    larger = np.searchsorted(np.sort(-counts), -counts)  # how many classes have more images
    return larger * len(GROUPS) // max(1, len(counts))


def check(rule: str) -> None:
    """Refuses a `config.class_groups` that there is not.

    Raises:
        UserError: if the rule is not known, or its thresholds are no whole numbers or in the wrong order.
    """
    class_groups(rule, np.ones(1, np.int64))


def class_groups(rule: str, counts: Int[np.ndarray, " classes"]) -> Int[np.ndarray, " classes"]:
    """Gives the group of each class as `config.class_groups` asks for it.

    Args:
        rule: "" or "paper" for the paper's groups by the training images; "thresholds:HIGH,LOW" for the same with
            other limits; "thirds" for groups of as many classes each; "imbalance_100" for those that were published for
            CIFAR-LT, whose classes keep the groups of the imbalance 100 whatever their number of images.
        counts: training images of each class.

    Raises:
        UserError: if the rule is not known, or its thresholds are no whole numbers or in the wrong order.
    """
    if rule in ("", "paper"):
        return groups(counts)
    if rule == "thirds":
        return thirds(counts)
    if rule == "imbalance_100":
        return groups(class_sizes(counts.max(), len(counts), 100))
    if rule.startswith("thresholds"):
        return groups(counts, *_thresholds(rule))
    raise UserError(
        f"config.class_groups is {rule!r}; write paper, thirds, thresholds:HIGH,LOW (the paper's are "
        "thresholds:100,20), or imbalance_100."
    )


def advice(rule: str, counts: Int[np.ndarray, " classes"]) -> str | None:
    """Says what to write where a group has no class; None where all have some, or no limits would divide the classes.

    Args:
        rule: `config.class_groups`.
        counts: training images of each class.
    """
    sizes = np.bincount(class_groups(rule, counts), minlength=len(GROUPS))
    instead = _dividing(counts)
    if sizes.all() or instead is None:
        return None
    empty = " and ".join(name for name, size in zip(("many", "medium", "few"), sizes, strict=True) if not size)
    return (
        f"No class is in the group {empty}: the classes have {counts.max():,} to {counts.min():,} training images. For "
        f"groups that divide them, add --mode eval --config.class_groups={instead}."
    )


def _dividing(counts: Int[np.ndarray, " classes"]) -> str | None:
    """Finds a rule by which every group has a class, if there is one."""
    if len(np.unique(thirds(counts))) == len(GROUPS):
        return "thirds"
    sizes = np.unique(counts)
    if len(sizes) < len(GROUPS):
        return None
    return f"thresholds:{sizes[-2]},{sizes[1]}"


def _thresholds(rule: str) -> tuple[int, int]:
    found = re.fullmatch(r"thresholds:\s*([0-9]{1,10})\s*,\s*([0-9]{1,10})\s*", rule)
    high, low = (int(found[1]), int(found[2])) if found else (0, 1)
    if not 1 <= low <= high <= _LARGEST:
        raise UserError(
            f"config.class_groups is {rule!r}; write thresholds:HIGH,LOW with two whole numbers from 1 to "
            f"{_LARGEST:,}, the larger one first: many are the classes with more than HIGH training images, few those "
            "with fewer than LOW."
        )
    return high, low
