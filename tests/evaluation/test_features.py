"""Features that are kept: the same to the last bit as those that are computed, in every place that takes them."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from etils import epath
from PIL import Image
from small_runs import Built, build, small_config

import lift_jax
from lift_jax.classifier import untuned
from lift_jax.data import Dataset
from lift_jax.errors import UserError
from lift_jax.evaluation.features import Features, Kept, frozen_features
from lift_jax.run import run
from lift_jax.run.store import fill
from lift_jax.workdir.logs import Logs

QUIET = Logs(None, enabled=False)


@pytest.fixture(scope="module")
def built(tiny_folder) -> Built:
    return build(small_config(tiny_folder, method="head_only"))


def features(built: Built, images: Dataset, kept: Kept | None) -> Features:
    tower = untuned.of_start(built.config, built.network, built.backbone)
    return frozen_features(tower, images, functools.partial(built.data.plain_loader, 16), QUIET, "features", kept)


def check_equal(found: Features, expected: Features) -> None:
    for own, other in zip(found, expected, strict=True):
        assert own.dtype == other.dtype
        np.testing.assert_array_equal(own, other)


def files(folder) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in Path(folder).rglob("*") if file.is_file()}


def test_kept_features_are_those_that_are_computed_to_the_last_bit(built, tmp_path):
    kept, images = Kept(epath.Path(tmp_path), "float32"), built.data.test
    expected = features(built, images, None)
    assert expected.index.tolist() == list(range(len(images)))
    # Some of them first, in other batches than all; then the rest; then none.
    some = np.arange(5, len(images), 3)
    check_equal(features(built, images.subset(some), kept)._replace(index=some.astype(np.int32)), Features(
        expected.rows[some], expected.labels[some], some.astype(np.int32)))  # fmt: skip
    check_equal(features(built, images, kept), expected)
    before = files(tmp_path)
    check_equal(features(built, images, kept), expected)
    assert files(tmp_path) == before


def test_half_precision_is_close(built, tmp_path):
    images = built.data.test.subset(np.arange(50))
    expected = features(built, images, None).rows
    found = [features(built, images, Kept(epath.Path(tmp_path), "float16")).rows for _ in range(2)]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], expected.astype(np.float16).astype(np.float32))


def test_other_weights_and_other_pixels_are_other_features(built, tmp_path, tiny_vit):
    kept, images = Kept(epath.Path(tmp_path), "float32"), built.data.test.subset(np.arange(10))
    features(built, images, kept)
    before = files(tmp_path)
    tower = untuned.of_start(built.config, built.network, built.backbone)
    for other in (
        (tower._replace(settings={**tower.settings, "backbone": "another"}), built.data.plain_loader),
        (tower, built.data.features_loader),
    ):
        frozen_features(other[0], images, functools.partial(other[1], 16), QUIET, "features", kept)
        after = files(tmp_path)
        assert len(after) == len(before) + 2 and before.items() <= after.items()
        before = after


def config_of(folder: str, **changes):
    config = small_config(folder, method="head_only", head_init="5_shot", validation="balanced:2", **changes)
    config.update(zero_shot=True, num_epochs=1)
    config.tte.enabled = False
    return config


def test_a_run_with_a_store_is_the_run_without_one(tiny_folder, tmp_path):
    expected = run(config_of(tiny_folder), tmp_path / "without")
    with_store = config_of(tiny_folder, features_dir=str(tmp_path / "store"))
    assert fill(with_store) == epath.Path(tmp_path / "store")
    before = files(tmp_path / "store")
    assert run(with_store, tmp_path / "with") == expected
    assert files(tmp_path / "store") == before
    assert not (tmp_path / "with" / "features").exists()
    runs = [tmp_path / name for name in ("without", "with")]
    zero_shot = [json.loads((each / "run.json").read_text())["zero_shot"] for each in runs]
    assert zero_shot[0] == zero_shot[1]
    with np.load(runs[0] / "predictions.npz") as own, np.load(runs[1] / "predictions.npz") as other:
        for name in own:
            np.testing.assert_array_equal(own[name], other[name])

    model = lift_jax.load(runs[1])
    images = [Image.fromarray(model_input) for model_input in np.eye(20, dtype=np.uint8)[:, :, None].repeat(3, 2)[None]]
    found = model.features(images)
    assert found.shape == (1, 24) and found.dtype == np.float32
    np.testing.assert_array_equal(found, model.features(images, tuned=False))  # its image tower is as it was
    with pytest.raises(UserError, match=r"nowhere\.png cannot be read"):
        model.features("nowhere.png")


def test_without_a_place_nothing_is_computed(tiny_folder, monkeypatch):
    monkeypatch.delenv("LIFT_JAX_CACHE", raising=False)
    with pytest.raises(
        UserError, match=r"no place to keep features; set the variable LIFT_JAX_CACHE to a folder, or .*features_dir="
    ):
        fill(config_of(tiny_folder))
