import json
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_jax import config as lift_config
from lift_jax.data import load_run_data, longtail, splits
from lift_jax.data.digits import load_digits
from lift_jax.errors import UserError

PUBLISHED = json.loads((pathlib.Path(__file__).parent / "reference" / "cifar100_lt.json").read_text())


@pytest.mark.parametrize("imbalance", [10, 50, 100])
def test_cifar100_subset_is_the_published_one(imbalance):
    published = PUBLISHED[str(imbalance)]
    kept = longtail.subset(np.arange(50000) % 100, 100, imbalance)
    assert len(kept) == published["total"]
    assert np.bincount(kept % 100).tolist() == published["per_class"]
    assert kept[:20].tolist() == published["first"]
    assert kept[-20:].tolist() == published["last"]
    positions = np.arange(1, len(kept) + 1)
    assert int((kept * positions).sum() % (2**31 - 1)) == published["checksum"]


@given(st.integers(1, 30), st.integers(1, 60), st.floats(1, 500), st.randoms(use_true_random=False))
def test_no_class_is_lost_and_sizes_follow_the_formula(num_classes, per_class, imbalance, random):
    targets = list(np.repeat(np.arange(num_classes), per_class))
    random.shuffle(targets)
    targets = np.array(targets)
    kept = longtail.subset(targets, num_classes, imbalance)
    sizes = np.bincount(targets[kept], minlength=num_classes)
    assert len(set(kept.tolist())) == len(kept)
    for label, size in enumerate(sizes.tolist()):
        share = label / (num_classes - 1) if num_classes > 1 else 0
        assert size == max(1, int(per_class * (1 / imbalance) ** share))


def test_a_class_too_small_for_the_rule_is_named():
    with pytest.raises(UserError, match="Class 0 has 2 images"):
        longtail.subset(np.array([0, 0, 1, 1, 1, 1, 2, 2, 2]), 3, 2)


@pytest.mark.parametrize("imbalance", [0.5, -3, float("nan"), float("inf")])
def test_an_imbalance_below_one_is_refused(imbalance):
    with pytest.raises(UserError, match=rf"data\.imbalance is {imbalance}; .* give 1 or more"):
        longtail.subset(np.array([0, 1]), 2, imbalance)
    with pytest.raises(UserError, match=rf"data\.imbalance is {imbalance}"):
        load_digits(imbalance)


@pytest.mark.parametrize("seed", [-1, 2**32, 10**22])
def test_seeds_of_the_order_of_the_digits_have_a_range(seed):
    with pytest.raises(UserError, match=rf"data\.permute_classes is {seed}; it is a whole number from 0"):
        load_digits(10, seed)
    assert load_digits(10, 2**32 - 1)[0].class_counts.sum() == load_digits(10)[0].class_counts.sum()


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_a_cap_leaves_so_many_of_each_class_and_a_smaller_one_a_part_of_them(classes, cap, seed):
    labels = np.array(classes)
    kept = splits.capped(labels, cap, seed)
    np.testing.assert_array_equal(kept, np.unique(kept))
    np.testing.assert_array_equal(
        np.bincount(labels[kept], minlength=5), np.minimum(np.bincount(labels, minlength=5), cap)
    )
    assert set(splits.capped(labels, max(1, cap // 2), seed)) <= set(kept)


def test_a_cap_holds_for_what_is_trained_on_and_leaves_what_is_held_out():
    def data(**changes):
        config = lift_config.default()
        config.update_from_flattened_dict({"validation": "balanced:5", **changes})
        return load_run_data(lift_config.resolve(config))

    whole, capped, again = data(), data(**{"data.cap": 16}), data(**{"data.cap": 16})
    np.testing.assert_array_equal(capped.train.class_counts, np.minimum(whole.train.class_counts, 16))
    np.testing.assert_array_equal(capped.train_counts, whole.train_counts)
    np.testing.assert_array_equal(capped.groups, whole.groups)
    assert whole.validation is not None and capped.validation is not None
    for index in 0, 7, len(whole.validation) - 1:
        np.testing.assert_array_equal(capped.validation.source[index], whole.validation.source[index])
    np.testing.assert_array_equal(capped.train.source[30], again.train.source[30])
    other = data(**{"data.cap": 16, "seed": 3, "validation": ""}).train
    assert any(np.any(other.source[index] != capped.train.source[index]) for index in range(16))
