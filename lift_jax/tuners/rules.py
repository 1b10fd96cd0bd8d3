"""The automatic rules for widths, lengths and ratios, from the number of classes and the depth.

Those of LIFT (Shi et al. 2024, section 5.1) count all layers of the network, those of LIFT+ (Shi et al. 2025,
arXiv 2504.13282) the tuned ones. By either, a tuner has about as many parameters as the head, or fewer.
"""

import math
from typing import Literal

MaskedLayers = Literal["all", "attn", "mlp"]
"""The linear layers of a block that a sparse mask covers."""


def _power_of_two(ratio: float) -> int:
    """Returns the largest power of two that is at most `ratio`, and at least 1."""
    return 2 ** max(0, math.floor(math.log2(ratio)))


def bottleneck_dim(num_classes: int, depth: int) -> int:
    """Computes the width of Adapter and AdaptFormer, and LIFT's of LoRA: 2^max(0, floor(log2(C / 2L))).

    Args:
        num_classes: C.
        depth: L, all layers (LIFT) or the tuned ones (LIFT+).
    """
    return _power_of_two(num_classes / (2 * depth))


def lora_rank_plus(num_classes: int, tuned: int) -> int:
    """Computes LIFT+'s width of LoRA: 2^max(0, floor(log2(C / 4l))), l being the tuned layers."""
    return _power_of_two(num_classes / (4 * tuned))


PROMPT_LENGTH = 10
"""LIFT's number of prompt tokens."""


def prompt_length_plus(num_classes: int, tuned: int) -> int:
    """Computes LIFT+'s number of prompt tokens: 2^max(0, floor(log2(C / l))), l being the tuned layers."""
    return _power_of_two(num_classes / tuned)


def mask_ratio(num_classes: int, depth: int, width: int) -> float:
    """Computes LIFT's share of trained entries: C / (12 L D), at least 0.001 and at most 1.

    Args:
        num_classes: C.
        depth: L, all layers.
        width: D.
    """
    return min(1.0, max(0.001, num_classes / (12 * depth * width)))


def mask_ratio_plus(num_classes: int, tuned: int, width: int, layers: MaskedLayers = "all") -> float:
    """Computes LIFT+'s share: C / (l (12 D + 9)), of attention alone C / (l (4 D + 4)), of the MLP C / (l (8 D + 5)).

    A block of width D has (12 D + 9) D weights and biases in its linear layers, so that C D entries are trained, as
    many as the head has.

    Args:
        num_classes: C.
        tuned: l, the tuned layers.
        width: D.
        layers: which linear layers of a block.
    """
    factor, constant = {"all": (12, 9), "attn": (4, 4), "mlp": (8, 5)}[layers]
    return min(1.0, num_classes / (tuned * (factor * width + constant)))
