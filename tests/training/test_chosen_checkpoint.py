"""Runs with held-out images: the best checkpoint on them is the run's, and the test set has no say in it."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import small_config

import lift_jax
from lift_jax import report
from lift_jax.errors import UserError
from lift_jax.run import Loaded, run
from lift_jax.workdir import checkpoints, metrics_file

EPOCHS, STEPS = 4, 3


def config_of(folder: str, **changes):
    """Of the digits' ten classes, seven have more than five of the 314 images and spare five each."""
    config = small_config(folder, method="head_only", validation="balanced:5", keep=EPOCHS)
    config.tte.enabled = False
    config.update(num_epochs=EPOCHS, lr=3.0)
    config.update(**changes)
    return config


def curve(workdir: Path) -> dict[int, float]:
    lines, _ = metrics_file.parse((workdir / "metrics.jsonl").read_bytes())
    return {line["step"]: line["mean_acc"] for _, line in lines if line["split"] == "validation"}


def chosen(workdir: Path) -> int:
    folder = checkpoints.chosen(workdir)
    assert folder is not None
    return int(folder.name)


@pytest.fixture(scope="module")
def trained(tiny_folder, tmp_path_factory) -> tuple[Path, Any]:
    workdir = tmp_path_factory.mktemp("chosen") / "run"
    return workdir, run(config_of(tiny_folder), workdir)


def test_the_best_epoch_is_chosen_and_evaluated(trained, tiny_folder, tmp_path):
    workdir, results = trained
    scores = curve(workdir)
    assert list(scores) == [STEPS * epoch for epoch in range(1, EPOCHS + 1)]
    best = min(step for step, score in scores.items() if score == max(scores.values()))
    assert chosen(workdir) == best < EPOCHS * STEPS  # so that it is not the newest
    assert list(results) == ["plain", "validation"]
    assert results["validation"]["mean_acc"] == scores[best]
    assert results["validation"]["num_examples"] == 35
    assert run(config_of(tiny_folder), workdir, mode="eval") == results
    assert curve(workdir) == scores
    named = run(config_of(tiny_folder), tmp_path / "named", mode="eval", checkpoint=workdir / "checkpoints" / str(best))
    assert named == results


def test_the_model_that_is_loaded_is_the_chosen_one(trained):
    from lift_jax.data.digits import load_digits

    workdir, _ = trained
    _, test = load_digits(50)
    images = np.stack([test.source[index] for index in range(len(test))])
    probabilities = lift_jax.load(workdir).predict(images)
    with np.load(workdir / "predictions.npz") as written:
        np.testing.assert_array_equal(probabilities.argmax(axis=1), written["prediction"])
        np.testing.assert_array_equal(probabilities.max(axis=1), written["confidence"])


def test_record_and_report_tell_of_the_held_out_images(trained):
    workdir, results = trained
    record = json.loads((workdir / "run.json").read_text())
    assert sum(record["train_counts"]) == 314
    assert record["validation_counts"] == [5 if count > 5 else 0 for count in record["train_counts"]]
    log = (workdir / "console.log").read_text()
    assert "Held out for validation: 35 training images of 7 classes (5 a class); 3 classes have none and stay" in log
    page = report.write(workdir).read_text()
    assert "held-out images" in page and "35 of these were held out" in page
    assert f"{results['validation']['mean_acc']:.1f}" in page


class OtherLabels(Loaded):
    """The data of a run, but the test images have other labels."""

    def data(self, config):
        found = super().data(config)
        labels = ((found.test.labels + 1) % found.test.num_classes).astype(np.int32)
        return dataclasses.replace(found, test=dataclasses.replace(found.test, labels=labels))


def test_the_test_set_chooses_nothing(trained, tiny_folder, tmp_path):
    workdir, results = trained
    other = run(config_of(tiny_folder), tmp_path / "run", loaded=OtherLabels())
    assert other["plain"] != results["plain"]
    assert other["validation"] == results["validation"]
    assert curve(tmp_path / "run") == curve(workdir)
    assert chosen(tmp_path / "run") == chosen(workdir)


def test_a_run_that_ended_before_its_checkpoint_was_written_goes_on_to_the_same_end(trained, tiny_folder, tmp_path):
    """metrics.jsonl tells of the next evaluations already, as after a kill before their checkpoints were there."""
    whole, results = trained
    workdir = tmp_path / "run"
    shutil.copytree(whole, workdir)
    for step in checkpoints.steps(workdir):
        if step > STEPS:
            shutil.rmtree(workdir / "checkpoints" / str(step))
    expected = (whole / "eval.json").read_bytes()
    (workdir / "eval.json").unlink()
    assert run(config_of(tiny_folder), workdir) == results
    assert (workdir / "eval.json").read_bytes() == expected
    assert (workdir / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert chosen(workdir) == chosen(whole)


def test_patience_ends_the_training_and_equal_scores_choose_the_earliest(tiny_folder, tmp_path):
    config = config_of(tiny_folder, lr=0.0, patience=2, num_epochs=9, keep=1)
    results = run(config, tmp_path / "run")
    assert checkpoints.steps(tmp_path / "run") == [STEPS, 3 * STEPS]
    assert chosen(tmp_path / "run") == STEPS
    assert "The training ends here: 2 epochs have brought no gain" in (tmp_path / "run" / "console.log").read_text()

    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    assert run(config, tmp_path / "run") == results
    assert checkpoints.steps(tmp_path / "run") == [STEPS, 3 * STEPS]
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before


def test_other_held_out_images_are_refused(trained, tiny_folder, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(trained[0], workdir)
    with pytest.raises(UserError, match=r'config\.validation="balanced:5" \(here "balanced:4"\); leave that out, or'):
        run(config_of(tiny_folder, validation="balanced:4"), workdir)
    record = json.loads((workdir / "run.json").read_text())
    record["validation_counts"][0] = 4
    (workdir / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"other training images were held out than config\.validation holds out here"):
        run(config_of(tiny_folder), workdir)


@pytest.mark.parametrize(
    "scores, among, expected",
    [
        ([(3, 50.0), (6, 70.0), (9, 70.0)], {3, 6, 9}, 6),
        ([(3, 50.0), (6, 70.0), (9, 70.0)], {3, 9}, 9),
        ([(3, 0.0)], {3}, 3),
        ([(3, 50.0)], {6}, None),
        ([], {6}, None),
    ],
)
def test_the_best_of_the_scores(scores, among, expected):
    assert checkpoints.best(scores, among) == expected
