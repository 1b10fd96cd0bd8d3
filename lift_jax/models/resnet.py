"""CLIP's residual network with attention pooling (Radford et al. 2021, arXiv 2103.00020, section 2.4).

It differs from He et al.'s (2016) in a stem of three convolutions, in average pooling before every strided step
(anti-aliasing, Zhang 2019), and in an attention pool in place of the last average.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.attention_kernels import Attention
from lift_jax.models.pooling import QueryAttention
from lift_jax.models.sites import BlockTuners, Sites, no_tuners

EXPANSION = 4
"""Output width of a bottleneck over its inner width."""


class FrozenBatchNorm(nn.Module):
    """Batch normalisation by stored statistics, in float32: (x - mean) scale / sqrt(var + 1e-5) + bias.

    The statistics are parameters `mean` and `var` that no training changes: fine-tuning on a long-tailed set would
    draw them towards its frequent classes.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        shape, ones, zeros = x.shape[-1:], nn.initializers.ones, nn.initializers.zeros
        scale, bias = self.param("scale", ones, shape), self.param("bias", zeros, shape)
        mean, var = self.param("mean", zeros, shape), self.param("var", ones, shape)
        scale = scale * jax.lax.rsqrt(var + 1e-5)
        return (x.astype(jnp.float32) * scale + (bias - mean * scale)).astype(x.dtype)


def _conv(x: Array, features: int, side: int, stride: int, name: str) -> Array:
    kernel, padding = (side, side), side // 2
    conv = nn.Conv(features, kernel, strides=stride, padding=padding, use_bias=False, dtype=x.dtype, name=name)
    return conv(x)


def _average(x: Array, stride: int) -> Array:
    return nn.avg_pool(x, window_shape=(stride, stride), strides=(stride, stride)) if stride > 1 else x


class Bottleneck(nn.Module):
    """x + conv_3(pool(conv_2(conv_1(x)))), each normalised; the shortcut is pooled and projected if need be.

    Attributes:
        width: of the inner convolutions; the output has `EXPANSION` times as many channels.
        stride: of the pooling.
    """

    width: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        outputs = EXPANSION * self.width
        h = jax.nn.relu(FrozenBatchNorm(name="bn_1")(_conv(x, self.width, 1, 1, "conv_1")))
        h = jax.nn.relu(FrozenBatchNorm(name="bn_2")(_conv(h, self.width, 3, 1, "conv_2")))
        h = FrozenBatchNorm(name="bn_3")(_conv(_average(h, self.stride), outputs, 1, 1, "conv_3"))
        if self.stride > 1 or x.shape[-1] != outputs:
            x = FrozenBatchNorm(name="bn_short")(_conv(_average(x, self.stride), outputs, 1, 1, "conv_short"))
        return jax.nn.relu(h + x)


class AttentionPool(nn.Module):
    """One layer of attention whose query is the mean position and whose keys are it and all positions.

    Attributes:
        features: of the output.
        num_heads: attention heads.
        attention: who computes the attention.
        tuners: they act on the output, as the linear layer `attn_out`.
    """

    features: int
    num_heads: int
    attention: Attention = "plain"
    tuners: BlockTuners = nn.FrozenDict()  # pyright: ignore[reportAssignmentType]

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        b, h, w, c = x.shape
        sites = Sites([make(name=f"tuner_{name}") for name, make in self.tuners.items()])
        x = x.reshape(b, h * w, c)
        x = jnp.concatenate([x.mean(axis=1, keepdims=True), x], axis=1)
        positions = self.param("position_embedding", nn.initializers.normal(c**-0.5), (h * w + 1, c))
        x = x + positions.astype(x.dtype)
        pooled = QueryAttention(self.num_heads, self.attention, name="attn_in")(x[:, 0], x)
        y = nn.Dense(self.features, dtype=x.dtype, name="attn_out")(pooled)
        return sites.linear("attn_out", pooled[:, None], y[:, None])[:, 0]


class ResNet(nn.Module):
    """CLIP's image tower with convolutions. Its features are in the space shared with the text; there is no projection.

    Attributes:
        layers: bottlenecks in each of the four stages.
        stem_width: channels after the stem, 64 for ResNet-50 and ResNet-101.
        width: of the features.
        num_heads: of the attention pool.
        dtype: of the activations.
        attention: who computes the attention of the pool.
        tuners: gives the tuners of the attention pool, as block 0.
    """

    layers: tuple[int, int, int, int]
    stem_width: int
    width: int
    num_heads: int
    dtype: jnp.dtype = jnp.float32  # pyright: ignore[reportAssignmentType]
    attention: Attention = "plain"
    tuners: Callable[[int], BlockTuners] = no_tuners

    @property
    def depth(self) -> int:
        """Number of bottlenecks."""
        return sum(self.layers)

    @property
    def patch_size(self) -> int:
        """Pixels between two positions of the attention pool."""
        return 32

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """Maps normalised images to features."""
        x = images.astype(self.dtype)
        half = self.stem_width // 2
        for i, (width, stride) in enumerate([(half, 2), (half, 1), (self.stem_width, 1)]):
            x = _conv(x, width, 3, stride, f"conv_{i + 1}")
            x = jax.nn.relu(FrozenBatchNorm(name=f"bn_{i + 1}")(x))
        x = _average(x, 2)
        for stage, number in enumerate(self.layers):
            for i in range(number):
                stride = 2 if stage > 0 and i == 0 else 1
                x = Bottleneck(self.stem_width * 2**stage, stride, name=f"stage_{stage}_block_{i}")(x)
        return AttentionPool(self.width, self.num_heads, self.attention, self.tuners(0), name="attn_pool")(x)
