import logging
import os
import re

import numpy as np
import pytest
from pictures import write_images

from lift_jax.data import data_defaults, load
from lift_jax.data.digits import DIGIT_NAMES
from lift_jax.errors import UserError

TRAIN = ["train/tailed frog/a b.jpg", "train/tailed frog/c.jpg", "train/scorpion/d.jpg", "train/black_widow/e.png"]
TEST = ["val/f.jpg", "val/g.jpg", "val/h.jpg"]
LABELS = [0, 0, 1, 2]


@pytest.fixture
def config(tmp_path):
    """Four training and three test images of three classes, with their lists."""
    write_images(tmp_path, TRAIN + TEST)
    return lists(tmp_path, TRAIN, LABELS, TEST, [0, 1, 2])


def lists(root, train_paths, train_labels, test_paths, test_labels):
    for name, paths, labels in [("train", train_paths, train_labels), ("test", test_paths, test_labels)]:
        lines = [f"{path} {label}\n" for path, label in zip(paths, labels, strict=True)]
        (root / f"{name}.txt").write_text("".join(lines))
    data = data_defaults()
    data.update(name="animals", format="lists", root=str(root))
    data.update(train_list=str(root / "train.txt"), test_list=str(root / "test.txt"))
    return data


def test_lists(config, tmp_path):
    train, test = load(config, 0)
    assert len(train) == 4 and len(test) == 3
    assert train.class_counts.tolist() == [2, 1, 1] and train.class_counts.dtype == np.int64
    assert train.labels.tolist() == LABELS and train.labels.dtype == np.int32
    assert train.class_names == test.class_names == ("tailed frog", "scorpion", "black_widow")
    assert train.source[0] == (tmp_path / TRAIN[0]).read_bytes()
    assert train.path(0) == str(tmp_path / TRAIN[0])


@pytest.mark.parametrize(
    "text",
    [
        "n01 frog\nn02 scorpion\n black widow\n",
        "n01644900 tailed frog\nn01770393 scorpion\nn01774384 black widow\n",
        "tailed frog\nscorpion\n\nblack widow\n",
        "2 black widow\n0 tailed frog\n1 scorpion\n",
        "0,tailed frog\n1,scorpion\n2,black widow\n",
        "tailed frog 0\nblack widow 2\nscorpion 1\n",
        "\ufefftailed frog\r\nscorpion\r\nblack widow\r\n",
    ],
)
def test_class_name_files(config, tmp_path, text):
    config.class_names = str(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text(text, "utf-8")
    expected = ("n01 frog", "n02 scorpion", "black widow") if text.startswith("n01 ") else None
    assert load(config)[0].class_names == (expected or ("tailed frog", "scorpion", "black widow"))


def test_class_names_from_json(config, tmp_path):
    config.class_names = str(tmp_path / "names.json")
    for text in ['["x", "y", "z"]', '{"2": "z", "0": "x", "1": "y"}']:
        (tmp_path / "names.json").write_text(text)
        assert load(config)[0].class_names == ("x", "y", "z")
    (tmp_path / "names.json").write_text('{"0": "x", "2": "z"}')
    with pytest.raises(UserError, match="none for label 1"):
        load(config)


def test_class_names_that_are_numbers_stay_in_order(config, tmp_path):
    config.class_names = str(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("7\n1\n4\n")
    assert load(config)[0].class_names == ("7", "1", "4")


def test_missing_files_are_counted_and_the_first_ten_named(tmp_path):
    write_images(tmp_path, TRAIN + TEST)
    absent = [f"gone/{i}.jpg" for i in range(12)] + ["train/scorpion/no.jpg"]
    data = lists(tmp_path, TRAIN + absent, LABELS + [0] * 13, TEST, [0, 1, 2])
    with pytest.raises(UserError, match=r"names 13 files that are not under .*gone/0\.jpg.*gone/9\.jpg and 3 more;"):
        load(data)


@pytest.mark.parametrize(
    "train_labels, test_labels, message",
    [
        ([1, 1, 2, 3], [1, 1, 1], "no image of 0"),
        ([0, 0, 1, 3], [0, 1, 3], "no image of 2"),
        ([0, 0, 1, -1], [0, 1, 1], "label -1"),
        ([0, 0, 1, 1], [0, 1, 2], r"label 2, which .*train\.txt lacks"),
        ([0, 0, 1, "x"], [0, 1, 1], r"train\.txt line 4 ends in 'x'"),
    ],
)
def test_wrong_labels(tmp_path, train_labels, test_labels, message):
    write_images(tmp_path, TRAIN + TEST)
    with pytest.raises(UserError, match=message):
        load(lists(tmp_path, TRAIN, train_labels, TEST, test_labels))


def test_named_classes_without_training_images(config, tmp_path):
    config.class_names = str(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    with pytest.raises(UserError, match=r"animals train has no image of class 3 \(d\)"):
        load(config)
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="label 2, but there are 2 classes"):
        load(config)


def test_images_in_both_splits_are_counted(tmp_path, caplog):
    write_images(tmp_path, TRAIN + TEST)
    data = lists(tmp_path, TRAIN, LABELS, TEST + TRAIN[:2], [0, 1, 2, 0, 0])
    with caplog.at_level(logging.WARNING, "lift_jax"):
        load(data)
    assert "2 images are in both animals train and animals test" in caplog.text


def test_missing_settings_and_files(config):
    config.train_list = ""
    with pytest.raises(UserError, match=r"data\.train_list is empty"):
        load(config)
    config.train_list = "/nowhere/list.txt"
    with pytest.raises(UserError, match=r"/nowhere/list\.txt cannot be read"):
        load(config)
    config.train_list = "list.txt"
    here = re.escape(os.getcwd())
    with pytest.raises(UserError, match=rf"list\.txt cannot be read from the current folder {here}: No such file"):
        load(config)
    config.format = "zip"
    with pytest.raises(UserError, match=r"data\.format is 'zip'; write one of"):
        load(config)


def test_lists_and_names_beside_the_images(config, tmp_path, monkeypatch):
    expected = load(config)[0]
    (tmp_path / "names.txt").write_text("frog\nscorpion\nspider\n")
    config.update(train_list="train.txt", test_list="test.txt", class_names="names.txt")
    found = load(config)[0]
    assert found.labels.tolist() == expected.labels.tolist() and found.class_names == ("frog", "scorpion", "spider")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "names.txt").write_text("toad\nscorpion\nspider\n")
    monkeypatch.chdir(elsewhere)
    assert load(config)[0].class_names == ("toad", "scorpion", "spider")  # The current folder comes first.


def test_paths_from_home_and_the_environment(config, tmp_path, monkeypatch):
    expected = load(config)[0]
    (tmp_path / "names.txt").write_text("tailed frog\nscorpion\nblack widow\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LISTS", str(tmp_path))
    config.update(root=f"file://{tmp_path}", train_list="~/train.txt", test_list="$LISTS/test.txt")
    config.class_names = "${LISTS}/names.txt"
    train, _ = load(config)
    assert [train.source[i] for i in range(4)] == [expected.source[i] for i in range(4)]
    assert train.class_names == ("tailed frog", "scorpion", "black widow")
    for form in "lists", "folder", "csv", "inaturalist", "tfds", "digits", "letters":
        for key in "root", "train_list", "test_list", "class_names":
            for path, problem in [
                ("https://example.org/x", "is on the web"),
                ("a\0b", "NUL"),
                ("foo://x", "not known"),
            ]:
                other = data_defaults()
                other.update(format=form, **{key: path})
                with pytest.raises(UserError, match=rf"^config\.data\.{key} is .*{problem}"):
                    load(other)


@pytest.mark.parametrize(
    "file, form",
    [("t.csv", "csv"), ("T.TSV", "csv"), ("m.jsonl", "csv"), ("train2018.json", "inaturalist"), ("l.txt", "lists")],
)
def test_a_file_for_class_folders_is_told_its_format(config, tmp_path, file, form):
    (tmp_path / file).write_text("x")
    for key, name in [("train_list", file), ("test_list", str(tmp_path / file))]:
        data = data_defaults()
        data.update(format="folder", root=str(tmp_path), **{key: name})
        with pytest.raises(UserError, match=rf"data\.{key} is .*{file}, a file, .*data\.format={form}\."):
            load(data)


@pytest.mark.parametrize("form", ["lists", "folder", "csv", "inaturalist"])
def test_a_root_that_was_left_out_is_named(form):
    data = data_defaults()
    data.format = form
    with pytest.raises(UserError, match=r"^config\.data\.root is empty; config\.data\.format="):
        load(data)


def test_files_are_not_forgotten_for_the_digits(config):
    config.format = "digits"
    with pytest.raises(UserError, match=r"config\.data\.root is .*=digits reads no files; write .*=lists or folder"):
        load(config)


@pytest.mark.parametrize("beginning", ["file://{root}/", "file://localhost{root}/", "~/", "${{PHOTOS}}/", "{root}/"])
def test_a_list_of_whole_paths(config, tmp_path, monkeypatch, beginning):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PHOTOS", str(tmp_path))
    before = [load(config)[0].path(index) for index in range(4)]
    file = tmp_path / "train.txt"
    file.write_text("".join(beginning.format(root=tmp_path) + line for line in file.read_text().splitlines(True)))
    train, _ = load(config)
    assert [train.path(index) for index in range(4)] == before and train.labels.tolist() == LABELS


def test_the_log_says_what_was_understood(config, caplog):
    with caplog.at_level(logging.INFO, "lift_jax"):
        load(config)
    assert "3 classes: 0 = tailed frog (2 images), 1 = scorpion (1 image), 2 = black_widow (1 image)" in caplog.text
    assert "names from the images' folders." in caplog.text


def test_digits_are_long_tailed_with_a_balanced_test():
    data = data_defaults()
    data.imbalance = 50
    train, test = load(data)
    assert train.class_names == DIGIT_NAMES
    assert test.class_counts.tolist() == [60] * 10
    counts = train.class_counts
    assert (np.diff(counts) <= 0).all() and counts[0] > 100 and counts[-1] == counts[0] // 50
    image = train.source[0]
    assert isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == (48, 48, 3)
    assert max(int(np.asarray(train.source[i]).max()) for i in range(20)) == 255


def test_digits_splits_share_no_image_and_stay_the_same():
    data = data_defaults()
    (train, test), (again, _) = load(data, seed=0), load(data, seed=1)
    images = [np.asarray(train.source[i]).tobytes() for i in range(len(train))]
    assert images == [np.asarray(again.source[i]).tobytes() for i in range(len(again))]
    assert len(train) + len(test) > 1700
    data.imbalance, data.permute_classes = 50, 3
    counts = load(data)[0].class_counts
    data.permute_classes = 0
    assert sorted(counts, reverse=True) == load(data)[0].class_counts.tolist() != counts.tolist()
