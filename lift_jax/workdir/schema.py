"""The check of what the files of a run say: the types and ranges of a schema against the values that were read."""

from typing import Any, TypeVar

import pydantic
from etils import epath

from lift_jax.errors import UserError, reason
from lift_jax.files import parse_json
from lift_jax.text import printable

STRICT = pydantic.ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""The types are meant as they stand: true is no number, "1" is none either, and no key may be unknown."""

_Model = TypeVar("_Model", bound=pydantic.BaseModel)

_WORDS = {"missing": "is missing", "extra_forbidden": "is not known to this version"}
"""What the sentence says of a key for two kinds of pydantic's errors; of the others it quotes pydantic."""


def read(file: epath.Path, schema: type[_Model], remedy: str) -> _Model:
    """Reads a JSON file of a run.

    Args:
        file: the file.
        schema: what it must hold.
        remedy: what the person can do where it holds something else, such as "train the run again".

    Raises:
        UserError: if the file cannot be read, is no JSON, or does not fit the schema. The sentence names the file, the
            first key that is wrong, and the remedy.
    """
    return check(read_json(file, remedy), schema, file, remedy)


def read_json(file: epath.Path, remedy: str) -> Any:
    """Reads a JSON file of a run, whatever it holds; arguments and errors are those of `read`."""
    try:
        return parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        why = reason(error) if isinstance(error, OSError) else f"it is no JSON: {printable(error)}"
        raise UserError(f"{file} cannot be read ({why}); {remedy}.") from error


def check(content: Any, schema: type[_Model], file: epath.PathLike, remedy: str) -> _Model:
    """Checks what was read from a file; arguments and errors are those of `read`."""
    try:
        return schema.model_validate(content)
    except pydantic.ValidationError as error:
        raise UserError(f"{file} is damaged or of another version: {_first(error)}; {remedy}.") from error


def fits(content: Any, schema: type[pydantic.BaseModel]) -> bool:
    """Says whether the content fits the schema."""
    try:
        schema.model_validate(content)
    except pydantic.ValidationError:
        return False
    return True


def _first(error: pydantic.ValidationError) -> str:
    """Puts the first mistake into words: the key, its value, and what it should be."""
    found = error.errors(include_url=False)[0]
    key = ".".join(map(str, found["loc"]))
    if found["type"] in _WORDS:
        return f"its key {printable(key)} {_WORDS[found['type']]}"
    what = f"its key {printable(key)} is" if key else "it holds"
    if found["type"] == "model_type":
        return f"{what} {_value(found['input'])}, which is no JSON object with keys"
    if not key:
        return found["msg"].removeprefix("Value error, ")  # what a validator of the whole file raised
    return f"{what} {_value(found['input'])}, but {found['msg'].replace('Input should', 'it should')}"


def _value(value: Any) -> str:
    return printable(repr(value), 60)
