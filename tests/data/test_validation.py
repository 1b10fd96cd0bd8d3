"""Which training images are held out."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lift_jax import config as lift_config
from lift_jax.data import load_run_data
from lift_jax.data.dataset import Dataset, FileSource
from lift_jax.data.validation import check, hold_out
from lift_jax.errors import UserError


def dataset(counts: list[int]) -> Dataset:
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    names = tuple(f"class {label}" for label in range(len(counts)))
    paths = [f"{names[label]}/{index}.png" for index, label in enumerate(labels)]
    return Dataset("photos train", FileSource("/data/photos", paths), labels, names)


def paths(images: Dataset) -> list[str]:
    return [images.path(index) for index in range(len(images))]


@pytest.mark.parametrize(
    "rule, expected",
    [
        ("balanced:1", [1, 1, 1, 0]),
        ("balanced:3", [3, 3, 0, 0]),
        ("fraction:0.1", [4, 1, 0, 0]),
        ("fraction:.5", [20, 3, 1, 0]),
        ("fraction:0.99", [39, 4, 1, 0]),
        ("fraction:0.5:4", [4, 3, 1, 0]),
    ],
)
def test_how_many_images_each_class_spares(rule, expected):
    found = hold_out(rule, dataset([40, 5, 2, 1]), seed=0)
    np.testing.assert_array_equal(found.validation.class_counts, expected)
    np.testing.assert_array_equal(found.train.class_counts, np.array([40, 5, 2, 1]) - expected)
    assert found.whole.tolist() == [label for label, count in enumerate(expected) if not count]


COUNTS = st.lists(st.integers(1, 30), min_size=1, max_size=8)
RULES = st.integers(1, 10).map("balanced:{}".format) | st.integers(1, 99).map("fraction:0.{:02}".format)


@given(COUNTS, RULES, st.integers(0, 2**31 - 1))
def test_the_images_are_divided(counts, rule, seed):
    whole = dataset(counts)
    try:
        found = hold_out(rule, whole, seed)
    except UserError as error:
        assert "holds out no image at all" in str(error)
        return
    assert sorted(paths(found.train) + paths(found.validation)) == sorted(paths(whole))
    assert found.train.class_counts.min() >= 1
    for part in found.train, found.validation:
        assert all(f"/{part.class_names[label]}/" in path for path, label in zip(paths(part), part.labels, strict=True))
    assert paths(hold_out(rule, whole, seed).validation) == paths(found.validation)


def test_another_seed_holds_out_other_images():
    chosen = {tuple(paths(hold_out("balanced:5", dataset([30, 30]), seed).validation)) for seed in range(4)}
    assert len(chosen) == 4


def test_small_classes_are_told_by_name():
    sentence = hold_out("balanced:3", dataset([40, 3, 4]), seed=0).sentence
    assert sentence == (
        "Held out for validation: 6 training images of 2 classes (3 a class); "
        "1 class has none and stays whole: class 1."
    )
    sentence = hold_out("fraction:0.2", dataset([40, 2, 20, 1]), seed=0).sentence
    assert sentence.endswith("of 2 classes (8 to 4 a class); 2 classes have none and stay whole: class 1, class 3.")
    assert hold_out("balanced:3", dataset([40, 4]), seed=0).sentence.endswith("(3 a class).")


@pytest.mark.parametrize(
    "content, expected",
    [
        ("class 0/1.png\nclass 1/3.png\n", [1, 3]),
        ("3.png\n\n  1.png  \n1.png", [1, 3]),
        ("/data/photos/class 0/0.png\r\n", [0]),
        ("./class 0/0.png\n", [0]),
        ("class 1\\4.png\n", [4]),
        ("\ufeffphotos/class 1/3.png", [3]),
    ],
)
def test_a_file_names_the_images(tmp_path, content, expected):
    file = tmp_path / "held out.txt"
    file.write_text(content, encoding="utf-8", newline="")
    whole = dataset([3, 2])
    found = hold_out(str(file), whole, seed=0)
    assert paths(found.validation) == [whole.path(index) for index in expected]


@pytest.mark.parametrize(
    "content, words",
    [
        ("", "names no images to hold out; write an image's path in each line"),
        (
            "class 0/0.png\nclass 0/9.png\n",
            r"line 2 is 'class 0/9\.png', which is no training image; write .*/data/photos",
        ),
        ("lass 0/0.png\n", r"line 1 is 'lass 0/0\.png', which is no training image"),
        ("3.png\n4.png\n", "holds out all training images of class 1; leave at least one"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, content, words):
    file = tmp_path / "held.txt"
    file.write_text(content)
    with pytest.raises(UserError, match=rf"^{re.escape(str(file))} .*{words}"):
        hold_out(str(file), dataset([3, 2]), seed=0)


def test_a_name_of_two_images_is_refused_and_the_whole_path_is_taken(tmp_path):
    labels = np.array([0, 0, 1, 1], np.int32)
    source = FileSource("photos", ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"])
    whole = Dataset("photos", source, labels, ("cat", "dog"))
    file = tmp_path / "held.txt"
    file.write_text("1.png\n")
    with pytest.raises(
        UserError, match=r"'1\.png', which 2 training images are called, .*photos/dog/1\.png; write the"
    ):
        hold_out(str(file), whole, seed=0)
    file.write_text("dog/1.png\n")
    assert paths(hold_out(str(file), whole, seed=0).validation) == ["photos/dog/1.png"]


@pytest.mark.parametrize("rule", ["balanced:", "balanced:0", "balanced:1.5", "balanced:-1", "fraction:1", "fraction:0",
                                  "fraction:nan", "fraction:..", "fraction:.", "fraction:1e-1", "fraction:0.5:",
                                  "fraction:0.5:0", "fraction:0.5:1.5", "balanced:3:2"])  # fmt: skip
def test_what_is_no_rule_is_refused(rule):
    said = rf"config\.validation is '{re.escape(rule)}'; write balanced:K .*fraction:0\.1, or fraction:F:K"
    with pytest.raises(UserError, match=said):
        check(rule, patience=0)


def test_patience_needs_held_out_images():
    with pytest.raises(
        UserError, match=r"config\.patience is 3, but .*write config\.validation=fraction:0\.1, or leave"
    ):
        check("", patience=3)
    check("fraction:0.1", patience=3)
    check("", patience=0)


def test_nothing_to_spare_and_no_file(tmp_path):
    with pytest.raises(UserError, match=r"config\.validation=balanced:9 holds out no image at all, .* has 9 training"):
        hold_out("balanced:9", dataset([9, 3]), seed=0)
    with pytest.raises(UserError, match=r"the largest class has one training image; leave it out"):
        hold_out("balanced:1", dataset([1, 1]), seed=0)
    with pytest.raises(UserError, match=r"none\.txt cannot be read"):
        hold_out(str(tmp_path / "none.txt"), dataset([9, 3]), seed=0)


def data_of(**changes):
    config = lift_config.default()
    config.update(**changes)
    return load_run_data(lift_config.resolve(config))


def test_digits_are_named_by_their_number_and_groups_are_those_of_all_images(tmp_path):
    whole, cut = data_of(), data_of(validation="balanced:40")
    np.testing.assert_array_equal(cut.groups, whole.groups)
    np.testing.assert_array_equal(cut.train_counts, whole.train.class_counts)
    assert cut.validation is not None and whole.validation is None
    np.testing.assert_array_equal(cut.train.class_counts + cut.validation.class_counts, cut.train_counts)
    assert len(cut.test) == len(whole.test)

    file = tmp_path / "held.txt"
    file.write_text(f"{whole.train.path(3)}\n")
    named = data_of(validation=str(file))
    assert named.validation is not None
    np.testing.assert_array_equal(named.validation.source[0], whole.train.source[3])


@pytest.mark.parametrize("kind", ["folder", "csv", "lists"])
def test_own_images(tmp_path, kind):
    """Of 10 cats and 5 dogs a fifth is for the test, and a quarter of the rest is held out."""
    for name, count in ("cat", 10), ("dog", 5):
        (tmp_path / name).mkdir()
        for index in range(count):
            Image.new("RGB", (4, 4), (index, 0, 0)).save(tmp_path / name / f"{name}{index}.png")
    rows = [(f"{file.parent.name}/{file.name}", file.parent.name) for file in sorted(tmp_path.rglob("*.png"))]
    changes: dict = {"data.format": kind, "data.root": str(tmp_path), "data.val_fraction": 0.2}
    if kind == "csv":
        (tmp_path / "all.csv").write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
        changes["data.train_list"] = str(tmp_path / "all.csv")
    if kind == "lists":
        for split, chosen in ("train", [row for i, row in enumerate(rows) if i % 5]), ("test", rows[::5]):
            lines = [f"{path} {int(label == 'dog')}\n" for path, label in chosen]
            (tmp_path / f"{split}.txt").write_text("".join(lines))
            changes[f"data.{split}_list"] = str(tmp_path / f"{split}.txt")
    config = lift_config.default()
    config.update_from_flattened_dict(changes | {"validation": "fraction:0.25"})
    data = load_run_data(lift_config.resolve(config))
    assert data.validation is not None
    assert [len(data.train), len(data.validation), len(data.test)] == [9, 3, 3]
    parts = [set(paths(part)) for part in (data.train, data.validation, data.test)]
    assert len(set.union(*parts)) == 15
