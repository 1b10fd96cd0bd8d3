"""A run as a classifier of new images, without its data set."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lift_jax
from lift_jax import config as lift_config
from lift_jax.data.digits import DIGIT_NAMES, load_digits
from lift_jax.errors import UserError
from lift_jax.inference import load
from lift_jax.inference.assembling import assemble
from lift_jax.run import run


def digits_config(folder: str, **changes):
    config = lift_config.default()
    config.update(backbone=folder, num_epochs=1, batch_size=128, lr=0.05, report=False, zero_shot=False, **changes)
    config.data.imbalance = 50
    config.tte.expand = 4
    return config


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("trained") / "run"
    run(digits_config(tiny_folder), workdir)
    return workdir


@pytest.fixture(scope="module")
def model(trained):
    return lift_jax.load(trained)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    _, test = load_digits(50)
    return np.stack([test.source[i] for i in range(len(test))])


def test_predictions_are_those_of_the_evaluation_to_the_last_bit(trained, model, digits):
    with np.load(trained / "predictions.npz") as saved:
        saved = dict(saved)
    assert model.class_names == DIGIT_NAMES
    for prefix, tte in ("", None), ("", True), ("plain_", False):
        probabilities = model.predict(digits, tte=tte)
        assert probabilities.shape == (600, 10) and probabilities.dtype == np.float32
        np.testing.assert_array_equal(probabilities.argmax(axis=1), saved[f"{prefix}prediction"])
        np.testing.assert_array_equal(probabilities.max(axis=1), saved[f"{prefix}confidence"])


def test_pil_arrays_and_paths_are_one(model, digits, tmp_path):
    Image.fromarray(digits[0]).save(tmp_path / "0.png")
    pil = Image.fromarray(digits[0])
    same = model.predict([digits[0], digits[0][..., 0], pil, pil.convert("L"), tmp_path / "0.png", digits[7]])
    np.testing.assert_array_equal(same[:5], np.repeat(same[:1], 5, axis=0))
    np.testing.assert_allclose(same.sum(axis=1), 1, rtol=1e-5)
    # A batch of another size is another program.
    np.testing.assert_allclose(model.predict(digits[7]), same[5:], atol=1e-6)
    np.testing.assert_allclose(model.predict(str(tmp_path / "0.png")), same[:1], atol=1e-6)


def test_a_record_of_other_classes_than_the_checkpoint_is_refused(trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    content = (run / "run.json").read_text()
    (run / "run.json").write_text(content.replace(f'"{DIGIT_NAMES[3]}"', '"another"'))
    with pytest.raises(UserError, match=r"run\.json names other classes than the checkpoint .*another.*; restore"):
        lift_jax.load(run)
    (run / "run.json").unlink()
    assert lift_jax.load(run).class_names == DIGIT_NAMES


def test_a_run_that_goes_on_may_remove_the_checkpoint_meanwhile(trained, tmp_path, digits, model, monkeypatch):
    run = shutil.copytree(trained, tmp_path / "run")
    (newest,) = (run / "checkpoints").iterdir()

    def assembled(*given):
        newest.rename(newest.with_name(str(int(newest.name) + 1)))
        return assemble(*given)

    monkeypatch.setattr(load, "assemble", assembled)
    found = lift_jax.load(run)
    np.testing.assert_array_equal(found.predict(digits[:2], tte=False), model.predict(digits[:2], tte=False))


def test_images_of_any_size(model):
    sizes = [(5, 90), (90, 5), (16, 16), (40, 30)]
    images = [np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    together = model.predict(images)
    for image, row in zip(images, together, strict=True):
        np.testing.assert_allclose(model.predict(image)[0], row, atol=1e-6)


def test_the_training_prior_is_bayes_rule(trained, model, digits):
    uniform, training = model.predict(digits[:32]), model.predict(digits[:32], prior="training")
    counts = json.loads((trained / "run.json").read_text())["train_counts"]
    expected = uniform.astype(np.float64) * counts
    np.testing.assert_allclose(training, expected / expected.sum(axis=1, keepdims=True), rtol=1e-4)


def test_a_plain_loss_has_learned_the_prior(tiny_folder, tmp_path, digits):
    run(digits_config(tiny_folder, loss="CE", method="head_only"), tmp_path)
    model = lift_jax.load(tmp_path)
    as_evaluated = np.load(tmp_path / "predictions.npz")["confidence"]
    training, uniform = model.predict(digits, prior="training"), model.predict(digits)
    np.testing.assert_array_equal(training.max(axis=1), as_evaluated)
    counts = json.loads((tmp_path / "run.json").read_text())["train_counts"]
    expected = training.astype(np.float64) / counts
    np.testing.assert_allclose(uniform, expected / expected.sum(axis=1, keepdims=True), rtol=1e-4)


def test_zero_shot_needs_no_checkpoint(tiny_folder, tmp_path, digits):
    run(digits_config(tiny_folder, method="zero_shot"), tmp_path)
    predicted = lift_jax.load(tmp_path).predict(digits).argmax(axis=1)
    np.testing.assert_array_equal(predicted, np.load(tmp_path / "predictions.npz")["prediction"])


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3)), "uint8"),
        (np.zeros((4, 4, 4), np.uint8), "height, width, 3"),
        ("none.png", "none.png"),
        (b"no image", "image 0|the image"),
        (3, "int is no image"),
    ],
)
def test_what_is_no_image(model, image, words, caplog):
    with pytest.raises(UserError, match=words):
        model.predict(image)
    assert not caplog.records  # it is raised, and not warned of as well


def test_the_last_prior_is_known(model, digits):
    with pytest.raises(UserError, match="uniform, training or estimate"):
        model.predict(digits[0], prior="flat")


class TestFolders:
    """Folders that are no complete run of this version."""

    def test_no_run(self, tmp_path):
        with pytest.raises(UserError, match=r"config\.json"):
            lift_jax.load(tmp_path)
        (tmp_path / "run.safetensors").touch()
        with pytest.raises(UserError, match=r"config\.json; name the file in it, .*run\.safetensors"):
            lift_jax.load(tmp_path)

    def test_no_checkpoint(self, trained, tmp_path):
        shutil.copy(trained / "config.json", tmp_path)
        with pytest.raises(UserError, match="no checkpoint"):
            lift_jax.load(tmp_path)

    def test_another_backbone(self, trained, tiny_folder, tmp_path):
        shutil.copytree(tiny_folder, tmp_path / "other")
        from safetensors.numpy import load_file, save_file

        arrays = load_file(tmp_path / "other" / "model.safetensors")
        name = next(name for name in arrays if name.endswith("layernorm.weight"))
        save_file(arrays | {name: arrays[name] + 1}, tmp_path / "other" / "model.safetensors")
        with pytest.raises(UserError, match="backbone's weights"):
            lift_jax.load(trained, backbone=str(tmp_path / "other"))

    def test_the_backbone_may_move(self, trained, tiny_folder, model, digits, tmp_path):
        shutil.copytree(tiny_folder, tmp_path / "moved")
        moved = lift_jax.load(trained, backbone=str(tmp_path / "moved"))
        np.testing.assert_array_equal(moved.predict(digits[:8]), model.predict(digits[:8]))

    def test_a_key_of_another_version(self, trained, tmp_path):
        values = json.loads((trained / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(values | {"old_key": 1}))
        with pytest.raises(UserError, match="old_key"):
            lift_jax.load(tmp_path)

    def test_a_run_without_its_record_still_predicts(self, trained, model, digits, tmp_path):
        shutil.copytree(trained, tmp_path / "run")
        (tmp_path / "run" / "run.json").unlink()
        old = lift_jax.load(tmp_path / "run")
        np.testing.assert_array_equal(old.predict(digits[:8]), model.predict(digits[:8]))
        with pytest.raises(UserError, match=r"run\.json"):
            old.predict(digits[:8], prior="training")


def test_importing_the_package_does_not_import_jax():
    code = "import sys, lift_jax; assert lift_jax.__version__; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


class TestDecisions:
    """Other priors, and fewer classes than the run has."""

    def test_only_some_classes_are_renormalised(self, model, digits):
        whole = model.predict(digits[:32]).astype(np.float64)
        part = model.predict(digits[:32], only=["three", 7])
        expected = whole[:, [3, 7]] / whole[:, [3, 7]].sum(axis=1, keepdims=True)
        np.testing.assert_allclose(part[:, [3, 7]], expected, rtol=1e-4)
        assert np.count_nonzero(part) == 64 and part.dtype == np.float32

    def test_weights_as_in_the_training_set_give_the_training_prior(self, trained, model, digits):
        counts = json.loads((trained / "run.json").read_text())["train_counts"]
        training = model.predict(digits[:32], prior="training")
        np.testing.assert_allclose(model.predict(digits[:32], prior=np.array(counts)), training, rtol=1e-4)
        by_name = dict(zip(DIGIT_NAMES, counts, strict=True))
        np.testing.assert_allclose(model.predict(digits[:32], prior=by_name), training, rtol=1e-4)

    def test_the_estimated_prior_is_a_fixed_point(self, model, digits):
        found = model.predict(digits, prior="estimate")
        prior = found.mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
        weighted = model.predict(digits).astype(np.float64) * prior
        # The mean of the posteriors is the prior that they were made with.
        np.testing.assert_allclose((weighted / weighted.sum(axis=1, keepdims=True)).mean(axis=0), prior, atol=1e-4)
        assert np.count_nonzero(model.predict(digits[:32], prior="estimate", only=["one", "two"]).any(axis=0)) <= 2

    def test_no_class_can_occur(self, model, digits):
        with pytest.raises(UserError, match="No class of the run can occur"):
            model.predict(digits[:2], only=["one"], prior={"one": 0})
        with pytest.raises(UserError, match=r"'tow' .the nearest is 'two'"):
            model.predict(digits[:2], only=["tow"])
