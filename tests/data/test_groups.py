"""The groups many, medium and few, as a run's config asks for them."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_runs import small_config

from lift_jax.data.groups import advice, class_groups, thirds
from lift_jax.errors import UserError
from lift_jax.run import run

COUNTS = st.lists(st.integers(1, 300), min_size=1, max_size=40).map(np.array)


def test_the_papers_groups_have_two_names():
    counts = np.array([101, 100, 20, 19])
    for rule in "", "paper", "thresholds:100,20", "thresholds: 100, 20":
        np.testing.assert_array_equal(class_groups(rule, counts), [0, 1, 1, 2])


def test_other_thresholds():
    np.testing.assert_array_equal(class_groups("thresholds:10,5", np.array([11, 10, 5, 4, 1000])), [0, 1, 1, 2, 0])
    np.testing.assert_array_equal(class_groups("thresholds:7,7", np.array([8, 7, 6])), [0, 1, 2])


@pytest.mark.parametrize(
    "counts, expected",
    [
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0], [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]),
        ([1, 3, 2], [2, 0, 1]),
        ([5, 5, 5, 2, 2, 1], [0, 0, 0, 1, 1, 2]),
        ([4, 4, 4], [0, 0, 0]),
        ([2, 1], [0, 1]),
        ([7], [0]),
    ],
)
def test_thirds(counts, expected):
    np.testing.assert_array_equal(class_groups("thirds", np.array(counts)), expected)


@given(COUNTS)
def test_thirds_follow_the_sizes_alone(counts):
    found = thirds(counts)
    order = np.argsort(-counts, kind="stable")
    assert np.all(np.diff(found[order]) >= 0)
    assert all(len(set(found[counts == size])) == 1 for size in counts)
    if len(set(counts)) == len(counts):
        sizes = np.bincount(found, minlength=3)
        assert sizes.max() - sizes.min() <= 1


@given(COUNTS, st.sampled_from(["", "thirds", "thresholds:40,4", "thresholds:1,1"]))
def test_the_advice_fills_every_group(counts, rule):
    sentence = advice(rule, counts)
    empty = len(np.unique(class_groups(rule, counts))) < 3
    if sentence is None:
        assert not empty or len(np.unique(counts)) < 3
    else:
        assert empty
        instead = sentence.rpartition("config.class_groups=")[2].removesuffix(".")
        assert len(np.unique(class_groups(instead, counts))) == 3


@pytest.mark.parametrize(
    "rule, words",
    [
        ("thresholds:20,100", "larger one first"),
        ("thresholds:100", "two whole numbers"),
        ("thresholds:1.5,1", "two whole numbers"),
        ("thresholds:5,0", "from 1 to"),
        ("thresholds", "thresholds:HIGH,LOW"),
        ("third", "paper, thirds, thresholds:HIGH,LOW .*or imbalance_100"),
    ],
)
def test_what_is_no_rule_is_refused(rule, words):
    with pytest.raises(UserError, match=rf"config\.class_groups is '{rule}'; write .*{words}"):
        class_groups(rule, np.array([3, 2]))


def test_a_run_is_evaluated_again_in_other_groups(tiny_folder, tmp_path):
    """Its 314 images are from 114 to 2 a class."""
    config = small_config(tiny_folder, method="zero_shot", class_groups="thresholds:1000,500")
    config.tte.enabled = False
    alone = run(config, tmp_path / "run")["plain"]
    assert np.isnan([alone["many_acc"], alone["med_acc"]]).all() and alone["few_acc"] == alone["mean_acc"]
    log = (tmp_path / "run" / "console.log").read_text()
    assert "No class is in the group many and medium: the classes have 114 to 2 training images" in log
    assert "--mode eval --config.class_groups=thirds." in log

    config.class_groups = "thirds"
    divided = run(config, tmp_path / "run", mode="eval")["plain"]
    assert divided["mean_acc"] == alone["mean_acc"]
    means = [divided[f"{group}_acc"] for group in ("many", "med", "few")]
    np.testing.assert_allclose(np.dot(means, [4, 3, 3]) / 10, divided["mean_acc"])
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert np.bincount(record["class_groups"]).tolist() == [4, 3, 3]
