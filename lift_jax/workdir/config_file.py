"""config.json: the resolved config of a run."""

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections
import pydantic
from etils import epath

from lift_jax import config as lift_config
from lift_jax.config import keys
from lift_jax.errors import UserError
from lift_jax.workdir import schema

FILE = "config.json"
_REMEDY = "put the file right, or train the run again"


def read(workdir: epath.PathLike) -> ml_collections.FrozenConfigDict:
    """Reads the config of a run; keys that are newer than the run have their defaults.

    Raises:
        UserError: if the folder is no run, or its config has a key that this version does not have, or a value that
            the key cannot have.
    """
    file = epath.Path(workdir) / FILE
    if not file.is_file():
        exported = epath.Path(workdir) / "run.safetensors"  # as `lift_jax export` and the hub have it
        hint = f"; name the file in it, {exported}" if exported.is_file() else ""
        raise UserError(f"{workdir} is no run of lift_jax: it has no {FILE}{hint}.")
    return parse(schema.read_json(file, _REMEDY), file)


def parse(content: Any, file: epath.PathLike) -> ml_collections.FrozenConfigDict:
    """Makes the config out of what a file holds.

    Args:
        content: what JSON of the file says.
        file: the file that the sentence of an error names.

    Raises:
        UserError: see `read`.
    """
    config = lift_config.default()
    given = schema.check(content, _schema(), file, _REMEDY).model_dump(exclude_unset=True)
    for key in "method", "backbone", "data":  # every version has written these
        if key not in given:
            raise UserError(f"{file} is damaged: it has no key {key}; {_REMEDY}.")
    config.update(given)
    with named(file):
        return lift_config.resolve(config)


@contextlib.contextmanager
def named(file: epath.PathLike) -> Iterator[None]:
    """Puts the name of the file into the sentences that are about a key of its config.

    Raises:
        UserError: in the place of one whose sentence begins with the key.
    """
    try:
        yield
    except UserError as error:
        if not str(error).startswith("config."):
            raise
        raise UserError(f"{file} has a value that does not fit: {str(error).rstrip('.')}; {_REMEDY}.") from error


def differences(workdir: epath.PathLike, config: ml_collections.FrozenConfigDict) -> dict[str, tuple[Any, Any]]:
    """Gives the keys in which a resolved config differs from that of the run in a workdir, with old and new value.

    Raises:
        UserError: if the workdir's config cannot be read.
    """
    old, new = (lift_config.flatten(values) for values in (read(workdir), config))
    return {key: (old[key], new[key]) for key in new if _plain(old[key]) != _plain(new[key])}


def effective(config: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the values of a nested config on which the results of a run depend, by the whole names of their keys."""
    flat = lift_config.flatten(ml_collections.ConfigDict(config))
    left_out = keys.without_effect(flat)
    return {key: value for key, value in flat.items() if key not in left_out}


def _plain(value: Any) -> Any:
    """Gives a value as JSON has it, in which tuples are lists."""
    return json.loads(json.dumps(value))


@functools.cache
def _schema() -> type[pydantic.BaseModel]:
    """Makes the schema of config.json out of the default config: its keys and the types of their values."""
    return _section(lift_config.default(), "config")


def _section(config: ml_collections.ConfigDict, name: str) -> type[pydantic.BaseModel]:
    fields: dict[str, Any] = {}
    for key in config:
        value = config.get_ref(key).get()
        if isinstance(value, ml_collections.ConfigDict):
            kind = _section(value, key)
        else:
            # A key whose default is None stands for the value of a recipe.
            kind = config.get_type(key) if value is not None else config.get_type(key) | None
        fields[key] = (kind, None)
    return pydantic.create_model(name, __config__=schema.STRICT, **fields)
