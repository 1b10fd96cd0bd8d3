"""Images of glyphs: bent, slanted, uneven, coloured, coarse. No two are alike, and no handwriting is involved."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt8

from lift_jax.quickstart.glyphs import DEPTH, FRAME

IMAGE_SIZE = 32  # side of an image in pixels


@dataclasses.dataclass(frozen=True)
class Look:
    """The properties of an image that its caption may tell; `render` draws all others at random.

    Attributes:
        ink, paper: colours, in 0 to 1.
        weight: thickness added to a printed outline or given to a pen's line, in frame pixels.
        cells: 0 for a sharp image, otherwise the image is made of cells x cells pixels, drawn large (8 or 16).
        blur: standard deviation in pixels.
        fill: whether the glyph is stretched to the frame.
    """

    ink: Float[np.ndarray, "n 3"]
    paper: Float[np.ndarray, "n 3"]
    weight: Float[np.ndarray, "n"]
    cells: Int[np.ndarray, "n"]
    blur: Float[np.ndarray, "n"]
    fill: Bool[np.ndarray, "n"]


jax.tree_util.register_dataclass(Look)


@jax.jit
def render(
    key: PRNGKeyArray,
    fields: UInt8[Array, "n frame frame"],
    boxes: Float[Array, "n 2"],
    look: Look,
    strength: float = 1.0,
) -> Float[Array, "n size size 3"]:
    """Renders images in 0 to 1 of bent, slanted, turned, moved glyphs, with an uneven stroke and some noise.

    Args:
        key: all randomness; the same key gives the same images.
        fields, boxes: rows of an `Atlas`.
        look: see `Look`.
        strength: factor on every distortion; 0 shows the glyphs as they are.
    """
    n = len(fields)
    normal_key, uniform_key = jax.random.split(key)
    normals = strength * jax.random.normal(normal_key, (n, 2 + 2 * 9 + 2 * 36 + 9 + IMAGE_SIZE**2))
    turn, slant, bend, waver, stroke, noise = jnp.split(normals, np.cumsum([1, 1, 2 * 9, 2 * 36, 9]), axis=1)
    uniforms = strength * jax.random.uniform(uniform_key, (n, 7), minval=-1.0)
    zoom, fit, shift, noise_level = jnp.split(uniforms, [2, 4, 6], axis=1)

    # Where each pixel of the image looks into the frame: position, then bend, then the inverse of the affine map.
    line = (jnp.arange(IMAGE_SIZE) + 0.5) / IMAGE_SIZE * 2 - 1
    position = jnp.stack(jnp.meshgrid(line, line, indexing="xy"), axis=-1) - 0.12 * shift[:, None, None]  # (x, y)
    position += 0.10 * _smooth(bend.reshape(n, 3, 3, 2)) + 0.03 * _smooth(waver.reshape(n, 6, 6, 2))
    scale = jnp.exp(-0.075 + 0.225 * zoom)
    # Narrow glyphs are not blown up to the whole width.
    scale = jnp.where(look.fill[:, None], (0.85 + 0.12 * fit) / jnp.maximum(boxes, jnp.array([0.35, 0.6])), scale)
    x, y = position[..., 0], position[..., 1]
    cos, sin = jnp.cos(0.2 * turn)[..., None], jnp.sin(0.2 * turn)[..., None]
    x, y = cos * x + sin * y, cos * y - sin * x
    x = x + 0.25 * slant[..., None] * y
    position = jnp.stack([x, y], axis=-1) / scale[:, None, None]

    size = IMAGE_SIZE / FRAME  # image pixels of a frame pixel
    distance = _sample(fields, position) * size * scale.mean(axis=1)[:, None, None]
    weight = look.weight[:, None, None] * size * (1 + 0.25 * _smooth(stroke.reshape(n, 3, 3, 1))[..., 0])
    cover = jax.nn.sigmoid(4.0 * (distance + weight))
    cover = _blur(cover, jnp.asarray(look.blur))
    cells = look.cells[:, None, None]
    cover = jnp.where(cells == 8, _pixelate(cover, 8), jnp.where(cells == 16, _pixelate(cover, 16), cover))

    images = look.paper[:, None, None] + cover[..., None] * (look.ink - look.paper)[:, None, None]
    noise = 0.04 * (1 + noise_level) * noise
    return jnp.clip(images + noise.reshape(n, IMAGE_SIZE, IMAGE_SIZE, 1), 0, 1)


def _smooth(coarse: Float[Array, "n h w c"]) -> Float[Array, "n size size c"]:
    """Enlarges a coarse grid of values to a smooth field over the image."""
    return jax.image.resize(coarse, (len(coarse), IMAGE_SIZE, IMAGE_SIZE, coarse.shape[-1]), "cubic")


def _sample(fields: UInt8[Array, "n f f"], position: Float[Array, "n h w 2"]) -> Float[Array, "n h w"]:
    """Samples the fields bilinearly, in frame pixels of distance; positions are in -1 to 1, (x, y)."""
    p = jnp.clip((position + 1) / 2 * FRAME - 0.5, 0, FRAME - 1.001)
    low = jnp.floor(p).astype(jnp.int32)
    tx, ty = jnp.moveaxis(p - low, -1, 0)
    row = jnp.arange(len(fields))[:, None, None]
    start = (row * FRAME + low[..., 1]) * FRAME + low[..., 0]
    flat = fields.reshape(-1)

    def at(offset: int) -> Array:
        return flat[start + offset].astype(jnp.float32)

    upper = at(0) * (1 - tx) + at(1) * tx
    lower = at(FRAME) * (1 - tx) + at(FRAME + 1) * tx
    return (upper * (1 - ty) + lower * ty - 128) / DEPTH


def _blur(cover: Float[Array, "n h w"], sigma: Float[Array, "n"]) -> Float[Array, "n h w"]:
    """Blurs each image by a Gaussian of its own width, up to 1.5 pixels, by one matrix product along each axis."""
    apart = jnp.arange(IMAGE_SIZE)[:, None] - jnp.arange(IMAGE_SIZE)[None]
    kernel = jnp.exp(-0.5 * (apart / jnp.maximum(sigma, 0.1)[:, None, None]) ** 2)
    kernel = kernel / kernel.sum(axis=-1, keepdims=True)
    return kernel @ cover @ jnp.swapaxes(kernel, 1, 2)


def _pixelate(cover: Float[Array, "n h w"], cells: int) -> Float[Array, "n h w"]:
    """Averages each cell, and enlarges the cells again linearly, as a small image is when it is resized."""
    side = IMAGE_SIZE // cells
    small = cover.reshape(-1, cells, side, cells, side).mean(axis=(2, 4))
    return jax.image.resize(small, cover.shape, "linear")
