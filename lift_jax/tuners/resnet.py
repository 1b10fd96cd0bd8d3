"""The methods for CLIP's residual networks: full, bias and BatchNorm tuning, and SSF on the attention pool."""

import functools

from lift_jax.errors import UserError
from lift_jax.models.sites import BlockTuners
from lift_jax.state import Path
from lift_jax.tuners.options import Options
from lift_jax.tuners.ssf import LinearSSF
from lift_jax.tuners.tuning import Tuning


def full(path: Path) -> bool:
    """Every weight of the bottlenecks; the stored statistics of their normalisations stay."""
    return _in_bottleneck(path) and path[-1] not in ("mean", "var")


def bias(path: Path) -> bool:
    """Every bias of the bottlenecks. The convolutions have none, so these are the normalisations'."""
    return _in_bottleneck(path) and path[-1] == "bias"


def batch_norm(path: Path) -> bool:
    """Scale and bias of every batch normalisation, the stem's included.

    The stored statistics are used and never change. The reference implementation puts the tuned layers into training
    mode, where they normalise by the batch's own statistics and average those for the evaluation.
    """
    return len(path) > 1 and path[-2].startswith("bn_") and path[-1] in ("scale", "bias")


SELECTIONS = {"full_tuning": full, "bias_tuning": bias, "bn_tuning": batch_norm}
TUNERS = (*SELECTIONS, "ssf_attn")


def build(method: str, names: tuple[str, ...], options: Options) -> Tuning:
    """The tuning of a ResNet; see `lift_jax.tuners.build`.

    Raises:
        UserError: if a tuner is not for ResNets, or a range of blocks is asked for.
    """
    for name in names:
        if name not in TUNERS:
            raise UserError(
                f"config.method is {method!r}, but {name} is for vision transformers and the backbone is a ResNet; "
                f"write one of head_only, zero_shot, {', '.join(TUNERS)}, or take another backbone."
            )
    if options.partial:
        raise UserError(f"config.tuner.partial is {options.partial}, but a ResNet is tuned as a whole; leave it empty.")
    ssf = {"ssf_attn": functools.partial(LinearSSF, ("attn_out",))} if "ssf_attn" in names else {}

    def tuners(block: int) -> BlockTuners:
        return ssf

    return Tuning(tuners, {name: rule for name, rule in SELECTIONS.items() if name in names})


def _in_bottleneck(path: Path) -> bool:
    return path[0].startswith("stage_")
