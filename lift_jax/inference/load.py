"""Loads a run's folder, checkpoint or exported file as a model."""

import dataclasses
import os
from pathlib import Path

from etils import epath

from lift_jax import tuners
from lift_jax.classifier.network import Network
from lift_jax.data.shown import some
from lift_jax.errors import UserError
from lift_jax.files import place
from lift_jax.inference import calibration, compact, gaussian_file, hub, threshold_file
from lift_jax.inference.assembling import assemble
from lift_jax.inference.model import Model
from lift_jax.training.trained import restored
from lift_jax.weights import Backbone, reference
from lift_jax.workdir import checkpoints, config_file, given_checkpoint, record


def load(
    workdir: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    backbone: str | None = None,
    raw: bool = False,
) -> Model:
    """Loads the classifier of a run. The data set need not be there; the backbone must be, with the weights it had.

    Args:
        workdir: the run's folder, on a disk or in a bucket; the file that `python -m lift_jax.export --format
            safetensors` made of it; or hf://OWNER/NAME, with @REVISION to pin one, where `lift_jax push` has put it.
        checkpoint: a checkpoint's folder, instead of the run's newest, or of its best where images were held out; or a
            checkpoint.pth.tar of the reference implementation, which `--mode eval --checkpoint` has evaluated in the
            run's folder.
        backbone: where the backbone is now, if no longer where config.json says.
        raw: whether a calibration that the run may have (see `lift_jax.inference.calibrating`) is left out, and the
            thresholds of one whose images may be of several classes.

    Raises:
        UserError: if the folder is no run or has no checkpoint, or the backbone is missing or another one; or if the
            calibration is that of another checkpoint.
    """
    if isinstance(workdir, str) and workdir.startswith(hub.PREFIX):
        return compact.load(hub.fetch(workdir), backbone, raw)
    folder = place(workdir, "The run")
    if folder.suffix == ".safetensors":
        return compact.load(Path(folder), backbone, raw)
    config = config_file.read(folder)
    known = record.read(folder) if (folder / record.FILE).is_file() else None
    saved = None if tuners.resolve(config.method, config.tuner).zero_shot else _checkpoint(folder, checkpoint)
    names = _class_names(saved) if saved is not None and saved.is_dir() else tuple(record.read(folder).class_names)
    if known is not None and known.class_names != list(names):
        raise UserError(
            f"{folder / record.FILE} names other classes than the checkpoint {saved} ({some(known.class_names)}; "
            f"{some(names)}); restore the one that was changed, or move {record.FILE} away to load without it."
        )

    def trained(loaded: Backbone, network: Network) -> Network:
        if saved is None:
            return network
        # A run that goes on may have removed its checkpoint while the backbone was read.
        now = saved if saved.exists() else _checkpoint(folder, checkpoint)
        if now.is_dir():
            return restored(now, config, loaded, network)
        return network.with_results(reference.load(Path(now), network.tuning, network.parts).trainable)

    with config_file.named(folder / config_file.FILE):
        model = assemble(config, names, known, trained, backbone)
    if not raw and (folder / threshold_file.FILE).is_file():
        found = threshold_file.read(folder, calibration.owner(model.config, model.network, model.backbone))
        model = dataclasses.replace(model, thresholds=found)
    return model if raw or not (folder / calibration.FILE).is_file() else with_calibration(model, folder)


def with_calibration(model: Model, folder: epath.PathLike) -> Model:
    """Adds to a model the calibration in its run's folder, which needs the record of the run.

    Raises:
        UserError: if there is none, or it is damaged or that of something else.
    """
    found = calibration.read(folder, calibration.owner(model.config, model.network, model.backbone))
    known = model.record or record.read(folder)
    return dataclasses.replace(model, record=known, calibration=found, gaussians=gaussian_file.read(folder, found))


def _checkpoint(folder: epath.Path, given: str | os.PathLike[str] | None) -> epath.Path:
    """Finds the checkpoint to load.

    Raises:
        UserError: if there is none.
    """
    if given is not None:
        return given_checkpoint.find(given)
    saved = checkpoints.chosen(folder)
    if saved is None:
        raise UserError(f"The run {folder} has no checkpoint yet; train it to the end of an epoch first.")
    return saved


def _class_names(folder: epath.Path) -> tuple[str, ...]:
    """Reads the names of the classes from a checkpoint.

    Raises:
        UserError: if it is damaged.
    """
    names = checkpoints.identity(folder).get("class_names")
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"The checkpoint {folder} is damaged: its class_names are no list of names; name another with --checkpoint."
        )
    return tuple(names)
