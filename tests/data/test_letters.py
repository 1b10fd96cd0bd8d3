"""The handwritten letters that come with the package."""

import hashlib
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from lift_jax.data import data_defaults, load
from lift_jax.data.dataset import Dataset
from lift_jax.data.images import pixels
from lift_jax.data.letters import PACKED, load_letters
from lift_jax.errors import UserError


def paths(dataset: Dataset) -> list[str]:
    return [dataset.path(index) for index in range(len(dataset))]


def drawers(dataset: Dataset) -> set[int]:
    return {int(path.partition("/")[2].removesuffix(".png")) for path in paths(dataset)}


@pytest.fixture
def data():
    data = data_defaults()
    data.update(name="letters", format="letters", imbalance=15, permute_classes=1)
    return data


def test_letters_are_long_tailed_with_a_balanced_test(data):
    train, test = load(data)
    latin, greek = train.class_names[:26], train.class_names[26:]
    assert latin == tuple(f"letter {letter}" for letter in "abcdefghijklmnopqrstuvwxyz")
    assert greek[:3] == ("alpha", "beta", "gamma") and greek[-1] == "omega" and len(greek) == 24
    assert test.class_names == train.class_names and test.class_counts.tolist() == [5] * 50
    counts = np.sort(train.class_counts)[::-1]
    assert counts.tolist() == [max(1, int(15 * (1 / 15) ** (rank / 49))) for rank in range(50)]
    assert (counts[0], counts[-1], counts.sum()) == (15, 1, 239)
    for split in train, test:
        assert [path.partition("/")[0] for path in paths(split)] == [train.class_names[i] for i in split.labels]


def test_nobody_drew_for_both_splits_and_the_splits_stay_the_same(data):
    (train, test), (again, same) = load(data, seed=0), load(data, seed=1)
    assert drawers(test) == {16, 17, 18, 19, 20} and drawers(train) == set(range(1, 16))
    assert paths(train) == paths(again) and paths(test) == paths(same)
    assert len(set(paths(train))) == len(train)


def test_without_imbalance_all_are_there(data):
    data.imbalance = 0
    train, test = load(data)
    assert train.class_counts.tolist() == [15] * 50 and len(set(paths(train)) | set(paths(test))) == 1000


def test_classes_are_rarer_in_label_order_or_in_another(data):
    permuted = load(data)[0].class_counts
    data.permute_classes = 0
    in_order = load(data)[0].class_counts
    assert (np.diff(in_order) <= 0).all()
    assert sorted(permuted, reverse=True) == in_order.tolist() != permuted.tolist()


def test_images_are_the_original_files(data):
    train, _ = load(data)
    with zipfile.ZipFile(PACKED) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name.endswith(".png")}
        assert b"Copyright (c) 2015 Brenden Lake" in archive.read("LICENSE")
    assert len(files) == 1000
    digest = hashlib.sha256(b"".join(files[name] for name in sorted(files))).hexdigest()
    assert digest == "cd3a6f08604e5359a4c0054a9cabf2f0662116f49b78c205942a9697136436e7"
    for index in 0, 100, 238:
        assert train.source[index] == files[train.path(index)]
    image = Image.open(io.BytesIO(files["alpha/01.png"]))
    assert image.size == (105, 105) and image.getcolors() == [(822, 0), (10203, 255)]
    shown = pixels(train.source[0], train.path(0))
    assert shown.shape == (105, 105, 3) and shown.min() == 0 and np.median(shown) == 255


@pytest.mark.parametrize("imbalance", [0.5, -3, float("nan"), float("inf")])
def test_an_imbalance_below_one_is_refused(imbalance):
    with pytest.raises(UserError, match=rf"data\.imbalance is {imbalance}; .* give 1 or more"):
        load_letters(imbalance)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_of_the_order_have_a_range(seed):
    with pytest.raises(UserError, match=rf"data\.permute_classes is {seed}; it is a whole number from 0"):
        load_letters(15, seed)


@pytest.mark.parametrize("key", ["root", "train_list", "test_list", "class_names"])
def test_files_are_not_forgotten_for_the_letters(data, tmp_path, key):
    data[key] = str(tmp_path)
    with pytest.raises(UserError, match=rf"data\.{key} is .*=letters reads no files; write .*=lists or folder"):
        load(data)
