"""The sizes of a network's tuners, from `config.tuner` where it says them, and else by the papers' rules."""

from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.tuners import rules
from lift_jax.tuners.bottleneck import kaiming_normal, kaiming_uniform
from lift_jax.tuners.methods import Method
from lift_jax.tuners.rules import MaskedLayers
from lift_jax.tuners.spec import Sizes
from lift_jax.tuners.vpt import prompt_normal, prompt_uniform

TEXT_DIM, TEXT_PROMPT_LENGTH, CONTEXT_LENGTH = 4, 2, 4
"""LIFT+'s sizes on the text side, which do not depend on the number of classes."""


def sizes_in_vit(method: Method, vision: VisionTransformer, num_classes: int, tuned: int) -> Sizes:
    """Gives the sizes of the tuners of a vision transformer, of which `tuned` blocks are tuned."""
    options = method.options
    if method.plus:
        dim, rank = rules.bottleneck_dim(num_classes, tuned), rules.lora_rank_plus(num_classes, tuned)
        length = rules.prompt_length_plus(num_classes, tuned)
    else:
        dim = rank = rules.bottleneck_dim(num_classes, vision.depth)
        length = rules.PROMPT_LENGTH

    def mask_ratio(layers: MaskedLayers) -> float:
        if options.mask_ratio:
            return options.mask_ratio
        if method.plus:
            return rules.mask_ratio_plus(num_classes, tuned, vision.width, layers)
        return rules.mask_ratio(num_classes, vision.depth, vision.width)

    return Sizes(
        dim=options.dim or dim,
        rank=options.dim or rank,
        prompt_length=options.vpt_len or length,
        context_length=0,
        mask_ratio=mask_ratio,
        mask_seed=options.mask_seed,
        scale=options.scale,
        down_init=kaiming_uniform if method.plus else kaiming_normal,
        prompt_init=prompt_normal if method.plus else prompt_uniform(vision.patch_size, vision.width),
        # Where positions are rotary, or more than the class token is pooled, the network's own tokens have to be in
        # front.
        prompts_after_class=method.plus and vision.rope_theta is None and vision.pool == "class",
        plus=method.plus,
    )


def sizes_in_text(method: Method, tower: TextTransformer, num_classes: int) -> Sizes:
    """Gives the sizes of the tuners of the text side, which are LIFT+'s whatever the method."""
    options = method.options
    dim = options.text_dim or TEXT_DIM
    return Sizes(
        dim=dim,
        rank=dim,
        prompt_length=options.text_vpt_len or TEXT_PROMPT_LENGTH,
        context_length=options.context_len or CONTEXT_LENGTH,
        mask_ratio=lambda layers: rules.mask_ratio_plus(num_classes, tower.depth, tower.width, layers),
        mask_seed=options.mask_seed,
        scale=options.scale,
        down_init=kaiming_uniform,
        prompt_init=prompt_normal,
        prompts_after_class=True,
        plus=True,
    )
