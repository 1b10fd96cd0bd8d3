"""One parameter tree in three named parts: the frozen backbone, what a tuner trains, and the head."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import traverse_util

Tree = Mapping[str, Any]
Path = tuple[str, ...]
Rule = Callable[[Path], bool]
"""Whether a parameter of the backbone is trained, by its path below the vision tower, such as ("block_0", "ln_1",
"scale"), or by its whole path on the text side: ("text", "tower", "block_0", "ln_1", "scale")."""

FROZEN, TUNER, HEAD = "frozen", "tuner", "head"
BACKBONE = "backbone"
"""The name of the vision tower among a classifier's parameters."""


class Parts(NamedTuple):
    """The three parts of one parameter tree; `split` makes them and `merge` joins them."""

    frozen: Tree
    tuner: Tree
    head: Tree

    @property
    def trainable(self) -> dict[str, Tree]:
        """The parts that training changes, by their names."""
        return {TUNER: self.tuner, HEAD: self.head}


def part_of(path: Path, trains: Rule) -> str:
    """Names the part that the parameter at `path` of a classifier belongs to."""
    if path[0] == HEAD:
        return HEAD
    return TUNER if trains(rule_path(path)) else FROZEN


def rule_path(path: Path) -> Path:
    """Turns the path of a classifier's parameter into the path by which a `Rule` knows it."""
    return path[1:] if path[0] == BACKBONE else path


def split(params: Tree, trains: Rule) -> Parts:
    """Splits a classifier's parameters.

    Example:
        >>> params = {"backbone": {"ln_1": {"scale": 1, "bias": 2}, "conv": 3}, "head": {"kernel": 4}}
        >>> parts = split(params, lambda path: path[0] == "ln_1")
        >>> parts.frozen
        {'backbone': {'conv': 3}}
        >>> parts.tuner
        {'backbone': {'ln_1': {'scale': 1, 'bias': 2}}}
        >>> parts.head
        {'head': {'kernel': 4}}
        >>> merge(*parts) == params
        True
    """
    parts: dict[str, dict[Path, Any]] = {FROZEN: {}, TUNER: {}, HEAD: {}}
    for path, array in traverse_util.flatten_dict(dict(params)).items():
        parts[part_of(path, trains)][path] = array
    return Parts(*(traverse_util.unflatten_dict(parts[name]) for name in Parts._fields))


def merge(*trees: Tree) -> dict[str, Any]:
    """Joins trees that have no array in common; the inverse of `split`."""
    flat: dict[Path, Any] = {}
    for tree in trees:
        flat.update(traverse_util.flatten_dict(dict(tree)))
    return traverse_util.unflatten_dict(flat)


def count(tree: Tree) -> int:
    """Counts the parameters of a tree."""
    return sum(array.size for array in jax.tree.leaves(tree))
