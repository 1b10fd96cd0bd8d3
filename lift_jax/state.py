"""What training changes, and the partition of the parameters into frozen | tuner | head."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jaxtyping import Array, Int

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


@flax.struct.dataclass
class TrainState:
    """All that a training step changes, and so all that a checkpoint needs besides the data iterator.

    Attributes:
        step: number of steps taken.
        trainable: the parts `tuner` and `head`, float32.
        opt_state: of the optimizer over `trainable`.
    """

    step: Int[Array, ""]
    trainable: dict[str, Tree]
    opt_state: optax.OptState


def label(path: Path, trains: Rule) -> str:
    """The part that the parameter at `path` of a classifier belongs to."""
    if path[0] == HEAD:
        return HEAD
    return TUNER if trains(ruled(path)) else FROZEN


def ruled(path: Path) -> Path:
    """The path by which a `Rule` knows the parameter at `path` of a classifier."""
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
        parts[label(path, trains)][path] = array
    return Parts(*(traverse_util.unflatten_dict(parts[name]) for name in Parts._fields))


def merge(*trees: Tree) -> dict[str, Any]:
    """Joins trees that have no array in common; the inverse of `split`."""
    flat: dict[Path, Any] = {}
    for tree in trees:
        flat.update(traverse_util.flatten_dict(dict(tree)))
    return traverse_util.unflatten_dict(flat)


def complete(
    classifier: nn.Module, backbone: Tree, image_shape: tuple[int, int, int], key: Array, others: Tree | None = None
) -> dict[str, Any]:
    """The parameters of a classifier on a loaded backbone: those that are absent (tuners, head) are initialised.

    Args:
        classifier: a `lift_jax.models.heads.Classifier`.
        backbone: the vision tower's parameters, which are there already.
        image_shape: (height, width, 3).
        key: of the initialisation.
        others: further parameters that are there already, by their whole paths.
    """
    loaded = {BACKBONE: dict(backbone), **(others or {})}
    old = traverse_util.flatten_dict(loaded)
    paths = set(old)  # what is compiled stays in memory, and must not keep the arrays there

    @jax.jit
    def absent(loaded: Tree) -> dict[str, Any]:
        _, variables = classifier.apply(
            {"params": loaded},
            jnp.zeros((1, *image_shape)),
            rngs={"params": key},
            mutable=["params"],
        )
        flat = traverse_util.flatten_dict(variables["params"])
        return {"/".join(path): array for path, array in flat.items() if path not in paths}

    new = {tuple(name.split("/")): array for name, array in absent(loaded).items()}
    return traverse_util.unflatten_dict({**old, **new})


def count(tree: Tree) -> int:
    """Number of parameters."""
    return sum(array.size for array in jax.tree.leaves(tree))
