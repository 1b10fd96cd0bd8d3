"""run.safetensors: what a run has trained, in one file with all that is needed to use it again."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import pydantic
from flax import traverse_util
from safetensors import SafetensorError, safe_open

from lift_jax.classifier.network import Network
from lift_jax.errors import UserError, first_line, reason
from lift_jax.files import parse_json, replacing
from lift_jax.inference import calibration, gaussian_file
from lift_jax.inference.assembling import assemble
from lift_jax.inference.model import Model
from lift_jax.models.partition import merge
from lift_jax.weights import Backbone, safetensors_files
from lift_jax.workdir import config_file, record, schema

FILE = "run.safetensors"
_FORMAT = "lift_jax run 1"
_REMEDY = "export the run again"
_GAUSSIANS = "calibration/"
"""How the names of the arrays of a calibration's Gaussians begin."""

_JSON = ("config", "class_names", "run", "calibration")
"""The keys of the header whose values are JSON."""


class _Header(pydantic.BaseModel):
    """The header: what `write` puts into it."""

    model_config = schema.STRICT
    format: str
    config: Any
    class_names: Annotated[list[str], pydantic.Field(min_length=1)]
    backbone_hash: str
    run: Any = None
    calibration: Any = None


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
    if model.calibration is not None:
        header["calibration"] = model.calibration.model_dump_json()
        arrays |= {f"{_GAUSSIANS}{name}": array for name, array in (model.gaussians or {}).items()}
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replacing(folder / FILE) as part:
        safetensors_files.write(Path(part), contiguous, header)
    return folder / FILE


def load(file: Path, backbone: str | None = None, raw: bool = False) -> Model:
    """Loads the model of such a file; see `lift_jax.load`.

    Raises:
        UserError: if the file is missing, damaged, or no exported run; or the backbone is another one.
    """
    header, arrays = _read(file)

    def trained(loaded: Backbone, network: Network) -> Network:
        if loaded.hash != header.backbone_hash:
            raise UserError(
                f"{file} belongs to other weights than those of the backbone {loaded.name} (their hash begins with "
                f"{header.backbone_hash[:12]}, here {loaded.hash[:12]}); name the right one as `backbone`."
            )
        return network.with_trained({n: _filled(tree, arrays, file) for n, tree in network.parts.trainable.items()})

    known = None if header.run is None else record.parse(header.run, file, _REMEDY)
    if known is not None and known.class_names != header.class_names:
        raise UserError(f"{file} is damaged: its class_names are not those of its run; {_REMEDY}.")
    config = config_file.parse(header.config, file)
    with config_file.named(file):
        model = assemble(config, tuple(header.class_names), known, trained, backbone)
    if raw or header.calibration is None:
        return model
    own = calibration.owner(model.config, model.network, model.backbone)
    found = calibration.parse(header.calibration, file, own)
    named = {n.removeprefix(_GAUSSIANS): array for n, array in arrays.items() if n.startswith(_GAUSSIANS)}
    return dataclasses.replace(model, calibration=found, gaussians=gaussian_file.check(named, found, file))


def _read(file: Path) -> tuple[_Header, dict[str, np.ndarray]]:
    """Reads and checks the header, and reads the arrays."""
    try:
        with safe_open(file, framework="numpy") as opened:
            header = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no mapping
    except (OSError, SafetensorError, TypeError) as error:  # TypeError: NumPy has no such type
        why = reason(error) if isinstance(error, OSError) else first_line(error)
        raise UserError(f"{file} cannot be read ({why}); {_REMEDY}.") from error
    if header.get("format") != _FORMAT:
        raise UserError(f"{file} is no exported run; python -m lift_jax.export --format safetensors makes one.")
    try:
        content = {key: parse_json(text) if key in _JSON else text for key, text in header.items()}
    except ValueError as error:
        raise UserError(f"{file} is damaged: its header is no JSON ({first_line(error)}); {_REMEDY}.") from error
    return schema.check(content, _Header, file, _REMEDY), arrays


def _filled(part: Any, arrays: dict[str, np.ndarray], file: Path) -> dict[str, Any]:
    """Fills the tree of a part with the file's arrays."""
    flat: dict[str, Any] = traverse_util.flatten_dict(dict(part), sep="/")  # pyright: ignore[reportAssignmentType]
    for name, own in flat.items():
        if name not in arrays or (arrays[name].shape, arrays[name].dtype) != (own.shape, own.dtype):
            raise UserError(
                f"{file} has no {name} of shape {list(own.shape)} and type {own.dtype}; it is damaged or of another "
                f"version: {_REMEDY}."
            )
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{file} is damaged: its {name} has values that are not finite; {_REMEDY}.")
    return traverse_util.unflatten_dict({name: arrays[name] for name in flat}, sep="/")
