"""The parameters that a loaded backbone does not bring: tuners and head."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import PRNGKeyArray

from lift_jax.models.partition import BACKBONE, Tree


def complete(
    classifier: nn.Module,
    backbone: Tree,
    image_shape: tuple[int, int, int],
    key: PRNGKeyArray,
    given: Tree | None = None,
) -> dict[str, Any]:
    """Completes the parameters of a classifier on a loaded backbone: those that are absent are initialised.

    Args:
        classifier: a `lift_jax.models.heads.Classifier`.
        backbone: the vision tower's parameters.
        image_shape: (height, width, 3).
        key: random key of the initialisation. It is an argument of the compiled program, so that all seeds share one.
        given: further parameters that need no initialisation, by their whole paths.
    """
    loaded = {BACKBONE: dict(backbone), **(given or {})}
    new = {tuple(name.split("/")): array for name, array in _absent(loaded, key, classifier, image_shape).items()}
    return traverse_util.unflatten_dict({**traverse_util.flatten_dict(loaded), **new})


@functools.partial(jax.jit, static_argnames=("classifier", "image_shape"))
def _absent(
    loaded: Tree, key: PRNGKeyArray, classifier: nn.Module, image_shape: tuple[int, int, int]
) -> dict[str, Any]:
    """Initialises what is not loaded; here, and not in `complete`, equal classifiers share the program."""
    images = jnp.zeros((1, *image_shape))
    _, variables = classifier.apply({"params": loaded}, images, rngs={"params": key}, mutable=["params"])
    paths = traverse_util.flatten_dict(dict(loaded))
    flat = traverse_util.flatten_dict(variables["params"])
    return {"/".join(path): array for path, array in flat.items() if path not in paths}
