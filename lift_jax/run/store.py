"""The features that runs of a config need, computed before the first of them begins."""

import functools

import ml_collections
from etils import epath

from lift_jax import tuners
from lift_jax.classifier import network as networks
from lift_jax.classifier import untuned
from lift_jax.classifier.loaded import Loaded
from lift_jax.cluster import processes
from lift_jax.data.feature_store import VARIABLE
from lift_jax.errors import UserError
from lift_jax.evaluation.features import frozen_features, place_of
from lift_jax.run.job import check
from lift_jax.training import head_start
from lift_jax.workdir.logs import Logs


def fill(config: ml_collections.ConfigDict) -> epath.Path:
    """Computes those features of the config's images that its store does not have yet.

    They are those of the training, held-out and test images in one plain view, by the backbone without tuners, and if
    `config.head_init` starts the head from images, those for that, and with `config.cache_views` those of the fixed
    crops of the training images.

    Args:
        config: see `lift_jax.config.default`.

    Returns:
        The folder of the store.

    Raises:
        UserError: for any mistake in what the user gave, or if no store is named.
    """
    resolved, loaded = check(config), Loaded()
    kept = place_of(resolved)
    if kept is None:
        raise UserError(
            f"There is no place to keep features; set the variable {VARIABLE} to a folder, or write --config FILE with "
            "--config.features_dir=FOLDER."
        )
    with Logs(None) as logs:
        with processes.together():
            data, backbone = loaded.data(resolved), loaded.backbone(resolved)
            method = tuners.resolve(resolved.method, resolved.tuner)
            network = networks.build(resolved, method, backbone, data.train.class_names)
        network = loaded.placed(network, resolved.fsdp)
        tower, side = untuned.of_start(resolved, network, backbone), network.input.resolution
        images = [each for each in (data.train, data.validation, data.test) if each is not None]
        plans = [(each, functools.partial(data.plain_loader, side), each.name) for each in images]
        if resolved.cache_views:
            crops = data.fixed_crops(side)
            plans.append((crops, functools.partial(data.features_loader, side), crops.name))
        if head_start.from_images(resolved.head_init):
            plans.append(
                (data.train, functools.partial(data.features_loader, side), f"{data.train.name}, for the head")
            )
        for dataset, make_loader, name in plans:
            features = frozen_features(tower, dataset, make_loader, logs, f"features, {name}", kept)
            logs.info(f"{name}: features of {len(features.index):,} images are in {kept.folder}.")
    return kept.folder
