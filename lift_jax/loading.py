"""A run's folder, checkpoint or exported file as a model."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from etils import epath

from lift_jax import checkpoints, devices, head_init, optimizer, record, run_config, state
from lift_jax.data import prompts
from lift_jax.errors import UserError
from lift_jax.experiment import Network, identity
from lift_jax.export import compact
from lift_jax.inference import Model, assemble
from lift_jax.state import Parts, TrainState
from lift_jax.weights import Backbone, reference


def load(
    workdir: str | os.PathLike[str],
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    backbone: str | None = None,
) -> Model:
    """The classifier of a run. The data set need not be there; the backbone must be, with the weights it had.

    Args:
        workdir: the run's folder, on a disk or in a bucket; or the file that `python -m lift_jax.export --format
            safetensors` made of it.
        checkpoint: a checkpoint's folder, instead of the newest of the run; or a checkpoint.pth.tar of the reference
            implementation, which `--mode eval --checkpoint` has evaluated in the run's folder.
        backbone: where the backbone is now, if no longer where config.json says.

    Raises:
        UserError: if the folder is no run or has no checkpoint, or the backbone is missing or another one.
    """
    folder = epath.Path(workdir)
    if folder.suffix == ".safetensors":
        return compact.load(Path(folder), backbone)
    config = run_config.read(folder)
    known = record.read(folder) if (folder / record.FILE).is_file() else None
    saved = epath.Path(checkpoint) if checkpoint is not None else None
    if config.method != "zero_shot":
        if saved is None and (newest := checkpoints.newest(folder)) is not None:
            saved = newest
        if saved is None:
            raise UserError(f"The run {folder} has no checkpoint yet; train it to the end of an epoch first.")
        if not saved.exists():
            raise UserError(f"The checkpoint {saved} does not exist; name a folder such as {folder}/checkpoints/150.")
        if saved.is_dir():
            names = tuple(checkpoints.identity(saved)["class_names"])
        else:
            names = tuple(record.read(folder).class_names)
    elif known is not None:
        names = tuple(known.class_names)
    else:
        raise UserError(f"The zero-shot run {folder} has no {record.FILE}; evaluate it again with --mode eval.")
    if known is not None and known.class_names != list(names):
        known = None  # of a later run in the same folder

    def trained(loaded: Backbone, network: Network) -> Parts:
        if saved is None:
            return network.parts._replace(head=_zero_shot(config, loaded, names))
        if saved.is_file():
            return reference.load(Path(saved), network.tuning, network.parts)
        return _restored(saved, config, loaded, network.parts, names)

    return assemble(config, names, known, trained, backbone)


def _restored(
    folder: epath.Path,
    config: ml_collections.FrozenConfigDict,
    backbone: Backbone,
    parts: Parts,
    names: tuple[str, ...],
) -> Parts:
    """The parts with those of a checkpoint."""
    mesh = devices.make_mesh()
    trainable = devices.replicate({state.TUNER: parts.tuner, state.HEAD: parts.head}, mesh)
    tx = optimizer.make(lambda step: 0.0 * step, config.momentum, config.weight_decay)
    opt_state = devices.replicate(jax.jit(tx.init)(trainable), mesh)
    like = TrainState(devices.replicate(jnp.zeros((), jnp.int32), mesh), trainable, opt_state)
    restored = checkpoints.restore(folder, like, identity(config, backbone, names)).state
    return Parts(parts.frozen, restored.trainable[state.TUNER], restored.trainable[state.HEAD])


def _zero_shot(
    config: ml_collections.FrozenConfigDict, backbone: Backbone, names: tuple[str, ...]
) -> dict[str, dict[str, np.ndarray]]:
    """The head that the class names make."""
    projection, text, _ = head_init.zero_shot_head(backbone, prompts.build(names, config.prompt))
    return {"head": {"projection": np.asarray(projection, np.float32), "text": np.asarray(text, np.float32)}}
