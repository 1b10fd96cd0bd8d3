import pathlib
from typing import Any

import numpy as np
import pytest
from pictures import array_dataset, picture
from PIL import Image
from sklearn.datasets import load_sample_image

from lift_jax.data import RandAugment, train_loader
from lift_jax.data.randaugment import MAX_MAGNITUDE, SIGNED, UNSIGNED
from lift_jax.errors import UserError

# torchvision's results: "operation/magnitude", on the cut-out below.
REFERENCE = np.load(pathlib.Path(__file__).parent / "reference" / "randaugment.npz")


@pytest.mark.parametrize("case", REFERENCE.files)
def test_operations_equal_torchvisions(case):
    name, magnitude = case.split("/")
    cutout = Image.fromarray(load_sample_image("china.jpg")[150:174, 100:132])
    result = {**SIGNED, **UNSIGNED}[name](cutout, int(magnitude) / MAX_MAGNITUDE)
    np.testing.assert_array_equal(np.asarray(result), REFERENCE[case])


def test_the_operations_are_torchvisions():
    assert {case.split("/")[0] for case in REFERENCE.files} == {*SIGNED, *UNSIGNED}


def test_every_operation_is_drawn_equally_often():
    # At the largest magnitude all operations but Identity change this picture, each in its own way and by its sign.
    image, rng = picture(24, 32) // 2 + 20, np.random.default_rng(0)
    augment = RandAugment(1, MAX_MAGNITUDE)
    seen: dict[bytes, int] = {}
    for _ in range(2800):
        result = augment(image, rng)
        assert result.shape == image.shape and result.dtype == np.uint8
        seen[result.tobytes()] = seen.get(result.tobytes(), 0) + 1
    assert len(seen) == 2 * len(SIGNED) + len(UNSIGNED)
    counts = np.array(sorted(seen.values()))
    np.testing.assert_allclose(counts[: 2 * len(SIGNED)], 100, atol=40)
    np.testing.assert_allclose(counts[2 * len(SIGNED) :], 200, atol=60)


def test_the_loader_augments_by_seed_epoch_and_index_alone():
    dataset = array_dataset(12)
    settings: Any = dict(seed=3, resolution=8, num_epochs=2, augment=RandAugment(2, 20))
    whole = list(train_loader(dataset, batch_size=4, **settings))
    plain = list(train_loader(dataset, batch_size=4, **{**settings, "augment": None}))
    assert any((one["image"] != other["image"]).any() for one, other in zip(whole, plain, strict=True))
    for batches in (train_loader(dataset, batch_size=6, **settings), train_loader(dataset, batch_size=4, **settings)):
        by_index = {}
        for step, batch in enumerate(batches):
            for index, image in zip(batch["index"], batch["image"], strict=True):
                by_index[step // batches.steps_per_epoch, int(index)] = image
        for step, batch in enumerate(whole):
            for index, image in zip(batch["index"], batch["image"], strict=True):
                np.testing.assert_array_equal(image, by_index[step // 3, int(index)])


def test_numbers_out_of_range():
    with pytest.raises(UserError, match="randaugment is -1"):
        RandAugment(-1)
    with pytest.raises(UserError, match="randaugment_magnitude is 31; write a number from 0 to 30"):
        RandAugment(2, 31)
