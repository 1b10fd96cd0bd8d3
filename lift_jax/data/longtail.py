"""Long-tailed subsets of balanced data sets."""

import math

import numpy as np
from jaxtyping import Int

from lift_jax.errors import UserError


def check_imbalance(imbalance: float) -> None:
    """Checks that `config.data.imbalance` can be the largest over the smallest class.

    Raises:
        UserError: if it is below 1 or not finite.
    """
    if not 1 <= imbalance < math.inf:
        raise UserError(
            f"config.data.imbalance is {imbalance}; it is the largest over the smallest class, so give 1 or more."
        )


def class_sizes(largest: float, num_classes: int, imbalance: float) -> Int[np.ndarray, " classes"]:
    """Gives how many images each class keeps: n_c = int(largest * (1 / imbalance)^(c / (C - 1))), at least one.

    Args:
        largest: images of class 0 (N / C for a balanced set of N images).
        num_classes: C.
        imbalance: largest over smallest class size, at least 1.
    """
    exponents = np.arange(num_classes) / max(num_classes - 1, 1)
    # One scalar power a class, as in the published code: NumPy's vectorised power may differ in the last bit.
    return np.array([max(1, int(largest * (1 / imbalance) ** float(e))) for e in exponents], np.int64)


def class_ranks(num_classes: int, permute_classes: int) -> Int[np.ndarray, " classes"]:
    """Gives each class its place from the most frequent to the rarest, 0 to C - 1.

    Args:
        num_classes: C.
        permute_classes: `config.data.permute_classes`: 0 for the order of the labels; any other number is the seed of
            another order.

    Raises:
        UserError: if the seed is out of its range.
    """
    if not 0 <= permute_classes < 2**32:
        raise UserError(f"config.data.permute_classes is {permute_classes}; it is a whole number from 0 to 4294967295.")
    return (
        np.random.RandomState(permute_classes).permutation(num_classes) if permute_classes else np.arange(num_classes)
    )


def subset(targets: Int[np.ndarray, " images"], num_classes: int, imbalance: float) -> Int[np.ndarray, " kept"]:
    """Chooses the images of the published CIFAR-LT sets (Cao et al. 2019, as used by LIFT).

    One legacy NumPy generator seeded with 0 shuffles each class's ascending indices in place, in label order, and the
    first n_c are kept.

    Args:
        targets: labels of the balanced training set, in the order of its file.
        num_classes: number of classes C.
        imbalance: images of class 0 over images of class C - 1; 100, 50 and 10 are the published ones.

    Returns:
        Indices into `targets`, class after class.

    Raises:
        UserError: if the imbalance is below 1 or not finite, or a class has fewer images than the rule keeps.
    """
    check_imbalance(imbalance)
    sizes = class_sizes(len(targets) / num_classes, num_classes, imbalance)
    generator = np.random.RandomState(0)
    kept = []
    for label, size in enumerate(sizes):
        indices = np.flatnonzero(targets == label)
        if len(indices) < size:
            raise UserError(
                f"Class {label} has {len(indices)} images, but the long-tailed subset keeps {size} of it; "
                f"config.data.imbalance needs a balanced data set."
            )
        generator.shuffle(indices)
        kept.append(indices[:size])
    return np.concatenate(kept)
