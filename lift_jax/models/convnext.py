"""ConvNeXt (Liu et al. 2022, arXiv 2201.03545), the convolutional image tower of some of OpenCLIP's CLIPs."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.layer_norm import LayerNorm
from lift_jax.models.sites import BlockTuners, no_tuners
from lift_jax.models.transformer import ACTIVATIONS

MLP_RATIO = 4
"""Hidden width of a block's MLP over the width of the block."""

KERNEL = 7
"""Side of a block's depthwise convolution, in positions."""

_gelu = ACTIVATIONS["gelu"]


def _strided(x: Array, features: int, stride: int, name: str) -> Array:
    """Convolves squares that do not overlap."""
    size = (stride, stride)
    return nn.Conv(features, size, strides=size, padding="VALID", dtype=x.dtype, name=name)(x)


class ConvNeXtBlock(nn.Module):
    """x + layer_scale * mlp_out(gelu(mlp_in(ln(conv(x))))), in which the convolution is of each channel alone.

    Attributes:
        epsilon: of the layer norm.
    """

    epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        width, size = x.shape[-1], (KERNEL, KERNEL)
        h = nn.Conv(width, size, padding=KERNEL // 2, feature_group_count=width, dtype=x.dtype, name="conv")(x)
        h = LayerNorm(self.epsilon, name="ln")(h)
        h = _gelu(nn.Dense(MLP_RATIO * width, dtype=x.dtype, name="mlp_in")(h))
        h = nn.Dense(width, dtype=x.dtype, name="mlp_out")(h)
        return x + h * self.param("layer_scale", nn.initializers.constant(1e-6), (width,)).astype(x.dtype)


class Stage(nn.Module):
    """Blocks of one width, after a step to half the side in all stages but the first.

    Attributes:
        depth: number of blocks.
        width: of the blocks.
        halves: whether the stage begins with a layer norm and a convolution by which each side is halved.
        epsilon: of the layer norms.
    """

    depth: int
    width: int
    halves: bool
    epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        if self.halves:
            x = _strided(LayerNorm(self.epsilon, name="ln_down")(x), self.width, 2, "conv_down")
        for i in range(self.depth):
            x = ConvNeXtBlock(self.epsilon, name=f"block_{i}")(x)
        return x


class ConvNeXt(nn.Module):
    """ConvNeXt with the mean over all positions, a layer norm, and in some models an MLP into the space of the texts.

    Attributes:
        depths: blocks in each of the four stages.
        widths: of the stages.
        projection: the hidden width and the features of the MLP after the last norm, whose result then lies in the
            space shared with the text; None if there is none.
        epsilon: of the layer norms.
        dtype: of the activations. The statistics of the layer norms are float32 in any case.
        tuners: as of the other image towers. None acts here.
    """

    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    projection: tuple[int, int] | None = None
    epsilon: float = 1e-6
    dtype: jnp.dtype = jnp.float32  # pyright: ignore[reportAssignmentType]
    tuners: Callable[[int], BlockTuners] = no_tuners

    @property
    def width(self) -> int:
        """Of the features."""
        return self.projection[1] if self.projection else self.widths[-1]

    @property
    def patch_size(self) -> int:
        """Pixels between two positions of the last stage."""
        return 32

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """Maps normalised images to features."""
        x = _strided(images.astype(self.dtype), self.widths[0], 4, "conv_stem")
        x = LayerNorm(self.epsilon, name="ln_stem")(x)
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            x = Stage(depth, width, i > 0, self.epsilon, name=f"stage_{i}")(x)
        x = LayerNorm(self.epsilon, name="ln_post")(x.mean(axis=(1, 2)))
        if self.projection is None:
            return x
        hidden, features = self.projection
        x = _gelu(nn.Dense(hidden, dtype=x.dtype, name="proj_in")(x))
        return nn.Dense(features, use_bias=False, dtype=x.dtype, name="proj_out")(x)
