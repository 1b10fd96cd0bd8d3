"""Several runs at once with held-out images, which are read once for all that hold out the same ones."""

import collections
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from etils import epath
from small_runs import small_config

from lift_jax import config as lift_config
from lift_jax.data.run_data import drawn_by
from lift_jax.run import Loaded, run, run_together
from lift_jax.workdir import checkpoints

EPOCHS, STEPS, HELD_OUT = 4, 3, 35


def config_of(folder: str, **changes):
    """A head whose patience ends after an epoch without a gain; of the digits 35 images are held out."""
    config = small_config(folder, method="head_only", validation="balanced:5", patience=1)
    config.tte.enabled = False
    config.update(num_epochs=EPOCHS, checkpoint_every=STEPS, keep=EPOCHS, **changes)
    return config


class Counted:
    """The images of a data set, each of which is counted when it is read."""

    def __init__(self, source: Any, reads: collections.Counter):
        self._source, self._reads = source, reads

    def __getitem__(self, index: int) -> Any:
        self._reads[index] += 1
        return self._source[index]

    def __len__(self) -> int:
        return len(self._source)


class CountingLoaded(Loaded):
    """Loads data of which it counts how often the held-out images of each seed are read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = collections.defaultdict(collections.Counter)

    def data(self, config):
        found = super().data(config)
        assert found.held_out is not None
        images = found.held_out.validation
        counted = dataclasses.replace(images, source=Counted(images.source, self.reads[config.seed]))
        return dataclasses.replace(found, held_out=dataclasses.replace(found.held_out, validation=counted))


@pytest.fixture(scope="module")
def configs(tiny_folder) -> dict:
    """Two runs that share held-out images, of which one ends after two epochs, and one that holds out others."""
    return {
        "moves": config_of(tiny_folder, lr=0.02, seed=0),
        "rests": config_of(tiny_folder, lr=0.0, seed=0),
        "other": config_of(tiny_folder, lr=0.02, seed=1),
    }


@pytest.fixture(scope="module")
def group(configs, tmp_path_factory) -> tuple[Path, CountingLoaded]:
    root, loaded = tmp_path_factory.mktemp("group"), CountingLoaded()
    run_together({epath.Path(root / name): config for name, config in configs.items()}, loaded)
    return root, loaded


def validation_lines(workdir: Path) -> list[dict]:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == "validation"]


@pytest.mark.parametrize("name", ["moves", "rests"])
def test_each_member_is_judged_as_its_lone_run(configs, group, tmp_path, name):
    root, _ = group
    run(configs[name], tmp_path / name)
    assert validation_lines(root / name) == validation_lines(tmp_path / name)
    assert checkpoints.steps(root / name) == checkpoints.steps(tmp_path / name)
    chosen = [checkpoints.chosen(folder / name) for folder in (root, tmp_path)]
    assert chosen[0] is not None and chosen[1] is not None and chosen[0].name == chosen[1].name
    member, alone = [json.loads((folder / name / "eval.json").read_text()) for folder in (root, tmp_path)]
    assert member["validation"] == pytest.approx(alone["validation"], nan_ok=True)


def test_held_out_images_are_read_once_for_all_members_that_hold_them_out(group):
    root, loaded = group
    epochs = {name: len(validation_lines(root / name)) for name in ("moves", "rests", "other")}
    assert epochs["rests"] == 2 < epochs["moves"]
    for seed, longest in (0, "moves"), (1, "other"):
        reads = loaded.reads[seed]
        assert len(reads) == HELD_OUT
        assert set(reads.values()) == {epochs[longest] + 1}  # after each epoch, and at the end


def test_each_log_tells_of_its_own_evaluations_alone(group):
    root, _ = group
    for name in "moves", "rests", "other":
        log = (root / name / "console.log").read_text()
        assert log.count("evaluation, validation: 35/35 images in") == len(validation_lines(root / name)) + 1


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, None),
        ({"validation": "balanced:5"}, 7),
        ({"validation": "fraction:0.1"}, 7),
        ({"validation": "held_out.txt"}, None),
        ({"data.val_fraction": 0.1}, 7),
        ({"data.cap": 5}, 7),
    ],
)
def test_the_seed_matters_where_it_draws_images(changes, expected):
    config = lift_config.default()
    config.seed = 7
    config.update_from_flattened_dict(changes)
    assert drawn_by(lift_config.resolve(config)) == expected
