"""A small data set that needs no download: scikit-learn's handwritten digits, made long-tailed."""

from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lift_jax.data.dataset import ArraySource, Dataset
from lift_jax.data.longtail import check_imbalance, class_ranks, class_sizes

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_TEST_PER_CLASS = 60
_SPLIT_SEED = 0
_MARGIN, _ENLARGE = 2, 4


def load_digits(imbalance: float, permute_classes: int = 0) -> tuple[Dataset, Dataset]:
    """Loads the 8 x 8 handwritten digits (UCI, 1,797 images): a long-tailed training and a balanced test split.

    Each is framed by two pixels of background and enlarged to 48 x 48 pixels of uint8 RGB: the digits fill their 8 x 8
    pixels to the edges, where a crop would cut them off.

    The test split has 60 images a class. Of the rest, each class keeps a number by the CIFAR-LT formula, from the
    smallest class's remaining images down to that over `imbalance`. The split does not depend on the run's seed.

    Args:
        imbalance: largest over smallest training class, at least 1; 0 or 1 keeps the training split balanced.
        permute_classes: 0 makes the classes rarer in label order; any other number is the seed of another order.

    Raises:
        UserError: if one of them is out of its range.
    """
    if imbalance:
        check_imbalance(imbalance)
    ranks = class_ranks(len(DIGIT_NAMES), permute_classes)
    from sklearn import datasets  # Slow to import, and worker processes import this file.

    digits: Any = datasets.load_digits()
    labels = digits.target.astype(np.int32)
    images = np.stack([_framed(np.round(image * (255 / 16)).astype(np.uint8)) for image in digits.images])
    generator = np.random.RandomState(_SPLIT_SEED)
    shuffled = [generator.permutation(np.flatnonzero(labels == label)) for label in range(10)]
    test = np.concatenate([indices[:_TEST_PER_CLASS] for indices in shuffled])
    pools = [indices[_TEST_PER_CLASS:] for indices in shuffled]
    sizes = class_sizes(min(map(len, pools)), 10, max(imbalance, 1))
    train = np.concatenate([pool[: sizes[rank]] for pool, rank in zip(pools, ranks, strict=True)])
    return (
        Dataset("digits train", ArraySource(images[train]), labels[train], DIGIT_NAMES),
        Dataset("digits test", ArraySource(images[test]), labels[test], DIGIT_NAMES),
    )


def _framed(digit: UInt8[np.ndarray, "8 8"]) -> UInt8[np.ndarray, "48 48 3"]:
    image = Image.fromarray(np.pad(digit, _MARGIN))
    enlarged = image.resize((image.width * _ENLARGE, image.height * _ENLARGE), Image.Resampling.BILINEAR)
    return np.repeat(np.asarray(enlarged)[..., None], 3, axis=-1)
