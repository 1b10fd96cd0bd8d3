"""Flipped labels, classes that are left out, and the tables that trainings without them read."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lift_jax import config as lift_config
from lift_jax import data
from lift_jax.bench import altered_data
from lift_jax.data.dataset import ArraySource, Dataset, FileSource
from lift_jax.data.workers import pixels
from lift_jax.errors import UserError

LABELS = st.lists(st.integers(0, 4), min_size=8, max_size=60).map(lambda each: np.array([0, 1, 2, 3, 4, *each] * 2))
SEEDS = st.integers(0, 2**32 - 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 3), np.uint8)


class BytesSource:
    """The content of files in memory."""

    def __init__(self, contents: list[bytes]):
        self.contents = contents

    def __len__(self) -> int:
        return len(self.contents)

    def __getitem__(self, index: int) -> bytes:
        return self.contents[index]


def png(image: np.ndarray) -> bytes:
    opened = io.BytesIO()
    Image.fromarray(image).save(opened, "PNG")
    return opened.getvalue()


@given(LABELS, st.floats(0.05, 0.6), SEEDS)
def test_exactly_the_share_is_flipped_and_never_to_the_same_class(labels, share, seed):
    flipped = altered_data.flip(labels, 5, share, seed)
    kept = flipped == labels
    assert np.count_nonzero(~kept) == round(share * len(labels))
    assert flipped.min() >= 0 and flipped.max() < 5
    assert np.unique(labels[kept]).tolist() == [0, 1, 2, 3, 4]  # every class has an image of its own left
    assert np.array_equal(altered_data.flip(labels, 5, share, seed), flipped)


def test_another_seed_flips_others_and_every_other_class_is_taken():
    labels = np.zeros(400, np.int64)
    found = [altered_data.flip(labels, 5, 0.5, seed) for seed in (0, 1)]
    assert not np.array_equal(found[0], found[1])
    assert np.bincount(found[0], minlength=5).min() > 30  # of 200 in four classes


@pytest.mark.parametrize("share", [0.001, 0.9])
def test_a_share_of_no_label_or_too_many_is_refused(share):
    with pytest.raises(UserError, match=rf"--flipped is {share}.*of 20 training labels; from 1 to 15 can be flipped"):
        altered_data.flip(np.arange(20) % 5, 5, share, 0)
    assert np.count_nonzero(altered_data.flip(np.arange(20) % 5, 5, 0.75, 0) != np.arange(20) % 5) == 15


@given(st.integers(3, 30), SEEDS, st.data())
def test_of_classes_that_are_left_out_nothing_remains(count, seed, more):
    labels = (np.arange(2 * count) % count).astype(np.int32)
    source = BytesSource([bytes([i]) for i in range(2 * count)])
    split = Dataset("images", source, labels, tuple(f"class {c}" for c in range(count)))
    drawn = altered_data.draw_classes(count, more.draw(st.integers(1, count - 2)), seed)
    assert len(np.unique(drawn)) == len(drawn) and np.array_equal(drawn, np.sort(drawn))
    rest = altered_data.without(split, drawn)
    names = [rest.class_names[label] for label in rest.labels]
    assert [(rest.source[i][0] % count, names[i]) for i in range(len(rest))] == [
        (i % count, f"class {i % count}") for i in range(2 * count) if i % count not in drawn
    ]
    assert rest.labels.dtype == np.int32 and rest.class_counts.tolist() == [2] * (count - len(drawn))


@pytest.mark.parametrize("count", [0, -1, 9, 100])
def test_two_classes_must_remain(count):
    with pytest.raises(UserError, match=f"--unknown-classes is {count}, but the data have 10 classes.*from 1 to 8"):
        altered_data.draw_classes(10, count, 0)
    assert len(altered_data.draw_classes(10, 8, 0)) == 8


@pytest.fixture(params=["arrays", "bytes", "files"])
def split(request, tmp_path) -> Dataset:
    """Nine images in the three ways in which a source may give them."""
    files = [png(image) for image in IMAGES]
    source = {"arrays": ArraySource(IMAGES), "bytes": BytesSource(files)}.get(request.param)
    if source is None:
        source = FileSource(str(tmp_path), [f"{i}.png" for i in range(9)])
        for path, content in zip(source.paths, files, strict=True):
            Path(source.root, path).write_bytes(content)
    return Dataset("images", source, (np.arange(9) % 3).astype(np.int32), ("2", 'sofa, "red"', "bed"))


@pytest.mark.parametrize("grouped", [False, True])
def test_a_config_reads_the_same_images_labels_and_names_from_the_table(split, grouped, tmp_path):
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4]) if grouped else None
    split = dataclasses.replace(split, image_groups=groups)
    train, test = (altered_data.stored(split.subset(rows), tmp_path / name) for name, rows in
                   (("train", np.arange(6)), ("test", np.arange(6, 9))))  # fmt: skip
    config = lift_config.default()
    config.data.update(format="digits", imbalance=3, permute_classes=1)
    altered_data.use(config, train, test, tmp_path / "table.csv")
    for found, expected, start in zip(data.load(config.data), (train, test), (0, 6), strict=True):
        assert found.class_names == split.class_names and len(found) == len(expected)
        paths = [expected.path(i) for i in range(len(expected))]
        places = [paths.index(found.path(i)) for i in range(len(found))]
        assert sorted(places) == list(range(len(expected)))
        for place, index in zip(places, range(len(found)), strict=True):
            assert found.labels[index] == split.labels[start + place]
            assert np.array_equal(pixels(found, index, False), IMAGES[start + place])
        if groups is not None:
            assert found.image_groups is not None
            own = groups[start:][places]
            assert np.array_equal(found.image_groups[:, None] == found.image_groups, own[:, None] == own)
        else:
            assert found.image_groups is None
