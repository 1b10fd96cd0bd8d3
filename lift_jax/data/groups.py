"""The groups many, medium and few, into which the paper's tables divide the classes."""

import numpy as np
from jaxtyping import Int
from numpy.typing import ArrayLike

from lift_jax.data.longtail import class_sizes
from lift_jax.errors import UserError

GROUPS = ("many", "med", "few")


def groups(train_class_counts: ArrayLike) -> Int[np.ndarray, " classes"]:
    """Gives the group of each class by its training images: 0 (many) above 100, 1 (medium) 20 to 100, 2 (few) below 20.

    The number is the index into `GROUPS`. Liu et al. 2019, "Large-Scale Long-Tailed Recognition in an Open World",
    section 4.
    """
    counts = np.asarray(train_class_counts)
    return np.where(counts > 100, 0, np.where(counts >= 20, 1, 2))


def class_groups(rule: str, counts: Int[np.ndarray, " classes"]) -> Int[np.ndarray, " classes"]:
    """Gives the group of each class as `config.class_groups` asks for it.

    Args:
        rule: "" for the groups by the training images; "imbalance_100" for those that were published for CIFAR-LT,
            whose classes keep the groups of the imbalance 100 whatever their number of images.
        counts: training images of each class.

    Raises:
        UserError: if the rule is not known.
    """
    if rule == "":
        return groups(counts)
    if rule == "imbalance_100":
        return groups(class_sizes(counts.max(), len(counts), 100))
    raise UserError(f"config.class_groups is {rule!r}; write imbalance_100, or nothing.")
