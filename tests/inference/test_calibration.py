"""A run that is calibrated: what is written, what is answered by it, and what is refused."""

import dataclasses
import io
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
from lift_jax import calibrate, predict
from lift_jax import config as lift_config
from lift_jax.data.digits import DIGIT_NAMES, load_digits
from lift_jax.errors import UserError
from lift_jax.export import verify
from lift_jax.export.classifier import description, function
from lift_jax.inference import answers, calibrating, calibration, compact, labelled_images
from lift_jax.inference.adjustment import Adjustment
from lift_jax.inference.calibration_summary import describe
from lift_jax.inference.model import AnyPrior, Model
from lift_jax.inference.predictions import Prediction, write
from lift_jax.inference.serving import batching, server
from lift_jax.run import run
from lift_jax.workdir.logs import Logs

ADJUSTED = {"mix": 0.5, "tau": -0.4, "temperatures": [0.7, 1.5, 2.0]}


def digits_config(folder: str, **changes):
    config = lift_config.default()
    config.update(
        backbone=folder,
        num_epochs=1,
        batch_size=128,
        lr=0.05,
        report=False,
        zero_shot=False,
        class_groups="thirds",
        method="head_only",
    )
    config.update(changes)
    config.data.imbalance = 50
    config.tte.enabled = False
    return config


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory) -> Path:
    """A run with held-out images, not yet calibrated."""
    workdir = tmp_path_factory.mktemp("trained") / "run"
    run(digits_config(tiny_folder, validation="fraction:0.3"), workdir)
    return workdir


@pytest.fixture(scope="module")
def calibrated(trained, tmp_path_factory) -> Path:
    """The run with a calibration that was chosen by its held-out images."""
    workdir = shutil.copytree(trained, tmp_path_factory.mktemp("calibrated") / "run")
    calibrating.calibrate(workdir)
    return workdir


@pytest.fixture(scope="module")
def model(calibrated) -> Model:
    return lift_jax.load(calibrated)


@pytest.fixture(scope="module")
def raw(model) -> Model:
    return dataclasses.replace(model, calibration=None)


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    _, test = load_digits(50)
    return np.stack([test.source[i] for i in range(0, len(test), 10)])


def adjusted(model: Model, **changes) -> Model:
    """The model with another adjustment."""
    calibration = model.calibration
    assert calibration is not None
    return dataclasses.replace(model, calibration=calibration.model_copy(update={"adjustment": Adjustment(**changes)}))


def change(workdir: Path, **changes) -> None:
    file = workdir / calibration.FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


class TestAnswers:
    def test_they_are_the_formula(self, model, digits):
        loader = model.loader(model.dataset(list(digits), "images"))
        ((_, rows),) = model.logits(loader, Logs(None, enabled=False), "logits")
        counts = np.array(model.record.train_counts)
        log_prior = np.log(counts / counts.sum())
        cases: tuple[tuple[AnyPrior | None, float, Any], ...] = (
            (None, ADJUSTED["tau"], 0), ("uniform", 0, 0), ("training", 0, log_prior),
        )  # fmt: skip
        for prior, tau, added in cases:
            sums = rows[:, 0].astype(np.float64) + ADJUSTED["mix"] * rows[:, 1] + tau * log_prior
            group = np.array(model.record.class_groups)[sums.argmax(axis=1)]
            expected = special.softmax(sums / np.array(ADJUSTED["temperatures"])[group][:, None] + added, axis=1)
            np.testing.assert_allclose(adjusted(model, **ADJUSTED).predict(digits, prior=prior), expected, atol=2e-5)

    def test_classes_that_cannot_occur(self, model, digits):
        got = adjusted(model, **ADJUSTED).predict(digits, only=[7, 8, 9])
        assert not got[:, :7].any()
        np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-5)

    def test_a_calibration_that_changes_nothing_changes_no_bit(self, model, raw, digits):
        np.testing.assert_array_equal(adjusted(model).predict(digits), raw.predict(digits))

    def test_of_logits_with_the_training_prior_tau_counts_from_the_uniform_one(self, model, digits):
        config = ml_collections.FrozenConfigDict({**model.config.to_dict(), "loss": "CE"})
        learned = dataclasses.replace(model, config=config)
        with_tau, plain = adjusted(learned, tau=1.0), dataclasses.replace(learned, calibration=None)
        np.testing.assert_allclose(with_tau.predict(digits), plain.predict(digits, prior="training"), atol=1e-5)
        for prior in "uniform", "training":
            np.testing.assert_allclose(
                with_tau.predict(digits, prior=prior), plain.predict(digits, prior=prior), atol=1e-5
            )

    def test_a_backbone_without_its_tokenizer_cannot_mix(self, model, digits):
        without = dataclasses.replace(model, backbone=dataclasses.replace(model.backbone, tokenizer=None))
        with pytest.raises(UserError, match=r"mixes in the zero-shot classifier.*tokenizer\.json.*--raw"):
            adjusted(without, mix=0.5).predict(digits[:1])
        adjusted(without, tau=0.5).predict(digits[:1])

    def test_the_command_and_its_flag(self, trained, calibrated, tmp_path, digits, capsys):
        workdir = shutil.copytree(calibrated, tmp_path / "run")
        change(workdir, adjustment=ADJUSTED)
        Image.fromarray(digits[0]).save(tmp_path / "0.png")
        found = {}
        words = ["--format", "jsonl", str(tmp_path / "0.png"), "--workdir"]
        for name, run_and_flags in ("calibrated", [workdir]), ("raw", [workdir, "--raw"]), ("never", [trained]):
            assert predict.main([*words, *map(str, run_and_flags)]) == 0
            found[name] = json.loads(capsys.readouterr().out)["predictions"]
        assert found["raw"] == found["never"] != found["calibrated"]
        assert predict.main([*words, str(workdir), "--unknown", "0.2", "--coverage", "0.8"]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["unknown"] in (True, False)
        assert said["set"][0]["label"] == said["predictions"][0]["label"]
        assert predict.main([*words, str(trained), "--unknown", "0.2"]) == 1
        assert re.search(r"--unknown takes a calibrated run, and .* no calibration; make it", capsys.readouterr().err)


class TestChoosing:
    def test_what_is_written(self, calibrated, model):
        content = json.loads((calibrated / calibration.FILE).read_text())
        counts = json.loads((calibrated / "run.json").read_text())["validation_counts"]
        assert content["held_out"]["counts"] == counts
        assert [step["name"] for step in content["steps"]] == ["mix", "tau", "temperatures"]
        assert model.calibration is not None
        kept = {step.name for step in model.calibration.steps if step.kept}
        neutral = {"mix": 0.0, "tau": 0.0, "temperatures": [1.0, 1.0, 1.0]}
        for name, value in neutral.items():
            assert name in kept or getattr(model.calibration.adjustment, name) == value

    def test_the_command_says_the_same_when_it_is_done_again(self, calibrated, model, tmp_path, capsys):
        workdir = shutil.copytree(calibrated, tmp_path / "run")
        assert calibrate.main(["--workdir", str(workdir)]) == 0
        assert (workdir / calibration.FILE).read_text() == (calibrated / calibration.FILE).read_text()
        said = capsys.readouterr().out
        for words in "Chosen by", "strength of the prior", "before: calibration error", "calibration.json":
            assert words in said
        assert describe(model.calibration) in said

    def test_the_images_that_a_person_names(self, tiny_folder, tmp_path):
        run(digits_config(tiny_folder, method="zero_shot"), tmp_path / "run")
        with pytest.raises(UserError, match=r"held out no images .*config\.validation is empty.*--images"):
            calibrating.calibrate(tmp_path / "run")
        assert not (tmp_path / "run" / calibration.FILE).exists()
        _, test = load_digits(50)
        lines = []
        for i in range(0, 600, 10):
            folder = tmp_path / "images" / DIGIT_NAMES[test.labels[i]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(test.source[i])).save(folder / f"{i}.png")
            lines.append(f"images/{folder.name}/{i}.png {test.labels[i]}")
        (tmp_path / "list.txt").write_text("\n".join(lines))
        (tmp_path / "short.txt").write_text("\n".join(lines[:29]))
        made = calibrating.calibrate(tmp_path / "run", str(tmp_path / "list.txt")).calibration
        assert made.held_out.counts == [6] * 10
        assert [step.name for step in made.steps] == ["tau", "temperatures"]  # it is zero-shot itself
        assert made.after.calibration_error[0] is not None
        assert lift_jax.load(tmp_path / "run").calibration == made
        with pytest.raises(UserError, match=r"short\.txt has 29 images .*at least 30; name more"):
            calibrating.calibrate(tmp_path / "run", str(tmp_path / "short.txt"))
        assert calibration.read(tmp_path / "run", made.owner) == made


class TestThresholds:
    def test_they_are_those_of_the_held_out_images(self, model, digits, tmp_path):
        for i in range(4):
            Image.fromarray(digits[i]).save(tmp_path / f"{i}.png")
        files = [str(tmp_path / f"{i}.png") for i in range(4)]
        probabilities = model.predict(files)
        lowest = probabilities[0].max()
        held_out = model.calibration.held_out
        assert sum(map(len, held_out.confidences)) == sum(held_out.counts)
        assert [len(own) for own in held_out.true_probabilities] == [79, 12, 4]
        known = model.calibration.model_copy(
            update={
                "held_out": held_out.model_copy(
                    update={"confidences": [[float(lowest)] * 99, [], []], "true_probabilities": [[0.05] * 99, [], []]}
                )
            }
        )
        found = predict.predict_files(model, files, unknown=known.unknown(0.05), sets=known.sets(0.9))
        for prediction, row in zip(found, probabilities, strict=True):
            assert prediction.unknown == (row.max() < lowest)
            assert prediction.members is not None
            assert set(prediction.members) == set(np.flatnonzero(row >= 0.05).tolist()) | {int(row.argmax())}
            assert prediction.members[0] == row.argmax()

    def test_the_forms_of_the_output(self):
        prediction = Prediction("a.png", [1], [0.5], unknown=True, members=[1, 0])
        written = {}
        for style in "table", "csv", "jsonl":
            file = io.StringIO()
            write([prediction], ["wren", "robin"], style, file)
            written[style] = file.getvalue()
        assert written["table"] == "a.png  robin 50.0 %  unknown  one of: robin, wren\n"
        assert written["csv"].splitlines() == [
            "path,rank,label,class,probability,unknown,set_labels", "a.png,1,1,robin,0.5,true,1 0"
        ]  # fmt: skip
        content = json.loads(written["jsonl"])
        assert content["unknown"] is True
        assert content["set"] == [{"label": 1, "class": "robin"}, {"label": 0, "class": "wren"}]

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--unknown", "0.05", "--raw"], r"--unknown is 0\.05, whose thresholds .*leave --raw out"),
            (["--coverage", "0.9", "--prior", "uniform"], r"--coverage is 0\.9.*leave --prior out"),
            (["--coverage", "0.9", "--only", "file"], r"--coverage is 0\.9.*leave --only out"),
        ],
    )
    def test_what_they_do_not_go_with(self, calibrated, capsys, words, said):
        assert predict.main(["--workdir", str(calibrated), *words, "a.png"]) == 1
        assert re.search(said, capsys.readouterr().err)

    def test_shares(self, model):
        for ask, flag in (model.calibration.unknown, "--unknown"), (model.calibration.sets, "--coverage"):
            for share in 0.0, 1.0, -1.0, float("nan"):
                with pytest.raises(UserError, match=rf"{flag} is .*between 0 and 1"):
                    ask(share)
            assert (ask(0.5).lowest > 0).all()


class TestNamedImages:
    def test_nothing_is_there(self, tmp_path):
        with pytest.raises(UserError, match=r"--images is .*none, which is not there; name a folder .* or a list"):
            labelled_images.read(str(tmp_path / "none"), DIGIT_NAMES)

    def test_a_folder_that_is_no_class(self, tmp_path):
        (tmp_path / "sevn").mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / "sevn" / "a.png")
        with pytest.raises(UserError, match=r"'sevn' .*nearest is 'seven'"):
            labelled_images.read(str(tmp_path), DIGIT_NAMES)
        (tmp_path / "sevn").rename(tmp_path / "Seven")
        found = labelled_images.read(str(tmp_path), DIGIT_NAMES)
        assert found.labels.tolist() == [7] and found.path(0) == str(tmp_path / "Seven" / "a.png")

    @pytest.mark.parametrize(
        ("line", "words"), [("a.png 10", "label 10, but there are 10 classes"), ("b.png 1", r"b\.png; write paths")]
    )
    def test_a_line_of_a_list(self, tmp_path, line, words):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        (tmp_path / "list.txt").write_text(f"a.png 3\n{line}\n")
        with pytest.raises(UserError, match=words):
            labelled_images.read(str(tmp_path / "list.txt"), DIGIT_NAMES)
        (tmp_path / "list.txt").write_text("a.png 3\na.png 9\n")
        assert labelled_images.read(str(tmp_path / "list.txt"), DIGIT_NAMES).labels.tolist() == [3, 9]


class TestRefused:
    @pytest.mark.parametrize("key", ["backbone_hash", "trained_hash", "prompt", "class_names"])
    def test_a_calibration_of_something_else(self, calibrated, model, key):
        here = model.calibration.owner
        assert calibration.read(calibrated, here) == model.calibration
        other = [*DIGIT_NAMES[:-1], "ten"] if key == "class_names" else "0" * 64
        words = rf"calibration\.json .*another run or checkpoint.*owner\.{key} .*--raw"
        with pytest.raises(UserError, match=words):
            calibration.read(calibrated, here.model_copy(update={key: other}))

    def test_a_run_whose_parameters_have_changed(self, calibrated, model):
        moved = {name: jax.tree.map(lambda x: x + 1e-6, tree) for name, tree in model.network.parts.trainable.items()}
        other = calibration.owner(model.config, model.network.with_trained(moved), model.backbone)
        with pytest.raises(UserError, match=r"owner\.trained_hash"):
            calibration.read(calibrated, other)

    def test_loading_the_run_says_so(self, calibrated, tmp_path):
        workdir = shutil.copytree(calibrated, tmp_path / "run")
        (workdir / calibration.FILE).write_text("{")
        with pytest.raises(UserError, match=r"calibration\.json cannot be read .*no JSON.*calibrate again"):
            lift_jax.load(workdir)
        assert lift_jax.load(workdir, raw=True).calibration is None

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"format": 2}, "key format"),
            ({"adjustment": {"temperatures": [1.0, 0.0, 1.0]}}, r"adjustment\.temperatures\.1"),
            ({"adjustment": {"mix": "much"}}, r"adjustment\.mix"),
            ({"class_groups": [0, 1]}, "class_groups has 2 entries for 10"),
            ({"more": 1}, "more is not known"),
        ],
    )
    def test_a_damaged_file(self, calibrated, model, tmp_path, changes, words):
        shutil.copy(calibrated / calibration.FILE, tmp_path)
        change(tmp_path, **changes)
        with pytest.raises(UserError, match=rf"calibration\.json .*{words}.*calibrate again"):
            calibration.read(tmp_path, model.calibration.owner)


class TestExports:
    def test_tuner_and_head_alone_have_it_inside(self, model, raw, tmp_path, digits):
        changed = adjusted(model, **ADJUSTED)
        file = compact.write(changed, tmp_path)
        np.testing.assert_array_equal(lift_jax.load(file).predict(digits), changed.predict(digits))
        np.testing.assert_array_equal(lift_jax.load(file, raw=True).predict(digits), raw.predict(digits))

    def test_a_graph_says_what_is_not_in_it(self, model, raw):
        assert "calibration_left_out" not in description(raw, False)
        left_out = description(adjusted(model, **ADJUSTED), False)["calibration_left_out"]
        assert {key: left_out[key] for key in ADJUSTED} == ADJUSTED

    @pytest.mark.slow
    def test_an_export_is_compared_with_the_run_as_it_is(self, model):
        changed = adjusted(model, **ADJUSTED)
        images = verify.images(changed, [], most=4)
        assert verify.difference(changed, jax.jit(function(changed)), images) < 1e-4


def test_a_service_of_a_calibrated_run_says_what_is_unknown_and_gives_sets(model, digits):
    files = [io.BytesIO() for _ in range(4)]
    for file, image in zip(files, digits, strict=False):
        Image.fromarray(image).save(file, "png")
    contents = [file.getvalue() for file in files]
    decide = answers.answers(model, **server.thresholds(model, None, None))
    found = batching.predict(model, decide, [batching.NamedImage("a", content) for content in contents], tte=None)
    probabilities = model.predict(contents)
    assert [each.unknown for each in found] == model.calibration.unknown(0.05).unknown(probabilities).tolist()
    inside = model.calibration.sets(0.9).sets(probabilities)
    assert [set(each.members or []) for each in found] == [set(np.flatnonzero(row)) for row in inside]
