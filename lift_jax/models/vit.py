"""The vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929), in CLIP's form (2103.00020) and in others.

What the families differ by are options of one network; `lift_jax.weights` knows which options a file asks for.
"""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lift_jax.models.attention_kernels import Attention
from lift_jax.models.layer_norm import LayerNorm
from lift_jax.models.pooling import AttentionPooling
from lift_jax.models.rotary import Grid, axial_angles
from lift_jax.models.sites import BlockTuners, acts_on_tokens, no_tuners
from lift_jax.models.transformer import Remat, rematerialised


class VisionTransformer(nn.Module):
    """A vision transformer that gives one vector of the tokens after the last norm: the class token, their mean, or
    what attention pools.

    Attributes:
        patch_size: side of a square patch, in pixels; what is left over of the image's sides is not seen.
        width: of the tokens.
        depth: number of blocks.
        num_heads: attention heads of a block.
        mlp_dim: hidden width of a block's MLP.
        activation: a key of `lift_jax.models.transformer.ACTIVATIONS`.
        epsilon: of the layer norms.
        pre_norm: a layer norm between the embeddings and the first block (CLIP has it, the ImageNet-21K ViT does not).
        patch_bias: whether the patch embedding has a bias (the ImageNet-21K ViT has one, CLIP does not).
        pool: "class" for the class token; "attention" for SigLIP's head over all tokens; "mean" for the mean of the
            patches.
        unpooled_class: whether there is a class token that is not what is pooled (Perception Encoder has one).
        pool_heads, pool_mlp_dim: attention heads and hidden width of SigLIP's head; None for those of a block.
        layer_scale: whether each branch of a block is scaled before it is added (DINOv2 and DINOv3 have it).
        gated: whether the MLP is a gated one, such as SwiGLU (see `lift_jax.models.transformer.Block`).
        num_registers: learnt tokens between the class token and the patches (Darcet et al. 2024, arXiv 2309.16588).
        rope_theta: the base of the patches' rotary positions (DINOv3 has 100); None if there are none.
        rope_grid: how rotary positions are counted beside learnt absolute ones (EVA02, Perception Encoder); None for
            DINOv3's, which stand in the place of absolute ones.
        rms, inner_norms: as in a block (see `lift_jax.models.transformer.Block`).
        patch_norm: a norm between the patch embedding and the positions (AIMv2 has it).
        antialias: whether absolute positions that are resized are antialiased (see
            `lift_jax.weights.positions.resize_positions`); only DINOv2 without registers has it otherwise.
        linear_positions: whether they are resized linearly (SigLIP 2's NaFlex models) and not bicubically.
        dtype: of the activations. Layer norm and softmax statistics are float32 in any case.
        remat: what the backward pass computes anew (see `lift_jax.models.transformer.Remat`).
        attention: who computes the attention (see `lift_jax.models.attention_kernels.Attention`).
        tuners: gives the tuners of block i (see `lift_jax.models.sites`).
    """

    patch_size: int
    width: int
    depth: int
    num_heads: int
    mlp_dim: int
    activation: str = "quick_gelu"
    epsilon: float = 1e-5
    pre_norm: bool = True
    patch_bias: bool = False
    pool: Literal["class", "attention", "mean"] = "class"
    unpooled_class: bool = False
    pool_heads: int | None = None
    pool_mlp_dim: int | None = None
    layer_scale: bool = False
    gated: bool = False
    num_registers: int = 0
    rope_theta: float | None = None
    rope_grid: Grid | None = None
    rms: bool = False
    inner_norms: bool = False
    patch_norm: bool = False
    antialias: bool = True
    linear_positions: bool = False
    dtype: jnp.dtype = jnp.float32  # pyright: ignore[reportAssignmentType]
    remat: Remat = "none"
    attention: Attention = "plain"
    tuners: Callable[[int], BlockTuners] = no_tuners

    @property
    def has_class(self) -> bool:
        """Whether the first token is a class token."""
        return self.pool == "class" or self.unpooled_class

    @property
    def has_positions(self) -> bool:
        """Whether there are learnt absolute positions, which another resolution asks to be resized."""
        return self.rope_theta is None or self.rope_grid is not None

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """Maps normalised images to features: after the last layer norm and pooling, before any projection."""
        x = self._embed(images)
        if self.pre_norm:
            x = LayerNorm(self.epsilon, self.rms, name="ln_pre")(x)
        length = x.shape[1]
        angles = self._angles(images.shape[1], images.shape[2], length)
        hidden = self._hidden(length)
        x = jnp.pad(x, ((0, 0), (0, hidden), (0, 0)))
        block = rematerialised(self.remat)
        size = self.num_heads, self.mlp_dim, self.activation, self.epsilon
        options: dict[str, Any] = dict(
            layer_scale=self.layer_scale,
            gated=self.gated,
            rms=self.rms,
            inner_norms=self.inner_norms,
            attention=self.attention,
            hidden=hidden,
        )
        for i in range(self.depth):
            # Of the last block's tokens no more than the class token is looked at.
            first = 1 if self.pool == "class" and i == self.depth - 1 else None
            made = block(*size, first=first, **options, tuners=self.tuners(i), name=f"block_{i}")
            x = made(x, length, angles)
        return self._pooled(LayerNorm(self.epsilon, self.rms, name="ln_post"), x, length)

    def _hidden(self, length: int) -> int:
        """Returns how many tokens of zeros come last, which no token sees, so that the kernel's lengths are even.

        Otherwise it would pad queries, keys and values in each block. A tuner that puts tokens in is not told of them.
        """
        if self.attention == "plain" or any(acts_on_tokens(self.tuners(i)) for i in range(self.depth)):
            return 0
        return length % 2

    def _pooled(self, ln_post: LayerNorm, x: Float[Array, "b t d"], length: int) -> Float[Array, "b d"]:
        if self.pool == "class":
            return ln_post(x[:, 0])
        x = ln_post(x[:, :length])
        if self.pool == "mean":
            patches = x[:, self.num_registers + self.has_class :]
            return jnp.mean(patches, axis=1, dtype=jnp.float32).astype(x.dtype)
        size = self.pool_heads or self.num_heads, self.pool_mlp_dim or self.mlp_dim
        return AttentionPooling(*size, self.activation, self.epsilon, self.attention, name="pool")(x)

    def _embed(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b t d"]:
        b, h, w, c = images.shape
        p = self.patch_size
        kernel = self.param("patch_embedding", nn.initializers.lecun_normal(in_axis=(0, 1, 2)), (p, p, c, self.width))
        # A convolution whose stride is its kernel is a matrix product over patches.
        images = images[:, : h // p * p, : w // p * p].astype(self.dtype)
        patches = images.reshape(b, h // p, p, w // p, p, c).transpose(0, 1, 3, 2, 4, 5)
        x = patches.reshape(b, -1, p * p * c) @ kernel.reshape(-1, self.width).astype(self.dtype)
        if self.patch_bias:
            x = x + self.param("patch_bias", nn.initializers.zeros, (self.width,)).astype(self.dtype)
        if self.patch_norm:
            x = LayerNorm(self.epsilon, self.rms, name="ln_patch")(x)
        normal = nn.initializers.normal(self.width**-0.5)
        if self.has_class:
            token = self.param("class_embedding", normal, (self.width,)).astype(self.dtype)
            x = jnp.concatenate([jnp.broadcast_to(token, (b, 1, self.width)), x], axis=1)
        if self.has_positions:
            positions = self.param("position_embedding", normal, (x.shape[1], self.width))
            x = x + positions.astype(self.dtype)
        if not self.num_registers:
            return x
        registers = self.param("register_tokens", normal, (self.num_registers, self.width)).astype(self.dtype)
        registers = jnp.broadcast_to(registers, (b, *registers.shape))
        first = int(self.has_class)
        return jnp.concatenate([x[:, :first], registers, x[:, first:]], axis=1)

    def _angles(self, height: int, width: int, length: int) -> Float[Array, "t r"] | None:
        """Returns the rotary positions of the tokens; class token and registers, which come first, are not turned."""
        if self.rope_theta is None:
            return None
        p = self.patch_size
        angles = axial_angles(height // p, width // p, self.width // self.num_heads, self.rope_theta, self.rope_grid)
        return jnp.pad(angles, ((length - len(angles), 0), (0, 0)))
