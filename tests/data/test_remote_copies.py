"""Data in buckets, which are fetched once: files in memory stand in for a bucket."""

import os
import shutil
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Bucket
from etils import epath
from fsspec.registry import _registry
from hub_layouts import PATHS, data, of_split, table, write_arrow, write_parquet, write_tar
from pictures import write_images

from lift_jax import config as lift_config
from lift_jax.config import short_forms
from lift_jax.data import load, load_run_data, local_copies, remote_copies, train_loader
from lift_jax.data.named_images import find_images
from lift_jax.data.reading import read_bytes
from lift_jax.errors import UserError


@pytest.fixture
def photos(tmp_path) -> Path:
    write_images(tmp_path / "photos", PATHS)
    return tmp_path / "photos"


def copies() -> dict[str, int]:
    """The copies that there are, with the time at which each was written."""
    files = [path for path in (local_copies.folder() / "remote").rglob("*") if path.is_file()]
    return {str(path): path.stat().st_mtime_ns for path in files}


def upload(local: Path, remote: epath.Path) -> epath.Path:
    """Writes a file, or the files of a folder, into a bucket."""
    files = [local] if local.is_file() else sorted(path for path in local.rglob("*") if path.is_file())
    for file in files:
        place = remote / file.relative_to(local.parent).as_posix()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    return remote / local.name


def folder(photos: Path) -> Path:
    return photos


def zip_archive(photos: Path) -> Path:
    with zipfile.ZipFile(photos.with_name("photos.zip"), "w") as archive:
        for path in PATHS:
            archive.write(photos / path, path)
    return photos.with_name("photos.zip")


def parquet_files(photos: Path) -> Path:
    files = {f"{split}-00000-of-00001.parquet": of_split(split) for split in ("train", "test")}
    return write_parquet(photos, photos.with_name("parquet"), files)


def arrow_files(photos: Path) -> Path:
    for split in ("train", "test"):
        write_arrow(photos.with_name("arrow") / split / "data-00000-of-00001.arrow", table(photos, of_split(split)))
    return photos.with_name("arrow")


def shards(photos: Path) -> Path:
    for split in ("train", "test"):
        members = {}
        for path in of_split(split):
            _, label, name = path.split("/")
            members |= {name: (photos / path).read_bytes(), name.replace(".jpg", ".cls"): label.encode()}
        write_tar(photos.with_name("shards") / f"{split}-000000.tar", members)
    return photos.with_name("shards")


@pytest.mark.parametrize("layout", [folder, zip_archive, parquet_files, arrow_files, shards])
def test_what_lies_in_a_bucket_is_trained_on_as_what_lies_on_the_disk(photos, bucket, layout):
    local = layout(photos)
    remote = upload(local, bucket)
    here, there = load(data(local)), load(data(remote))
    Bucket.store.clear()  # all of it was fetched
    for mine, other in zip(here, there, strict=True):
        assert mine.class_names == other.class_names and mine.labels.tolist() == other.labels.tolist()
        assert [mine.source[i] for i in range(len(mine))] == [other.source[i] for i in range(len(other))]
    options: dict[str, Any] = dict(batch_size=4, seed=3, resolution=8, num_epochs=2)
    expected = list(train_loader(here[0], **options))
    batches = train_loader(there[0], **options)
    found = list(islice(batches, 1))
    again = train_loader(there[0], **options)
    again.set_state(batches.get_state())
    found += again
    assert len(found) == len(expected) == 4
    for one, other in zip(found, expected, strict=True):
        for key, value in other.items():
            np.testing.assert_array_equal(one[key], value)


def test_images_are_called_by_their_addresses_and_fetched_once_as_long_as_they_do_not_change(photos, bucket, caplog):
    remote = upload(photos, bucket)
    caplog.set_level("INFO")
    train, _ = load(data(remote))
    assert train.path(0) == f"{remote}/train/cat/cat0.jpg"
    assert f" kB, such as {remote}/train/cat/cat0.jpg, are copied into" in caplog.text
    before = copies()
    assert len(before) == 16
    load(data(remote))
    assert copies() == before
    changed = photos / "train" / "hen" / "hen3.jpg"
    (remote / "train" / "cat" / "cat1.jpg").write_bytes(changed.read_bytes())
    train, _ = load(data(remote))
    assert train.source[1] == changed.read_bytes()
    assert len(copies()) == 17 and copies().items() > before.items()
    shutil.rmtree(local_copies.folder())  # as a person may do it at any time
    assert load(data(remote))[0].source[1] == changed.read_bytes()


def test_of_lists_and_capped_images_those_that_are_named_are_fetched(photos, bucket):
    remote = upload(photos, bucket)
    for split in ("train", "test"):
        lines = [f"{path} {int('hen' in path)}\n" for path in of_split(split) if "3.jpg" not in path]
        (remote / f"{split}.txt").write_text("".join(lines))
    config = lift_config.default()
    config.data.update(data(remote, format="lists", train_list="train.txt", test_list="test.txt", cap=1))
    config.validation = "balanced:1"
    loaded = load_run_data(lift_config.resolve(config))
    assert len(loaded.train) == 2 and loaded.held_out is not None
    assert len(copies()) == 2 + 2 + 6
    Bucket.store.clear()
    assert loaded.held_out.validation.source[0] and loaded.train.source[1] and loaded.test.source[5]


def test_an_archive_is_fetched_once_and_its_members_keep_their_addresses(photos, bucket):
    remote = upload(zip_archive(photos), bucket)
    found = find_images([f"{remote}/train/cat", str(remote / "test" / "hen" / "hen0.jpg")])
    assert found == [f"{remote}/{path}" for path in (*PATHS[:4], "test/hen/hen0.jpg")]
    (copy,) = copies()
    assert copy.endswith("-photos.zip") and Path(copy).read_bytes() == (photos.with_name("photos.zip")).read_bytes()
    Bucket.store.clear()
    assert [read_bytes(path) for path in found[:4]] == [(photos / path).read_bytes() for path in PATHS[:4]]


def test_patterns_and_folders_of_a_bucket_are_predicted_on(photos, bucket):
    remote = upload(photos, bucket)
    assert find_images([f"{remote}/test/*/*0.jpg"]) == [f"{remote}/test/{name}/{name}0.jpg" for name in ("cat", "hen")]
    assert find_images([str(remote)]) == sorted(f"{remote}/{path}" for path in PATHS)
    (remote / "a[1].jpg").write_bytes(b"")
    assert find_images([f"{remote}/a[1].jpg"]) == [f"{remote}/a[1].jpg"]
    with pytest.raises(UserError, match=r"No file matches gs://bucket/folder/photos/\*\.png"):
        find_images([f"{remote}/*.png"])


def test_a_bucket_is_named_in_short(photos, bucket):
    words, said = short_forms.expand([str(upload(photos, bucket))])
    assert words[1] == "--config.data.root=gs://bucket/folder/photos" and "test the test set" in said
    with pytest.raises(UserError, match=r"There is no folder 'gs://bucket/none'"):
        short_forms.expand(["gs://bucket/none"])


class Broken(Bucket):
    """A bucket to which the connection breaks at one of the files."""

    protocol = ("s3",)
    trouble: Exception = ConnectionResetError(104, "Connection reset by peer")

    def get_file(self, rpath, lpath, **options):
        if rpath.endswith("hen3.jpg") and "train" in rpath:
            Path(lpath).write_bytes(b"half")
            raise self.trouble
        super().get_file(rpath, lpath, **options)


def test_after_a_broken_connection_the_rest_is_fetched_and_nothing_half(photos, bucket, monkeypatch):
    upload(photos, bucket)
    monkeypatch.setitem(_registry, "s3", Broken)
    addresses = [f"s3://bucket/folder/photos/{path}" for path in PATHS]
    with pytest.raises(
        UserError, match=r"^s3://bucket/folder/photos/train/hen/hen3\.jpg cannot be read: Connection res"
    ):
        remote_copies.fetch(addresses)
    before = copies()
    assert all(Path(each).stat().st_size > 100 for each in before)
    monkeypatch.setitem(_registry, "s3", Bucket)
    fetched = remote_copies.fetch(addresses)
    assert [Path(file).read_bytes() for file in fetched] == [(photos / path).read_bytes() for path in PATHS]
    assert copies().items() >= before.items() and len(copies()) == 16


class Short(Bucket):
    """A bucket that ends too early."""

    protocol = ("az",)

    def get_file(self, rpath, lpath, **options):
        Path(lpath).write_bytes(b"half")


class Closed(Bucket):
    """A bucket that may not be read."""

    protocol = ("az",)

    def ls(self, path, detail=True, **options):
        raise PermissionError("Access Denied")

    info = ls


@pytest.mark.parametrize(
    "kind, sentence",
    [
        (Short, r"az://bucket/folder/photos/.*jpg came with 4 bytes instead of [\d,]+; start the command again"),
        (
            Closed,
            r"^az://bucket/folder/photos/train/cat cannot be read: Access Denied; see to the address, the network",
        ),
    ],
)
def test_what_a_bucket_does_not_give_is_told_in_a_sentence(photos, bucket, monkeypatch, kind, sentence):
    upload(photos, bucket)
    monkeypatch.setitem(_registry, "az", kind)
    with pytest.raises(UserError, match=sentence):
        remote_copies.fetch([f"az://bucket/folder/photos/{path}" for path in PATHS[:4]])
    assert not copies()


@pytest.mark.parametrize("names", [["none.jpg"], ["train/cat/cat0.jpg", "train/cat/none.jpg"]])
def test_a_file_that_is_not_there_is_named(photos, bucket, names):
    remote = upload(photos, bucket)
    with pytest.raises(
        UserError, match=r"photos/.*none\.jpg cannot be read: No such file or directory; see to the addr"
    ):
        remote_copies.fetch([f"{remote}/{name}" for name in names])


def test_what_was_left_by_a_killed_command_is_removed_after_an_hour(photos, bucket):
    remote = upload(photos, bucket)
    parts = local_copies.folder() / "remote" / "parts"
    parts.mkdir(parents=True)
    for name, age in ("old", 7200), ("new", 60):
        (parts / name).write_bytes(b"half")
        seconds = (parts / name).stat().st_mtime - age
        os.utime(parts / name, (seconds, seconds))
    remote_copies.fetch([f"{remote}/{PATHS[0]}"])
    assert [part.name for part in parts.iterdir()] == ["new"]


class Huge(Bucket):
    """A bucket with more in it than a disk holds."""

    protocol = ("gcs", "gs")

    def ls(self, path, detail=True, **options):
        found: Any = super().ls(path, detail, **options)
        return [{**each, "size": 1 << 60} for each in found] if detail else found


def test_without_room_for_copies_images_are_read_where_they_are(photos, bucket, monkeypatch, caplog):
    remote = upload(photos, bucket)
    monkeypatch.setitem(_registry, "gs", Huge)
    with pytest.raises(
        UserError, match=r"remote cannot be written \(No space left .*\); make room, or name .* LIFT_JAX_"
    ):
        remote_copies.fetch([f"{remote}/{path}" for path in PATHS[:2]])
    train, _ = load(data(remote))
    assert "Until then each epoch reads the images from where they are" in caplog.text
    assert train.source[0] == (photos / PATHS[0]).read_bytes() and not copies()
