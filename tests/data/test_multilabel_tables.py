"""Tables whose images have several labels each: the forms that people write, and what is not clear."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import write_images

from lift_jax import config as lift_config
from lift_jax.data import data_defaults, load
from lift_jax.data.splits import hold_out
from lift_jax.data.validation import hold_out as hold_out_of_training
from lift_jax.errors import UserError
from lift_jax.run.task_check import check

FILES = ["a.png", "b.png", "c.png", "d.png"]
SPLITS = ["train", "train", "train", "test"]
SETS = [["Dog", "cat"], [], ["cat"], ["cat", "Dog"]]
MATRIX = {"Dog": [True, False, False, True], "cat": [True, False, True, True]}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("label_sets")
    write_images(root, FILES)
    return root


def read(root: Path, content: str, name: str = "table.csv", **changes):
    """Both splits of a table in the folder of the images."""
    (root / name).write_text(content, encoding="utf-8")
    data = data_defaults()
    data.update(format="csv", root=str(root), train_list=str(root / name), name="x", **changes)
    return load(data, 0, "multilabel")


def found(root: Path, content: str, name: str = "table.csv") -> dict[str, list[bool]]:
    """Of which classes each image is, by the names of the classes."""
    splits = read(root, content, name)
    labels = {Path(s.path(i)).name: s.labels[i] for s in splits for i in range(len(s))}
    assert [len(split) for split in splits] == [3, 1]
    return {c: [bool(labels[file][place]) for file in FILES] for place, c in enumerate(splits[0].class_names)}


def csv_of(cells: list[str], header: str = "file_name,split,labels", quoted: bool = True) -> str:
    shown = [f'"{cell}"' if quoted else cell for cell in cells]
    rows = (f"{file},{split},{cell}" for file, split, cell in zip(FILES, SPLITS, shown, strict=True))
    return "\n".join([header, *rows])


@pytest.mark.parametrize("separator", ["|", ";", ",", " | ", ", "])
def test_labels_in_one_cell(root, separator):
    assert found(root, csv_of([separator.join(each) for each in SETS])) == MATRIX


def test_a_row_for_each_label_of_an_image_is_told_of(root, caplog):
    read(root, "file_name,split,labels\na.png,train,Dog\na.png,train,cat\nb.png,train,cat\nc.png,test,cat\n")
    assert "a.png (Dog and cat); write all labels of an image into one row" in caplog.text


def test_the_column_of_the_labels_may_be_named(root):
    rows = "".join(
        f"{file},{split},x,{'|'.join(each)}\n" for file, split, each in zip(FILES, SPLITS, SETS, strict=True)
    )
    train, test = read(root, "path,split,label,seen\n" + rows, label_column="seen")
    assert train.class_names == ("Dog", "cat") and train.labels.tolist() == [
        [True, True],
        [False, False],
        [False, True],
    ]
    assert test.labels.tolist() == [[True, True]]


def test_lists_as_json_and_python_write_them(root):
    doubled = [json.dumps(each).replace('"', '""') for each in SETS]
    assert found(root, csv_of(doubled)) == MATRIX
    assert found(root, csv_of([str(each) for each in SETS])) == MATRIX
    lines = (
        {"file_name": f, "split": s, "labels": each or None} for f, s, each in zip(FILES, SPLITS, SETS, strict=True)
    )
    assert found(root, "\n".join(map(json.dumps, lines)), "table.jsonl") == MATRIX


def test_a_column_for_each_class_keeps_the_names_and_their_order(root):
    header = "file_name,split,cat,Dog,width"
    cells = [f"{int('cat' in each)},{int('Dog' in each) or ''},640" for each in SETS]
    content = csv_of(cells, header, quoted=False)
    assert found(root, content) == MATRIX
    assert read(root, content)[0].class_names == ("cat", "Dog")
    assert found(root, content.replace(",", ";").replace(";1;", ";1.0;")) == MATRIX


def test_numbers_are_ordered_as_numbers(root):
    train, _ = read(root, csv_of(["10|2", "", "2", "10"]))
    assert train.class_names == ("2", "10")
    np.testing.assert_array_equal(train.labels, [[True, True], [False, False], [True, False]])


def test_counts_are_of_images_of_each_class(root):
    train, test = read(root, csv_of(["|".join(each) for each in SETS]))
    assert train.class_counts.tolist() == [1, 2]
    assert test.subset(np.array([0])).labels.tolist() == [[True, True]]


@pytest.mark.parametrize(
    "cells, sentence",
    [
        (["a|b, c", "", "a", "a"], r"'\|' \(line 2\) and ',' \(line 2\).*not clear.*write one of them alone"),
        (["a|b", "a;b", "a", "a"], r"'\|' \(line 2\) and ';' \(line 3\).*column 'labels'"),
        (["a", "", "b", "a|c"], r"line 5 has the label 'c', which no training image .* has"),
        (["", "", "", "a"], "no label in any row of the training split"),
        (["[1, {}]", "", "1", "1"], "line 2 has the labels .* no list"),
    ],
)
def test_what_is_not_clear_is_refused(root, cells, sentence):
    with pytest.raises(UserError, match=sentence):
        read(root, csv_of(cells))


def test_a_stray_number_among_0_and_1_is_refused_and_named(root):
    cells = ["1,0", "0,1", "2,1", "1,1"]
    with pytest.raises(UserError, match=r"line 4 has '2' in the column 'cat'"):
        read(root, csv_of(cells, "file_name,split,cat,dog", quoted=False))


def test_a_class_without_training_image_is_refused(root):
    cells = ["1,0", "1,0", "1,0", "1,1"]
    with pytest.raises(UserError, match=r"no image of class 1 \(dog\), and .* tests 1 such class"):
        read(root, csv_of(cells, "file_name,split,cat,dog", quoted=False))


def test_a_table_without_labels_is_refused(root):
    with pytest.raises(UserError, match=r"column called labels .* or a column of 0 and 1 for each class"):
        read(root, csv_of(["640"] * 4, "file_name,split,width"))


def test_two_tables_of_different_columns_are_refused(root):
    (root / "test.csv").write_text("file_name,cat,hen\nd.png,1,0")
    table = "file_name,cat,dog\na.png,1,0\nb.png,0,1"
    with pytest.raises(UserError, match="different columns of 0 and 1: dog, hen"):
        read(root, table, test_list=str(root / "test.csv"))
    (root / "test.csv").write_text("file_name,dog,cat\nd.png,1,0")
    _, test = read(root, table, test_list=str(root / "test.csv"))
    assert test.labels.tolist() == [[False, True]]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(5, 60), st.booleans())
def test_a_part_that_is_held_out_leaves_an_image_of_each_class(seed, count, grouped):
    generator = np.random.default_rng(seed)
    labels = generator.random((count, 6)) < [0.7, 0.4, 0.2, 0.1, 0.05, 0.02]
    labels[0] = True
    groups = generator.integers(0, count, count) if grouped else None
    try:
        kept, held_out = hold_out(labels, 0.3, seed, groups)
    except UserError:
        return  # of so few images none may be spared
    assert sorted([*kept, *held_out]) == list(range(count))
    assert labels[kept].any(axis=0).all()
    if groups is not None:
        assert not set(groups[kept]) & set(groups[held_out])


def test_shares_of_classes_and_of_images_without_labels_are_kept(root):
    generator = np.random.default_rng(0)
    labels = generator.random((4000, 4)) < np.array([0.5, 0.2, 0.1, 0.02])
    _, held_out = hold_out(labels, 0.25, 0)
    shares = labels[held_out].sum(axis=0) / labels.sum(axis=0)
    np.testing.assert_allclose(shares, 0.25, atol=0.02)
    none = np.logical_not(labels.any(axis=1))
    assert none[held_out].sum() / none.sum() == pytest.approx(0.25, abs=0.02)


def test_validation_holds_out_label_sets(root):
    train, _ = read(root, csv_of(["|".join(each) for each in SETS]))
    many = train.subset(np.arange(300) % 3)
    cut = hold_out_of_training("fraction:0.2", many, 0)
    assert len(cut.validation) == 60
    assert cut.validation.class_counts.tolist() == [20, 40]
    assert cut.sentence.startswith("Held out for validation: 60 training images of 2 classes")


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"data.format": "folder"}, "data.format is folder, .*one label.*data.format=csv"),
        ({"data.sampler": "balanced"}, "data.sampler is balanced"),
        ({"data.corrections": "x.csv"}, "data.corrections is x.csv"),
        ({"data.imbalance": 10}, "data.imbalance is 10"),
        ({"auto": True}, "config.auto is True"),
        ({"method": "gda"}, "method is gda"),
        ({"head_init": "linear_probe"}, "head_init is linear_probe.*text, class_mean, random"),
    ],
)
def test_what_takes_one_label_is_refused(changes, sentence):
    config = lift_config.default()
    config.task, config.data.format = "multilabel", "csv"
    check(lift_config.resolve(config))
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=sentence):
        check(lift_config.resolve(config))
    config.task = "multiclass"
    check(lift_config.resolve(config))
