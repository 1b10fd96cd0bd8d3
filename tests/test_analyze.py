"""The analysis of features."""

import json
from pathlib import Path

import numpy as np
import pytest

from lift_jax import analyze
from lift_jax import config as lift_config
from lift_jax.data.dataset import ArraySource, Dataset
from lift_jax.errors import UserError
from lift_jax.evaluation import geometry
from lift_jax.run import run


def digits_config(folder: str, **changes):
    config = lift_config.default()
    config.update(backbone=folder, num_epochs=1, batch_size=128, lr=0.05, report=False, zero_shot=False, **changes)
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
    for word in "before tuning", "full_tuning", "5 in the heat maps", "share of tuned parameters":
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


def test_similarity_is_that_of_the_mean_features():
    rows = np.array([[2.0, 0], [0, 1], [0, 3], [-1, 0]])
    found = geometry.similarity(rows, np.array([0, 0, 1, 2]), np.array([0, 1, 2]))
    # The means are (1, 1/2), (0, 3) and (-1, 0): longer features weigh more.
    expected = [[1, 1 / np.sqrt(5), -2 / np.sqrt(5)], [1 / np.sqrt(5), 1, 0], [-2 / np.sqrt(5), 0, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_distances_are_to_the_mean_of_the_own_class():
    rows = np.array([[1.0, 0], [0, 1], [5, 5], [0, 3]])
    found = geometry.distances(rows, np.array([0, 0, 1, 2]), np.array([0, 2]))
    np.testing.assert_allclose(found, [1 - np.sqrt(0.5), 1 - np.sqrt(0.5), 0], atol=1e-12)


def labelled(labels: list[int], num_classes: int) -> Dataset:
    images = np.zeros((len(labels), 2, 2, 3), np.uint8)
    return Dataset("s", ArraySource(images), np.array(labels, np.int32), tuple(map(str, range(num_classes))))


def test_the_tail_has_what_distances_need():
    train, test = labelled([0, 0, 0, 1, 1, 2, 3, 3], 4), labelled([0, 1, 2], 4)
    np.testing.assert_array_equal(geometry.tail(train, test, np.array([0, 2, 2, 2])), [1])
    np.testing.assert_array_equal(geometry.tail(train, test, np.array([0, 1, 2, 2])), [1])  # no rarer one will do
    assert geometry.tail(train, labelled([], 4), np.zeros(4, int)).size == 0


def test_the_heat_map_goes_from_the_frequent_to_the_rare():
    train, test = labelled([0, 1, 1, 2, 2, 2, 3], 5), labelled([0, 1, 2, 4], 5)
    np.testing.assert_array_equal(geometry.compared(train, test, 10), [2, 1, 0, 4])
    np.testing.assert_array_equal(geometry.compared(train, test, 2), [2, 4])
