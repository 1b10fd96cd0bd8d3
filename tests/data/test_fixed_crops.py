"""Crops that stay the same over the epochs, and batches of their features."""

from typing import Any

import numpy as np
import pytest
from etils import epath

from lift_jax.data import TrainLoader, train_loader
from lift_jax.data.contents import digests
from lift_jax.data.dataset import ArraySource, Dataset
from lift_jax.data.transforms import SquareCrop
from lift_jax.errors import UserError

EXAMPLES, CROPS = 11, 3
IMAGES = np.random.default_rng(0).integers(0, 256, (EXAMPLES, 24, 20, 3), np.uint8)
DATA = Dataset("noise", ArraySource(IMAGES), np.arange(EXAMPLES, dtype=np.int32) % 4, ("a", "b", "c", "d"))
KNOWN = epath.Path("/nowhere/known")


def loader(**changes) -> TrainLoader:
    return train_loader(DATA, **{**dict(batch_size=4, seed=3, resolution=16, num_epochs=CROPS), **changes})


def crops(count: int = CROPS, mirrored: bool = False, **changes) -> list[np.ndarray]:
    made = loader(**changes).fixed_crops(count, mirrored)
    return [np.asarray(made.source[index]) for index in range(len(made))]


@pytest.mark.parametrize("crop", [None, SquareCrop("linear")])
def test_crop_k_is_that_of_epoch_k(crop):
    made = crops(crop=crop, num_epochs=7, batch_size=2)
    seen = 0
    for step, batch in enumerate(loader(crop=crop)):
        for image, index in zip(batch["image"][batch["mask"]], batch["index"][batch["mask"]], strict=True):
            np.testing.assert_array_equal(made[step // 3 * EXAMPLES + index], image)
            seen += 1
    assert seen == len(made) == CROPS * EXAMPLES


def test_half_of_them_are_mirrored():
    plain, mirrored = crops(), crops(mirrored=True)
    is_mirrored = [np.array_equal(own, other[:, ::-1]) for own, other in zip(mirrored, plain, strict=True)]
    is_same = [np.array_equal(own, other) for own, other in zip(mirrored, plain, strict=True)]
    assert all(a != b for a, b in zip(is_mirrored, is_same, strict=True))
    assert 8 < sum(is_mirrored) < 25
    np.testing.assert_array_equal(mirrored, crops(mirrored=True))


def test_what_they_are_of_is_known():
    made = loader().fixed_crops(CROPS, mirrored=True)
    assert made.labels.tolist() == DATA.labels.tolist() * CROPS
    assert made.path(EXAMPLES + 2) == "noise[2]"


def test_each_has_a_digest_of_its_own_by_all_that_it_depends_on():
    def found(count: int = CROPS, mirrored: bool = False, **changes: Any) -> list[bytes | None]:
        return digests(loader(**changes).fixed_crops(count, mirrored), KNOWN)

    first = found()
    assert len(set(first)) == CROPS * EXAMPLES and None not in first
    assert found(batch_size=2, num_epochs=9) == first
    assert found(1) == first[:EXAMPLES]
    others = {"seed": 4, "resolution": 8, "interpolation": "bicubic", "crop": SquareCrop(), "mirrored": True}
    for name, value in others.items():
        assert set(found(**{name: value})).isdisjoint(first)


class TestBatchesOfFeatures:
    FEATURES = np.random.default_rng(1).normal(size=(CROPS, EXAMPLES, 5)).astype(np.float32)

    def loader(self, found: np.ndarray | None = None, **changes) -> TrainLoader:
        found = np.ones((CROPS, EXAMPLES), bool) if found is None else found
        return loader(**changes).of_features(self.FEATURES, found)

    def test_an_epoch_takes_one_crop_and_all_are_taken_in_turn(self):
        taken = []
        for images, batch in zip(loader(num_epochs=9), self.loader(num_epochs=9), strict=True):
            for name in "label", "mask", "index":
                np.testing.assert_array_equal(batch[name], images[name])
            rows, index = batch["features"][batch["mask"]], batch["index"][batch["mask"]]
            (crop,) = (k for k in range(CROPS) if np.array_equal(self.FEATURES[k, index], rows))
            taken.append(crop)
            assert not batch["features"][~batch["mask"]].any()
        epochs = np.reshape(taken, (9, 3))
        assert (epochs == epochs[:, :1]).all()
        assert all(sorted(turn) == [0, 1, 2] for turn in epochs[:, 0].reshape(3, 3).tolist())

    def test_it_goes_on_where_it_was(self):
        whole = [batch["features"] for batch in self.loader()]
        other = self.loader()
        other.set_state({**self.loader().get_state(), "step": 4})
        for expected, batch in zip(whole[4:], other, strict=True):
            np.testing.assert_array_equal(batch["features"], expected)

    def test_an_image_without_features(self):
        found = np.ones((CROPS, EXAMPLES), bool)
        found[:, 2] = False
        with pytest.raises(UserError, match=r"noise\[2\] has no features.*config\.data\.skip_bad_images=True"):
            list(self.loader(found))
        seen = [index for batch in self.loader(found, skip_bad_images=True) for index in batch["index"][batch["mask"]]]
        assert sorted(seen) == sorted([index for index in range(EXAMPLES) if index != 2] * CROPS)
