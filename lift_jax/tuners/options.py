"""config.tuner: what can be set about the tuners, and its defaults."""

from typing import Any

import ml_collections
from ml_collections import config_dict

Options = Any
"""An `ml_collections.ConfigDict`, frozen or not, whose values have no types that a checker could know."""

RULES = ("lift", "lift_plus")


def tuner_defaults() -> ml_collections.ConfigDict:
    """The options of `lift_jax.tuners.build`."""
    tuner = ml_collections.ConfigDict()
    tuner.rules = "lift"  # automatic rules and initialisations: of lift or of lift_plus (which method lift_plus takes)
    # Tuned blocks: "" all; "2" the last two; "3:6" blocks 3, 4 and 5. Bias and layer norm tuning take all blocks and
    # VPT-shallow the first in any case, as in the reference implementation.
    tuner.partial = ""
    tuner.dim = 0  # bottleneck width of Adapter and AdaptFormer, rank of LoRA; 0: by the rule
    tuner.scale = config_dict.placeholder(float)  # of AdaptFormer; None: learnable, from 1
    tuner.vpt_len = 0  # prompt tokens; 0: by the rule (10 in LIFT)
    tuner.mask_ratio = 0.0  # share of the entries that the sparse mask trains, up to 1; 0: by the rule
    tuner.mask_seed = 0  # of the sparse mask
    return tuner
