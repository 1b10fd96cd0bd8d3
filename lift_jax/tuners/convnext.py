"""What is selected in ConvNeXts: all weights of stages, their biases, or their layer norms."""

import re

from lift_jax.models.partition import Path, Rule

STAGES = 4
"""The ranges of `config.tuner.partial` count the stages of a ConvNeXt, as they count the blocks of a transformer."""


def full(stages: range) -> Rule:
    """Selects every parameter of these stages: not the stem, nor what comes after the last stage."""
    return lambda path: _stage_of(path) in stages


def bias(path: Path) -> bool:
    """Selects every bias of the stages."""
    return _stage_of(path) is not None and path[-1] == "bias"


def layer_norm(path: Path) -> bool:
    """Selects scale and bias of every layer norm of the stages."""
    return _stage_of(path) is not None and path[-2] in ("ln", "ln_down")


def _stage_of(path: Path) -> int | None:
    """Returns the number of the stage that a parameter belongs to; None for the stem and what follows the stages."""
    match = re.fullmatch(r"stage_(\d+)", path[0])
    return int(match[1]) if match else None
