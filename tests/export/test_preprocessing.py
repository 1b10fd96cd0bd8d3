"""Resizing and cropping inside an exported model, against what the evaluation does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from lift_jax.data import transforms, views
from lift_jax.export.preprocessing import to_square

SIDE = 24


@pytest.fixture(scope="module", params=["bilinear", "bicubic"])
def pair(request):
    """The exported function of photographs of any size, and the interpolation."""
    batch, height, width = export.symbolic_shape("batch, height, width")
    shape = jax.ShapeDtypeStruct((batch, height, width, 3), jnp.uint8)
    exported = export.export(jax.jit(lambda images: to_square(images, SIDE, request.param)))(shape)
    return exported.call, request.param


# Smaller and larger than the square, of one side or both equal to it, odd margins, and far from square.
@pytest.mark.parametrize("size", [(50, 75), (75, 50), (9, 14), (27, 27), (27, 50), (60, 61), (24, 200), (300, 411)])
def test_squares_are_those_of_the_evaluation(pair, size):
    to_any_square, interpolation = pair
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    images[1] = np.where(images[1] < 128, 0, 255)  # where bicubic overshoots
    short_side = views.short_side(SIDE, 0, "plain")
    expected = [transforms.center_crop(transforms.resize(x, short_side, interpolation), SIDE) for x in images]
    difference = np.abs(np.asarray(to_any_square(images)).astype(int) - expected)
    if interpolation == "bilinear":
        assert not difference.any()
    else:  # whose weights Pillow computes in float64
        assert difference.max() <= 1 and (difference > 0).mean() < 0.005
