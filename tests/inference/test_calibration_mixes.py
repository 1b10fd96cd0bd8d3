"""A calibration that mixes zero-shot and Gaussians in: what is answered, kept in files, and read from a store."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
import pytest
from PIL import Image
from scipy import special

import lift_jax
from lift_jax import config as lift_config
from lift_jax import data
from lift_jax.errors import UserError
from lift_jax.export import onnx, stablehlo
from lift_jax.inference import calibrating, calibration, compact, gaussian_file, held_out_logits
from lift_jax.inference.adjustment import Adjustment
from lift_jax.inference.assembling import assemble
from lift_jax.inference.model import Model
from lift_jax.models.heads import GaussianHead
from lift_jax.run import check, run
from lift_jax.weights.backbone import content_hash
from lift_jax.workdir.logs import Logs

MIXED = {
    "run": 1.0, "mix": 0.5, "pretraining_prior": (np.arange(1, 11) / 55).tolist(), "gaussians": 0.25, "tau": -0.4,
    "temperatures": [0.7, 1.5, 2.0],
}  # fmt: skip
NOTHING = Adjustment().model_dump()
KINDS = {
    "temperatures": {"temperatures": MIXED["temperatures"]},
    "tau": {"tau": MIXED["tau"]},
    "mix": {"mix": MIXED["mix"]},
    "mix without the prior of the pre-training": {name: MIXED[name] for name in ("mix", "pretraining_prior")},
    "zero-shot alone": {"run": 0.0, "mix": 1.0},
    "gaussians": {"gaussians": MIXED["gaussians"]},
    "all": MIXED,
}
"""Each thing that a calibration can do to the logits, and all of them."""
SILENT = Logs(None, enabled=False)


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory) -> Path:
    """A run without steps, which has held images out."""
    config = lift_config.default()
    config.update(backbone=tiny_folder, method="gda", report=False, zero_shot=False, class_groups="thirds")
    config.validation = "fraction:0.3"
    config.data.imbalance = 50
    config.tte.enabled = False
    workdir = tmp_path_factory.mktemp("trained") / "run"
    run(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def images(trained) -> data.RunData:
    return data.load_run_data(lift_jax.load(trained).config)


@pytest.fixture(scope="module")
def calibrated(trained, images, tmp_path_factory) -> Path:
    """The run with a calibration that mixes everything in."""
    workdir = shutil.copytree(trained, tmp_path_factory.mktemp("calibrated") / "run")
    calibrating.calibrate(workdir)
    arrays = held_out_logits.fit_gaussians(lift_jax.load(workdir), images.train, SILENT)
    gaussian_file.write(workdir, arrays)
    file = workdir / calibration.FILE
    changes = {"adjustment": MIXED, "gaussians": content_hash(arrays)}
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return workdir


@pytest.fixture(scope="module")
def model(calibrated) -> Model:
    return lift_jax.load(calibrated)


@pytest.fixture(scope="module")
def pictures(images) -> list[np.ndarray]:
    return [images.test.source[i] for i in range(0, 60, 3)]


def parts(model: Model, pictures: list[np.ndarray]) -> list[np.ndarray]:
    """The logits of the run, of zero-shot, and of the Gaussians, float64."""
    loader = model.loader(model.dataset(pictures, "images"))
    ((_, rows),) = model.logits(loader, SILENT, "logits")
    features = model.features(pictures, tuned=False)
    assert model.gaussians is not None
    own = GaussianHead(10).apply({"params": model.gaussians}, features)
    return [np.asarray(each, np.float64) for each in (rows[:, 0], rows[:, 1], own)]


def adjusted(model: Model, **changes: Any) -> Model:
    assert model.calibration is not None
    adjustment = Adjustment(**{**MIXED, **changes})
    made = model.calibration.model_copy(update={"adjustment": adjustment})
    return dataclasses.replace(model, calibration=made)


class TestAnswers:
    @pytest.mark.parametrize("changes", [{}, {"mix": 0.0}, {"run": 0.0, "mix": 1.0, "gaussians": 0.0}])
    def test_they_are_the_formula(self, model, pictures, changes):
        run, zero_shot, gaussians = parts(model, pictures)
        counts = np.array(model.record.train_counts)
        chosen = {**MIXED, **changes}
        log_q = 0 if chosen["pretraining_prior"] is None else np.log(chosen["pretraining_prior"])
        sums = chosen["run"] * run + chosen["mix"] * (zero_shot - log_q) + chosen["gaussians"] * gaussians
        sums += chosen["tau"] * np.log(counts / counts.sum())
        group = np.array(model.record.class_groups)[sums.argmax(axis=1)]
        expected = special.softmax(sums / np.array(chosen["temperatures"])[group][:, None], axis=1)
        np.testing.assert_allclose(adjusted(model, **changes).predict(pictures), expected, atol=5e-5)

    def test_the_features_that_come_with_them_are_those_of_the_run(self, model, pictures):
        loader = model.loader(model.dataset(pictures, "images"))
        (found,) = model.outputs(loader, SILENT, energies=True, features=True)
        np.testing.assert_allclose(found.features, model.features(pictures), atol=1e-5)
        np.testing.assert_allclose(found.probabilities, model.predict(pictures), atol=1e-6)

    def test_without_the_calibration_not_a_bit_is_another(self, calibrated, trained, pictures):
        raw, before = lift_jax.load(calibrated, raw=True), lift_jax.load(trained)
        assert raw.calibration is None and raw.gaussians is None
        np.testing.assert_array_equal(raw.predict(pictures), before.predict(pictures))

    def test_the_evaluation_is_of_these_answers(self, calibrated, model, images, tmp_path):
        workdir = shutil.copytree(calibrated, tmp_path / "run")
        results = run(ml_collections.ConfigDict(model.config.to_dict()), workdir, mode="eval")
        best = model.predict([images.test.source[i] for i in range(len(images.test))]).argmax(axis=1)
        assert results["calibrated"]["accuracy"] == pytest.approx(100 * np.mean(best == images.test.labels))


class TestFiles:
    def test_an_exported_file_has_them_inside(self, model, tmp_path, pictures):
        file = compact.write(model, tmp_path)
        np.testing.assert_array_equal(lift_jax.load(file).predict(pictures), model.predict(pictures))
        assert lift_jax.load(file, raw=True).gaussians is None

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("form", ["stablehlo", "onnx"])
    def test_a_graph_answers_as_the_run(self, model, tmp_path, pictures, form, kind):
        if form == "onnx":
            pytest.importorskip("jax2onnx", reason="needs jax2onnx and onnxruntime")
        changed = adjusted(model, **NOTHING | KINDS[kind])
        (batch,) = changed.loader(changed.dataset(pictures, "images"), tte=False)
        file = onnx.write(changed, tmp_path) if form == "onnx" else stablehlo.write(changed, tmp_path, squares=True)
        read = onnx.read if form == "onnx" else stablehlo.read
        found = special.softmax(read(file)(batch["image"][batch["mask"]]), axis=1)
        # The Gaussians of so small a backbone have weights that magnify how differently onnxruntime rounds features.
        np.testing.assert_allclose(found, changed.predict(pictures), atol=1e-4 if form == "onnx" else 1e-5)

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda file: file.unlink(), r"calibration\.\w{12}\.safetensors.*cannot be read .*calibrate again"),
            (lambda file: file.write_bytes(b"none"), r"calibration\.\w{12}\.safetensors.*cannot be read"),
            (lambda file: file.write_bytes(file.read_bytes()[:-4] + b"1234"), r"damaged: its Gaussians .*--raw"),
        ],
    )
    def test_a_damaged_file(self, calibrated, tmp_path, spoil, words):
        workdir = shutil.copytree(calibrated, tmp_path / "run")
        (file,) = workdir.glob("calibration.*.safetensors")
        assert lift_jax.load(workdir).gaussians is not None
        spoil(file)
        with pytest.raises(UserError, match=words):
            lift_jax.load(workdir)
        assert lift_jax.load(workdir, raw=True).calibration is None

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"gaussians": None}, r"adjustment\.gaussians is above 0, but it names no gaussians"),
            ({"gaussians": "../x"}, "key gaussians"),
            ({"adjustment": {**MIXED, "pretraining_prior": [0.5, 0.5]}}, r"pretraining_prior has 2 entries for 10"),
            ({"adjustment": {**MIXED, "pretraining_prior": [0.0] * 10}}, r"adjustment\.pretraining_prior\.0"),
            ({"adjustment": {**MIXED, "run": 2.0}}, r"adjustment\.run"),
        ],
    )
    def test_a_calibration_with_a_mistake(self, calibrated, model, tmp_path, changes, words):
        content = json.loads((calibrated / calibration.FILE).read_text())
        (tmp_path / calibration.FILE).write_text(json.dumps(content | changes))
        with pytest.raises(UserError, match=rf"calibration\.json .*{words}"):
            calibration.read(tmp_path, model.calibration.owner)

    def test_calibrating_again_leaves_no_gaussians_of_before(self, calibrated, tmp_path):
        workdir = shutil.copytree(calibrated, tmp_path / "run")
        (workdir / "calibration.0123456789ab.safetensors").write_bytes(b"old")
        made = calibrating.calibrate(workdir, gaussians=False).calibration
        assert "gaussians" not in [step.name for step in made.steps] and made.gaussians is None
        assert not list(workdir.glob("calibration.*.safetensors"))


class TestStore:
    @pytest.mark.slow
    def test_a_calibration_is_the_same_with_and_without(self, trained, tmp_path, monkeypatch):
        found = []
        for store in None, "store", "store":
            if store:
                monkeypatch.setenv("LIFT_JAX_CACHE", str(tmp_path / store))
            workdir = shutil.copytree(trained, tmp_path / f"run{len(found)}")
            calibrating.calibrate(workdir)
            kept = sorted(path.name for path in (tmp_path / "store").rglob("*.safetensors"))
            found.append(((workdir / calibration.FILE).read_text(), kept))
        assert found[0][0] == found[1][0] == found[2][0]
        assert not found[0][1] and found[1] == found[2] and found[1][1]  # the second time nothing was computed

    @pytest.mark.parametrize("tte", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_of_a_run_that_tunes_the_backbone(self, model, images, tmp_path, monkeypatch, tte):
        config = ml_collections.ConfigDict(model.config.to_dict())
        config.method, config.tte.enabled = "bias_tuning", tte
        tuned = assemble(
            check(config), model.class_names, model.record, lambda _, network: network.with_trained(moved(network))
        )
        found = []
        for store in None, tmp_path / "store":
            if store is not None:
                monkeypatch.setenv("LIFT_JAX_CACHE", str(store))
            found.append(held_out_logits.compute(tuned, images.validation, model.gaussians, SILENT))
        for without, with_store in zip(*found, strict=True):
            np.testing.assert_array_equal(without, with_store)
        assert (tmp_path / "store").exists() == (not tte)
        assert not np.array_equal(found[0].run, found[0].gaussians)
        assert found[0].index.tolist() == list(range(len(images.validation)))


def moved(network: Any) -> dict[str, Any]:
    return {name: jax.tree.map(lambda x: x + 0.01, tree) for name, tree in network.parts.trainable.items()}


def test_named_images_do_without_the_data_set_of_the_run(trained, images, tmp_path, caplog):
    workdir = shutil.copytree(trained, tmp_path / "run")
    config = json.loads((workdir / "config.json").read_text())
    config["data"].update(format="folder", root=str(tmp_path / "gone"), imbalance=0)
    (workdir / "config.json").write_text(json.dumps(config))
    lines = []
    for i in range(0, 150, 5):
        Image.fromarray(images.test.source[i]).save(tmp_path / f"{i}.png")
        lines.append(f"{tmp_path}/{i}.png {images.test.labels[i]}")
    (tmp_path / "list.txt").write_text("\n".join(lines))
    made = calibrating.calibrate(workdir, str(tmp_path / "list.txt")).calibration
    assert [step.name for step in made.steps] == ["mix", "pretraining_prior", "tau", "temperatures"]
    assert re.search(r"Gaussians of the training images are not tried: .*gone", caplog.text)
