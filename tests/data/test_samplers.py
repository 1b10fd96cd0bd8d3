import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import array_dataset

from lift_jax.data import train_loader
from lift_jax.data.samplers import SAMPLERS, EpochOrder
from lift_jax.errors import UserError

SIZES = [400, 100, 25, 4]
LABELS = np.repeat(np.arange(4), SIZES)


def shares(sampler: str) -> np.ndarray:
    order = EpochOrder(LABELS, 4, sampler, 0)
    drawn = np.concatenate([LABELS[order(epoch)] for epoch in range(20)])
    return np.bincount(drawn, minlength=4) / len(drawn)


def test_class_shares():
    np.testing.assert_allclose(shares("shuffle"), np.array(SIZES) / 529)
    np.testing.assert_allclose(shares("balanced"), 0.25, atol=0.02)
    np.testing.assert_allclose(shares("square_root"), np.array([20, 10, 5, 2]) / 37, atol=0.02)
    np.testing.assert_allclose(shares("class_aware"), 0.25, atol=0.002)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=6), st.sampled_from(SAMPLERS), st.integers(0, 99))
def test_order_depends_on_seed_and_epoch_alone(sizes, sampler, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    order, again = (EpochOrder(labels, len(sizes), sampler, seed) for _ in range(2))
    again(1)
    first = order(0)
    np.testing.assert_array_equal(first, again(0))
    assert len(first) == len(labels) and first.min() >= 0 and first.max() < len(labels)
    if sampler == "shuffle":
        assert sorted(first.tolist()) == list(range(len(labels)))
    if sampler == "class_aware":
        drawn = np.bincount(labels[first], minlength=len(sizes))
        assert drawn.max() - drawn.min() <= 1
        for label, size in enumerate(sizes):
            times = np.bincount(first[labels[first] == label], minlength=len(labels))[labels == label]
            assert times.max() - times.min() <= 1 and len(times) == size


def test_every_example_of_a_class_is_equally_likely():
    order = EpochOrder(LABELS, 4, "balanced", 0)
    drawn = np.concatenate([order(epoch) for epoch in range(40)])
    times = np.bincount(drawn, minlength=len(LABELS))[LABELS == 3]
    np.testing.assert_allclose(times / times.mean(), 1, atol=0.15)


def test_loader_takes_a_sampler():
    dataset = array_dataset(20)
    batches = list(train_loader(dataset, batch_size=5, seed=0, resolution=8, num_epochs=1, sampler="class_aware"))
    labels = np.concatenate([batch["label"] for batch in batches])
    assert np.ptp(np.bincount(labels)) <= 1
    with pytest.raises(UserError, match="shuffle, balanced, square_root, class_aware"):
        train_loader(dataset, batch_size=5, seed=0, resolution=8, num_epochs=1, sampler="random")
