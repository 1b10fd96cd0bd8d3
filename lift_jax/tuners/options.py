"""config.tuner: what can be set about the tuners, and its defaults."""

from typing import Any

import ml_collections
from ml_collections import config_dict

Options = Any
"""An `ml_collections.ConfigDict`, frozen or not, whose values have no types that a checker could know."""

SIZES = ("dim", "vpt_len", "mask_ratio", "text_dim", "text_vpt_len", "context_len")
"""The options that say how large a tuner is; where they are 0, that follows from rules."""

RULES = ("lift", "lift_plus")


def tuner_defaults() -> ml_collections.ConfigDict:
    """Returns the options of `lift_jax.tuners.build`."""
    tuner = ml_collections.ConfigDict()
    tuner.rules = (
        "lift"  # automatic rules, initialisations and recipe: lift or lift_plus (which method lift_plus takes)
    )
    # Tuned blocks: "" all; "2" the last two; "3:6" blocks 3, 4 and 5. Bias and layer norm tuning take all blocks and
    # VPT-shallow the first in any case, as in the reference implementation.
    tuner.partial = ""
    tuner.dim = 0  # bottleneck width of Adapter and AdaptFormer, rank of LoRA; 0: by the rule
    tuner.scale = config_dict.placeholder(float)  # of AdaptFormer; None: learnable, from 1
    tuner.vpt_len = 0  # prompt tokens; 0: by the rule (10 in LIFT)
    tuner.mask_ratio = 0.0  # share of the entries that the sparse mask trains, up to 1; 0: by the rule
    tuner.mask_seed = 0  # of the sparse mask
    # Of the text side (METHODS: text_..., coop, clip_adapter); 0 is LIFT+'s value.
    tuner.text_dim = 0  # bottleneck width and rank in the text tower, and bottleneck width of CLIP-Adapter; 0: 4
    tuner.text_vpt_len = 0  # prompt tokens in the text tower; 0: 2
    tuner.context_len = 0  # CoOp's learnt vectors before the class name; 0: 4 (CoOp's own default is 16)
    return tuner
