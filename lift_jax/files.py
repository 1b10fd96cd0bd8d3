"""Paths as people write them, JSON that is no JSON, and files that are never half written."""

import contextlib
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from lift_jax.errors import UserError

SCHEMES = ("gs", "s3", "az")
"""The kinds of buckets that paths may name."""


def expand(path: str, what: str = "The path") -> str:
    """A path as a person writes it, with `~` and environment variables put in and `file://` taken off.

    Args:
        path: a local path, or one in a bucket (gs://, s3://, az://), which is returned as it is.
        what: how the error message begins, such as "config.data.root".

    Raises:
        UserError: if the path has a NUL character, or begins with http:// or a scheme that is not known.
    """
    if "\0" in path:
        raise UserError(f"{what} is {path!r}, which has a NUL character in it; write the path without it.")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", path)
    if scheme is None:
        return os.path.expanduser(os.path.expandvars(path))
    name = scheme[1].lower()
    if name == "file":
        return expand("/" + path[scheme.end() :].removeprefix("localhost").lstrip("/"), what)
    if name in ("http", "https"):
        raise UserError(f"{what} is {path}, which is on the web; download it and name the file or folder on the disk.")
    if name not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise UserError(f"{what} is {path}, but {scheme[0]} is not known; write a path on the disk, or one at {known}.")
    return name + path[len(name) :]


def parse_json(text: str | bytes) -> Any:
    """What JSON text says.

    Raises:
        ValueError: if it is no JSON, no UTF-8, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextlib.contextmanager
def replacing(file: epath.PathLike) -> Iterator[epath.Path]:
    """Gives a path to write to, which takes the place of `file` once all is written: nobody sees half a file.

    If the block fails, `file` is as it was.
    """
    file = epath.Path(file)
    part = file.with_name(f".{file.name}.part")
    try:
        yield part
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_together(files: Sequence[epath.PathLike]) -> Iterator[list[epath.Path]]:
    """Gives paths to write to, which take the places of `files` once all of them are written.

    If the block fails, all files are as they were. What remains is the moment between the renamings.
    """
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(replacing(file)) for file in files]


def write_json(file: epath.PathLike, content: Any) -> None:
    """Writes JSON in one step (see `replacing`); NaN, which JSON does not have, becomes null."""
    with replacing(file) as part:
        part.write_text(json.dumps(_without_nan(content), indent=2) + "\n", encoding="utf-8")


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
