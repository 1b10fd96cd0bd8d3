"""Gaussian discriminant analysis: against scikit-learn and its formula, as a run, and as a start of the head."""

import json

import numpy as np
import pytest
import safetensors
from sklearn.base import BaseEstimator
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct
from small_runs import small_config

import lift_jax
from lift_jax.data import load_run_data
from lift_jax.errors import UserError
from lift_jax.export import weights as exported
from lift_jax.inference import compact
from lift_jax.models.heads import GaussianHead
from lift_jax.run import check, run
from lift_jax.training import gaussian


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def drawn(counts, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features with a covariance that is no multiple of the identity."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    around = generator.normal(size=(len(labels), dim)) @ generator.normal(size=(dim, dim))
    return (generator.normal(size=(len(counts), dim))[labels] + 0.3 * around).astype(np.float32), labels


class Ridge(BaseEstimator):
    """The covariance of the paper out of that of one class, where all classes have as many images."""

    def __init__(self, images: int = 1):
        self.images = images

    def fit(self, x):
        own = np.cov(x.T, ddof=0)
        self.covariance_ = (
            self.images * own + self.images / (self.images - 1) * np.trace(own) * np.eye(len(own))
        ) / len(own)
        return self


def logits(found: gaussian.Gaussians, features: np.ndarray) -> np.ndarray:
    head = found.head()
    return np.asarray(GaussianHead(head["bias"].shape[0]).apply({"params": head}, features))


def centred(x: np.ndarray) -> np.ndarray:
    """Logits without what they have in common, which no probability depends on."""
    return x - x.mean(axis=1, keepdims=True)


@pytest.mark.parametrize("dim", [4, 40])  # of 40, there are fewer images than dimensions
def test_it_is_scikit_learns_discriminant_analysis_with_the_same_covariance(dim):
    features, labels = drawn([12, 12, 12], dim)
    peer = LinearDiscriminantAnalysis(
        solver="lsqr", priors=np.full(3, 1 / 3), covariance_estimator=Ridge(len(labels))
    ).fit(unit(features.astype(np.float64)), labels)
    new = drawn([5, 5, 5], dim, seed=1)[0]
    expected = peer.decision_function(unit(new.astype(np.float64)))
    found = logits(gaussian.fit(features, labels, 3), new)
    np.testing.assert_allclose(centred(found), centred(expected), rtol=2e-4, atol=2e-4)


def test_logits_are_the_log_densities_of_the_gaussians():
    features, labels = drawn([30, 4, 1], 5)
    found = gaussian.fit(features, labels, 3)
    x = unit(features.astype(np.float64))
    means = np.stack([x[labels == c].mean(axis=0) for c in range(3)])
    covariance = sum(np.outer(row, row) for row in x - means[labels]) / (len(x) - 1)
    ridge = ((len(x) - 1) * covariance + np.trace(covariance) * np.eye(5)) / 5
    distance = x[:, None] - means
    expected = -0.5 * np.einsum("ncd,de,nce->nc", distance, np.linalg.inv(ridge), distance)
    np.testing.assert_allclose(centred(logits(found, features)), centred(expected), rtol=1e-4, atol=1e-4)


def test_directions_tell_classes_apart_that_means_do_not():
    """The first dimension is large and says nothing, the second is small and says all."""
    generator = np.random.default_rng(0)
    labels = np.arange(200) % 2
    features = np.stack([generator.normal(0, 1, 200), 0.1 * (2 * labels - 1), np.full(200, 3)], axis=1)
    kernel = gaussian.fit(features + generator.normal(0, 0.01, features.shape), labels, 2).directions()
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-6)
    assert abs(kernel[1, 1]) > 0.9 and kernel[1, 1] > 0 > kernel[1, 0]


def test_mistakes_are_named():
    with pytest.raises(
        UserError, match=r"Class 1 has no training image \(as 1 of 3 classes\).*config\.method=zero_shot"
    ):
        gaussian.fit(np.eye(4, dtype=np.float32), np.array([0, 0, 2, 2]), 3)
    for rows in np.eye(3), np.eye(3)[[0, 0, 1, 1, 2, 2]]:
        labels = np.arange(len(rows)) * 3 // len(rows)
        with pytest.raises(UserError, match="No class has two training images whose features differ"):
            gaussian.fit(rows.astype(np.float32), labels, 3)
    # One class with two images that differ is enough.
    features, labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.2, 1]], np.float32), np.array([0, 1, 2, 2])
    assert logits(gaussian.fit(features, labels, 3), np.eye(3)).argmax(axis=1).tolist() == [0, 1, 2]


class TestShrinkage:
    """The means are those of scikit-learn's Gaussian process over the classes."""

    def expected(self, means, counts, within, text, share):
        seen = counts > 0
        centre = means[seen].mean(axis=0)
        around, noise = means[seen] - centre, within / counts[seen]
        between = np.sum(around**2) / (seen.sum() - 1) - noise.mean()
        unit_text = text - text.mean(axis=0)
        unit_text = unit_text / np.sqrt(np.mean(np.sum(unit_text**2, axis=1)))
        places = np.concatenate([np.sqrt(share) * unit_text, np.sqrt(1 - share) * np.eye(len(means))], axis=1)
        dimensions = means.shape[1]  # each has an equal part of the variances
        kernel = ConstantKernel(between / dimensions, "fixed") * DotProduct(1e-6, "fixed")
        process = GaussianProcessRegressor(kernel, alpha=noise / dimensions, optimizer=None).fit(places[seen], around)  # pyright: ignore[reportArgumentType]
        return process.log_marginal_likelihood_value_, centre + process.predict(places)

    @pytest.mark.parametrize("seed", range(4))
    def test_it_is_a_gaussian_process(self, seed):
        generator = np.random.default_rng(seed)
        text = generator.normal(size=(12, 5))
        part = seed / 3  # what the text knows
        means = part * text @ generator.normal(size=(5, 8)) + (1 - part) * 2 * generator.normal(size=(12, 8))
        counts = np.array([0, 1, 1, 2, 2, 3, 5, 8, 13, 21, 34, 0])
        tried = [self.expected(means, counts, 4.0, text, share) for share in gaussian.SHARES]
        found = gaussian.shrunk_means(means, counts, 4.0, text)
        np.testing.assert_allclose(found, max(tried, key=lambda each: each[0])[1], rtol=1e-6, atol=1e-6)
        without = gaussian.shrunk_means(means, counts, 4.0)
        np.testing.assert_allclose(without, tried[0][1], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(without[[0, 11]], 2 * [means[1:11].mean(axis=0)])

    def test_a_class_without_images_is_where_its_text_says(self):
        generator = np.random.default_rng(0)
        text = generator.normal(size=(40, 3))
        means = text @ generator.normal(size=(3, 6))
        counts = np.where(np.arange(40) < 4, 0, 1000)
        error = [
            np.abs(gaussian.shrunk_means(np.where(counts > 0, means.T, 0).T, counts, 1.0, each)[:4] - means[:4]).mean()
            for each in (text, None)
        ]
        assert error[0] < 0.3 * error[1]

    def test_of_many_images_nothing_is_shrunk(self):
        features, labels = drawn([40, 40, 40], 4)
        shrunk, plain = gaussian.fit_shrunk(features, labels, 3), gaussian.fit(features, labels, 3)
        assert 0 < np.abs(shrunk.means - plain.means).max() < 0.05
        many = np.repeat(np.arange(len(labels)), 100)
        again = gaussian.fit_shrunk(features[many], labels[many], 3)
        np.testing.assert_allclose(again.means, plain.means, atol=5e-4)
        covariance = sum(np.cov(unit(features[labels == c].astype(np.float64)).T) for c in range(3)) / 3
        np.testing.assert_allclose(np.linalg.inv(again.precision), covariance * 39 / 40, rtol=0.02, atol=1e-3)

    def test_the_head_without_what_all_classes_have_in_common(self):
        features, labels = drawn([12, 5, 2], 6)
        found = gaussian.fit_shrunk(features, labels, 4)  # the last class has no image
        head = found.centred_head()
        assert np.isfinite(head["kernel"]).all()
        np.testing.assert_allclose(head["kernel"].mean(axis=1), 0, atol=1e-4)
        whole = unit(features.astype(np.float64)) @ found.head()["kernel"] + found.head()["bias"]
        np.testing.assert_allclose(centred(found.logits(features)), centred(whole), rtol=1e-4, atol=1e-3)


def test_a_run_that_computes_its_head_begins_from_no_other(tiny_folder):
    with pytest.raises(UserError, match=r"config\.init_from is runs/a, but config\.method=gda computes its head anew"):
        check(small_config(tiny_folder, method="gda", init_from="runs/a"))
    assert check(small_config(tiny_folder, method="gda")).method == "gda"


def test_a_run_evaluates_predicts_and_is_exported_without_steps(tiny_folder, tmp_path):
    config = small_config(tiny_folder, method="gda")
    config.tte.enabled = False
    config.zero_shot = True
    results = run(config, tmp_path / "run")
    assert run(config, tmp_path / "run") == results
    assert run(config, tmp_path / "run", mode="eval") == results
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(set(steps)) == 1 and not list((tmp_path / "run").glob("checkpoints/[1-9]*"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["zero_shot"]

    data, model = load_run_data(check(config)), lift_jax.load(tmp_path / "run")
    train, test = (
        model.features([images.source[i] for i in range(len(images))], tuned=False)
        for images in (data.train, data.test)
    )
    expected = logits(gaussian.fit(train, data.train.labels, 10), test).argmax(axis=1)
    with np.load(tmp_path / "run" / "predictions.npz") as rows:
        assert (rows["prediction"] == expected).mean() > 0.99  # but for roundings
        some = model.predict([data.test.source[i] for i in range(30)])
        np.testing.assert_array_equal(some.argmax(axis=1), rows["prediction"][:30])
    assert model.logit_prior.known == "uniform"

    copied = compact.load(compact.write(model, tmp_path))
    np.testing.assert_array_equal(copied.predict(data.test.source[0]), model.predict(data.test.source[0]))
    exported.write_merged(model, tmp_path / "merged")
    with safetensors.safe_open(tmp_path / "merged" / "head.safetensors", framework="numpy") as head:
        assert head.metadata()["head"] == "gda" and set(head.keys()) == {"kernel", "bias"}
