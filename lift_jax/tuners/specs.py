"""The table of tuners. Their order is the order in which they act at a site that several share.

A mask changes the weight; LoRA adds to the output; SSF scales the sum. Adapter changes the MLP's output, and
AdaptFormer adds to that.
"""

from lift_jax.tuners import (
    adapter,
    adaptformer,
    clip_adapter,
    coop,
    lora,
    mask,
    projections,
    resnet,
    selection,
    ssf,
    vpt,
)
from lift_jax.tuners.spec import TunerSpec

TUNERS: tuple[TunerSpec, ...] = (
    selection.FULL_TUNING,
    selection.BIAS_TUNING,
    selection.LN_TUNING,
    resnet.BN_TUNING,
    mask.MASK,
    mask.MASK_ATTN,
    mask.MASK_MLP,
    lora.LORA,
    lora.LORA_MLP,
    ssf.SSF_ATTN,
    ssf.SSF_MLP,
    ssf.SSF_LN,
    adapter.ADAPTER,
    adaptformer.ADAPTFORMER,
    vpt.VPT_SHALLOW,
    vpt.VPT_DEEP,
    projections.PROJECTION_TUNING,
    clip_adapter.CLIP_ADAPTER,
    coop.COOP,
)
