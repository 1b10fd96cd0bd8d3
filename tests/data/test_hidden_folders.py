"""A class folder whose name begins with a dot is left out, and a person is told."""

import logging
import zipfile
from pathlib import Path

import pytest
from pictures import write_images

from lift_jax.data import data_defaults, load
from lift_jax.data.hidden_folders import notice

LITTER = (".git", ".ipynb_checkpoints", ".cache", ".Trash-1000", ".Trashes", ".thumbnails", ".AppleDouble", "__MACOSX")
CLASSES = ("java", "rust")


def classes(root: object) -> tuple[str, ...]:
    config = data_defaults()
    config.update({"name": "own", "format": "folder", "root": str(root), "val_fraction": 0.5})
    return load(config)[0].class_names


def pictures(root: Path, *folders: str) -> Path:
    write_images(root, [f"{folder}/{i}.png" for folder in folders for i in range(2)], (8, 8))
    return root


def test_a_hidden_class_is_named_with_its_images_and_what_to_do(tmp_path, caplog):
    pictures(tmp_path, *CLASSES, ".net/more")
    assert classes(tmp_path) == CLASSES
    said = f"{tmp_path}: left out because its name begins with a dot: .net (2 images); rename it if it is a class."
    assert said in caplog.text
    caplog.clear()
    (tmp_path / ".net").rename(tmp_path / "dotnet")
    assert classes(tmp_path) == ("dotnet", *CLASSES) and not caplog.text


def test_several_are_one_notice_of_each_split(tmp_path, caplog):
    pictures(tmp_path, *(f"{split}/{name}" for split in ("train", "test") for name in CLASSES))
    pictures(tmp_path, "train/.net", "train/.env")
    with caplog.at_level(logging.WARNING):
        config = data_defaults()
        config.update({"name": "own", "format": "folder", "root": str(tmp_path)})
        load(config)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{tmp_path / 'train'}: left out because their names begin with a dot: .env (2 images), .net (2 images); "
        "rename those that are classes."
    )


def test_litter_and_folders_without_images_are_passed_over_without_a_word(tmp_path, caplog):
    pictures(tmp_path, *CLASSES, *LITTER, *(name.lower() for name in LITTER))
    (tmp_path / ".notes").mkdir()
    (tmp_path / ".notes" / "a.txt").write_text("a")
    (tmp_path / ".one.png").write_bytes(b"")
    assert classes(tmp_path) == CLASSES and not caplog.text


def test_a_hidden_folder_that_cannot_be_read_stops_nothing(tmp_path, caplog):
    pictures(tmp_path, *CLASSES)
    (tmp_path / ".net").symlink_to(tmp_path / "gone")
    (tmp_path / ".up").symlink_to(tmp_path)
    assert classes(tmp_path) == CLASSES
    assert notice(str(tmp_path)) == ""


def test_of_an_archive_as_of_a_folder(tmp_path, caplog):
    folder = pictures(tmp_path / "photos", *CLASSES, ".net", ".git")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, file.relative_to(folder))
    assert classes(tmp_path / "photos.zip") == CLASSES
    assert "photos.zip: left out because its name begins with a dot: .net (2 images); rename it" in caplog.text


@pytest.mark.parametrize("name", [".net", ".git"])
def test_of_a_bucket_as_of_a_folder(bucket, name):
    write_images(bucket, [f"{folder}/0.png" for folder in (*CLASSES, name)], (8, 8))
    assert (".net (1 image)" in notice(str(bucket))) == (name == ".net")
