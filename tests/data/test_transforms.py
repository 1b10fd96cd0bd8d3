import math
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import picture
from PIL import Image
from sklearn.datasets import load_sample_image

from lift_jax.data import transforms
from lift_jax.errors import UserError

# Results of torchvision on Pillow images, for scikit-learn's photograph of 640 x 427 pixels.
REFERENCE = np.load(pathlib.Path(__file__).parent / "reference" / "transforms.npz")
BOXES = [(20, 31, 200, 300), (0, 0, 427, 640), (100, 333, 77, 58)]
SIZES = st.integers(1, 300)
SEEDS = st.integers(0, 2**32)


def assert_within_one_level(actual, expected):
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resize_and_centre_crop_equal_torchvision(interpolation):
    image = load_sample_image("china.jpg")
    for name, short_side in [("plain", 64), ("test", 73)]:
        result = transforms.center_crop(transforms.resize(image, short_side, interpolation), 64)
        assert_within_one_level(result, REFERENCE[f"{interpolation}/{name}"])


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("number", range(3))
def test_resized_crop_equals_torchvision(interpolation, number):
    result = transforms.resized_crop(load_sample_image("china.jpg"), BOXES[number], 64, interpolation)
    assert_within_one_level(result, REFERENCE[f"{interpolation}/resized_crop_{number}"])


def test_pixels_outside_the_box_have_no_influence():
    image = picture(60, 80)
    other = np.full_like(image, 255)
    box = (10, 20, 30, 40)
    transforms.crop(other, box)[:] = transforms.crop(image, box)
    first, second = (transforms.resized_crop(each, box, 16, "bicubic") for each in (image, other))
    np.testing.assert_array_equal(first, second)


@given(SIZES, SIZES, st.integers(1, 300))
def test_resized_shape_keeps_the_aspect_ratio(height, width, short_side):
    result = transforms.resized_shape(height, width, short_side)
    assert min(result) == short_side
    exact = short_side * max(height, width) / min(height, width)
    assert exact - 1 < max(result) <= exact + 1e-6
    assert (result[0] <= result[1]) == (height <= width) or len(set(result)) == 1


@given(SIZES, SIZES, SEEDS)
def test_random_resized_crop_stays_inside_and_has_the_asked_shape(height, width, seed):
    top, left, box_height, box_width = transforms.RandomResizedCrop().box(np.random.default_rng(seed), height, width)
    assert 0 <= top <= height - box_height and 0 <= left <= width - box_width
    assert 1 <= box_height <= height and 1 <= box_width <= width
    # Rounding to whole pixels moves each side by at most one half.
    if min(box_height, box_width) > 1:
        assert (box_width - 0.5) / (box_height + 0.5) <= 4 / 3 and (box_width + 0.5) / (box_height - 0.5) >= 3 / 4
        assert (box_width + 0.5) * (box_height + 0.5) >= 0.08 * min(height * width, 3 / 4 * min(height, width) ** 2)


def test_random_resized_crop_area_and_aspect_are_uniform():
    # On a square image wide enough for every draw, area and log aspect are the uniform distributions of the paper.
    crop = transforms.RandomResizedCrop(scale=(0.1, 0.5))
    rng = np.random.default_rng(0)
    boxes = np.array([crop.box(rng, 1000, 1000) for _ in range(4000)])
    area = boxes[:, 2] * boxes[:, 3] / 1e6
    aspect = np.log(boxes[:, 3] / boxes[:, 2]) / math.log(4 / 3)
    assert abs(area.mean() - 0.3) < 0.01 and abs(area.std() - 0.4 / math.sqrt(12)) < 0.01
    assert abs(aspect.mean()) < 0.03 and abs(aspect.std() - 1 / math.sqrt(3)) < 0.03
    centre = (boxes[:, 0] + boxes[:, 2] / 2).mean(), (boxes[:, 1] + boxes[:, 3] / 2).mean()
    np.testing.assert_allclose(centre, (500, 500), atol=12)


def test_random_resized_crop_falls_back_to_the_centre():
    # No box of at least 90 % of the area fits with these aspect ratios into a strip; torchvision's fall-back is the
    # largest allowed one in the middle.
    crop = transforms.RandomResizedCrop(scale=(0.9, 1.0))
    assert crop.box(np.random.default_rng(0), 30, 300) == (0, 130, 30, 40)
    assert crop.box(np.random.default_rng(0), 300, 30) == (130, 0, 40, 30)


@given(SIZES, SIZES, SEEDS, st.sampled_from(sorted(transforms.SCHEDULES)), st.floats(0, 1))
def test_square_crop_is_a_square_inside_the_image(height, width, seed, schedule, progress):
    crop = transforms.SquareCrop(schedule)
    top, left, box_height, box_width = crop.box(np.random.default_rng(seed), height, width, progress)
    assert box_height == box_width
    assert 0 <= top <= height - box_height and 0 <= left <= width - box_width
    smallest = 0.08 + 0.92 * transforms.SCHEDULES[schedule](progress)
    assert box_height >= round(math.sqrt(min(smallest * height * width, min(height, width) ** 2))) - 1


def test_square_crop_ends_with_the_largest_square():
    for schedule in ("linear", "convex", "concave", "max"):
        assert transforms.SquareCrop(schedule).box(np.random.default_rng(0), 60, 100, 1.0)[2:] == (60, 60)
    assert transforms.SquareCrop("max").box(np.random.default_rng(0), 60, 100, 0.0)[2:] == (60, 60)


@pytest.mark.parametrize(
    "schedule, middle",
    [("min", 0.0), ("linear", 0.5), ("convex", 1 - math.sqrt(0.75)), ("concave", math.sqrt(0.75)), ("max", 1.0)],
)
def test_schedules_of_lift_plus(schedule, middle):
    assert transforms.SCHEDULES[schedule](0.5) == pytest.approx(middle)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UserError, match="bilinear, bicubic"):
        transforms.resize(picture(10, 20), 5, "nearest")
    with pytest.raises(UserError, match="min, linear, convex, concave, max"):
        transforms.SquareCrop("cosine")


def test_resize_equals_pillow_on_the_cropped_image():
    image = picture(50, 70, 3)
    expected = Image.fromarray(image).crop((7, 5, 7 + 40, 5 + 30)).resize((24, 24), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(transforms.resized_crop(image, (5, 7, 30, 40), 24, "bilinear"), np.asarray(expected))
