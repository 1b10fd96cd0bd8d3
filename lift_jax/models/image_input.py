"""What the device does with uint8 pixels before the network sees them."""

import contextlib
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

Precision = Literal["default", "high", "highest"]
"""Of float32 matrix products; "default" is what JAX takes: TF32 on a GPU, bfloat16 on a TPU."""


@dataclasses.dataclass(frozen=True)
class ImageInput:
    """The images that a network takes.

    Attributes:
        resolution: side of a view, in pixels.
        mean, std: of the normalisation, per channel, for images in [0, 1].
        dtype: of the activations.
        precision: of the network's matrix products where their factors are float32.
    """

    resolution: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dtype: Any
    precision: Precision = "default"

    def products(self) -> contextlib.AbstractContextManager[Any]:
        """Gives the network's matrix products, forward and backward, their precision while they are traced."""
        return contextlib.nullcontext() if self.precision == "default" else jax.default_matmul_precision(self.precision)

    def normalize(self, images: UInt8[Array, "*batch height width 3"]) -> Float[Array, "*batch height width 3"]:
        """Normalises uint8 images (see `normalize`)."""
        return normalize(images, self.mean, self.std, self.dtype)

    def views(self, batch: dict[str, Array]) -> Float[Array, "n h w 3"]:
        """Cuts the views out of a batch of canvases (see `lift_jax.data.test_loader`), and normalises them."""
        pixels = cut(batch["image"], batch["corners"], batch["transposed"], batch["flipped"], self.resolution)
        return self.normalize(pixels.reshape(-1, *pixels.shape[2:]))


def cut(
    canvas: UInt8[Array, "batch canvas_height canvas_width 3"],
    corners: Int[Array, "batch views 2"],
    transposed: Bool[Array, " batch"],
    flipped: Bool[Array, "batch views"],
    resolution: int,
) -> UInt8[Array, "batch views resolution resolution 3"]:
    """Cuts the views out of canvases on the device; the arguments are what `data.views.prepare_test` gives, batched."""

    def view(image: Array, corner: Array, transpose: Array, mirror: Array) -> Array:
        piece = jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (resolution, resolution, 3))
        piece = jnp.where(transpose, piece.swapaxes(0, 1), piece)
        return jnp.where(mirror, piece[:, ::-1], piece)

    return jax.vmap(jax.vmap(view, in_axes=(None, 0, None, 0)))(canvas, corners, transposed, flipped)


def flip(images: UInt8[Array, "batch height width 3"], key: PRNGKeyArray) -> UInt8[Array, "batch height width 3"]:
    """Mirrors each image from left to right with probability one half."""
    mirror = jax.random.bernoulli(key, 0.5, images.shape[:1])
    return jnp.where(mirror[:, None, None, None], images[:, :, ::-1], images)


def normalize(
    images: UInt8[Array, "*batch height width 3"], mean: Any, std: Any, dtype: Any = jnp.float32
) -> Float[Array, "*batch height width 3"]:
    """Computes (x / 255 - mean) / std in float32, and casts the result.

    Args:
        images: uint8 pixels.
        mean, std: one number a channel, as shares of 1.
        dtype: dtype of the result.
    """
    scaled = images.astype(jnp.float32) / 255
    return ((scaled - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)).astype(dtype)
