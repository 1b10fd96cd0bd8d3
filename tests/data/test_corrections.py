"""Corrections of labels: what a data set becomes by them, and what is wrong with a file of them."""

from pathlib import Path

import pytest
from PIL import Image

from lift_jax import data
from lift_jax.data import corrections
from lift_jax.data.options import data_defaults
from lift_jax.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("birds")
    for split in "train", "test":
        for name in "robin", "song thrush", "wren":
            (root / split / name).mkdir(parents=True)
            for i in range(2):
                Image.new("RGB", (8, 8)).save(root / split / name / f"{split}_{name}_{i}.png")
    return root


def load(root: Path, content: str | None, file: Path):
    config = data_defaults()
    config.update(format="folder", root=str(root), name="birds")
    if content is not None:
        file.write_text(content, encoding="utf-8")
        config.corrections = str(file)
    return data.load(config)


def labelled(dataset) -> dict[str, str]:
    return {Path(dataset.path(i)).stem: dataset.class_names[dataset.labels[i]] for i in range(len(dataset))}


def test_labels_and_what_is_left_out(root, tmp_path):
    train, test = load(root, None, tmp_path / "c.csv")
    rows = [
        '"train/robin/train_robin_0.png",Song-Thrush', '"train/wren/train_wren_1.png",""',
        f"{root}/test/wren/test_wren_0.png,robin", "train/robin/train_robin_1.png,robin",
    ]  # fmt: skip
    corrected, tested = load(root, "\r\n".join(["image,label", *rows]) + "\r\n", tmp_path / "c.csv")
    expected = {**labelled(train), "train_robin_0": "song thrush"}
    del expected["train_wren_1"]
    assert labelled(corrected) == expected
    assert labelled(tested) == {**labelled(test), "test_wren_0": "robin"}
    paths = [corrected.path(i) for i in range(len(corrected))]
    # The order is that of a data set whose files were in the right folders from the beginning.
    assert [Path(path).stem for path in paths] == [
        "train_robin_1", "train_robin_0", "train_song thrush_0", "train_song thrush_1", "train_wren_0"
    ]  # fmt: skip


def test_labels_may_be_numbers(root, tmp_path):
    train, _ = load(root, "path;label\ntrain/robin/train_robin_0.png;2\n", tmp_path / "c.csv")
    assert labelled(train)["train_robin_0"] == "wren"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("image,label\ntrain/robin/train_robin_7.png,wren\n",
         r"c\.csv names images that are not in the data set: 'train/robin/train_robin_7\.png' "
         r"\(the nearest is 'train/robin/train_robin_\d\.png'\); write paths that start from"),
        ("image,label\nrobin/train_robin_0.png,wren\n", r"the nearest is '.*train/robin/train_robin_0\.png'"),
        ("image,label\ntrain/robin/train_robin_0.png,wrem\n", r"c\.csv has names .*'wrem' \(the nearest is 'wren'\)"),
        ("image,label\ntrain/robin/train_robin_0.png,wren\ntrain/robin/train_robin_0.png,\n",
         r"c\.csv line 3 has the image train/robin/train_robin_0\.png a second time"),
        ("image,label\n,wren\n", r"c\.csv line 2 has no image"),
        ("image,colour\ntrain/robin/train_robin_0.png,wren\n", r"c\.csv has the columns image, colour; it needs"),
        ("image,label\ntrain/wren/train_wren_0.png,\ntrain/wren/train_wren_1.png,\n", r"no image of class 2 \(wren\)"),
    ],
)  # fmt: skip
def test_mistakes(root, tmp_path, content, words):
    with pytest.raises(UserError, match=words) as raised:
        load(root, content, tmp_path / "c.csv")
    assert "\n" not in str(raised.value)


def test_images_without_paths_and_a_file_that_is_not_there(tmp_path):
    config = data_defaults()
    (tmp_path / "c.csv").write_text("image,label\na.png,one\n")
    config.corrections = str(tmp_path / "c.csv")
    with pytest.raises(UserError, match=r"config\.data\.corrections is .*digits train have no paths .*leave it out"):
        data.load(config)
    config.corrections = str(tmp_path / "none.csv")
    with pytest.raises(UserError, match=r"none\.csv cannot be read"):
        data.load(config)


def test_what_an_image_is_called(root, tmp_path):
    train, _ = load(root, None, tmp_path / "c.csv")
    assert corrections.name(train, 0, str(root)) == "train/robin/train_robin_0.png"
    assert corrections.name(train, 0, "") == f"{root}/train/robin/train_robin_0.png"
