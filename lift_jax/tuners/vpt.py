"""Visual prompt tuning (Jia et al. 2022, arXiv 2203.12119, eq. 4 to 6): learnt tokens beside the patches."""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.sites import Tuner
from lift_jax.tuners.spec import Sizes, TunerSpec


def prompt_uniform(patch_size: int, width: int) -> nn.initializers.Initializer:
    """Draws from +-sqrt(6 / (3 patch^2 + width)), Xavier's bound for the patch embedding: LIFT's start."""
    bound = math.sqrt(6 / (3 * patch_size**2 + width))
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


prompt_normal = nn.initializers.normal(0.02)
"""LIFT+'s start."""


class VPT(Tuner):
    """Puts prompt tokens before the block, in the place of those that an earlier block left behind.

    VPT-shallow has one at the first block, VPT-deep at every block. The prompts get no position embedding, so their
    place among the tokens does not change the features; it follows the publications.

    Attributes:
        length: number of prompt tokens.
        init: of the prompt.
        after_class: whether they come after the class token, as in LIFT+, or after the patches, as in LIFT.
    """

    length: int
    init: nn.initializers.Initializer
    after_class: bool = False

    @nn.compact
    def tokens(self, x: Float[Array, "b t d"], length: int) -> Float[Array, "b s d"]:
        prompt = self.param("prompt", self.init, (self.length, x.shape[-1])).astype(x.dtype)
        prompt = jnp.broadcast_to(prompt, (x.shape[0], *prompt.shape))
        extra = x.shape[1] - length
        if self.after_class:
            return jnp.concatenate([x[:, :1], prompt, x[:, 1 + extra :]], axis=1)
        return jnp.concatenate([x[:, :length], prompt], axis=1)


def _maker(sizes: Sizes, block: int) -> Callable[..., VPT]:
    return functools.partial(VPT, sizes.prompt_length, sizes.prompt_init, sizes.prompts_after_class)


VPT_SHALLOW = TunerSpec(
    "vpt_shallow",
    "the tokens before the first block",
    module=_maker,
    options=("vpt_len",),
    blocks="first",
    family="vpt",
    reference="vpt_list",
)
VPT_DEEP = TunerSpec(
    "vpt_deep", "the tokens before a block", module=_maker, options=("vpt_len",), family="vpt", reference="vpt_list"
)
