"""Images that belong together stay together: in the test split, in what is held out, and in folds."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pictures import write_images

from lift_jax import config as lift_config
from lift_jax.data import image_groups, validation
from lift_jax.data.dataset import ArraySource, Dataset
from lift_jax.data.sources import load
from lift_jax.data.splits import draw, hold_out
from lift_jax.errors import UserError

CLASSES = 3
labelled = st.integers(4, 60).flatmap(
    lambda n: st.tuples(
        arrays.arrays(np.int64, n, elements=st.integers(0, CLASSES - 1)),
        arrays.arrays(np.int64, n, elements=st.integers(0, 12)),
    )
)


def dataset(labels: np.ndarray, groups: np.ndarray | None) -> Dataset:
    images = np.zeros((len(labels), 1, 1, 3), np.uint8)
    return Dataset("set", ArraySource(images), labels.astype(np.int32), ("a", "b", "c"), "", groups)


def assert_undivided(groups: np.ndarray, chosen: np.ndarray) -> None:
    others = np.setdiff1d(np.arange(len(groups)), chosen)
    assert not set(groups[chosen]) & set(groups[others])


@given(labelled, st.floats(0.1, 0.9), st.integers(0, 3))
def test_a_test_split_divides_no_group_and_leaves_every_class_an_image(data, fraction, seed):
    labels, groups = data
    try:
        kept, held_out = hold_out(labels, fraction, seed, groups)
    except UserError:
        return  # each group is too large
    assert_undivided(groups, held_out)
    assert set(labels[kept]) == set(labels)
    wanted = np.array([max(0, min(round(fraction * n), n - 1)) for n in np.bincount(labels)])
    drawn = np.bincount(labels[held_out], minlength=len(wanted))
    assert np.abs(drawn - wanted).sum() < wanted.sum()


@given(labelled, st.sampled_from(["balanced:1", "balanced:4", "fraction:0.3"]), st.integers(0, 3))
def test_held_out_images_divide_no_group(data, rule, seed):
    labels, groups = data
    try:
        cut = validation.hold_out(rule, dataset(labels, groups), seed)
    except UserError:
        return
    assert cut.train.image_groups is not None and cut.validation.image_groups is not None
    assert not set(cut.train.image_groups) & set(cut.validation.image_groups)
    assert set(cut.train.labels) == set(labels)
    assert len(cut.train) + len(cut.validation) == len(labels)


@given(labelled, st.integers(2, 5), st.integers(0, 3))
def test_folds_divide_no_group_and_none_is_empty(data, count, seed):
    labels, groups = data
    fold = image_groups.folds(labels, count, seed, groups)
    assert all(len(set(fold[groups == group])) <= 1 for group in set(groups))
    assert len(set(fold)) == min(count, len(set(groups)))


@given(labelled, st.integers(0, 3), st.booleans())
def test_cross_validation_tests_no_image_twice_and_trains_on_every_class(data, seed, grouped):
    labels, groups = data
    train = dataset(labels, groups if grouped else np.arange(len(labels)))
    tested = []
    for cut in validation.cross(train, 3, seed):
        assert cut.train.image_groups is not None and cut.validation.image_groups is not None
        assert not set(cut.train.image_groups) & set(cut.validation.image_groups)
        assert set(cut.train.labels) == set(labels) and len(cut.validation)
        tested += [cut.validation.source.indices.tolist()]  # pyright: ignore[reportAttributeAccessIssue]
    seen = [index for fold in tested for index in fold]
    assert len(set(seen)) == len(seen)
    if not grouped:
        assert len(seen) == sum(n for n in np.bincount(labels) if n > 1)


def test_images_on_their_own_are_drawn_as_without_groups_in_number():
    labels = np.repeat([0, 1, 2], [9, 6, 1])
    drawn = draw(labels, [3, 2, 0], np.random.default_rng(0), np.arange(len(labels)))
    assert np.bincount(labels[drawn], minlength=3).tolist() == [3, 2, 0]


def test_a_group_that_would_overshoot_by_more_than_is_missing_stays():
    labels, groups = np.zeros(10, np.int64), np.array([0] * 5 + [1] * 2 + [2] * 3)
    for seed in range(5):
        drawn = draw(labels, [2], np.random.default_rng(seed), groups)
        assert len(drawn) in (2, 3) and len(set(groups[drawn])) == 1


def test_a_list_that_divides_a_group_is_refused_and_one_that_does_not_is_taken(tmp_path):
    labels, groups = np.array([0, 0, 0, 1, 1, 2]), np.array([7, 7, 8, 9, 5, 4])
    train, file = dataset(labels, groups), tmp_path / "held_out.txt"
    file.write_text("set[0]\nset[3]\n")
    with pytest.raises(UserError, match=r"held_out\.txt holds out some images of a group .*not set\[1\] \(1 such\)"):
        validation.hold_out(str(file), train, 0)
    file.write_text("set[0]\nset[1]\nset[3]\n")
    assert validation.hold_out(str(file), train, 0).validation.labels.tolist() == [0, 0, 1]


def table_config(root: Path, **changes):
    config = lift_config.default().data
    config.update(format="csv", root=str(root), train_list=str(root / "all.csv"), val_fraction=0.5)
    config.update(changes)
    return config


@pytest.fixture
def photographs(tmp_path) -> Path:
    """Of each of two classes six images of three patients."""
    lines = ["file_name,label,Patient ID"]
    for label in "ab":
        for number in range(6):
            lines.append(f"{label}{number}.png,{label},{label}-{number // 2}")
    write_images(tmp_path, [f"{label}{number}.png" for label in "ab" for number in range(6)])
    (tmp_path / "all.csv").write_text("\n".join(lines))
    return tmp_path


@pytest.mark.parametrize("column", ["Patient ID", "patient_id"])
def test_a_table_names_the_groups(photographs, column):
    train, test = load(table_config(photographs, group_column=column))
    assert train.image_groups is not None and test.image_groups is not None
    assert not set(train.image_groups) & set(test.image_groups)
    assert sorted(np.bincount(test.labels)) == [2, 2] or sorted(np.bincount(test.labels)) == [4, 4]
    plain, _ = load(table_config(photographs))
    assert plain.image_groups is None


def test_what_is_wrong_with_a_group_column(photographs, caplog):
    with pytest.raises(UserError, match=r"all\.csv has no column 'camera', which .*group_column names; add"):
        load(table_config(photographs, group_column="camera"))
    with pytest.raises(UserError, match=r"group_column is camera, but config\.data\.format=folder has no columns"):
        load(table_config(photographs, group_column="camera", format="folder"))
    table = photographs / "all.csv"
    table.write_text(table.read_text().replace("a3.png,a,a-1", "a3.png,a,"))
    with pytest.raises(UserError, match=r"all\.csv line 5 has no patient_id"):
        load(table_config(photographs, group_column="patient_id"))
    text = "file_name,label,split,patient\na0.png,a,train,1\nb0.png,b,train,2\na1.png,a,test,1\nb1.png,b,test,3\n"
    table.write_text(text)
    with caplog.at_level(logging.WARNING):
        load(table_config(photographs, group_column="patient"))
    assert "1 of config.data.group_column=patient are in the training and the test split, for example 1" in caplog.text
