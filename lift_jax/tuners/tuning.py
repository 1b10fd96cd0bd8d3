"""What a method does to a network: tuners at its sites, and which parameters are trained."""

import dataclasses
from collections.abc import Callable, Mapping

from lift_jax.models.partition import Path, Rule
from lift_jax.models.sites import BlockTuners, TextTuners
from lift_jax.tuners.mask import INDEX

TUNER_PREFIX = "tuner_"
"""How the name of a tuner's module in a block begins (`lift_jax.models.transformer.Block`)."""


@dataclasses.dataclass(frozen=True)
class TextTuning:
    """What a method does to the text side, a `lift_jax.models.text_head.TextHead`.

    Attributes:
        tower: gives the tuners of block i of the text tower.
        head: the tuners that act outside of the tower's blocks.
        context: number of learnt vectors in the prompt's place, 0 for the prompt itself.
        trains_tower: whether the tower's features change in training.
    """

    tower: Callable[[int], BlockTuners]
    head: TextTuners
    context: int
    trains_tower: bool


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What a method does to a network.

    Attributes:
        tuners: gives the tuners of block i, for `VisionTransformer.tuners` and `ResNet.tuners`.
        selections: which of the backbone's own parameters are trained, by the selecting tuner's name.
        text: what is done to the text side; None where the head is one of `lift_jax.models.heads`.
    """

    tuners: Callable[[int], BlockTuners]
    selections: Mapping[str, Rule]
    text: TextTuning | None = None

    def group(self, path: Path) -> str | None:
        """Names the tuner that trains the backbone's parameter at `path`; None where the parameter is frozen."""
        for part in path:
            if part.startswith(TUNER_PREFIX):
                return None if path[-1].endswith(INDEX) else part.removeprefix(TUNER_PREFIX)
        return next((name for name, selects in self.selections.items() if selects(path)), None)

    def trains(self, path: Path) -> bool:
        """Tells whether the backbone's parameter at `path` is trained."""
        return self.group(path) is not None
