"""What config.sweep says: some keys, and the values that each of them takes in turn."""

import ast
import re
from typing import Any

import ml_collections

from lift_jax.config.defaults import default, flatten
from lift_jax.config.keys import nearest_key
from lift_jax.errors import UserError

Grid = dict[str, tuple[Any, ...]]

_ITEM = r"""(?:'[^']*'|"[^"]*"|[^\s,]*)"""
_ITEMS = re.compile(rf"({_ITEM}),")
_WORD = re.compile(rf"\s*([^\s=]+)=({_ITEM}(?:,{_ITEM})*)(?=\s|$)")
_KINDS = {int: "a whole number", float: "a number", bool: "True or False"}


def parse(text: str) -> Grid:
    """Reads a grid written as `KEY=VALUE,VALUE KEY=VALUE`; a value that has commas or spaces is put in quotes.

    Example:
        >>> parse("method=lift,lora seed=0,1")
        {'method': ('lift', 'lora'), 'seed': (0, 1)}

    Raises:
        UserError: if it is not of that form, a key is not in the config or is there twice, or a value is of another
            kind than the key's.
    """
    config, grid, at = default(), {}, 0
    keys, text = flatten(config), text.strip()
    while at < len(text):
        word = _WORD.match(text, at)
        if word is None or not word[2]:
            wrong = text[at:].split()[0]
            raise UserError(f"config.sweep has {wrong!r}; write KEY=VALUE,VALUE for each key, with spaces between.")
        key, at = word[1], word.end()
        if key not in keys:
            raise UserError(
                f"config.sweep has the key {key!r}, which does not exist; the nearest is {nearest_key(key, keys)}."
            )
        if key in grid:
            raise UserError(f"config.sweep has {key} twice; write all of its values after one, as in {key}=A,B.")
        grid[key] = tuple(_value(config, key, item) for item in _ITEMS.findall(f"{word[2]},"))
    return grid


def _value(config: ml_collections.ConfigDict, key: str, text: str) -> Any:
    """Returns a value, which must be of the kind that its key has."""
    *path, name = key.split(".")
    parent = config
    for part in path:
        parent = parent[part]
    kind = parent.get_type(name)
    plain = text[1:-1] if text[:1] in ("'", '"') and text[:1] == text[-1:] and len(text) > 1 else text
    try:
        value = parent[name] = plain if kind is str else ast.literal_eval(plain)
    except (SyntaxError, TypeError, ValueError) as error:
        raise UserError(f"config.sweep sets {key} to {plain!r}, which is not {_KINDS.get(kind, kind)}.") from error
    return value
