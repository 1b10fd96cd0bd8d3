"""Runs of an older version give the probabilities that they gave then (tests/inference/older_runs/README.md)."""

import json
import tarfile
from pathlib import Path

import ml_collections
import numpy as np
import pytest

import lift_jax
from lift_jax.run import run
from lift_jax.workdir import checkpoints, config_file

PACKED = Path(__file__).parent / "older_runs" / "runs.tar.xz"
FAMILIES = (
    "adapter", "full_tuning", "head_only", "lift", "lift_plus", "lora", "mask", "ssf", "text", "vpt_deep", "zero_shot",
)  # fmt: skip
OFTEN = {"head_only", "lift", "lora", "text", "zero_shot"}
"""Those that are tried in each run of the tests; the others take as long, and are slow together."""

TOLERANCE = 4e-6  # of a probability: float32 sums in another order, times the scale of the logits

pytestmark = pytest.mark.usefixtures("optimised")


@pytest.fixture(scope="module")
def older(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(PACKED) as packed:
        packed.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def expected(older) -> dict[str, np.ndarray]:
    with np.load(older / "expected.npz") as saved:
        return dict(saved)


def test_there_is_a_run_of_every_family(older, expected):
    assert sorted(folder.name for folder in (older / "runs").iterdir()) == list(FAMILIES)
    assert {name.partition("/")[0] for name in expected} == {"images", *FAMILIES}


@pytest.mark.parametrize(
    "family", [each if each in OFTEN else pytest.param(each, marks=pytest.mark.slow) for each in FAMILIES]
)
def test_the_probabilities_are_those_of_then(older, expected, family):
    model, images = lift_jax.load(older / "runs" / family), expected["images"]
    for prior in "uniform", "training":
        ours = model.predict(images, prior=prior)
        np.testing.assert_allclose(ours, expected[f"{family}/{prior}"], rtol=0, atol=TOLERANCE)
    plain = model.predict(images, tte=False)
    np.testing.assert_allclose(plain, expected[f"{family}/plain"], rtol=0, atol=TOLERANCE)


def test_an_exported_file_loads(older, expected):
    ours = lift_jax.load(older / "lift.safetensors").predict(expected["images"])
    np.testing.assert_allclose(ours, expected["lift/uniform"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("family", ["lift", "text"])
def test_evaluating_again_gives_the_results_of_then(older, family):
    folder = older / "runs" / family
    then = json.loads((folder / "eval.json").read_text())
    now = run(_config(folder), folder, mode="eval")
    for section, values in then.items():
        for key in "accuracy", "mean_acc":
            # One of 600 test images may change sides where two classes are equally likely.
            assert now[section][key] == pytest.approx(values[key], abs=0.2)


def test_training_goes_on(older):
    folder = older / "runs" / "head_only"
    config = _config(folder)
    config.num_epochs = 3
    last = checkpoints.steps(folder)[-1]
    run(config, folder)
    assert checkpoints.steps(folder)[-1] == last * 3 // 2


def _config(folder: Path) -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(config_file.read(folder).to_dict())
