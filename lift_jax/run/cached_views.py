"""Training on features of fixed crops, which a backbone that is not tuned gives once: `config.cache_views`."""

import functools
from pathlib import Path

import ml_collections
import numpy as np

from lift_jax import tuners
from lift_jax.classifier import untuned
from lift_jax.classifier.network import Network
from lift_jax.data import RunData, TrainLoader
from lift_jax.errors import UserError
from lift_jax.evaluation.features import frozen_features, place_of
from lift_jax.training.head_start import STORE
from lift_jax.workdir.logs import Logs


def check(config: ml_collections.FrozenConfigDict) -> None:
    """Refuses a method that tunes the image tower, whose features change in the training."""
    if config.cache_views and tuners.resolve(config.method, config.tuner).image:
        raise UserError(
            f"config.cache_views is {config.cache_views}, which takes features of the images that do not change, but "
            f"config.method={config.method} tunes the image tower; write config.method=head_only, or leave "
            "config.cache_views out."
        )


def loader(data: RunData, network: Network, backbone_hash: str, workdir: Path, logs: Logs) -> TrainLoader:
    """Makes the loader of a run's training batches: of features, which are computed first where they are not kept.

    Args:
        data: the images of the run.
        network: its network, placed on the mesh.
        backbone_hash: the hash of the backbone's weights.
        workdir: the run's folder, which keeps the features unless the config names a place for them.
        logs: for the progress bar.

    Raises:
        UserError: if an image cannot be read, or the features cannot be written.
    """
    config, side = data.config, network.input.resolution
    tower = untuned.of_frozen(config, network, backbone_hash)
    assert tower is not None  # by `check`
    crops, kept = data.fixed_crops(side), place_of(config, workdir / STORE)
    make_loader = functools.partial(data.features_loader, side)
    features = frozen_features(tower, crops, make_loader, logs, f"features, {crops.name}", kept)
    rows = np.zeros((len(crops), features.rows.shape[1]), np.float32)
    found = np.zeros(len(crops), bool)
    rows[features.index], found[features.index] = features.rows, True
    count = config.cache_views
    logs.info(f"Each image is trained on by the kept features of {count} of its crops (config.cache_views).")
    shape = count, len(data.train)
    return data.train_loader(side).of_features(rows.reshape(*shape, -1), found.reshape(shape))
