import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import picture
from sklearn.datasets import load_sample_image

from lift_jax.data import images, resampling, transforms
from lift_jax.errors import UserError

SIDES = st.integers(1, 120)
FILTERS = st.sampled_from(["bilinear", "bicubic"])

# Pillow 12's resizing to 24 x 24 of the noise below: what torchvision gave to the authors.
TALL = np.load(pathlib.Path(__file__).parent / "reference" / "tall.npz")


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Black and white: where filters overshoot, and the order of the passes shows."""
    return np.random.RandomState(seed).choice(np.array([0, 255], np.uint8), (height, width, 3))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_tall_images_are_resized_as_by_the_references_pillow(interpolation):
    result = resampling.resample(noise(60, 20), 24, 24, interpolation)
    np.testing.assert_array_equal(result, TALL[interpolation])


@pytest.mark.skipif(resampling.cykooz_resizer is None, reason="cykooz_resizer has no wheel for this platform")
@given(SIDES, SIDES, SIDES, SIDES, FILTERS, st.integers(0, 9))
@settings(deadline=None)
def test_close_is_at_most_two_levels_off(height, width, to_height, to_width, interpolation, seed):
    image = noise(height, width, seed)
    exact, close = (
        resampling.resample(image, to_height, to_width, interpolation, fidelity).astype(int)
        for fidelity in ("exact", "close")
    )
    assert np.abs(exact - close).max() <= 2


@pytest.mark.skipif(resampling.cykooz_resizer is None, reason="cykooz_resizer has no wheel for this platform")
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_close_is_mostly_equal_on_a_photograph(interpolation):
    photograph = load_sample_image("china.jpg")
    exact, close = (
        resampling.resample(photograph, 224, 224, interpolation, fidelity).astype(int)
        for fidelity in ("exact", "close")
    )
    assert (exact == close).mean() > 0.99 and np.abs(exact - close).max() <= 2


@given(SIDES, SIDES, st.integers(1, 40))
def test_a_reduced_image_has_the_pixels_that_are_needed(height, width, needed):
    factor = images.largest_reduction(height, width, needed)
    assert factor in (1, 2, 4, 8)
    assert factor == 1 or min(height, width) / factor >= needed
    assert factor == 8 or min(height, width) / (2 * factor) < needed


@given(st.data())
def test_a_scaled_box_stays_inside_and_moves_by_half_a_pixel_at_most(data):
    height, width, factor = data.draw(SIDES), data.draw(SIDES), data.draw(st.sampled_from([1, 2, 4, 8]))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    box = (top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left)))
    after = -(-height // factor), -(-width // factor)
    result = transforms.scaled(box, (height, width), after)
    assert min(result[:2]) >= 0 and min(result[2:]) >= 1
    assert result[0] + result[2] <= after[0] and result[1] + result[3] <= after[1]
    for place in range(2):
        exact = box[place] * after[place] / (height, width)[place]
        assert abs(result[place] - exact) <= 0.5 or result[place] == after[place] - 1
    if factor == 1:
        assert result == box


def test_unknown_fidelity():
    with pytest.raises(UserError, match="'rough'; write one of exact, close, scaled"):
        resampling.check_fidelity("rough")
    with pytest.raises(UserError, match="bilinear, bicubic"):
        resampling.resample(picture(10, 20), 5, 5, "nearest")
