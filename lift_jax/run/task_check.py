"""What of a config does not go together with its task."""

import ml_collections

from lift_jax import tuners
from lift_jax.errors import UserError

_STARTS = ("text", "class_mean", "random")
_ONE_LABEL = {
    "auto": (False, "which chooses by accuracy"),
    "data.sampler": ("shuffle", "which draws images by their class"),
    "data.cap": (0, "which counts images by their class"),
    "data.imbalance": (0, "which chooses images by their class"),
    "data.corrections": ("", "which has one label for an image"),
}
"""Keys that take one label an image, with the value that does not, and why."""


def check(config: ml_collections.FrozenConfigDict) -> None:
    """Refuses what takes one label an image, where images may have several.

    Raises:
        UserError: for the first key.
    """
    if config.task != "multilabel":
        return
    if config.data.format != "csv":
        raise UserError(
            f"config.data.format is {config.data.format}, which has one label an image; config.task=multilabel takes a "
            "table: write config.data.format=csv, and its file as config.data.train_list."
        )
    for key, (neutral, why) in _ONE_LABEL.items():
        section, _, name = key.rpartition(".")
        value = (config[section] if section else config)[name]
        if value != neutral:
            raise UserError(
                f"config.{key} is {value}, {why}, and with config.task=multilabel an image may have several; leave it "
                "out."
            )
    if tuners.resolve(config.method, config.tuner).closed_form:
        raise UserError(
            f"config.method is {config.method}, which takes an image to be of one class; with config.task=multilabel "
            "write head_only, lift or another method."
        )
    if config.head_init not in _STARTS:
        raise UserError(
            f"config.head_init is {config.head_init}, which takes an image to be of one class; with "
            f"config.task=multilabel write one of {', '.join(_STARTS)}."
        )
