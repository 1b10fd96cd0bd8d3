"""From probabilities to an answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_jax.errors import UserError
from lift_jax.inference import deciding
from lift_jax.inference.deciding import Rank, Rollup

NAMES = ("wren", "robin", "adder", "viper")
seeds = st.integers(0, 2**32 - 1)


def some_probabilities(seed: int, n: int = 20, classes: int = 4, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.5), n).astype(dtype) + dtype(1e-6)


class TestPriors:
    @given(seeds)
    @settings(max_examples=30, deadline=None)
    def test_a_prior_of_equal_shares_changes_nothing(self, seed):
        rows = some_probabilities(seed)
        rows /= rows.sum(axis=1, keepdims=True)
        again = deciding.reweighted(rows, np.full(4, 0.25))
        assert again.dtype == np.float32
        np.testing.assert_allclose(again, rows, rtol=1e-6)

    def test_bayes_rule_by_hand(self):
        rows = np.array([[0.5, 0.5], [0.9, 0.1]])
        np.testing.assert_allclose(deciding.reweighted(rows, np.array([0.8, 0.2])), [[0.8, 0.2], [36 / 37, 1 / 37]])

    @given(seeds)
    @settings(max_examples=10, deadline=None)
    def test_em_finds_the_prior_that_the_images_were_drawn_from(self, seed):
        """Two normal distributions in each of three places, whose posterior is known."""
        generator = np.random.default_rng(seed)
        prior = generator.dirichlet(np.full(3, 2.0))
        labels = generator.choice(3, 20_000, p=prior)
        points = 2.5 * labels + generator.normal(size=len(labels))
        likelihood = np.exp(-0.5 * (points[:, None] - 2.5 * np.arange(3)) ** 2)
        found = deciding.estimate_prior(likelihood / likelihood.sum(axis=1, keepdims=True))
        assert found.converged and found.iterations > 1
        np.testing.assert_allclose(found.prior, prior, atol=0.03)
        np.testing.assert_allclose(found.prior.sum(), 1)

    @given(seeds)
    @settings(max_examples=20, deadline=None)
    def test_no_iteration_of_em_lowers_the_likelihood(self, seed):
        rows = some_probabilities(seed, dtype=np.float64)
        rows /= rows.sum(axis=1, keepdims=True)
        estimates = [deciding.estimate_prior(rows, 0, most).prior for most in range(1, 8)]
        likelihoods = [np.log(rows @ prior).sum() for prior in (np.full(4, 0.25), *estimates)]
        assert np.all(np.diff(likelihoods) >= -1e-9)

    def test_em_with_certain_images_counts_them(self):
        found = deciding.estimate_prior(np.eye(3)[[0, 0, 0, 2]])
        np.testing.assert_allclose(found.prior, [0.75, 0, 0.25])
        assert "wren 75.0 %, adder 25.0 %, robin 0.0 %" in found.sentence(NAMES[:3])

    def test_an_estimate_that_did_not_settle_says_so(self):
        rows = some_probabilities(0)
        assert "in 1 iterations (which was too few" in deciding.estimate_prior(rows, 0, 1).sentence(NAMES)

    def test_weights_by_name_and_in_order(self):
        possible = np.array([True, True, False, False])
        by_name = deciding.prior_weights({"Robin": 3, "wren": 1}, NAMES, possible)
        in_order = deciding.prior_weights(np.array([1, 3, np.nan, 9]), NAMES, possible)
        np.testing.assert_array_equal(by_name, [1, 3, 0, 0])
        np.testing.assert_array_equal(in_order, [1, 3, 0, 0])

    @pytest.mark.parametrize(
        ("prior", "words"),
        [
            ({"wren": 1}, "no weight for the class 'robin' and 2 more"),
            ({"wrne": 1}, "'wrne' .the nearest is 'wren'"),
            (np.array([1, -2.0, 1, 1]), "weight -2.0 for the class 'robin'"),
            (np.array([1, np.inf, 1, 1]), "weight inf for the class 'robin'"),
            (np.ones(3), "4 classes"),
        ],
    )
    def test_weights_that_are_none(self, prior, words):
        with pytest.raises(UserError, match=words):
            deciding.prior_weights(prior, NAMES, np.ones(4, bool))


class TestCosts:
    @given(seeds)
    @settings(max_examples=30, deadline=None)
    def test_where_all_mistakes_cost_the_same_the_most_probable_class_is_answered(self, seed):
        rows = some_probabilities(seed, dtype=np.float64)
        rows /= rows.sum(axis=1, keepdims=True)
        found = deciding.cheapest(rows, 1 - np.eye(4))
        np.testing.assert_array_equal(found.labels, rows.argmax(axis=1))
        np.testing.assert_allclose(found.costs, 1 - rows.max(axis=1))

    def test_a_dangerous_mistake(self):
        costs = 1 - np.eye(2)
        costs[0, 1] = 1000  # a death cap that is taken for a champignon
        found = deciding.cheapest(np.array([[0.01, 0.99], [0.0005, 0.9995]]), costs)
        np.testing.assert_array_equal(found.labels, [0, 1])
        np.testing.assert_allclose(found.costs, [0.99, 0.5])

    def test_only_possible_classes_are_answered(self):
        costs = np.array([[0.0, 1, 0], [1, 0, 0], [1, 1, 0]])
        rows = np.array([[0.6, 0.4, 0]])
        assert deciding.cheapest(rows, costs).labels.tolist() == [2]
        assert deciding.cheapest(rows, costs, np.array([True, True, False])).labels.tolist() == [0]


def birds_and_snakes(threshold: float = 0.8) -> Rollup:
    return Rollup(
        (
            Rank("species", NAMES, np.arange(4)),
            Rank("class", ("birds", "snakes"), np.array([0, 0, 1, 1])),
            Rank("phylum", ("chordates",), np.zeros(4, int)),
        ),
        threshold,
    )


class TestRollup:
    def test_the_most_specific_rank_that_is_sure(self):
        rows = np.array([[0.9, 0.05, 0.05, 0], [0.5, 0.4, 0.1, 0], [0.1, 0.4, 0.3, 0.2]])
        found = birds_and_snakes()(rows)
        assert [(each.rank, each.name) for each in found] == [
            ("species", "wren"), ("class", "birds"), ("phylum", "chordates"),
        ]  # fmt: skip
        np.testing.assert_allclose([each.probability for each in found], [0.9, 0.9, 1])

    def test_no_rank_is_sure(self):
        without_phylum = Rollup(birds_and_snakes().ranks[:2], 0.8)
        rank, name, probability = without_phylum(np.array([[0.3, 0.3, 0.2, 0.2]]))[0]
        assert (rank, name) == (None, None) and probability == pytest.approx(0.6)

    @given(seeds, st.sampled_from([np.float32, np.float64]))
    @settings(max_examples=30, deadline=None)
    def test_the_probability_never_falls_towards_coarser_ranks(self, seed, dtype):
        _, sums = birds_and_snakes().best(some_probabilities(seed, dtype=dtype))
        assert np.all(np.diff(sums, axis=1) >= -1e-12)

    def test_all_classes_together_are_sure_even_for_a_threshold_of_one(self):
        rows = some_probabilities(3)
        assert {each.rank for each in birds_and_snakes(1)(rows)} == {"phylum"}

    @pytest.mark.parametrize("threshold", [0, -0.1, 1.1, float("nan")])
    def test_a_threshold_is_a_probability(self, threshold):
        with pytest.raises(UserError, match=r"threshold of the roll-up is .*--threshold"):
            birds_and_snakes(threshold)
