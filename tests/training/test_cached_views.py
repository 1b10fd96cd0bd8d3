"""Training on the kept features of fixed crops."""

import functools
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from small_runs import Built, build, small_config

from lift_jax import config as lift_config
from lift_jax.cluster import placement
from lift_jax.data import TrainLoader
from lift_jax.errors import UserError
from lift_jax.run import cached_views, check, run
from lift_jax.training.feeding import Feed
from lift_jax.workdir import checkpoints
from lift_jax.workdir.logs import Logs

QUIET = Logs(None, enabled=False)


@pytest.fixture(scope="module")
def built(tiny_folder) -> Built:
    return build(small_config(tiny_folder, method="head_only", cache_views=2))


@pytest.fixture(scope="module")
def loader(built, tmp_path_factory) -> TrainLoader:
    workdir = tmp_path_factory.mktemp("run")
    made = cached_views.loader(built.data, built.network, built.backbone.hash, workdir, QUIET)
    assert list((workdir / "features").glob("*/*.safetensors"))
    return made


def test_the_features_are_those_of_the_backbone_on_the_crop(built, loader):
    crops, count = built.data.fixed_crops(16), len(built.data.train)
    batch = next(loader)
    index = batch["index"][batch["mask"]]
    found = []
    for crop in range(2):
        images = jnp.stack([np.asarray(crops.source[crop * count + i]) for i in index.tolist()])
        pixels = built.network.input.normalize(images)
        apply = functools.partial(built.network.classifier.apply, method="features")
        expected = np.asarray(apply({"params": built.network.params}, pixels))
        found.append(np.allclose(batch["features"][batch["mask"]], expected, rtol=1e-5, atol=1e-5))
    assert sorted(found) == [False, True]
    loader.seek(0)


def test_a_step_does_not_go_through_the_backbone(built, loader):
    batch, _ = Feed(loader, built.mesh).take()
    loader.seek(0)
    nowhere = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), built.network.parts.frozen)
    numbers = built.objective.hyperparameters.placed(built.mesh)
    key = placement.replicated_key(0, built.mesh)
    step = jax.jit(built.step(accumulate=0, mirrored=True))
    with_backbone, _ = step(built.state(), built.network.parts.frozen, batch, key, numbers)
    without, metrics = step(built.state(), nowhere, batch, key, numbers)
    jax.tree.map(np.testing.assert_array_equal, with_backbone.trainable, without.trainable)
    assert np.isfinite(metrics.loss) and metrics.examples == 128


def test_a_run_goes_on_to_the_same_end_without_the_features_that_it_kept(tiny_folder, tmp_path):
    config = small_config(tiny_folder, method="head_only", cache_views=2)
    config.tte.enabled = False
    whole = run(config, tmp_path / "whole")
    other = shutil.copytree(tmp_path / "whole", tmp_path / "other")
    _, last = steps = sorted(checkpoints.steps(epath.Path(other)))
    assert steps == [3, 6]
    shutil.rmtree(other / "checkpoints" / str(last))
    shutil.rmtree(other / "features")
    assert run(config, other) == whole
    first, second = (np.load(tmp_path / name / "predictions.npz") for name in ("whole", "other"))
    for column in first.files:
        np.testing.assert_array_equal(first[column], second[column])


@pytest.mark.parametrize("method", ["lift", "full_tuning", "lora+ln_tuning"])
def test_a_method_that_tunes_the_image_tower_is_refused(method):
    config = lift_config.default()
    config.update(method=method, cache_views=4)
    words = rf"config\.cache_views is 4.*config\.method={re.escape(method)} tunes the image tower.*head_only"
    with pytest.raises(UserError, match=words):
        check(config)
    config.cache_views = 0
    assert check(config).cache_views == 0
