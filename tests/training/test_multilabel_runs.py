"""Runs whose images have several labels, from the table to the answers."""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lift_jax
from lift_jax import config as lift_config
from lift_jax import predict, report, sweep
from lift_jax.errors import UserError
from lift_jax.evaluation.ranking import average_precision
from lift_jax.inference import calibrating
from lift_jax.run import run

CLASSES = {"red": 60, "green": 30, "blue": 8}
"""Colours, with the number of training images that have some."""


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """Images of none, one or several of three colours, 80 for training and 40 for the test."""
    root, generator = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    lines = ["file_name,split,labels"]
    for split, count in ("train", 80), ("test", 40):
        given = np.zeros((count, 3), bool)
        for place, wanted in enumerate(CLASSES.values() if split == "train" else (20, 20, 20)):
            given[generator.permutation(count)[:wanted], place] = True
        for i, labels in enumerate(given):
            pixels = generator.integers(0, 90, (16, 16, 3)) + 150 * labels
            Image.fromarray(pixels.astype(np.uint8)).save(root / f"{split}{i}.png")
            names = "|".join(name for name, has in zip(CLASSES, labels, strict=True) if has)
            lines.append(f"{split}{i}.png,{split},{names}")
    (root / "table.csv").write_text("\n".join(lines))
    return root / "table.csv"


def config_of(table: Path, folder: str, **changes):
    config = lift_config.default()
    config.task, config.data.format, config.data.name = "multilabel", "csv", "colours"
    config.data.root, config.data.train_list = str(table.parent), str(table)
    config.update(backbone=folder, method="head_only", num_epochs=6, batch_size=16, lr=0.03, report=False)
    config.class_groups, config.tte.enabled = "thresholds:50,10", False
    config.update(**changes)
    return config


@pytest.fixture(scope="module")
def trained(table, tiny_folder, tmp_path_factory) -> tuple[Path, Any]:
    workdir = tmp_path_factory.mktemp("several") / "run"
    config = config_of(table, tiny_folder, validation="fraction:0.2", report=True, zero_shot=True)
    return workdir, run(config, workdir)


def test_results_are_those_of_the_predictions(trained):
    workdir, results = trained
    assert list(results) == ["plain", "validation"]
    with np.load(workdir / "predictions.npz") as saved:
        labels, scores = saved["label"], saved["score"]
    assert labels.shape == scores.shape == (40, 3) and labels.sum(axis=0).tolist() == [20, 20, 20]
    precision = 100 * average_precision(labels, scores)
    order = [("blue", "green", "red").index(name) for name in ("red", "green", "blue")]
    expected = [precision.mean(), *precision[order]]
    found = [results["plain"][key] for key in ("map", "many_map", "med_map", "few_map")]
    np.testing.assert_allclose(found, expected)
    written = json.loads((workdir / "eval.json").read_text())
    assert written["plain"] == results["plain"]
    assert [each["average_precision"] for each in written["classes"]["plain"]] == pytest.approx(precision.tolist())
    assert results["plain"]["map"] > 90  # colours are easily told
    zero_shot = json.loads((workdir / "run.json").read_text())["zero_shot"]
    assert set(zero_shot) == {"map", "many_map", "med_map", "few_map"}


def test_thresholds_are_chosen_by_the_held_out_images(trained):
    workdir, _ = trained
    saved = json.loads((workdir / "thresholds.json").read_text())
    assert saved["source"] == "held-out images"
    assert saved["chosen_by"] == ["all", "own", "own"]  # of the eight blue ones two are held out
    log = (workdir / "console.log").read_text()
    assert "2 of 3 classes have a threshold of their own; 1 that of all classes" in log
    assert "mAP" in log and "the thresholds may be too high" not in log


def test_every_class_over_its_threshold_is_predicted(trained, table, capsys):
    workdir, _ = trained
    names, values = lift_jax.load(workdir).class_names, json.loads((workdir / "thresholds.json").read_text())["values"]
    with np.load(workdir / "predictions.npz") as saved:
        scores = saved["score"]
    paths = [str(table.parent / f"test{i}.png") for i in range(12)]
    rows = {f"test{i}.png": score for i, score in enumerate(scores)}
    expected = {
        path: {name for name, score, value in zip(names, rows[Path(path).name], values, strict=True) if score >= value}
        for path in paths
    }
    assert len({len(each) for each in expected.values()}) > 1
    assert predict.main(["--workdir", str(workdir), "--format", "csv", *paths]) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {line["path"]: set(filter(None, line["labels"].split("|"))) for line in lines} == expected
    assert predict.main(["--workdir", str(workdir), "--format", "jsonl", *paths]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["path"]: {one["class"] for one in each["predictions"]} for each in answers} == expected
    model = lift_jax.load(workdir)
    assert [set(each) for each in model.label_sets(paths)] == list(expected.values())
    probabilities = model.predict(paths)
    wanted = 1 / (1 + np.exp(-np.stack([rows[Path(path).name] for path in paths]).astype(float)))
    np.testing.assert_allclose(probabilities, wanted, rtol=1e-5)
    assert predict.main(["--workdir", str(workdir), *paths]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(paths)


def test_the_mean_over_views_has_thresholds_of_its_own(table, tiny_folder, tmp_path, caplog):
    config = config_of(table, tiny_folder, validation="fraction:0.2", zero_shot=False, num_epochs=1)
    config.tte.enabled, config.tte.expand = True, 4
    run(config, tmp_path)
    saved = json.loads((tmp_path / "thresholds.json").read_text())
    several = saved["tte"]
    assert several["values"] != saved["values"] and several["chosen_by"] == saved["chosen_by"]
    told = json.loads((tmp_path / "eval.json").read_text())["classes"]
    assert [each["threshold"] for each in told["tte"]] == several["values"]
    paths, model = [str(table.parent / f"test{i}.png") for i in range(12)], lift_jax.load(tmp_path)
    with np.load(tmp_path / "predictions.npz") as rows:
        scores = {None: (rows["score"], several), True: (rows["score"], several), False: (rows["plain_score"], saved)}
    for tte, (score, by) in scores.items():
        expected = [set(np.flatnonzero(row >= by["values"])) for row in score[:12]]
        assert [
            {model.class_names.index(name) for name in each} for each in model.label_sets(paths, tte=tte)
        ] == expected
    assert not caplog.records
    del saved["tte"]  # as a run that was evaluated with one view
    (tmp_path / "thresholds.json").write_text(json.dumps(saved))
    expected = [set(np.flatnonzero(row >= saved["values"])) for row in scores[True][0][:12]]
    model = lift_jax.load(tmp_path)
    assert [{model.class_names.index(name) for name in each} for each in model.label_sets(paths)] == expected
    assert "were chosen for one view an image" in caplog.text


@pytest.mark.parametrize(
    "flag", [["--prior", "training"], ["--coverage", "0.9"], ["--unknown", "0.1"], ["--raw"], ["--nearest", "5"]]
)
def test_what_decides_between_classes_is_refused(trained, table, capsys, flag):
    workdir, _ = trained
    assert predict.main(["--workdir", str(workdir), *flag, str(table.parent / "test0.png")]) == 1
    assert f"{flag[0]} is for runs whose images are of one class each" in capsys.readouterr().err


def test_a_calibration_and_a_missing_file_of_thresholds_are_refused(trained, table, tmp_path):
    workdir, _ = trained
    with pytest.raises(UserError, match="A calibration is for runs whose images are of one class each"):
        calibrating.calibrate(workdir)
    with pytest.raises(UserError, match="prior or a list of possible classes"):
        lift_jax.load(workdir).predict([str(table.parent / "test0.png")], prior="training")
    with pytest.raises(UserError, match=r"no thresholds by which classes are decided on"):
        lift_jax.load(workdir, raw=True).label_sets([str(table.parent / "test0.png")])


def test_thresholds_of_another_checkpoint_are_refused(trained, tmp_path):
    workdir, _ = trained
    before = (workdir / "thresholds.json").read_text()
    content = json.loads(before)
    content["owner"]["trained_hash"] = "0" * 64
    try:
        (workdir / "thresholds.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match="thresholds of another run or checkpoint; evaluate the run again"):
            lift_jax.load(workdir)
    finally:
        (workdir / "thresholds.json").write_text(before)


def test_the_report_tells_of_average_precision(trained):
    workdir, results = trained
    page = (workdir / "report.html").read_text()
    assert f"The mean average precision on 40 test images is {results['plain']['map']:.1f} %" in page
    assert "Average precision of each class" in page and "those of all classes" in page
    before = page
    report.write(workdir)
    assert (workdir / "report.html").read_text() == before
    rows = report.compare([workdir], workdir / "comparison.html")
    assert "mAP" in rows and "macro F1" in rows


def test_a_run_that_goes_on_from_an_earlier_checkpoint_ends_the_same_to_the_bit(table, tiny_folder, tmp_path):
    config = config_of(table, tiny_folder, num_epochs=3, zero_shot=False, keep=5)
    whole = run(config, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    newest, *_ = sorted((tmp_path / "again" / "checkpoints").iterdir(), key=lambda each: -int(each.name))
    shutil.rmtree(newest)
    assert newest.name == "15"
    assert run(config, tmp_path / "again") == whole
    assert "Going on from the checkpoint of step 10 of 15" in (tmp_path / "again" / "console.log").read_text()
    assert "the thresholds may be too high" in (tmp_path / "again" / "console.log").read_text()
    for name in "eval.json", "thresholds.json":
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_every_method_and_loss_in_a_sweep(table, tiny_folder, tmp_path, capsys):
    config = config_of(table, tiny_folder, num_epochs=2)
    config.sweep = "method=zero_shot,head_only,lift,full_tuning loss=LA,BCE,DB"
    sweep.run(config, tmp_path)
    lines = capsys.readouterr().out
    assert "mAP" in lines
    results = [json.loads(file.read_text())["plain"] for file in tmp_path.glob("*/eval.json")]
    assert len(results) == 12 and all(0 < each["map"] <= 100 for each in results)
