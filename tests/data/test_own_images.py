"""Folders, tables and held-out splits: the same images by any way give the same batches."""

import json
import logging
import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import encoded, picture, write_images

from lift_jax.data import data_defaults, load, prepare, train_loader
from lift_jax.data.splits import hold_out
from lift_jax.errors import UserError

TRAIN = [f"train/{name}/{i}.jpg" for name, count in [("bee", 4), ("ant", 3), ("cat_fish", 2)] for i in range(count)]
TEST = [f"val/{name}/t{i}.jpg" for name in ("cat_fish", "ant") for i in range(2)]
CLASSES = ["ant", "bee", "cat_fish"]


@pytest.fixture
def config(tmp_path):
    write_images(tmp_path, TRAIN + TEST)
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no image")
    (tmp_path / "train" / "ant" / ".hidden.jpg").write_text("no image")
    data = data_defaults()
    data.update(name="own", format="folder", root=str(tmp_path))
    return data


def label(path: str) -> str:
    return path.split("/")[1]


def batches(data):
    return list(train_loader(load(data)[0], batch_size=4, seed=0, resolution=16, num_epochs=2))


def assert_same_batches(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_folder(config):
    train, test = load(config)
    assert train.class_names == ("ant", "bee", "cat_fish")
    assert train.class_counts.tolist() == [3, 4, 2] and test.class_counts.tolist() == [2, 0, 2]
    assert [label(os.path.relpath(train.path(i), config.root)) for i in range(len(train))] == [
        train.class_names[each] for each in train.labels
    ]


def test_folder_with_named_classes_and_splits(config, tmp_path):
    (tmp_path / "names.txt").write_text("cat_fish sea cat\nant small ant\nbee honey bee\n")
    config.update(class_names=str(tmp_path / "names.txt"), train_list="train", test_list="train")
    train, test = load(config)
    assert train.class_names == ("small ant", "honey bee", "sea cat")
    assert len(test) == len(train) == 9
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    with pytest.raises(UserError, match="has 2 class names, but there are 3 class folders"):
        load(config)


def test_folders_lists_and_tables_give_the_same_batches(config, tmp_path):
    expected = batches(config)
    shuffled = [TRAIN[i] for i in np.random.default_rng(0).permutation(len(TRAIN))]
    for name, paths in [("train", shuffled), ("test", TEST)]:
        (tmp_path / f"{name}.txt").write_text("".join(f"{p} {CLASSES.index(label(p))}\n" for p in paths))
        (tmp_path / f"{name}.csv").write_text("path,label\n" + "".join(f"{p},{label(p)}\n" for p in paths))
    rows = [(p, "train") for p in shuffled] + [(p, "val") for p in TEST]
    (tmp_path / "all.tsv").write_text("split\tlabel\tfile\n" + "".join(f"{s}\t{label(p)}\t{p}\n" for p, s in rows))
    images = [{"id": i, "file_name": p} for i, (p, _) in enumerate(rows)]
    for split in ("train", "val"):
        members = [i for i, (_, each) in enumerate(rows) if each == split]
        content = {
            "images": [images[i] for i in members],
            "annotations": [{"image_id": i, "category_id": CLASSES.index(label(rows[i][0])) * 10} for i in members],
            "categories": [{"id": 10 * i, "name": name} for i, name in enumerate(CLASSES)],
        }
        (tmp_path / f"{split}.json").write_text(json.dumps(content))
    for form, train, test in [
        ("lists", "train.txt", "test.txt"),
        ("csv", "train.csv", "test.csv"),
        ("csv", "all.tsv", ""),
        ("inaturalist", "train.json", "val.json"),
    ]:
        config.update(format=form, train_list=str(tmp_path / train), test_list=str(tmp_path / test) if test else "")
        assert_same_batches(batches(config), expected)
        assert load(config)[1].class_counts.tolist() == [2, 0, 2]
        assert load(config)[0].class_names == tuple(CLASSES)
    lists = [f"--train_list={tmp_path / 'train.txt'}", f"--test_list={tmp_path / 'test.txt'}"]
    assert prepare.main(["own", f"--data_dir={tmp_path / 'records'}", f"--image_root={tmp_path}", *lists]) == 0
    config.update(format="tfds", root=str(tmp_path / "records"), train_list="train", test_list="test")
    assert_same_batches(batches(config), expected)
    for names, known, source in [
        ("cat_fish\nant\nbee\n", CLASSES, "by name"),
        ("bee honey bee\nant an ant\ncat_fish a fish\n", ["an ant", "honey bee", "a fish"], "by name"),
        ("x\ny\nz\n", ["x", "y", "z"], "by position in the order of the original names"),
    ]:
        (tmp_path / "names.txt").write_text(names)
        config.class_names = str(tmp_path / "names.txt")
        for split in load(config):
            assert list(split.class_names) == known and split.names_from == f"{config.class_names}, {source}"


@pytest.mark.parametrize("form, suffix, header", [("lists", "txt", ""), ("csv", "csv", "path,label\n")])
def test_backslashes_name_the_same_images_and_classes_as_slashes(config, tmp_path, form, suffix, header):
    separator = "," if header else " "
    for name, paths in [("train", TRAIN), ("test", TEST)]:
        lines = [f"{path}{separator}{CLASSES.index(label(path))}\n".replace("/", "\\") for path in paths]
        (tmp_path / f"{name}.{suffix}").write_text(header + "".join(lines))
    config.update(format=form, train_list=str(tmp_path / f"train.{suffix}"), test_list=str(tmp_path / f"test.{suffix}"))
    for split, paths in zip(load(config), (TRAIN, TEST), strict=True):
        assert split.class_names == ("ant", "bee", "cat_fish")
        assert len(split) == len(paths)


@pytest.mark.parametrize("form, suffix, header", [("lists", "txt", ""), ("csv", "csv", "path,label\n")])
def test_a_row_that_names_a_folder_is_refused(config, tmp_path, form, suffix, header):
    separator = "," if header else " "
    for name, paths in [("train", [*TRAIN, "train/ant"]), ("test", TEST)]:
        lines = [f"{path}{separator}{CLASSES.index(label(path)) if path in (*TRAIN, *TEST) else 0}\n" for path in paths]
        (tmp_path / f"{name}.{suffix}").write_text(header + "".join(lines))
    config.update(format=form, train_list=str(tmp_path / f"train.{suffix}"), test_list=str(tmp_path / f"test.{suffix}"))
    with pytest.raises(
        UserError, match=rf"train\.{suffix} names train/ant, which is a folder; write the path of an image"
    ):
        load(config)


def test_metadata_csv_beside_the_images(config, tmp_path):
    expected = batches(config)
    for split, paths in [("train", TRAIN), ("val", TEST)]:
        lines = [f"{p.split('/', 1)[1]},{CLASSES.index(label(p))}\n" for p in paths]
        (tmp_path / split / "metadata.csv").write_text("file_name,label\n" + "".join(lines))
    config.format = "csv"
    assert_same_batches(batches(config), expected)


def test_split_is_held_out_on_request(config, tmp_path):
    config.root = str(tmp_path / "train")
    with pytest.raises(UserError, match=r"no test split and config\.data\.val_fraction is 0"):
        load(config)
    config.val_fraction = 0.4
    train, test = load(config, seed=1)
    assert train.class_counts.tolist() == [2, 2, 1] and test.class_counts.tolist() == [1, 2, 1]
    again, _ = load(config, seed=1)
    assert [train.path(i) for i in range(5)] == [again.path(i) for i in range(5)]
    assert not {train.path(i) for i in range(5)} & {test.path(i) for i in range(4)}
    config.val_fraction = 1.5
    with pytest.raises(UserError, match=r"val_fraction is 1\.5"):
        load(config)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0.01, 0.99), st.integers(0, 9))
def test_held_out_split_keeps_every_class_and_its_share(labels, fraction, seed):
    array = np.array(labels)
    try:
        train, test = hold_out(array, fraction, seed)
    except UserError:
        assert all(min(round(fraction * n), n - 1) == 0 for n in np.bincount(array) if n)
        return
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(len(labels)))
    assert set(array[train]) == set(labels)
    for each in set(labels):
        size = labels.count(each)
        assert (array[test] == each).sum() == min(round(fraction * size), size - 1)


def test_long_tail_of_a_balanced_folder(tmp_path):
    write_images(tmp_path, [f"train/{c}/{i}.png" for c in "abc" for i in range(8)] + ["test/a/0.png"], (8, 8))
    data = data_defaults()
    data.update(name="own", format="folder", root=str(tmp_path), imbalance=4)
    assert load(data)[0].class_counts.tolist() == [8, 4, 2]


def test_test_class_without_training_images(config, tmp_path):
    write_images(tmp_path, ["val/dog/0.jpg"])
    with pytest.raises(UserError, match=r"val has the class 'dog' \(1 such\), which .*train lacks"):
        load(config)


def test_folders_without_images_and_missing_folders(config, tmp_path):
    (tmp_path / "empty").mkdir()
    config.update(train_list="empty")
    with pytest.raises(UserError, match="empty has no folders with images"):
        load(config)
    config.update(train_list="nowhere")
    said = r"config\.data\.train_list is nowhere, and .* has no such folder; those there are empty, train, val\."
    with pytest.raises(UserError, match=said):
        load(config)


@pytest.mark.parametrize("form", ["folder", "lists", "csv"])
@pytest.mark.parametrize("relative", [True, False])
def test_a_data_set_that_has_moved_is_told_of_with_its_key(config, tmp_path, form, relative):
    config.update(format=form, root="moved/photos" if relative else str(tmp_path / "moved"))
    here = rf" from the current folder {re.escape(os.getcwd())}" if relative else ""
    with pytest.raises(
        UserError, match=rf"^config\.data\.root is .*moved\S*, and nothing is there{here}; name .*root=FOLDER"
    ):
        load(config)


def test_a_folder_that_may_not_be_read_is_named(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    (tmp_path / "train" / "ant").chmod(0)
    config.root = "."
    user = os.geteuid()
    try:
        if user == 0:  # who may read everything
            os.seteuid(65534)
        with pytest.raises(UserError, match=r"The folder .*train/ant cannot be read: Permission denied"):
            load(config)
    finally:
        os.seteuid(user)
        (tmp_path / "train" / "ant").chmod(0o755)


@pytest.mark.parametrize(
    "text, message",
    [
        ("image\nx.jpg\n", "it needs one of"),
        ("path,label\nx.jpg,\n", "line 2 has no label"),
        ("path,label\n", "has no rows"),
        ("path,label,split\nx.jpg,a,dev\n", "has the split 'dev'"),
        ("path,label\nx.jpg,a\ny.jpg,3\n", "mixes numbers"),
    ],
)
def test_wrong_tables(config, tmp_path, text, message):
    (tmp_path / "train.csv").write_text(text)
    config.update(format="csv", train_list=str(tmp_path / "train.csv"))
    with pytest.raises(UserError, match=message):
        load(config)


def inaturalist(tmp_path, categories):
    write_images(tmp_path, [f"train_val2018/{i}.jpg" for i in range(6)], (8, 8))
    for name, members in [("train", range(4)), ("val", range(4, 6))]:
        content = {
            "images": [{"id": 100 + i, "file_name": f"train_val2018/{i}.jpg"} for i in members],
            "annotations": [{"image_id": 100 + i, "category_id": i % 4} for i in members],
            "categories": [{"id": i, "name": str(i)} for i in range(4)],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "categories.json").write_text(json.dumps(categories))
    data = data_defaults()
    data.update(name="inat", format="inaturalist", root=str(tmp_path))
    data.update(train_list=str(tmp_path / "train.json"), test_list=str(tmp_path / "val.json"))
    return data


def test_inaturalist_by_taxonomic_level(tmp_path):
    taxa = [("Plantae", "Rosa"), ("Animalia", "Apis"), ("Animalia", "Canis"), ("Fungi", "Boletus")]
    categories = [{"id": i, "kingdom": k, "genus": g, "name": f"{g} x"} for i, (k, g) in enumerate(taxa)]
    data = inaturalist(tmp_path, categories)
    assert load(data)[0].class_names == ("0", "1", "2", "3")
    data.class_names = str(tmp_path / "categories.json")
    assert load(data)[0].class_names == ("Rosa x", "Apis x", "Canis x", "Boletus x")
    data.level = "kingdom"
    train, test = load(data)
    assert train.class_names == ("Animalia", "Fungi", "Plantae")
    assert train.class_counts.tolist() == [2, 1, 1] and test.labels.tolist() == [2, 0]
    data.level = "order"
    with pytest.raises(UserError, match="categories without 'order'"):
        load(data)
    data.level = "tribe"
    with pytest.raises(UserError, match="level is 'tribe'; write one of kingdom"):
        load(data)


def test_a_test_split_that_numbers_its_categories_otherwise_is_refused(tmp_path):
    data = inaturalist(tmp_path, [])
    content = json.loads((tmp_path / "val.json").read_text())
    content["categories"] = [{"id": i, "name": str(3 - i)} for i in (2, 1)]
    (tmp_path / "val.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"val\.json calls the category 2 '1', but .*train\.json '2'; number .* alike"):
        load(data)
    content["categories"] = [{"id": i, "name": str(i)} for i in (2, 1)]
    (tmp_path / "val.json").write_text(json.dumps(content))
    assert load(data)[1].labels.tolist() == [0, 1]


def test_a_json_that_is_no_annotation_file(tmp_path):
    data = inaturalist(tmp_path, [])
    (tmp_path / "val.json").write_text('{"images": []}')
    with pytest.raises(UserError, match=r"val\.json is no iNaturalist annotation file: 'annotations' is missing"):
        load(data)
    (tmp_path / "val.json").write_text("{")
    with pytest.raises(UserError, match=r"val\.json is no valid JSON"):
        load(data)


def spoilt(tmp_path, file, change):
    """The settings of an iNaturalist data set one of whose files is changed."""
    data = inaturalist(tmp_path, [{"id": i, "name": f"taxon {i}", "genus": "x"} for i in range(4)])
    data.class_names = str(tmp_path / "categories.json")
    content = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps(change(content) or content))
    return data


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("train.json", lambda c: [c], "it must be an object with images, annotations and categories"),
        ("train.json", lambda c: {**c, "images": {}}, "'images' is no list"),
        ("val.json", lambda c: {**c, "annotations": None}, "'annotations' is no list"),
        ("train.json", lambda c: c["images"][1].pop("id"), "no whole number as 'id' of its image 2"),
        ("train.json", lambda c: c["images"][1].update(id=[1]), "no whole number as 'id' of its image 2"),
        ("train.json", lambda c: c["images"].append(7), "no whole number as 'id' of its image 5"),
        ("train.json", lambda c: c["images"][1].update(file_name=3), "The image 101 of .* has no 'file_name'"),
        ("train.json", lambda c: c["annotations"][2].update(image_id=True), "as 'image_id' of its annotation 3"),
        ("train.json", lambda c: c["annotations"][2].pop("category_id"), "as 'category_id' of its annotation 3"),
        ("train.json", lambda c: c["annotations"][2].update(image_id=999), "of the image 999, which is not among"),
        ("val.json", lambda c: c["annotations"][0].update(category_id=9), "the category 9, which is not among"),
        ("train.json", lambda c: c["annotations"].append({"image_id": 100, "category_id": 3}),
         r"the image 100 \(train_val2018/0\.jpg\) the categories 0 and 3"),
        ("train.json", lambda c: {**c, "annotations": []}, r"train\.json has no images"),
        ("categories.json", lambda c: {"categories": c}, "has no list of categories"),
        ("categories.json", lambda c: [[]], "no whole number as 'id' of its category 1"),
        ("categories.json", lambda c: c[2].pop("id"), "no whole number as 'id' of its category 3"),
        ("categories.json", lambda c: c[2].update(id=0), "two categories with the id 0"),
        ("categories.json", lambda c: c[2].update(name=None), "categories without 'name', such as that with the id 2"),
        ("categories.json", lambda c: c[2].update(name=" "), r"The name of class 2 \(from .*\) is empty"),
    ],
)  # fmt: skip
def test_annotations_of_another_shape_are_refused(tmp_path, file, change, message):
    data = spoilt(tmp_path, file, lambda content: given if isinstance(given := change(content), list | dict) else None)
    with pytest.raises(UserError, match=message) as refused:
        load(data)
    assert file in str(refused.value) or "class 2" in message


def test_ids_that_are_text_and_other_encodings_of_annotations_are_read(tmp_path):
    expected = [int(label) for label in load(spoilt(tmp_path, "train.json", lambda content: None))[0].labels]

    def as_text(content):
        for each in content["annotations"]:
            each.update(image_id=str(each["image_id"]), category_id=str(each["category_id"]))

    data = spoilt(tmp_path, "train.json", as_text)
    (tmp_path / "train.json").write_text((tmp_path / "train.json").read_text(), "utf-16")
    train, _ = load(data)
    assert train.labels.tolist() == expected == [0, 1, 2, 3]
    assert train.class_names == tuple(f"taxon {i}" for i in range(4))


def test_images_without_annotation_or_with_two_are_said(tmp_path, caplog):
    def change(content):
        content["images"].append({"id": 7, "file_name": "train_val2018/5.jpg"})
        content["annotations"].append(dict(content["annotations"][0]))

    with caplog.at_level(logging.WARNING, "lift_jax"):
        train, _ = load(spoilt(tmp_path, "train.json", change))
    assert train.class_counts.tolist() == [1, 1, 1, 1]
    assert "1 images without annotation, for example train_val2018/5.jpg, which are left out" in caplog.text
    assert "1 images with several annotations of the same category" in caplog.text


def test_same_pixels_from_arrays_are_no_duplicates(tmp_path, caplog):
    data = data_defaults()
    data.update(imbalance=10)
    with caplog.at_level(logging.WARNING, "lift_jax"):
        load(data)
    assert "both" not in caplog.text


def test_names_of_places_folders(tmp_path):
    paths = [f"data_256/{place}/{i}.jpg" for place in ("a/airfield", "b/bar/indoor", "b/bazaar/indoor") for i in (0, 1)]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(encoded(picture(8, 8)))
    (tmp_path / "list.txt").write_text("".join(f"{path} {i // 2}\n" for i, path in enumerate(paths)))
    data = data_defaults()
    lists = str(tmp_path / "list.txt")
    data.update(name="places", format="lists", root=str(tmp_path), train_list=lists, test_list=lists)
    assert load(data)[0].class_names == ("a/airfield", "b/bar/indoor", "b/bazaar/indoor")
