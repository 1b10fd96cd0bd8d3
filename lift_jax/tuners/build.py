"""From the name of a method to the tuners of each block and the rule of what is trained."""

import difflib
import functools
from collections.abc import Callable
from typing import NamedTuple

import ml_collections

from lift_jax.errors import UserError
from lift_jax.models.sites import BlockTuners
from lift_jax.models.vit import VisionTransformer
from lift_jax.state import Path, Rule
from lift_jax.tuners import rules, selection
from lift_jax.tuners.adaptformer import AdaptFormer

METHODS = {
    "zero_shot": (),
    "head_only": (),
    "lift": ("adaptformer",),
    "full_tuning": ("full_tuning",),
    "adaptformer": ("adaptformer",),
}
"""A method's tuners. `zero_shot` has no training at all; `head_only` trains the head."""


class Tuning(NamedTuple):
    """What a method does to a vision transformer.

    Attributes:
        tuners: the tuners of block i, for `VisionTransformer.tuners`.
        trains: whether the backbone's parameter at a path is trained.
    """

    tuners: Callable[[int], BlockTuners]
    trains: Rule


def build(
    method: str, options: ml_collections.ConfigDict, vision: VisionTransformer, num_classes: int
) -> Tuning:
    """The tuning of `method` (a key of `METHODS`) for a network.

    Args:
        method: the method's name.
        options: config.tuner.
        vision: the network.
        num_classes: of the task; the automatic widths depend on it.

    Raises:
        UserError: if the method is not known.
    """
    if method not in METHODS:
        near = difflib.get_close_matches(method, METHODS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise UserError(f"config.method is {method!r}, which is not known; {hint}The known ones: {', '.join(METHODS)}.")
    names = METHODS[method]
    dim = options.dim or rules.bottleneck_dim(num_classes, vision.depth)
    makers = {"adaptformer": functools.partial(AdaptFormer, dim)}
    blocks = {name: makers[name] for name in names if name in makers}

    def trains(path: Path) -> bool:
        return any(part.startswith("tuner_") for part in path) or ("full_tuning" in names and selection.full(path))

    return Tuning(lambda block: blocks, trains)
