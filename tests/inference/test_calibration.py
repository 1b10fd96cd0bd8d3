"""A run that is calibrated: what is written, what is answered by it, and what is refused."""

import dataclasses
import functools
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
from etils import epath
from PIL import Image
from scipy import special

import lift_jax
from lift_jax import calibrate, predict, report
from lift_jax import config as lift_config
from lift_jax.data.digits import DIGIT_NAMES, load_digits
from lift_jax.errors import UserError
from lift_jax.export import __main__ as export_command
from lift_jax.export import onnx, stablehlo
from lift_jax.export.classifier import description
from lift_jax.inference import answers, calibrating, calibration, compact, labelled_images
from lift_jax.inference.adjustment import Adjustment
from lift_jax.inference.calibration_summary import describe
from lift_jax.inference.model import AnyPrior, Model
from lift_jax.inference.predictions import Prediction, write
from lift_jax.inference.serving import batching, server
from lift_jax.report import calibration as drawings
from lift_jax.report import results_file
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


def by_probability(model: Model) -> Model:
    """The model with thresholds of probabilities, whatever tells unknown images better."""
    assert model.calibration is not None
    return dataclasses.replace(model, calibration=model.calibration.model_copy(update={"separation": None}))


def squares_of(model: Model, images: np.ndarray) -> np.ndarray:
    """The images as an exported graph takes them."""
    (batch,) = model.loader(model.dataset(list(images), "images"), tte=False)
    return batch["image"][batch["mask"]]


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
        names = ["mix", "pretraining_prior", "gaussians", "tau", "temperatures"]
        assert [step["name"] for step in content["steps"]] == names
        assert model.calibration is not None
        kept = {step.name for step in model.calibration.steps if step.kept}
        neutral = {"mix": 0.0, "pretraining_prior": None, "gaussians": 0.0, "tau": 0.0, "temperatures": [1.0, 1.0, 1.0]}
        for name, value in neutral.items():
            mixes = name == "mix" and "pretraining_prior" in kept
            assert name in kept or mixes or getattr(model.calibration.adjustment, name) == value
        assert (model.gaussians is None) == (model.calibration.adjustment.gaussians == 0)

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
        assert [step.name for step in made.steps] == ["gaussians", "tau", "temperatures"]  # it is zero-shot
        assert made.after.calibration_error[0] is not None
        assert lift_jax.load(tmp_path / "run").calibration == made
        with pytest.raises(UserError, match=r"short\.txt has 29 images .*at least 30; name more"):
            calibrating.calibrate(tmp_path / "run", str(tmp_path / "short.txt"))
        assert calibration.read(tmp_path / "run", made.owner) == made


class TestThresholds:
    def test_they_are_those_of_the_held_out_images(self, model, digits, tmp_path):
        model = by_probability(model)
        for i in range(4):
            Image.fromarray(digits[i]).save(tmp_path / f"{i}.png")
        files = [str(tmp_path / f"{i}.png") for i in range(4)]
        probabilities = model.predict(files)
        lowest = probabilities[0].max()
        assert model.calibration is not None
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

    def test_by_the_energy_where_it_tells_more(self, model, digits, tmp_path):
        made = model.calibration
        assert set(made.separation) == {"probability", "energy"}
        assert [len(own) for own in made.held_out.energies] == [len(own) for own in made.held_out.confidences]
        loader = model.loader(model.dataset(list(digits), "images"))
        ((_, probabilities, energies),) = model.scored(loader, Logs(None, enabled=False))
        np.testing.assert_allclose(probabilities, model.predict(digits), atol=1e-6)
        ((_, rows),) = model.logits(loader, Logs(None, enabled=False), "logits")
        own = rows[:, 0].astype(np.float64)
        plain = adjusted(model)
        ((_, _, found),) = plain.scored(loader, Logs(None, enabled=False))
        np.testing.assert_allclose(found, special.logsumexp(own, axis=1), rtol=1e-5)
        for separation, expected in ({"probability": 0.5, "energy": 0.9}, "energy"), (None, "probability"):
            other = made.model_copy(update={"separation": separation})
            thresholds = other.unknown(0.2)
            assert thresholds.score == other.unknown_score == expected
        energies_first = made.model_copy(update={"separation": {"probability": 0.5, "energy": 0.9}}).unknown(0.2)
        files = [str(tmp_path / f"{i}.png") for i in range(len(digits))]
        for file, image in zip(files, digits, strict=True):
            Image.fromarray(image).save(file)
        said = [each.unknown for each in predict.predict_files(model, files, unknown=energies_first)]
        assert said == (energies < energies_first.lowest[probabilities.argmax(axis=1)]).tolist()

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
        model = by_probability(model)
        assert model.calibration is not None
        for ask, flag in (model.calibration.unknown, "--unknown"), (model.calibration.sets, "--coverage"):
            for share in 0.0, 1.0, -1.0, float("nan"):
                with pytest.raises(UserError, match=rf"{flag} is .*between 0 and 1"):
                    ask(share)
            assert (ask(0.5).lowest > 0).all()


class TestNamedImages:
    def test_nothing_is_there(self, tmp_path):
        with pytest.raises(
            UserError, match=r"--images is .*none, which is not there; name a folder .* or a list or table"
        ):
            labelled_images.read(str(tmp_path / "none"), DIGIT_NAMES)

    def test_a_folder_that_is_no_class(self, tmp_path):
        (tmp_path / "sevn").mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / "sevn" / "a.png")
        with pytest.raises(UserError, match=r"'sevn' .*nearest is 'seven'"):
            labelled_images.read(str(tmp_path), DIGIT_NAMES)
        (tmp_path / "sevn").rename(tmp_path / "Seven")
        found = labelled_images.read(str(tmp_path), DIGIT_NAMES)
        assert found.labels.tolist() == [7] and found.path(0) == str(tmp_path / "Seven" / "a.png")

    def test_training_images_are_left_out_by_path_or_content(self, tmp_path, caplog):
        for value, name in enumerate(["train/four/a.png", "train/four/b.png", "new/four/c.png", "new/four/d.png"]):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (value, 0, 0)).save(tmp_path / name)
        shutil.copy(tmp_path / "train/four/b.png", tmp_path / "new/four/b2.png")
        (tmp_path / "new/four/link.png").symlink_to("../../train/four/a.png")
        images, train = (labelled_images.read(str(tmp_path / each), DIGIT_NAMES) for each in ("new", "train"))
        kept = labelled_images.without_training_images(images, train)
        assert [Path(kept.path(i)).name for i in range(len(kept))] == ["c.png", "d.png"]
        assert kept.labels.tolist() == [4, 4]
        assert re.search(r"new: left out: 2 of 4 images, .* such as \S*/new/four/b2\.png\.$", caplog.text.strip())
        assert labelled_images.without_training_images(kept, train) is kept

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

    @pytest.mark.parametrize("content", ["path,seen,label\na.png,four,9\n", "path,label\na.png,four\n"])
    def test_a_table_with_the_column_that_the_runs_data_have(self, tmp_path, content):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        (tmp_path / "t.csv").write_text(content)
        assert labelled_images.read(str(tmp_path / "t.csv"), DIGIT_NAMES, label_column="Seen").labels.tolist() == [4]

    @pytest.mark.parametrize(
        ("name", "content", "labels"),
        [
            ("t.csv", "image,label\na.png,3\na.png,9\n", [3, 9]),
            ("t.csv", "class;file_name\nSeven;a.png\nnine;a.png\n", [7, 9]),
            ("t.txt", "path\tlabel\tsplit\na.png\t1\ttrain\na.png\t4\ttest\n", [4]),
            ("t.jsonl", '{"file_name": "a.png", "label": 5}\n', [5]),
            ("t.csv", "a.png,3\na.png,8\n", [3, 8]),  # a list
        ],
    )
    def test_a_table(self, tmp_path, name, content, labels):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        (tmp_path / name).write_text(content)
        found = labelled_images.read(str(tmp_path / name), DIGIT_NAMES)
        assert found.labels.tolist() == labels and found.path(0) == str(tmp_path / "a.png")

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("photo,kind\na.png,3\n", r"t\.csv has the columns photo, kind; it needs one of"),
            ("image,label\na.png,sevn\n", r"t\.csv .*'sevn' .*nearest is 'seven'"),
            ("image,label\na.png,10\n", "label 10, but there are 10 classes"),
            ("image,label,split\na.png,1,train\n", r"t\.csv has rows of the training split alone; name images"),
            ("image,label\nb.png,1\n", r"b\.png; write paths"),
        ],
    )
    def test_a_table_with_a_mistake(self, tmp_path, content, words):
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        (tmp_path / "t.csv").write_text(content)
        with pytest.raises(UserError, match=words):
            labelled_images.read(str(tmp_path / "t.csv"), DIGIT_NAMES)


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

    def test_a_graph_says_what_is_in_it(self, model, raw):
        assert description(raw, False)["calibration"] is None
        told = description(adjusted(model, **ADJUSTED), False)
        assert told["calibration"] == {"where": "inside the model", **Adjustment(**ADJUSTED).model_dump()}
        assert told["probabilities"] == "softmax(logits)" and "log_prior" not in told

    @pytest.mark.parametrize("form", ["stablehlo", "onnx"])
    def test_a_graph_answers_as_the_run(self, model, raw, tmp_path, digits, form):
        if form == "onnx":
            pytest.importorskip("jax2onnx", reason="needs jax2onnx and onnxruntime")
        changed = adjusted(model, **ADJUSTED)
        squares = squares_of(changed, digits)
        write = onnx.write if form == "onnx" else functools.partial(stablehlo.write, squares=True)
        read = onnx.read if form == "onnx" else stablehlo.read
        sizes = []
        for exported in changed, raw:
            file = write(exported, tmp_path)
            found = special.softmax(read(file)(squares), axis=1)
            np.testing.assert_allclose(found, exported.predict(digits), atol=1e-5)
            sizes.append(file.stat().st_size)
        assert form == "onnx" or sizes[0] < 1.5 * sizes[1]  # StableHLO has the frozen weights of both towers once

    def test_with_and_without_it_by_the_command(self, calibrated, tmp_path, capsys):
        workdir = shutil.copytree(calibrated, tmp_path / "run")
        change(workdir, adjustment=ADJUSTED)
        told = []
        for flags in [], ["--raw"]:
            words = ["--workdir", str(workdir), "--format=stablehlo", "--squares", f"--output={tmp_path}", *flags]
            assert export_command.main(words) == 0
            assert "are the run's" in capsys.readouterr().out
            told.append(json.loads((tmp_path / "model.json").read_text())["calibration"])
        assert told == [{"where": "inside the model", **Adjustment(**ADJUSTED).model_dump()}, None]

    def test_weights_alone_are_compared_without_it(self, calibrated, tmp_path, capsys):
        workdir = shutil.copytree(calibrated, tmp_path / "run")
        change(workdir, adjustment=ADJUSTED)
        assert (
            export_command.main(["--workdir", str(workdir), "--format=merged", f"--output={tmp_path / 'merged'}"]) == 0
        )
        assert "are the run's" in capsys.readouterr().out


class TestEvaluation:
    @pytest.fixture(scope="class")
    def evaluated(self, trained, calibrated, tiny_folder, tmp_path_factory) -> Path:
        """The run with another adjustment, evaluated again."""
        workdir = shutil.copytree(calibrated, tmp_path_factory.mktemp("evaluated") / "run")
        change(workdir, adjustment=ADJUSTED)
        run(digits_config(tiny_folder, validation="fraction:0.3", report=True), workdir, "eval")
        return workdir

    def test_the_section_is_of_what_the_loaded_run_answers(self, evaluated, calibrated):
        results = json.loads((evaluated / "eval.json").read_text())
        _, test = load_digits(50)
        model = lift_jax.load(evaluated)
        assert model.record is not None and model.calibration is not None
        probabilities = model.predict([test.source[i] for i in range(len(test))])
        best, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1).astype(np.float64)
        right = best == test.labels
        group = np.array(model.record.class_groups)[test.labels]
        found, section = results["calibration"], results["calibrated"]
        assert section["accuracy"] == pytest.approx(100 * right.mean())
        members = model.calibration.sets(0.9).sets(probabilities)
        covered = members[np.arange(len(members)), test.labels]
        for part, own in enumerate([group >= 0, group == 0, group == 1, group == 2]):
            tenths = np.clip(np.ceil(confidence[own] * 10) - 1, 0, 9)
            error = sum(abs((right[own] - confidence[own])[tenths == tenth].sum()) for tenth in range(10)) / own.sum()
            assert found["after"]["calibration_error"][part] == pytest.approx(100 * error, abs=1e-3)
            assert found["sets"]["covered"][part] == pytest.approx(100 * covered[own].mean())
            assert found["sets"]["size"][part] == pytest.approx(members[own].sum(axis=1).mean())
        assert section["expected_calibration_error"] == pytest.approx(found["after"]["calibration_error"][0], abs=1e-3)
        plain = json.loads((calibrated / "eval.json").read_text())["plain"]
        assert results["plain"] == plain
        error = found["before"]["calibration_error"][0]
        assert error == pytest.approx(plain["expected_calibration_error"], abs=1e-3)
        recalls = [each["recall"] for each in results["classes"]["calibrated"]]
        assert np.mean(recalls) == pytest.approx(section["mean_acc"])
        splits = [json.loads(line)["split"] for line in (evaluated / "metrics.jsonl").read_text().splitlines()]
        assert "calibrated" in splits

    def test_the_report_and_the_comparison_show_it(self, evaluated, trained, tmp_path):
        results = json.loads((evaluated / "eval.json").read_text())
        page = (evaluated / "report.html").read_text()
        assert "After calibration" in page and (evaluated / "report" / "calibrated.png").is_file()
        for side in "before", "after":
            assert f"<td>{results['calibration'][side]['calibration_error'][3]:.1f}</td>" in page
        found = results_file.read(epath.Path(evaluated) / "eval.json").calibration
        assert found is not None
        panels = drawings.draw_before_and_after(found).axes
        assert [axes.get_title() for axes in panels] == ["all test images", "many", "medium", "few"]
        drawn = np.concatenate([dots.get_offsets() for dots in panels[3].collections])
        bins = [row for which in (found.before, found.after) for row in which.bins[3] if row[0] > 0]
        np.testing.assert_allclose(drawn, 100 * np.array(bins)[:, 1:])
        said = []
        for runs in [evaluated], [evaluated, trained]:  # the latter are one row, for they differ in config.report alone
            report.compare(runs, tmp_path / "c.html")
            said.append((tmp_path / "c.html").read_text())
        row = re.search(r"Calibrated</h2>.*?<tbody>(.*?)</tbody>", said[0], re.DOTALL)
        assert row and f"<td>{results['calibrated']['few_acc']:.1f}</td>" in row[1]
        assert "Calibrated</h2>" not in said[1]

    def test_a_run_without_one_has_no_such_section(self, trained):
        assert set(json.loads((trained / "eval.json").read_text())) == {"plain", "validation", "classes"}

    def test_a_calibration_of_other_parameters_is_left_out(self, calibrated, tiny_folder, tmp_path):
        workdir = shutil.copytree(calibrated, tmp_path / "run")
        owner = json.loads((workdir / calibration.FILE).read_text())["owner"]
        change(workdir, owner={**owner, "trained_hash": "0" * 64})
        results = run(digits_config(tiny_folder, validation="fraction:0.3"), workdir, "eval")
        assert "calibrated" not in results and "calibration" not in json.loads((workdir / "eval.json").read_text())
        said = (workdir / "console.log").read_text()
        assert re.search(r"section calibrated is left out .*owner\.trained_hash .*calibrate again", said)


def test_a_service_of_a_calibrated_run_says_what_is_unknown_and_gives_sets(model, digits):
    model = by_probability(model)
    files = [io.BytesIO() for _ in range(4)]
    for file, image in zip(files, digits, strict=False):
        Image.fromarray(image).save(file, "png")
    contents = [file.getvalue() for file in files]
    decide = answers.answers(model, **server.thresholds(model, None, None))
    found = batching.predict(model, decide, [batching.NamedImage("a", content) for content in contents], tte=None)
    probabilities = model.predict(contents)
    assert model.calibration is not None
    assert [each.unknown for each in found] == model.calibration.unknown(0.05).unknown(probabilities).tolist()
    inside = model.calibration.sets(0.9).sets(probabilities)
    assert [set(each.members or []) for each in found] == [set(np.flatnonzero(row)) for row in inside]
