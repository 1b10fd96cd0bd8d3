"""From `config.data` to the training and the test split."""

from typing import Any

from absl import logging
from ml_collections import ConfigDict

from lift_jax.data.dataset import Dataset, check_splits
from lift_jax.data.digits import load_digits
from lift_jax.data.lists import load_lists
from lift_jax.errors import UserError

FORMATS = ("digits", "lists")


def load(data_config: ConfigDict, seed: int = 0) -> tuple[Dataset, Dataset]:
    """The training and the test split that a config describes, checked.

    Arguments:
        data_config: `config.data`, see `options.data_defaults`.
        seed: chooses a held-out split (`val_fraction`); nothing else depends on it.

    Returns:
        (train, test).

    Raises:
        UserError: an unknown format, missing files, labels that are not 0 to n-1, a class without training images.
    """
    train, test = _read(data_config, seed)
    check_splits(train, test)
    counts = train.class_counts
    logging.info(
        "%s: %d training images of %d classes (largest %d, smallest %d), %d test images.",
        data_config.name, len(train), train.num_classes, counts.max(), counts.min(), len(test),
    )  # fmt: skip
    return train, test


def _read(data: Any, seed: int) -> tuple[Dataset, Dataset]:
    match data.format:
        case "digits":
            return load_digits(data.imbalance, data.permute_classes)
        case "lists":
            return load_lists(data.root, data.train_list, data.test_list, data.class_names, data.name)
    raise UserError(f"config.data.format is {data.format!r}; write one of {', '.join(FORMATS)}.")
