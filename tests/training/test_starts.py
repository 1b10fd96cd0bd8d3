"""Where the head starts, as a run does it; and a sweep over starts and seeds."""

import dataclasses
import json
from pathlib import Path

import jax
import ml_collections
import numpy as np
import pytest
import safetensors.numpy
from etils import epath
from small_runs import Built, build

from lift_jax import config as lift_config
from lift_jax import sweep, tuners
from lift_jax.data import contents
from lift_jax.errors import UserError
from lift_jax.run import check
from lift_jax.training.head_start import start_head
from lift_jax.workdir.logs import Logs

QUIET = Logs(None, enabled=False)


def digits(folder: str, **changes) -> ml_collections.ConfigDict:
    """Long-tailed digits, the tiny CLIP, one epoch."""
    config = lift_config.default()
    config.update(backbone=folder, num_epochs=1, log_every=1, report=False, zero_shot=False, **changes)
    config.data.imbalance = 50
    config.tte.enabled = False
    return config


@pytest.fixture(scope="module")
def built(tiny_folder) -> Built:
    return build(digits(tiny_folder))


def started(built: Built, workdir, rules: str = "lift", **changes) -> np.ndarray:
    """The head's kernel after a start."""
    config = ml_collections.ConfigDict(built.config.to_dict())
    config.update(changes)
    config.tuner.rules = rules
    frozen = ml_collections.FrozenConfigDict(config)
    network = dataclasses.replace(built.network, method=tuners.resolve(config.method, frozen.tuner))
    data = dataclasses.replace(built.data, config=frozen)
    parts = start_head(frozen, network, built.backbone, data, workdir, QUIET)
    return np.asarray(parts.head["head"]["kernel"])


def files(store) -> list[Path]:
    return sorted(file for file in store.glob("*/*.safetensors"))


def kept(store) -> dict[bytes, np.ndarray]:
    """The features in a store, by the digests of the images."""
    arrays = [safetensors.numpy.load_file(file) for file in files(store)]
    return {row.tobytes(): feature for a in arrays for row, feature in zip(a["content"], a["features"], strict=True)}


@pytest.mark.parametrize(
    "start", ["random", "text", "class_mean", "1_shot", "10_shot", "100_shot", "linear_probe", "gda"]
)
def test_every_start_gives_unit_class_vectors(built, tmp_path, start):
    kernel = started(built, tmp_path, head_init=start)
    assert kernel.shape == (24, 10)
    np.testing.assert_allclose(np.linalg.norm(kernel, axis=0), 1, rtol=1e-5)


def test_class_means_are_those_of_the_backbones_features(built, tmp_path):
    kernel = started(built, tmp_path, head_init="class_mean")
    batch = next(iter(built.data.features_loader(16, built.data.train)))
    views = jax.jit(built.network.input.views)(
        {key: batch[key] for key in ("image", "corners", "transposed", "flipped")}
    )
    features = jax.jit(built.backbone.vision.apply)({"params": built.backbone.params["vision"]}, views)
    by_digest = kept(tmp_path / "features")
    digests = contents.digests(built.data.train, epath.Path(tmp_path / "none"))
    everything = np.stack([by_digest[digest] for digest in digests if digest is not None])
    np.testing.assert_allclose(everything[batch["index"]], features, atol=1e-5)
    means = np.stack([everything[built.data.train.labels == c].mean(axis=0) for c in range(10)])
    np.testing.assert_allclose(kernel, (means / np.linalg.norm(means, axis=1, keepdims=True)).T, atol=1e-6)


def test_features_are_kept_and_only_those_of_new_images_are_computed(built, tmp_path):
    store = tmp_path / "features"

    def rows(**changes) -> int:
        started(built, tmp_path, **changes)
        return len(kept(store))

    counts = built.data.train.class_counts
    assert rows(head_init="3_shot") == np.minimum(counts, 3).sum()
    assert rows(head_init="linear_probe", rules="lift_plus") == np.minimum(counts, 100).sum()
    assert rows(head_init="class_mean") == counts.sum()
    before = files(store)
    assert rows(head_init="3_shot") == rows(head_init="linear_probe") == counts.sum()
    assert files(store) == before

    first = started(built, tmp_path, head_init="2_shot")
    for file in before:
        arrays = safetensors.numpy.load_file(file)
        reversed_rows = np.ascontiguousarray(arrays["features"][:, ::-1])
        safetensors.numpy.save_file({**arrays, "features": reversed_rows}, file)
    np.testing.assert_array_equal(started(built, tmp_path, head_init="2_shot"), first[::-1])
    assert not np.array_equal(started(built, tmp_path, head_init="2_shot", seed=1), first[::-1])


def test_mistakes_are_named(built, tiny_folder, tiny_vit, tmp_path):
    with pytest.raises(UserError, match=r"head_init is 'mean'; write one of text, class_mean, .*10_shot"):
        started(built, tmp_path, head_init="mean")
    with pytest.raises(UserError, match=r"LADE, whose regulariser takes the whole batch.*accumulate is 2"):
        build(digits(tiny_folder, loss="LADE", accumulate=2))
    with pytest.raises(UserError, match="no text tower"):
        started(dataclasses.replace(built, backbone=tiny_vit), tmp_path, head_init="text")
    with pytest.raises(UserError, match=r"head_scale is 30\.0, but the head linear has no scale"):
        check(digits(tiny_folder, head="linear", head_scale=30.0))


def test_a_sweep_over_starts_and_seeds(tiny_folder, tmp_path, capsys):
    config = digits(tiny_folder, sweep="method=head_only,coop head_init=5_shot seed=0,1")
    sweep.run(config, tmp_path)
    table = capsys.readouterr().out.splitlines()[-4:]
    for line, method in zip(table[1:3], ("head_only", "coop"), strict=True):
        folders = [tmp_path / f"{method},head_init=5_shot,seed={seed}" for seed in (0, 1)]
        accuracies = [json.loads((f / "eval.json").read_text())["plain"]["accuracy"] for f in folders]
        assert f"{np.mean(accuracies):.1f} ± {np.std(accuracies, ddof=1):.1f}" in line
    assert table[3] == "± is the standard deviation over the runs of a line."

    # What is done is not done again.
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    sweep.run(config, tmp_path)
    assert capsys.readouterr().out.splitlines() == table
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before

    # A result of another config is not taken for one of this; nothing runs before the last is seen to be valid.
    config.lr = 0.5
    with pytest.raises(UserError, match=r"head_only,head_init=5_shot,seed=0 was done with lr 0\.01 instead of 0\.5"):
        sweep.run(config, tmp_path)
    config.sweep = "method=head_only,bitfit"
    with pytest.raises(UserError, match="'bitfit' is not known"):
        sweep.run(config, tmp_path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before
