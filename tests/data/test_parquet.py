"""Data sets of the Hugging Face hub as they lie on a disk."""

import logging
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hub_layouts import (
    CLASS_LABEL,
    CLASSES,
    IMAGE,
    PATHS,
    data,
    features,
    label,
    of_split,
    table,
    write_arrow,
    write_parquet,
)
from pictures import write_images
from pyarrow import parquet

from lift_jax.data import load, local_copies, train_loader
from lift_jax.errors import UserError

HUB = {f"data/{split}-0000{i}-of-00002.parquet": of_split(split)[i::2] for split in ("train", "test") for i in (0, 1)}


@pytest.fixture(autouse=True)
def copies(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv(local_copies.VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def photos(tmp_path) -> Path:
    write_images(tmp_path / "photos", PATHS)
    return tmp_path / "photos"


def check_as_folder(root, photos: Path, **changes) -> None:
    """Both splits, their batches and their classes are those of the folder, to the last bit."""
    for got, expected in zip(load(data(root, **changes)), load(data(photos)), strict=True):
        assert got.class_names == expected.class_names == CLASSES
        batches = [
            next(train_loader(each, batch_size=8, seed=0, resolution=8, num_epochs=1)) for each in (got, expected)
        ]
        for key, value in batches[1].items():
            np.testing.assert_array_equal(batches[0][key], value)
        assert [got.source[i] for i in range(8)] == [expected.source[i] for i in range(8)]


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
def test_parquet_of_the_hub(photos, tmp_path, compression):
    root = write_parquet(photos, tmp_path / "hub", HUB, compression=compression)
    (root / "README.md").write_text("# Photographs")
    check_as_folder(root, photos)
    check_as_folder(root, photos, format="parquet")


def test_what_save_to_disk_writes_is_read_where_it_lies(photos, tmp_path, copies):
    for split in "train", "test":
        write_arrow(tmp_path / "saved" / split / "data-00000-of-00001.arrow", table(photos, of_split(split)))
        write_arrow(tmp_path / "saved" / split / "cache-0123.arrow", table(photos, of_split(split)[:1]))
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    check_as_folder(tmp_path / "saved", photos)
    assert not copies.exists()


@pytest.mark.parametrize("options", [{"compression": "lz4"}, {"stream": False}, {"compression": "zstd"}])
def test_other_files_of_arrow(photos, tmp_path, options):
    for split in "train", "test":
        write_arrow(tmp_path / "saved" / f"{split}.arrow", table(photos, of_split(split)), **options)
    check_as_folder(tmp_path / "saved", photos)


@pytest.mark.parametrize(
    "files", [("train/0000.parquet", "test/0000.parquet"), ("my-train.parquet", "my_val.parquet"), ("Train.parquet",
    "validation-00000-of-00001.parquet"), ("default/training/0.parquet", "default/testing/0.parquet")],
)  # fmt: skip
def test_splits_by_the_names_of_files_and_folders(photos, tmp_path, files):
    root = write_parquet(photos, tmp_path / "hub", dict(zip(files, map(of_split, ("train", "test")), strict=True)))
    check_as_folder(root, photos)


def test_splits_of_other_names(photos, tmp_path, caplog):
    splits = {"fold1-00000-of-00001": "train", "fold2-00000-of-00001": "test", "train_more-00000-of-00001": "test"}
    root = write_parquet(photos, tmp_path, {f"{name}.parquet": of_split(split) for name, split in splits.items()})
    check_as_folder(root, photos, format="parquet", train_list="fold1", test_list="fold2")
    assert "not read are the splits train_more; the splits are fold1 and fold2" in caplog.text
    with pytest.raises(UserError, match=r"has the splits fold1, fold2, train_more, of which none is called train"):
        load(data(root, format="parquet"))
    with pytest.raises(UserError, match=r"config\.data\.test_list is fold3, but .* has the splits fold1, fold2"):
        load(data(root, format="parquet", test_list="fold3"))


def test_one_split_is_divided_as_a_folder_is(photos, tmp_path):
    root = write_parquet(photos, tmp_path / "hub", {"0000.parquet": of_split("train")})
    for one in root, root / "0000.parquet":
        got, expected = load(data(one, val_fraction=0.5)), load(data(photos / "train", val_fraction=0.5))
        for ours, folders in zip(got, expected, strict=True):
            assert [Path(ours.path(i)).name for i in range(4)] == [Path(folders.path(i)).name for i in range(4)]
            assert ours.labels.tolist() == folders.labels.tolist()
    with pytest.raises(UserError, match=r"There is no test split and config\.data\.val_fraction is 0"):
        load(data(root))


def test_a_file_is_unpacked_once_and_anew_when_it_has_changed(photos, tmp_path, copies, caplog):
    root = write_parquet(photos, tmp_path / "hub", HUB)
    caplog.set_level(logging.INFO)
    load(data(root))
    made = {each: each.stat().st_mtime_ns for each in copies.iterdir()}
    assert len(made) == 4 and "was unpacked into" in caplog.text and "4 images" in caplog.text
    load(data(root))
    assert {each: each.stat().st_mtime_ns for each in copies.iterdir()} == made
    parquet.write_table(table(photos, of_split("train")[:3]), root / next(iter(HUB)))
    assert len(load(data(root))[0]) == 7 and len(list(copies.iterdir())) == 5


def test_a_source_goes_to_a_worker_and_names_the_rows(photos, tmp_path):
    root = write_parquet(photos, tmp_path / "hub", {"train.parquet": of_split("train"), "test.parquet": PATHS[8:]})
    train, _ = load(data(root))
    source = pickle.loads(pickle.dumps(train.source))
    assert source[0] == (photos / PATHS[0]).read_bytes()
    assert train.path(0) == str(root / "train.parquet/00000007/cat0.jpg")


def test_labels_that_are_names_numbers_or_categories(photos, tmp_path):
    names = [path.split("/")[1] for path in of_split("train")]
    for labels in pa.array(names), pa.array(names).dictionary_encode(), pa.array(names, pa.large_string()):
        made = table(photos, of_split("train"), labels).replace_schema_metadata(None)
        parquet.write_table(made.rename_columns(["img", "category"]), tmp_path / "train.parquet")
        train, _ = load(data(tmp_path / "train.parquet", val_fraction=0.5))
        assert train.class_names == CLASSES and train.labels.tolist() == [0, 0, 1, 1]
    plain = pa.table({"image": [(photos / path).read_bytes() for path in PATHS[:8]], "label": [0.0] * 4 + [1.0] * 4})
    parquet.write_table(plain, tmp_path / "train.parquet")
    train, _ = load(data(tmp_path / "train.parquet", val_fraction=0.5))
    assert train.class_names == ("class 0", "class 1") and train.labels.tolist() == [0, 0, 1, 1]
    (tmp_path / "names.txt").write_text("tabby\nhen\n")
    named, _ = load(data(tmp_path / "train.parquet", val_fraction=0.5, class_names=str(tmp_path / "names.txt")))
    assert named.class_names == ("tabby", "hen")


def test_the_order_of_the_classes_is_that_of_the_data_set(photos, tmp_path):
    made = table(photos, PATHS[:8]).replace_schema_metadata(
        features(image=IMAGE, label={"names": ["zebra", "ant"], "_type": "ClassLabel"})
    )
    parquet.write_table(made, tmp_path / "train.parquet")
    train, _ = load(data(tmp_path / "train.parquet", val_fraction=0.5))
    assert train.class_names == ("zebra", "ant") and train.names_from == "the data set"
    (tmp_path / "names.txt").write_text("ant,Formica\nzebra,Equus\n")
    named, _ = load(data(tmp_path / "train.parquet", val_fraction=0.5, class_names=str(tmp_path / "names.txt")))
    assert named.class_names == ("Equus", "Formica")


def test_one_of_several_columns_of_labels_has_to_be_named(photos, tmp_path):
    coarse = {"names": ["animal"], "_type": "ClassLabel"}
    made = table(photos, PATHS[:8], coarse=pa.array([0] * 8)).rename_columns(["img", "fine", "coarse"])
    made = made.replace_schema_metadata(features(img=IMAGE, fine=CLASS_LABEL, coarse=coarse))
    parquet.write_table(made, tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"fine \(int64\), coarse \(int64\), of which several have labels; write .*lab"):
        load(data(tmp_path / "train.parquet", val_fraction=0.5))
    train, _ = load(data(tmp_path / "train.parquet", val_fraction=0.5, label_column="fine"))
    assert train.class_names == CLASSES
    with pytest.raises(UserError, match=r"none called 'genus', which config\.data\.label_column names"):
        load(data(tmp_path / "train.parquet", val_fraction=0.5, label_column="genus"))
    with pytest.raises(UserError, match=r"label_column is genus, but config\.data\.format=folder has no columns"):
        load(data(photos, label_column="genus"))


def test_a_column_of_splits_is_told_of(photos, tmp_path, caplog):
    made = table(photos, PATHS[:8]).append_column("Split", pa.array(["train", "test"] * 4))
    parquet.write_table(made, tmp_path / "all.parquet")
    load(data(tmp_path / "all.parquet", val_fraction=0.5))
    assert "its column split is not read; write a file for each split" in caplog.text


def test_a_group_stays_on_one_side(photos, tmp_path, caplog):
    cats = pa.array([f"animal {i // 2}" for i in range(8)])
    parquet.write_table(table(photos, PATHS[:8], animal=cats), tmp_path / "train.parquet")
    changes = {"format": "parquet", "val_fraction": 0.5, "group_column": "animal"}
    sides = load(data(tmp_path / "train.parquet", **changes))
    groups = [{Path(side.path(i)).name[:4] for i in range(4)} for side in sides]
    assert sorted(map(len, groups)) == [4, 4] and len({int(name[3]) // 2 for name in groups[0] if name < "d"}) == 1
    parquet.write_table(table(photos, PATHS[8:], animal=cats), tmp_path / "test.parquet")
    load(data(tmp_path, **changes))
    assert "4 of config.data.group_column=animal are in the training and the test split, for example" in caplog.text
    holes = pa.array([None, *cats.to_pylist()[1:]])
    parquet.write_table(table(photos, PATHS[:8], animal=holes), tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"train\.parquet/00000000/cat0\.jpg has nothing in the column .*group_column"):
        load(data(tmp_path / "train.parquet", **changes))


def test_a_test_split_without_labels_is_passed_over(photos, tmp_path, caplog):
    root = write_parquet(photos, tmp_path / "hub", {"train.parquet": PATHS[:8], "validation.parquet": PATHS[8:]})
    parquet.write_table(table(photos, PATHS[8:], pa.array([-1] * 8)), root / "test.parquet")
    check_as_folder(root, photos)
    assert "(split test) has no labels (all are -1)" in caplog.text
    (root / "validation.parquet").unlink()
    with pytest.raises(UserError, match=r"has no labels in its split test; name one that has them"):
        load(data(root))


def test_images_without_a_label_are_named(photos, tmp_path):
    some = pa.array([label(path) for path in PATHS[:6]] + [-1, None])
    file = tmp_path / "train.parquet"
    parquet.write_table(table(photos, PATHS[:8], some), file)
    with pytest.raises(UserError, match=r"train\.parquet/00000007/hen3\.jpg has no label in its column label"):
        load(data(file, val_fraction=0.5))
    parquet.write_table(table(photos, PATHS[:7], some[:7]), file)
    with pytest.raises(UserError, match=r"has 1 images with the label -1, which .*such as .*00000006/hen2\.jpg; take"):
        load(data(file, val_fraction=0.5))
    parquet.write_table(table(photos, PATHS[:6], some[:6]), file)
    assert load(data(file, val_fraction=0.5))[0].labels.tolist() == [0, 0, 1]
    parquet.write_table(table(photos, PATHS[:2], pa.array([[0, 1], [1]])), file)
    with pytest.raises(UserError, match=r"has labels that are lists or the like in its column label; give each image"):
        load(data(file, val_fraction=0.5))


def test_a_data_set_without_images_or_labels_says_its_columns(photos, tmp_path):
    file = tmp_path / "train.parquet"
    parquet.write_table(pa.table({"id": [1], "text": ["a cat"]}), file)
    with pytest.raises(UserError, match=r"columns id \(int64\), text \(string\), of which not one alone has images"):
        load(data(file))
    parquet.write_table(pa.table({"image": [b"x"], "caption": ["a cat"]}), file)
    with pytest.raises(UserError, match=r"image \(binary\), caption \(string\), of which none has labels; write con"):
        load(data(file))
    links = pa.table({"image": [{"bytes": None, "path": "/a.jpg"}], "label": [0]})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    parquet.write_table(links.set_column(0, "image", links["image"].cast(kind)), file)
    with pytest.raises(UserError, match=r"has the paths of images, but not the images themselves, in its column image"):
        load(data(file))


def test_damaged_files_are_named(photos, tmp_path):
    root = write_parquet(photos, tmp_path / "hub", {"train.parquet": PATHS[:8]})
    whole = (root / "train.parquet").read_bytes()
    for content, says in [
        (whole[:-200], "is damaged or cut off"),
        (whole[:4] + bytes(400) + whole[404:], "is damaged or cut off"),
        (b"", "is damaged or cut off"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "is a Git LFS pointer; fetch .* git lfs pull"),
    ]:
        (root / "train.parquet").write_bytes(content)
        with pytest.raises(UserError, match=rf"train\.parquet {says}"):
            load(data(root, val_fraction=0.5))
    write_arrow(root / "train.arrow", table(photos, PATHS[:8]))
    (root / "train.parquet").unlink()
    (root / "train.arrow").write_bytes((root / "train.arrow").read_bytes()[:-1500])
    with pytest.raises(UserError, match=r"train\.arrow is damaged or cut off"):
        load(data(root, val_fraction=0.5))


def test_files_of_two_data_sets_are_told_apart(photos, tmp_path):
    root = write_parquet(photos, tmp_path / "hub", {"a/train.parquet": PATHS[:8], "b/train.parquet": PATHS[:8]})
    with pytest.raises(UserError, match=r"has files of the split train in several folders \(a, b\); name one"):
        load(data(root))
    assert len(load(data(root / "a", val_fraction=0.5))[0]) == 4
    other = table(photos, PATHS[8:]).replace_schema_metadata(
        features(image=IMAGE, label={**CLASS_LABEL, "names": ["x"]})
    )
    parquet.write_table(other, root / "a" / "test.parquet")
    with pytest.raises(UserError, match=r"\(split test\) has other classes \(x\) than .*\(split train\) \(cat, hen\)"):
        load(data(root / "a"))
