"""The analysis of features."""

import json
from pathlib import Path

import numpy as np
import pytest

from lift_jax import analyze, features
from lift_jax import config as lift_config
from lift_jax.errors import UserError
from lift_jax.run import run


def digits_config(folder: str, **changes):
    config = lift_config.default()
    config.update(backbone=folder, num_epochs=1, batch_size=128, lr=0.05, report=False, **changes)
    config.data.imbalance = 50
    config.tte.enabled = False
    return config


@pytest.fixture(scope="module")
def runs(tiny_folder, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("analysed")
    for method in "lift", "full_tuning":
        run(digits_config(tiny_folder, method=method), root / method)
    return root


def test_the_analysis_of_two_runs_and_their_sweep(runs):
    lift, full = runs / "lift", runs / "full_tuning"
    assert analyze.main(["--workdir", str(lift), "--beside", str(full), "--sweep", str(runs), "--classes=5"]) == 0
    text = (lift / "analysis.html").read_text(encoding="utf-8")
    for word in "before tuning", "full_tuning", "5 classes", "share of tuned parameters":
        assert word in text
    assert {path.name for path in (lift / "analysis").iterdir()} == {"similarity.png", "distances.png", "share.png"}


def test_other_classes(runs, tmp_path, capsys):
    import shutil

    shutil.copytree(runs / "lift", tmp_path / "run")
    for name in "checkpoints", "run.json":
        place = tmp_path / "run" / name
        if place.is_dir():
            shutil.rmtree(place)
    known = json.loads((runs / "lift" / "run.json").read_text())
    known["class_names"] = [*known["class_names"][:9], "another"]
    (tmp_path / "run" / "run.json").write_text(json.dumps(known))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(config | {"method": "zero_shot"}))
    assert analyze.main(["--workdir", str(runs / "lift"), "--beside", str(tmp_path / "run")]) == 1
    assert "other classes" in capsys.readouterr().err


def test_no_run(tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        analyze.analyze(tmp_path)


class TestGeometry:
    def test_by_hand(self):
        train = np.array([[1.0, 0], [0, 3], [1, 0], [1, 0]])
        test = np.array([[2.0, 0], [0, 1], [0, -1]])
        found = features.geometry(train, np.array([0, 0, 1, 1]), test, np.array([0, 1, 1]), np.array([0]))
        np.testing.assert_allclose(found.similarity, [[1]])
        np.testing.assert_allclose(found.train, [1, 1])  # each is compared with the other
        np.testing.assert_allclose(found.test, [1 - np.sqrt(0.5)])

    def test_two_classes(self):
        test = np.array([[1.0, 0], [0, 1]])
        labels = np.array([0, 1])
        train = np.repeat(test, 2, axis=0)
        found = features.geometry(train, np.repeat(labels, 2), test, labels, labels)
        np.testing.assert_allclose(found.similarity, np.eye(2))
        assert found.between == 0
        np.testing.assert_allclose(np.concatenate([found.train, found.test]), 0, atol=1e-12)

    def test_training_and_test_images_of_one_distribution_are_equally_far(self):
        generator = np.random.default_rng(0)
        classes = np.arange(300)
        centres = generator.normal(size=(300, 32))
        labels = np.repeat(classes, 4)
        train, test = (centres[labels] + generator.normal(size=(1200, 32)) for _ in range(2))
        found = features.geometry(train, labels, test, labels, classes)
        # The mean of three images is a little farther than that of four.
        assert abs(found.train.mean() - found.test.mean()) < 0.06

    def test_length_does_not_matter(self):
        generator = np.random.default_rng(1)
        train, test = generator.normal(size=(2, 12, 5))
        labels = np.repeat(np.arange(3), 4)
        scale = generator.uniform(0.5, 2, (12, 1))
        one = features.geometry(train, labels, test, labels, np.arange(3))
        two = features.geometry(train * scale, labels, test * scale, labels, np.arange(3))
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
