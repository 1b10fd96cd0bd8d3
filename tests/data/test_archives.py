"""Zip and tar archives, whose images are read where they lie."""

import io
import os
import pickle
import stat
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import write_images

from lift_jax.data import data_defaults, load, train_loader
from lift_jax.data.archives import open_archive
from lift_jax.data.named_images import find_images
from lift_jax.data.reading import is_folder, list_folder, read_bytes
from lift_jax.errors import UserError

PATHS = [f"{split}/{name}/{i}.jpg" for split in ("train", "test") for name in ("cat", "hen") for i in range(3)]


def data(root, **changes):
    config = data_defaults()
    config.update({"name": "own", "format": "folder", "root": str(root), **changes})
    return config


def batch(root, **changes) -> dict[str, np.ndarray]:
    return next(train_loader(load(data(root, **changes))[0], batch_size=6, seed=0, resolution=8, num_epochs=1))


def zipped(file: Path, folder: Path, below: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, below + str(path.relative_to(folder)))
    return file


def tarred(file: Path, folder: Path, below: str = ".", mode: Any = "w") -> Path:
    with tarfile.open(file, mode) as archive:
        archive.add(folder, below)
    return file


@pytest.fixture
def photos(tmp_path) -> Path:
    write_images(tmp_path / "photos", PATHS)
    (tmp_path / "photos" / "train" / "cat" / "notes.txt").write_text("black ones")
    return tmp_path / "photos"


def test_every_archive_gives_the_batches_of_the_folder(photos):
    archives = [
        zipped(photos.with_name("stored.zip"), photos, method=zipfile.ZIP_STORED),
        zipped(photos.with_name("deflated.ZIP"), photos),
        zipped(photos.with_name("whole.zip"), photos, "photos/"),
        tarred(photos.with_name("inside.tar"), photos),
        tarred(photos.with_name("whole.tar"), photos, "photos"),
        tarred(photos.with_name("deep.tar"), photos, "a/b/photos"),
    ]
    expected = batch(photos)
    for archive in archives:
        got = batch(archive)
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(got[key], value)


def test_a_source_goes_to_a_worker_and_names_its_images(photos):
    train, _ = load(data(zipped(photos.with_name("a.zip"), photos, "photos/")))
    source = pickle.loads(pickle.dumps(train.source))
    content = [Path(photos, path).read_bytes() for path in PATHS[:6]]
    assert [source[i] for i in range(6)] == content
    assert train.path(1) == str(photos.with_name("a.zip") / "photos/train/cat/1.jpg")


def test_one_split_is_divided_and_what_is_no_image_is_named(photos, caplog):
    archive = tarred(photos.with_name("a.tar"), photos / "train")
    train, test = load(data(archive, val_fraction=0.4))
    assert train.class_names == ("cat", "hen") and (len(train), len(test)) == (4, 2)
    assert f"{archive}/: left out: 1 .txt file such as cat/notes.txt." in caplog.text


def test_lists_and_tables_in_an_archive(photos):
    lines = {split: [path for path in PATHS if path.startswith(split)] for split in ("train", "test")}
    for split, paths in lines.items():
        (photos / f"{split}.txt").write_text("".join(f"{path} {int('hen' in path)}\n" for path in paths))
    rows = "".join(f"{path},{path.split('/')[1]},{path.split('/')[0]}\n" for path in PATHS)
    (photos / "metadata.csv").write_text("file_name,label,split\n" + rows)
    archive, expected = zipped(photos.with_name("a.zip"), photos), batch(photos)
    for changes in {"format": "csv"}, {"format": "lists", "train_list": "train.txt", "test_list": "./test.txt"}:
        for key, value in batch(archive, **changes).items():
            np.testing.assert_array_equal(value, expected[key])
    Path(photos, "test.txt").write_text("test/cat/9.jpg 0\n")
    with pytest.raises(UserError, match=r"names a file that is not under .*a\.zip: test/cat/9\.jpg"):
        load(data(archive, format="lists", train_list="train.txt", test_list=str(photos / "test.txt")))


def test_an_archive_is_a_folder_for_predictions(photos, tmp_path):
    archive = zipped(tmp_path / "a.zip", photos)
    found = find_images([f"{archive}/test", str(archive / "train/cat/0.jpg")])
    assert found == [*(f"{archive}/{path}" for path in PATHS[6:]), f"{archive}/train/cat/0.jpg"]
    assert read_bytes(found[-1]) == (photos / "train/cat/0.jpg").read_bytes()
    assert list_folder(str(archive)) == {"train", "test"} and is_folder(f"{archive}/train/cat")
    with pytest.raises(UserError, match=r"a\.zip/train/dog cannot be read: No such file"):
        read_bytes(f"{archive}/train/dog")
    with pytest.raises(UserError, match=r"folder .*a\.zip/dogs cannot be read: No such file"):
        list_folder(f"{archive}/dogs")


def test_links_and_paths_that_lead_out_are_left_out_with_a_warning(photos, tmp_path, caplog):
    archive = tarred(tmp_path / "a.tar", photos)
    with tarfile.open(archive, "a") as opened:
        for name, kind, target in [
            ("train/cat/link.jpg", tarfile.SYMTYPE, "/etc/passwd"),
            ("train/cat/hard.jpg", tarfile.LNKTYPE, "train/cat/0.jpg"),
            ("train/cat/pipe.jpg", tarfile.FIFOTYPE, ""),
            ("../../evil.jpg", tarfile.REGTYPE, ""),
            ("/etc/evil.jpg", tarfile.REGTYPE, ""),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            opened.addfile(info)
    assert len(load(data(archive))[0]) == 6
    assert (
        f"{archive}: left out: 2 links such as train/cat/link.jpg, 1 pipe, device or sparse file such as" in caplog.text
    )
    assert "2 paths that lead out of the archive such as ../../evil.jpg." in caplog.text
    assert not (tmp_path.parent / "evil.jpg").exists()


def test_a_zip_with_links_and_backslashes(photos, tmp_path, caplog):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for path in PATHS:
            opened.writestr(path.replace("/", "\\"), (photos / path).read_bytes())
        link = zipfile.ZipInfo("train/cat/link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        opened.writestr(link, "/etc/passwd")
        opened.writestr("C:\\evil.jpg", b"")
    assert len(load(data(archive))[0]) == 6
    assert "1 link such as train/cat/link.jpg, 1 path that leads out of the archive such as C:/evil.jpg" in caplog.text


def test_a_compressed_tar_says_what_to_do(photos, tmp_path):
    for name, mode in ("a.tar.gz", "w:gz"), ("a.tgz", "w:gz"), ("a.tar", "w:bz2"), ("a.tar.xz", "w:xz"):
        archive = tarred(tmp_path / name, photos, mode=mode)
        with pytest.raises(UserError, match=rf"{name} is compressed as a whole, .*decompress it .*\.tar file"):
            load(data(archive))


def test_empty_cut_off_and_encrypted_archives(photos, tmp_path):
    (tmp_path / "nothing").mkdir()
    tarred(tmp_path / "empty.tar", tmp_path / "nothing")
    zipped(tmp_path / "empty.zip", tmp_path / "nothing")
    for name in "empty.tar", "empty.zip":
        with pytest.raises(UserError, match=rf"{name} holds no file; name one that has images"):
            load(data(tmp_path / name))
    for whole in zipped(tmp_path / "cut.zip", photos), tarred(tmp_path / "cut.tar", photos):
        whole.write_bytes(whole.read_bytes()[:-9000])
        with pytest.raises(UserError, match=r"cut\.(zip|tar) is damaged or cut off \(.*\); fetch or make it again"):
            load(data(whole))
    encrypted = bytearray(zipped(tmp_path / "secret.zip", photos).read_bytes())
    directory = encrypted.rindex(b"PK\x01\x02")
    encrypted[directory + 8 : directory + 10] = struct.pack("<H", 1)
    (tmp_path / "secret.zip").write_bytes(encrypted)
    with pytest.raises(UserError, match=r"secret\.zip has .*, which is encrypted; unpack it"):
        load(data(tmp_path / "secret.zip"))
    (tmp_path / "no.tar").write_bytes(b"images" * 1000)
    with pytest.raises(UserError, match=r"no\.tar is damaged or cut off"):
        load(data(tmp_path / "no.tar"))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_a_zip_is_named(photos, tmp_path, method):
    archive = zipped(tmp_path / "a.zip", photos, method=method)
    train, _ = load(data(archive))
    content = bytearray(archive.read_bytes())
    start = int(train.source.source.spans[2]["start"])  # pyright: ignore[reportAttributeAccessIssue]
    content[start + 100] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip/train/cat/2\.jpg is damaged, or .*a\.zip has changed"):
        train.source[2]
    assert train.source[0] == (photos / "train/cat/0.jpg").read_bytes()


NAMES = st.text("ab./", min_size=1, max_size=12)


@given(st.lists(NAMES, max_size=6, unique=True))
def test_no_name_of_a_member_leads_out(tmp_path_factory, names):
    file = tmp_path_factory.mktemp("any") / "any.tar"
    with tarfile.open(file, "w") as archive:
        for name in [*names, "last"]:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))
    opened = open_archive(str(file))
    for path in opened.members:
        assert os.path.normpath(path) == path and path[0] != "/" and ".." not in path.split("/")
        content = read_bytes(f"{file}/{path}").decode()
        assert os.path.normpath(content) == path and content in [*names, "last"]
        assert opened.folders[os.path.dirname(path)][os.path.basename(path)] in (False, True)
