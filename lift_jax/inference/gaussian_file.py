"""The Gaussians that a calibration mixes in, beside calibration.json, which names the hash of their arrays."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from etils import epath
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from lift_jax.errors import UserError, first_line
from lift_jax.files import replacing
from lift_jax.inference.calibration import REMEDY, Calibration
from lift_jax.inference.frozen_classifiers import GaussianArrays
from lift_jax.weights.backbone import content_hash

NAMES = ("kernel", "bias")
_PATTERN = "calibration.*.safetensors"


def write(folder: epath.PathLike, arrays: GaussianArrays) -> None:
    """Writes the Gaussians into a run's folder, under a name that no other ones have there."""
    with replacing(_file(folder, content_hash(arrays))) as part:
        part.write_bytes(safetensors_numpy.save({name: np.ascontiguousarray(arrays[name]) for name in NAMES}))


def read(folder: epath.PathLike, calibration: Calibration) -> GaussianArrays | None:
    """Reads the Gaussians of a calibration; None if it has none.

    Raises:
        UserError: if the file is missing, damaged, or that of another calibration.
    """
    if calibration.gaussians is None:
        return None
    file = _file(folder, calibration.gaussians)
    try:
        arrays = safetensors_numpy.load(file.read_bytes())
    except (OSError, SafetensorError, TypeError) as error:
        raise UserError(
            f"{file}, which belongs to the calibration, cannot be read ({first_line(error)}); {REMEDY}."
        ) from error
    return check(arrays, calibration, file)


def check(arrays: Mapping[str, Any], calibration: Calibration, file: epath.PathLike) -> GaussianArrays | None:
    """Gives those of a file's arrays that are the Gaussians of a calibration; None if it has none.

    Raises:
        UserError: if they are not there, or others.
    """
    if calibration.gaussians is None:
        return None
    own = {name: arrays[name] for name in NAMES if name in arrays}
    if content_hash(own) != calibration.gaussians:
        raise UserError(f"{file} is damaged: its Gaussians are not those of the calibration; {REMEDY}.")
    return own


def remove_others(folder: epath.PathLike, calibration: Calibration) -> None:
    """Removes the Gaussians of earlier calibrations from a run's folder."""
    kept = None if calibration.gaussians is None else _file(folder, calibration.gaussians)
    for file in epath.Path(folder).glob(_PATTERN):
        if file != kept:
            file.unlink(missing_ok=True)


def _file(folder: epath.PathLike, digest: str) -> epath.Path:
    return epath.Path(folder) / _PATTERN.replace("*", digest[:12])
