"""Methods that train what the backbone has: rules over the paths of its parameters, and ranges of its blocks."""

import re

from lift_jax.errors import UserError
from lift_jax.models.partition import Path, Rule
from lift_jax.tuners import resnet
from lift_jax.tuners.effects import Weights
from lift_jax.tuners.spec import TunerSpec


def block_of(path: Path) -> int | None:
    """Returns the number of the block that a parameter belongs to."""
    match = re.fullmatch(r"block_(\d+)", path[0])
    return int(match[1]) if match else None


def _own(path: Path) -> bool:
    """Tells whether the parameter is the block's own, and not a tuner's."""
    return block_of(path) is not None and not path[1].startswith("tuner_")


def full(blocks: range) -> Rule:
    """Selects every parameter of these blocks: not the embeddings, nor the layer norms outside the blocks."""
    return lambda path: _own(path) and block_of(path) in blocks


def bias(path: Path) -> bool:
    """Selects every bias of the blocks: BitFit (Ben Zaken et al. 2022, arXiv 2106.10199)."""
    return _own(path) and path[-1] == "bias"


def layer_norm(path: Path) -> bool:
    """Selects scale and bias of both layer norms of every block."""
    return _own(path) and path[1] in ("ln_1", "ln_2")


FULL_TUNING = TunerSpec(
    "full_tuning",
    "every parameter of the blocks",
    selects=full,
    selects_in_resnet=resnet.full,
    acts_in=("vit", "text", "resnet"),
    effect=Weights(),
    reference="block_tuned",
)
BIAS_TUNING = TunerSpec(
    "bias_tuning",
    "every bias of the blocks",
    selects=lambda blocks: bias,
    selects_in_resnet=resnet.bias,
    acts_in=("vit", "text", "resnet"),
    blocks="all",
    effect=Weights(),
    reference="bias_tuned",
)
LN_TUNING = TunerSpec(
    "ln_tuning",
    "scale and bias of the blocks' layer norms",
    selects=lambda blocks: layer_norm,
    blocks="all",
    effect=Weights(),
    reference="ln_tuned",
)


def blocks(partial: str, depth: int) -> range:
    """Returns the tuned blocks.

    Args:
        partial: "" for all, "2" for the last two, "3:6" for blocks 3, 4 and 5.
        depth: number of blocks.

    Raises:
        UserError: if it is none of these, selects no block, or goes beyond the depth.
    """
    form = re.fullmatch(r"(?:(\d+):)?(\d+)", partial.strip())
    if not partial.strip():
        return range(depth)
    if form is None:
        raise UserError(
            f"config.tuner.partial is {partial!r}; write a number for the last blocks, such as 2, or a range such as "
            f"3:6 for blocks 3, 4 and 5 of the backbone's {depth}."
        )
    start, stop = (int(form[1]), int(form[2])) if form[1] else (depth - int(form[2]), depth)
    if start < 0 or stop > depth:
        raise UserError(
            f"config.tuner.partial is {partial}, but the backbone has {depth} blocks, 0 to {depth - 1}; "
            f"write at most {depth}, or a range within 0:{depth}."
        )
    if start >= stop:
        raise UserError(
            f"config.tuner.partial is {partial}, which selects no block; to train the head alone, write "
            "config.method=head_only."
        )
    return range(start, stop)
