"""CLIP-Adapter (Gao et al. 2021, arXiv 2110.04544, eq. 4 and 5), in LIFT+'s form: bottlenecks in the shared space."""

import functools
from typing import Literal

import flax.linen as nn
from jaxtyping import Array, Float

from lift_jax.models.sites import TextTuner
from lift_jax.tuners.bottleneck import bottleneck, kaiming_uniform
from lift_jax.tuners.effects import Branches
from lift_jax.tuners.spec import TunerSpec


class _Residual(nn.Module):
    dim: int

    @nn.compact
    def __call__(self, x: Float[Array, "n e"]) -> Float[Array, "n e"]:
        return x + bottleneck(x, self.dim, kaiming_uniform)


class CLIPAdapter(TextTuner):
    """Adds up(relu(down(ln(x)))) to the projected image features, and likewise to the text features.

    Gao et al. mix the bottleneck's output and the features with a fixed ratio, from random weights; here, as in LIFT+,
    the sum starts as the identity and needs no ratio.

    Attributes:
        dim: width of the bottlenecks.
    """

    dim: int

    @nn.compact
    def shared(self, side: Literal["image", "text"], x: Float[Array, "n e"]) -> Float[Array, "n e"]:
        return _Residual(self.dim, name=side)(x)


CLIP_ADAPTER = TunerSpec(
    "clip_adapter",
    "image and text features in the shared space",
    module=lambda sizes, block: functools.partial(CLIPAdapter, sizes.dim),
    acts_in=("shared",),
    options=("text_dim",),
    effect=Branches(),
)
