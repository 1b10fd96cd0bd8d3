"""Shards of WebDataset, whose images are read where they lie."""

import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hub_layouts import CLASSES, PATHS, data, label, of_split, write_tar
from pictures import write_images

from lift_jax.data import load, train_loader
from lift_jax.errors import UserError


@pytest.fixture
def photos(tmp_path) -> Path:
    write_images(tmp_path / "photos", PATHS)
    return tmp_path / "photos"


def samples(photos: Path, paths: list[str], ending: str = ".cls", text: str = "{label}") -> dict[str, bytes]:
    """The members of a shard: of each image its file, and one with its label."""
    members = {}
    for path in paths:
        key, values = Path(path).stem, {"label": str(label(path)), "name": CLASSES[label(path)]}
        members[f"{key}.jpg"] = (photos / path).read_bytes()
        for name, value in values.items():
            content = text.replace(f"{{{name}}}", value)
            if content != text:
                members[f"{key}{ending}"] = content.encode()
    return members


def write_shards(photos: Path, root: Path, *label_file: str) -> Path:
    for split in "train", "test":
        for i in (0, 1):
            write_tar(root / f"own-{split}-00000{i}.tar", samples(photos, of_split(split)[i::2], *label_file))
    return root


@pytest.mark.parametrize(
    "label_file",
    [(), (".txt", "{name}\n"), (".json", '{"class": "{name}", "text": "a photo"}'), (".json", "{label}"), (".CLS",)],
)
def test_shards_give_the_batches_of_the_folder(photos, tmp_path, label_file):
    root = write_shards(photos, tmp_path / "shards", *label_file)
    (root / "classnames.txt").write_text("cat\nhen\n")
    for got, expected in zip(load(data(root)), load(data(photos)), strict=True):
        assert got.class_names == expected.class_names == CLASSES
        batches = [
            next(train_loader(each, batch_size=8, seed=0, resolution=8, num_epochs=1)) for each in (got, expected)
        ]
        for key, value in batches[1].items():
            np.testing.assert_array_equal(batches[0][key], value)
    assert got.path(1) == str(root / "own-test-000001.tar/cat1.jpg")
    assert pickle.loads(pickle.dumps(got.source))[0] == (photos / "test/cat/cat0.jpg").read_bytes()


def test_one_shard_is_divided_and_splits_may_be_folders(photos, tmp_path):
    for file in "train/0.tar", "test/0.tar":
        write_tar(tmp_path / "wds" / file, samples(photos, of_split(file.partition("/")[0])))
    train, test = load(data(tmp_path / "wds"))
    assert train.class_names == ("class 0", "class 1") and (len(train), len(test)) == (8, 8)
    for changes in {}, {"format": "webdataset"}:
        train, test = load(data(tmp_path / "wds/train/0.tar", val_fraction=0.25, **changes))
        assert (len(train), len(test)) == (6, 2)


def test_the_key_of_a_json_label_can_be_named(photos, tmp_path):
    root = write_shards(photos, tmp_path, ".json", '{"species": "{name}"}')
    with pytest.raises(UserError, match=r"cat0\.json has no label \(\{'species': 'cat'\}\); give it the key 'label' "):
        load(data(root, format="webdataset"))
    assert load(data(root, format="webdataset", label_column="species"))[0].class_names == CLASSES


def test_what_is_missing_is_named(photos, tmp_path, caplog):
    members = samples(photos, of_split("train"))
    file = tmp_path / "train.tar"
    write_tar(file, {name: content for name, content in members.items() if name != "cat2.cls"})
    with pytest.raises(UserError, match=r"train\.tar/cat2\.jpg has no label beside it; add cat2\.cls \(or \.json or"):
        load(data(file, val_fraction=0.5))
    write_tar(file, {**members, "cat2.cls": b" "})
    with pytest.raises(UserError, match=r"train\.tar/cat2\.cls is empty; write the number or the name"):
        load(data(file, val_fraction=0.5))
    write_tar(file, {**members, "cat2.png": members["cat2.jpg"]})
    with pytest.raises(UserError, match=r"train\.tar/cat2 has several images \(\.jpg, \.png\); leave one"):
        load(data(file, val_fraction=0.5))
    write_tar(file, {**members, "cat2.mask.png": b"", "cat2.json": b"{", "dog.cls": b"0"})
    train, _ = load(data(file, val_fraction=0.5))
    assert len(train) == 4 and "left out: samples without an image: dog." in caplog.text
    write_tar(file, {"cat.cls": b"0"})
    with pytest.raises(UserError, match=r"\(split train\) has no images in its shards"):
        load(data(file, format="webdataset", val_fraction=0.5))
    with pytest.raises(UserError, match=r"photos has no \.tar files; name the folder that has them"):
        load(data(photos, format="webdataset", val_fraction=0.5))


def test_damaged_compressed_and_empty_shards(photos, tmp_path):
    root = write_shards(photos, tmp_path)
    shard = root / "own-test-000001.tar"
    whole = shard.read_bytes()
    header = whole.index(b"cat1.cls")
    for content in whole[:2000], whole[: len(whole) // 3], whole[:header] + b"x" * 512 + whole[header + 512 :]:
        shard.write_bytes(content)
        with pytest.raises(UserError, match=r"own-test-000001\.tar is damaged or cut off"):
            load(data(root, format="webdataset"))
    with tarfile.open(shard, "w:gz"):
        pass
    with pytest.raises(UserError, match=r"own-test-000001\.tar is compressed as a whole"):
        load(data(root, format="webdataset"))
    with tarfile.open(shard, "w"):
        pass
    with pytest.raises(UserError, match=r"own-test-000001\.tar holds no file"):
        load(data(root, format="webdataset"))
    shard.write_bytes(whole)
    _, test = load(data(root, format="webdataset"))
    shard.write_bytes(whole[:1000])
    with pytest.raises(UserError, match=r"own-test-000001\.tar/cat1\.jpg is damaged, or .* has changed since"):
        [test.source[i] for i in range(8)]
