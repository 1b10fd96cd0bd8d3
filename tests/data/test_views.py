import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import picture
from sklearn.datasets import load_sample_image

from lift_jax.data import transforms, views
from lift_jax.errors import UserError
from lift_jax.models import image_input

KEYS = ("image", "corners", "transposed", "flipped")
REFERENCE = np.load(pathlib.Path(__file__).parent / "reference" / "transforms.npz")


def cut(entry: dict, resolution: int) -> np.ndarray:
    """The views of one prepared image."""
    image, corners, transposed, flipped = (jnp.asarray(entry[key])[None] for key in KEYS)
    return np.asarray(image_input.cut(image, corners, transposed, flipped, resolution)[0])


def crops(image: np.ndarray, resolution: int, short_side: int, ten: bool) -> np.ndarray:
    """Five or ten crops by their definition."""
    resized = transforms.resize(image, short_side, "bilinear")
    height, width = resized.shape[:2]
    bottom, right = height - resolution, width - resolution
    pieces = []
    for whole in [resized, resized[:, ::-1]] if ten else [resized]:
        for top, left in [(0, 0), (0, right), (bottom, 0), (bottom, right)]:
            pieces.append(whole[top : top + resolution, left : left + resolution])
        pieces.append(transforms.center_crop(whole, resolution))
    return np.stack(pieces)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "mode, expand, name",
    [("center", 0, "plain"), ("plain", 8, "test"), ("fivecrop", 8, "fivecrop"), ("tencrop", 8, "tencrop")],
)
def test_views_equal_torchvision(interpolation, mode, expand, name):
    entry = views.prepare_test(load_sample_image("china.jpg"), 64, expand, mode, interpolation)
    expected = REFERENCE[f"{interpolation}/{name}"].reshape(-1, 64, 64, 3)
    result = cut(entry, 64)
    assert result.shape == expected.shape
    assert np.abs(result.astype(int) - expected.astype(int)).max() <= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 130), st.integers(8, 130), st.integers(0, 9), st.booleans())
def test_views_of_any_aspect_ratio_are_the_crops(height, width, expand, ten):
    # From very long strips (packed columns) to portraits (transposed), for even and odd margins.
    image = picture(height, width, height * width)
    with jax.disable_jit():
        entry = views.prepare_test(image, 12, expand, "tencrop" if ten else "fivecrop", "bilinear")
        corners, canvas = entry["corners"], entry["image"]
        assert (corners >= 0).all() and (corners + 12 <= canvas.shape[:2]).all()
        np.testing.assert_array_equal(cut(entry, 12), crops(image, 12, 12 + expand, ten))


@pytest.mark.parametrize("resolution, expand", [(224, 24), (336, 24), (48, 6)])
def test_canvases_have_few_shapes(resolution, expand):
    shapes = set()
    for long_side in range(100, 500, 7):
        for height, width in [(100, long_side), (long_side, 100)]:
            image = np.zeros((height, width, 3), np.uint8)
            shapes.add(views.prepare_test(image, resolution, expand, "fivecrop", "bilinear")["image"].shape)
    assert len(shapes) <= 5


def test_canvas_is_a_tenth_of_five_float_views():
    # The common photograph shapes 1:1, 4:3, 3:2 and their portraits at the paper's setting.
    floats = 5 * 224 * 224 * 3 * 4
    for height, width in [(500, 500), (375, 500), (333, 500), (500, 375), (500, 333), (480, 640), (2000, 3000)]:
        image = np.zeros((height, width, 3), np.uint8)
        assert views.prepare_test(image, 224, 24, "fivecrop", "bilinear")["image"].nbytes < floats / 10
    # The crops of longer ones have more different pixels than that.
    for height, width in [(1080, 1920), (250, 500), (100, 1000)]:
        image = np.zeros((height, width, 3), np.uint8)
        assert views.prepare_test(image, 224, 24, "fivecrop", "bilinear")["image"].nbytes < floats / 6


def test_random_views_depend_on_their_generator_alone():
    image = picture(40, 60)
    first, again, other = (
        views.prepare_test(image, 16, 0, "random", "bilinear", 4, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(cut(first, 16), cut(again, 16))
    assert cut(first, 16).shape == (4, 16, 16, 3)
    assert (cut(first, 16) != cut(other, 16)).any()


def test_flip_mirrors_about_half_of_the_images():
    images = np.random.default_rng(0).integers(0, 256, (400, 3, 4, 3), np.uint8)
    flipped = np.asarray(image_input.flip(jnp.asarray(images), jax.random.key(0)))
    same = (flipped == images).all((1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 160 < mirrored.sum() < 240


def test_normalize_equals_float64():
    images = np.arange(256 * 3, dtype=np.uint8).reshape(1, 16, 16, 3)
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    result = image_input.normalize(jnp.asarray(images), mean, std)
    np.testing.assert_allclose(result, (images.astype(np.float64) / 255 - mean) / std, atol=1e-6)
    half = image_input.normalize(jnp.asarray(images), mean, std, jnp.bfloat16)
    np.testing.assert_array_equal(half, result.astype(jnp.bfloat16))


def test_unknown_mode_and_elongated_image_are_refused():
    with pytest.raises(UserError, match="plain, center, fivecrop, tencrop, random"):
        views.prepare_test(picture(10, 10), 8, 0, "sixcrop", "bilinear")
    with pytest.raises(UserError, match=r"strip\.png is too elongated .*1010 x 10"):
        views.prepare_test(np.zeros((10, 1010, 3), np.uint8), 8, 0, "plain", "bilinear", name="strip.png")
