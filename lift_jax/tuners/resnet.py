"""What is selected in CLIP's residual networks: all weights, the biases, or the batch normalisations."""

from lift_jax.models.partition import Path
from lift_jax.tuners.effects import Weights
from lift_jax.tuners.spec import TunerSpec


def full(path: Path) -> bool:
    """Selects every weight of the bottlenecks; the stored statistics of their normalisations stay."""
    return _in_bottleneck(path) and path[-1] not in ("mean", "var")


def bias(path: Path) -> bool:
    """Selects every bias of the bottlenecks. The convolutions have none, so these are the normalisations'."""
    return _in_bottleneck(path) and path[-1] == "bias"


def batch_norm(path: Path) -> bool:
    """Selects scale and bias of every batch normalisation, the stem's included.

    The stored statistics are used and never change. The reference implementation puts the tuned layers into training
    mode, where they normalise by the batch's own statistics and average those for the evaluation.
    """
    return len(path) > 1 and path[-2].startswith("bn_") and path[-1] in ("scale", "bias")


def _in_bottleneck(path: Path) -> bool:
    return path[0].startswith("stage_")


BN_TUNING = TunerSpec(
    "bn_tuning",
    "scale and bias of the batch normalisations",
    selects_in_resnet=batch_norm,
    acts_in=("resnet",),
    blocks="all",
    effect=Weights(),
)
