"""What is known of a tuner: the row that each tuner's file gives to the table of `lift_jax.tuners.specs`."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn

from lift_jax.models.partition import Rule
from lift_jax.tuners.effects import Effect
from lift_jax.tuners.rules import MaskedLayers

Place = Literal["vit", "text", "resnet", "shared"]
"""Where a tuner may act: the blocks of a vision transformer, those of a text tower (where its name gets the prefix
`text_`), a ResNet, or CLIP's text side outside of the blocks."""


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What the shapes and starts of a network's tuners depend on, from `config.tuner` or by the rules.

    Attributes:
        dim: width of the bottlenecks of Adapter, AdaptFormer and CLIP-Adapter.
        rank: rank of LoRA.
        prompt_length: prompt tokens of VPT.
        context_length: learnt vectors of CoOp.
        mask_ratio: share of the entries that a sparse mask trains, in (0, 1], by the layers that it covers.
        mask_seed: seed of the choice of these entries.
        scale: fixed scale of AdaptFormer; None for a learnable one.
        down_init: initialiser of a bottleneck's down projection.
        prompt_init: initialiser of a prompt.
        prompts_after_class: whether VPT's prompts come after the class token, as in LIFT+, or after all tokens.
        plus: whether LIFT+'s conventions hold for the shares of a mask.
    """

    dim: int
    rank: int
    prompt_length: int
    context_length: int
    mask_ratio: Callable[[MaskedLayers], float]
    mask_seed: int
    scale: float | None
    down_init: nn.initializers.Initializer
    prompt_init: nn.initializers.Initializer
    prompts_after_class: bool
    plus: bool


@dataclasses.dataclass(frozen=True)
class TunerSpec:
    """One tuner: a module for each block that it acts on, or a rule that selects parameters of the backbone.

    Attributes:
        name: its name in `config.method`.
        changes: what it changes, in a few words.
        module: (sizes, number of the block) to a maker of the block's module, which takes the module's `name`; None
            for a tuner that trains parameters which the backbone has already.
        selects: tuned blocks to the rule of the parameters that it trains; None for a tuner with modules.
        selects_in_resnet: the rule in a ResNet, for a tuner that selects there.
        acts_in: where it may act.
        options: the keys of `config.tuner` that it reads for the image side.
        blocks: "range" for the blocks of `config.tuner.partial`; "first" or "all" for these whatever the range, as in
            the reference implementation.
        family: of the tuners with the same family a network takes at most one; "" for none.
        effect: how its effect is scaled (`config.tuner_strength`) and averaged (`lift_jax.soup`); None where neither
            has a meaning.
        reference: how the reference implementation's checkpoints call what it trains; None where they have no name.
    """

    name: str
    changes: str
    module: Callable[[Sizes, int], Callable[..., Any]] | None = None
    selects: Callable[[range], Rule] | None = None
    selects_in_resnet: Rule | None = None
    acts_in: tuple[Place, ...] = ("vit", "text")
    options: tuple[str, ...] = ()
    blocks: Literal["range", "first", "all"] = "range"
    family: str = ""
    effect: Effect | None = None
    reference: str | None = None
