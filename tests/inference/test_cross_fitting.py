"""The choices of a calibration, against scipy, and on logits whose faults are known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from lift_jax.evaluation import metrics
from lift_jax.inference import choices, cross_fitting, pretraining_prior
from lift_jax.inference.adjustment import Adjustment
from lift_jax.inference.cross_fitting import Rows, Step

GROUPS = np.array([0, 0, 1, 1, 2, 2])
LOG_PRIOR = np.log(np.array([0.5, 0.25, 0.12, 0.08, 0.04, 0.01]))


def drawn(count: int = 600, seed: int = 0, separation: float = 1.5) -> Rows:
    """Balanced images whose logits are the true posterior under a uniform prior: Gaussian classes on an axis each."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % len(GROUPS)
    points = separation * np.eye(len(GROUPS))[labels] + generator.normal(size=(count, len(GROUPS)))
    logits = (separation * points).astype(np.float32)
    return Rows(logits, None, labels, LOG_PRIOR, GROUPS)


def changed(rows: Rows, **changes) -> Rows:
    return Rows(**{**{name: getattr(rows, name) for name in Rows.__dataclass_fields__}, **changes})


def means(step: Step) -> list[float]:
    return [np.nan if gain.mean is None else gain.mean for gain in step.gains]


class TestTemperature:
    @pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
    def test_it_is_the_minimum_that_scipy_finds(self, factor):
        rows = drawn()
        sums, weights = factor * rows.logits.astype(np.float64), np.full(len(rows.labels), 1 / len(rows.labels))

        def loss(temperature: float) -> float:
            return -np.mean(special.log_softmax(sums / temperature, axis=1)[np.arange(len(sums)), rows.labels])

        found: Any = optimize.minimize_scalar(loss, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-9})
        assert choices.fit_temperature(sums, rows.labels, weights) == pytest.approx(found.x, rel=1e-5)

    def test_logits_that_are_always_right_or_wrong_give_the_ends_of_the_range(self):
        right = 5.0 * np.eye(3)
        labels, weights = np.arange(3), np.full(3, 1 / 3)
        assert choices.fit_temperature(right, labels, weights) == pytest.approx(0.1)
        assert choices.fit_temperature(-right, labels, weights) == pytest.approx(10)

    def test_logits_that_are_three_times_too_large_are_found(self):
        rows = drawn(3000)
        chosen = cross_fitting.choose(changed(rows, logits=3 * rows.logits))
        assert chosen.adjustment.temperatures == pytest.approx([3, 3, 3], rel=0.1)
        assert chosen.adjustment.mix == 0
        assert chosen.steps[-1].name == "temperatures" and chosen.steps[-1].kept
        weights = rows.weights

        def error(log_probabilities: np.ndarray) -> float:
            right = log_probabilities.argmax(axis=1) == rows.labels
            return cross_fitting.calibration_error(np.exp(log_probabilities.max(axis=1)), right, weights)

        assert error(chosen.before) > 0.15 > 0.03 > error(chosen.after)

    def test_each_group_has_its_own_and_few_images_share(self):
        rows = drawn(3000)
        scale = np.array([1.0, 3.0, 5.0])[GROUPS[rows.logits.argmax(axis=1)]][:, None]
        found = cross_fitting.choose(changed(rows, logits=(scale * rows.logits).astype(np.float32)))
        assert found.adjustment.temperatures == pytest.approx([1, 3, 5], rel=0.2) and found.shared == []
        scarce = changed(rows, groups=np.array([0, 0, 0, 0, 0, 0]), logits=3 * rows.logits)
        found = cross_fitting.choose(scarce)
        assert found.shared == [1, 2] and len(set(found.adjustment.temperatures)) == 1

    @given(st.lists(st.floats(0.1, 10), min_size=3, max_size=3), st.integers(0, 100))
    @settings(max_examples=30, deadline=None)
    def test_it_does_not_change_what_is_predicted(self, temperatures, seed):
        rows = drawn(60, seed)
        log_probabilities = rows.log_probabilities(Adjustment(temperatures=temperatures))
        np.testing.assert_array_equal(log_probabilities.argmax(axis=1), rows.logits.argmax(axis=1))
        np.testing.assert_allclose(np.exp(log_probabilities).sum(axis=1), 1)


class TestPrior:
    def test_a_prior_that_is_left_in_the_logits_is_taken_out(self):
        rows = drawn(3000)
        biased = changed(rows, logits=(rows.logits + LOG_PRIOR).astype(np.float32))
        chosen = cross_fitting.choose(biased)
        assert chosen.adjustment.tau == pytest.approx(-1, abs=0.25)
        (step,) = (each for each in chosen.steps if each.name == "tau")
        everywhere, many, _, few = means(step)
        assert step.kept and everywhere > 2 and few > 5 and many < 0

    @given(st.integers(0, 100))
    @settings(max_examples=20, deadline=None)
    def test_a_stronger_prior_predicts_the_frequent_classes_more_often(self, seed):
        rows = drawn(120, seed)
        shares = [np.mean(choices.predicted_groups(rows, Adjustment(tau=tau)) == 0) for tau in (-1, -0.5, 0, 0.5, 1)]
        assert shares == sorted(shares)

    def test_answers_without_a_fault_are_left_as_they_are_more_often_than_not(self):
        kept = [step.kept for seed in range(10) for step in cross_fitting.choose(drawn(600, seed)).steps]
        assert sum(kept) <= 8  # of 20; one standard error is passed by chance in every sixth case


def test_zero_shot_logits_that_know_more_are_mixed_in():
    rows, other = drawn(3000, 0, 1.0), drawn(3000, 1, 1.0)
    chosen = cross_fitting.choose(changed(rows, zero_shot=other.logits))
    assert chosen.adjustment.mix == pytest.approx(1, abs=0.5)  # independent of each other, and equally good
    assert chosen.steps[0].kept and means(chosen.steps[0])[0] > 5
    noise = np.random.default_rng(0).normal(size=rows.logits.shape).astype(np.float32)
    assert cross_fitting.choose(changed(rows, zero_shot=noise)).adjustment.mix == 0


class TestPretrainingPrior:
    def risk(self, prior, zero_shot, labels) -> float:
        """The mean over classes of the cross-entropy, with an image for each class whose logits are equal."""
        classes = zero_shot.shape[1]
        logits = np.concatenate([zero_shot, np.zeros((classes, classes))]) - np.log(prior)
        labels = np.concatenate([labels, np.arange(classes)])
        losses = -special.log_softmax(logits, axis=1)[np.arange(len(labels)), labels]
        return float(np.mean([losses[labels == label].mean() for label in range(classes)]))

    @given(st.integers(0, 1000))
    @settings(max_examples=5, deadline=None)
    def test_it_is_the_minimum_on_the_simplex_that_scipy_finds(self, seed):
        generator = np.random.default_rng(seed)
        labels = generator.integers(0, 3, 40)  # of the last class there is no image
        zero_shot = generator.normal(size=(40, 4)) + np.eye(4)[labels] + generator.normal(size=4)
        found = pretraining_prior.fit(zero_shot, labels, np.zeros(4, bool))
        peer: Any = optimize.minimize(
            self.risk, np.full(4, 0.25), (zero_shot, labels), method="SLSQP", bounds=[(1e-6, 1)] * 4,
            constraints={"type": "eq", "fun": lambda q: q.sum() - 1}, options={"ftol": 1e-13, "maxiter": 500},
        )  # fmt: skip
        assert peer.success and found.sum() == pytest.approx(1) and (found > 0).all()
        np.testing.assert_allclose(found, peer.x, rtol=2e-3, atol=1e-4)
        assert self.risk(found, zero_shot, labels) <= peer.fun + 1e-9

    def test_what_is_in_the_logits_is_found_and_taken_out(self):
        rows = drawn(3000)
        prior = np.array([0.02, 0.3, 0.1, 0.08, 0.2, 0.3])
        biased = (rows.logits + np.log(prior)).astype(np.float32)
        np.testing.assert_allclose(pretraining_prior.fit(biased, rows.labels, np.zeros(6, bool)), prior, rtol=0.15)
        weak = np.random.default_rng(0).normal(size=biased.shape).astype(np.float32)
        chosen = cross_fitting.choose(changed(rows, logits=weak, zero_shot=biased))
        step = chosen.steps[1]
        assert step.name == "pretraining_prior" and step.kept and means(step)[0] > 2
        assert chosen.adjustment.pretraining_prior == pytest.approx(prior, rel=0.15)

    def test_groups_with_few_images_have_one_share(self):
        rows = drawn(300)
        few = np.flatnonzero((rows.labels < 2) | (np.arange(300) < 72))  # 24 images of medium, and of few
        some = changed(rows.subset(few), zero_shot=rows.logits[few])
        chosen = cross_fitting.choose(some)
        prior = chosen.steps[1].tried.pretraining_prior
        assert prior is None or len(set(prior[2:])) == 1
        alike = np.arange(6) > 2
        found = pretraining_prior.fit(some.logits, some.labels, alike)
        assert len(set(found[3:])) == 1 and len(set(found[:4])) == 4


def test_gaussians_that_know_more_are_mixed_in():
    rows, other = drawn(3000, 0, 1.0), drawn(3000, 1, 1.0)
    chosen = cross_fitting.choose(changed(rows, gaussians=2 * other.logits))
    step = chosen.steps[0]
    assert (step.name, step.kept, chosen.adjustment.gaussians) == ("gaussians", True, 0.5)
    assert means(step)[0] > 5


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_without_a_factor_nothing_changes_a_bit(seed):
    rows = drawn(30, seed)
    others = {"zero_shot": rows.logits[::-1], "gaussians": rows.logits + 1}
    found = Adjustment().summed(rows.logits, others["zero_shot"], LOG_PRIOR, others["gaussians"])
    assert found.tobytes() == rows.logits.tobytes() and found.dtype == np.float32
    zero_shot = Adjustment(run=0, mix=1).summed(rows.logits, others["zero_shot"], LOG_PRIOR)
    np.testing.assert_array_equal(zero_shot, others["zero_shot"])


class TestTheRunAndZeroShotAlone:
    def check(self, own: float, other: float, count: int, seed: int) -> None:
        rows, zero_shot = drawn(count, 2 * seed, own), drawn(count, 2 * seed + 1, other)
        chosen = cross_fitting.choose(changed(rows, logits=20 * rows.logits, zero_shot=zero_shot.logits))
        alone = [100.0 * (logits.argmax(axis=1) == rows.labels) for logits in (rows.logits, zero_shot.logits)]
        right = 100.0 * (chosen.after.argmax(axis=1) == rows.labels)
        for each in alone:
            (mean, error), *_ = cross_fitting.estimates(right - each, rows.labels, GROUPS)
            assert mean is not None and error is not None and mean >= -error
        for step in chosen.steps:
            (mean, error), *_ = step.gains
            assert mean is not None and error is not None and step.kept == (mean > error)

    @pytest.mark.parametrize(("own", "other"), [(0.0, 2.0), (2.0, 0.0), (1.5, 1.5), (0.5, 3.0)])
    def test_answers_are_not_worse_than_the_better_of_run_and_zero_shot(self, own, other):
        self.check(own, other, 900, 0)

    @given(st.floats(0.125, 3), st.floats(0.125, 3), st.integers(30, 60), st.integers(0, 1000))
    @settings(max_examples=10, deadline=None)
    def test_nor_with_few_images(self, own, other, count, seed):
        self.check(own, other, count, seed)

    def test_a_run_that_knows_nothing_leaves_zero_shot_alone(self):
        zero_shot = drawn(300)
        chosen = cross_fitting.choose(changed(zero_shot, logits=0 * zero_shot.logits, zero_shot=zero_shot.logits))
        step = chosen.steps[0]
        assert (step.name, step.kept, step.tried) == ("mix", True, Adjustment(run=0, mix=1))
        assert means(step)[0] > 20 and chosen.adjustment.run == 0

    def test_of_equally_good_ones_the_run_is_left_as_it_is(self):
        rows = drawn(300)
        chosen = cross_fitting.choose(changed(rows, zero_shot=2 * rows.logits))
        assert not chosen.steps[0].kept and (chosen.adjustment.run, chosen.adjustment.mix) == (1, 0)


def test_the_gain_of_pure_chance_is_none():
    """Labels that nothing can know: what fits them on some folds does not fit them on the others."""
    generator = np.random.default_rng(0)
    rows = Rows(
        generator.normal(size=(300, 6)).astype(np.float32),
        generator.normal(size=(300, 6)).astype(np.float32),
        generator.integers(0, 6, 300),
        LOG_PRIOR,
        GROUPS,
    )
    for step in cross_fitting.choose(rows).steps[:2]:
        (mean, error), *_ = step.gains
        assert mean is not None and error is not None and abs(mean) < 3 * error


@given(st.lists(st.integers(0, 5), min_size=30, max_size=200), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_folds_are_even_and_have_all_classes_alike(labels, seed):
    labels = np.array(labels)
    fold = cross_fitting.folds(labels, cross_fitting.FOLDS, seed)
    sizes = np.bincount(fold, minlength=cross_fitting.FOLDS)
    assert sizes.max() - sizes.min() <= 1
    for label in np.unique(labels):
        sizes = np.bincount(fold[labels == label], minlength=cross_fitting.FOLDS)
        assert sizes.max() - sizes.min() <= 1


def test_estimates_are_means_over_classes_and_need_thirty_images():
    labels = np.repeat([0, 2, 4], [90, 30, 10])
    values = np.random.default_rng(0).normal(size=130)
    overall, many, medium, few = cross_fitting.estimates(values, labels, GROUPS)
    means = [values[labels == label].mean() for label in (0, 2, 4)]
    assert overall.mean == pytest.approx(np.mean(means))
    assert (many.mean, medium.mean, few) == (pytest.approx(means[0]), pytest.approx(means[1]), (None, None))
    assert many.error == pytest.approx(values[:90].std(ddof=1) / np.sqrt(90))


def test_of_balanced_images_the_calibration_error_is_that_of_the_evaluation():
    rows = drawn()
    summary = metrics.summarize(metrics.count(rows.logits, rows.labels))
    log_probabilities = rows.log_probabilities(Adjustment())
    confidence, right = np.exp(log_probabilities.max(axis=1)), log_probabilities.argmax(axis=1) == rows.labels
    error = cross_fitting.calibration_error(confidence, right, rows.weights)
    assert 100 * error == pytest.approx(summary["expected_calibration_error"], abs=1e-3)
    bars = np.array(cross_fitting.reliability(confidence, right, rows.weights))
    assert bars[:, 0].sum() == pytest.approx(1)
    assert np.sum(bars[:, 0] * np.abs(bars[:, 1] - bars[:, 2])) == pytest.approx(error)
