"""The compact form: what a run has trained, in one safetensors file, with all that is needed to use it again."""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from flax import traverse_util
from safetensors import SafetensorError, safe_open

from lift_jax.classifier.network import Network
from lift_jax.errors import UserError
from lift_jax.files import parse_json, replacing
from lift_jax.inference.model import Model, assemble
from lift_jax.models.partition import merge
from lift_jax.weights import Backbone
from lift_jax.workdir import config_file, record

FILE = "run.safetensors"
_FORMAT = "lift_jax run 1"


def write(model: Model, folder: Path) -> Path:
    """Writes tuner and head in float32; config, class names and the backbone's hash are in the file's header."""
    trained = jax.device_get(merge(*model.network.parts.trainable.values()))
    arrays: dict[str, Any] = traverse_util.flatten_dict(trained, sep="/")
    header = {
        "format": _FORMAT,
        "config": model.config.to_json(),
        "class_names": json.dumps(list(model.class_names)),
        "backbone_hash": model.backbone.hash,
    }
    if model.record is not None:
        header["run"] = json.dumps(record.content(model.record))
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replacing(folder / FILE) as part:
        safetensors.numpy.save_file(contiguous, part, metadata=header)
    return folder / FILE


def load(file: Path, backbone: str | None = None) -> Model:
    """Loads the model of such a file; see `lift_jax.load`.

    Raises:
        UserError: if the file is missing, damaged, or none of these; or the backbone is another one.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            header = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no mapping
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read ({error}); export the run again.") from error
    if header.get("format") != _FORMAT:
        raise UserError(f"{file} is no exported run; python -m lift_jax.export --format safetensors makes one.")

    def trained(loaded: Backbone, network: Network) -> Network:
        if loaded.hash != header["backbone_hash"]:
            raise UserError(
                f"{file} belongs to other weights than those of the backbone {loaded.name} (their hash begins with "
                f"{header['backbone_hash'][:12]}, here {loaded.hash[:12]}); name the right one as `backbone`."
            )
        return network.with_trained({n: _filled(tree, arrays, file) for n, tree in network.parts.trainable.items()})

    known = record.parse(parse_json(header["run"])) if "run" in header else None
    config = config_file.parse(parse_json(header["config"]), file)
    return assemble(config, tuple(parse_json(header["class_names"])), known, trained, backbone)


def _filled(part: Any, arrays: dict[str, np.ndarray], file: Path) -> dict[str, Any]:
    """Fills the tree of a part with the file's arrays."""
    flat: dict[str, Any] = traverse_util.flatten_dict(dict(part), sep="/")  # pyright: ignore[reportAssignmentType]
    for name, own in flat.items():
        if name not in arrays or arrays[name].shape != own.shape:
            raise UserError(f"{file} has no {name} of shape {list(own.shape)}; it is of another version.")
    return traverse_util.unflatten_dict({name: arrays[name] for name in flat}, sep="/")
