"""The evaluation's way from a photograph to a square, on the device and for shapes that are not known beforehand."""

import jax.numpy as jnp
from jaxtyping import Array, Int, UInt8

_BITS = 22
"""How many bits the fractions have in which Pillow computes with pixels of eight bits."""


def to_square(
    images: UInt8[Array, "b height width 3"], side: int, interpolation: str
) -> UInt8[Array, "b {side} {side} 3"]:
    """Resizes the short side to 8/7 of `side`, and crops the centre (see `lift_jax.data.views.prepare_test`).

    As Pillow does it: an antialiased filter, along the rows first, rounded to whole grey levels after each axis. Its
    fractions are Pillow's, so that its ties are, which are common where a size has a simple ratio to the square's.
    Bilinear pixels are the same; of bicubic ones, about one value in ten thousand differs by one grey level.

    Args:
        images: photographs of one size.
        side: the side of the square, in pixels.
        interpolation: "bilinear" or "bicubic".
    """
    short = jnp.minimum(*(jnp.asarray(n, jnp.int32) for n in images.shape[1:3]))
    pixels = images
    for axis, product in (2, "bhwc,sw->bhsc"), (1, "bhwc,sh->bswc"):
        weights = _weights(images.shape[axis], short, side, interpolation)
        # Matrices are multiplied in floats of 24 bits: half of the fraction's bits at a time, so that sums are exact.
        halves = (
            jnp.einsum(product, pixels.astype(jnp.float32), half.astype(jnp.float32), precision="highest")
            for half in (weights >> _BITS // 2, weights & (1 << _BITS // 2) - 1)
        )
        high, low = (half.astype(jnp.int32) for half in halves)
        pixels = jnp.clip((high << _BITS // 2) + low + (1 << _BITS - 1) >> _BITS, 0, 255)
    return pixels.astype(jnp.uint8)


def _weights(size: int, short: Array, side: int, interpolation: str) -> Int[Array, "{side} size"]:
    """Weighs the pixels along an axis for those of the crop; each row has the sum 1, as a fraction of `_BITS`."""
    old = jnp.asarray(size, jnp.int32)
    new = (side + side // 7) * old // short
    margin = new - side
    start = margin // 2 + margin % 2 * (margin // 2 % 2)  # half of it, rounded to the even one
    outputs, inputs = jnp.arange(side)[:, None] + start, jnp.arange(size)
    # The distance of the pixels' centres in units of half the longer spacing, new or old, as a fraction of integers.
    distance, unit = jnp.abs((2 * inputs + 1) * new - (2 * outputs + 1) * old), 2 * jnp.maximum(old, new)
    if interpolation == "bilinear":
        weights = jnp.maximum(unit - distance, 0)
        return _divide(weights, weights.sum(1, keepdims=True))
    # Keys (1981), "Cubic convolution interpolation for digital image processing", equation 4, with a = -1/2.
    x = distance / unit
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    weights = jnp.where(x < 1, near, jnp.where(x < 2, far, 0))
    return jnp.round(weights / weights.sum(1, keepdims=True) * (1 << _BITS)).astype(jnp.int32)


def _divide(numerator: Int[Array, "s n"], denominator: Int[Array, "s 1"]) -> Int[Array, "s n"]:
    """Gives the quotient as a fraction of `_BITS`, rounded; bit by bit, because no integer is longer than 32 bits."""
    quotient, rest = jnp.zeros_like(numerator), numerator
    for _ in range(_BITS):
        rest = 2 * rest
        more = rest >= denominator
        quotient, rest = 2 * quotient + more, rest - jnp.where(more, denominator, 0)
    return quotient + (2 * rest >= denominator)
