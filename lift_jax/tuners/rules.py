"""The automatic rules for widths, lengths and ratios, from the number of classes and the depth."""

import math


def bottleneck_dim(num_classes: int, depth: int) -> int:
    """Bottleneck width of Adapter, AdaptFormer and LoRA in LIFT: 2^max(0, floor(log2(C / 2L))).

    The tuner then has fewer parameters than the head (Shi et al. 2024, section 5.1).
    """
    return 2 ** max(0, math.floor(math.log2(num_classes / (2 * depth))))
