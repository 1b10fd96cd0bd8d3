"""config.json: the resolved config of a run."""

import json
from typing import Any

import ml_collections
from etils import epath

from lift_jax import config as lift_config
from lift_jax.errors import UserError

FILE = "config.json"


def read(workdir: epath.PathLike) -> ml_collections.FrozenConfigDict:
    """The config of a run; keys that are newer than the run have their defaults.

    Raises:
        UserError: if the folder is no run, or its config has a key that this version does not have.
    """
    file = epath.Path(workdir) / FILE
    if not file.is_file():
        raise UserError(f"{workdir} is no run of lift_jax: it has no {FILE}.")
    try:
        return parse(json.loads(file.read_text(encoding="utf-8")), file)
    except (ValueError, TypeError, OSError) as error:
        raise UserError(f"{file} cannot be read ({error}); train the run again.") from error


def parse(content: dict[str, Any], file: epath.PathLike) -> ml_collections.FrozenConfigDict:
    """The config from what `file` has of it (see `read`)."""
    config = lift_config.default()
    known = lift_config.flatten(config)
    for key, value in lift_config.flatten(ml_collections.ConfigDict(content)).items():
        if key not in known:
            raise UserError(f"{file} has the key {key}, which this version does not know; it is of another version.")
        try:
            config.update_from_flattened_dict({key: value})
        except (TypeError, ValueError) as error:
            raise UserError(f"{file} sets {key} to {value!r}, which does not fit ({error}).") from error
    return ml_collections.FrozenConfigDict(config)


def differences(workdir: epath.PathLike, config: ml_collections.FrozenConfigDict) -> dict[str, tuple[Any, Any]]:
    """Gives the keys in which a resolved config differs from that of the run in a workdir, with old and new value.

    Raises:
        UserError: if the workdir's config cannot be read.
    """
    old, new = (lift_config.flatten(values) for values in (read(workdir), config))
    return {key: (old[key], new[key]) for key in new if _plain(old[key]) != _plain(new[key])}


def _plain(value: Any) -> Any:
    """Gives a value as JSON has it, in which tuples are lists."""
    return json.loads(json.dumps(value))
