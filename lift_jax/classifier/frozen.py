"""How the frozen weights are stored: in the dtype of the activations, or their linear layers in fewer bits."""

import functools
import math
import operator
import re
from collections.abc import Iterator
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from lift_jax.errors import UserError
from lift_jax.models import partition
from lift_jax.models.limits import limits
from lift_jax.models.partition import Parts, Path, Tree
from lift_jax.models.quantised import STORED, Quantised, quantise_kernel
from lift_jax.models.sites import LinearName
from lift_jax.tuners.mask import INDEX

AUTO = "auto"
_FIRST_WITH_FP8 = 8.9
"""The compute capability of the first NVIDIA GPUs that multiply fp8: Ada's, just before Hopper's."""


def stored(parts: Parts, dtype: jnp.dtype, frozen_dtype: str) -> Tree:
    """Gives the frozen part as it is kept on the devices, in NumPy arrays.

    Args:
        parts: of the network, in the precision that they were loaded in.
        dtype: of the activations, and of the towers' arrays; projections stay float32, and tokens and a mask's
            positions whole numbers.
        frozen_dtype: config.frozen_dtype, of the kernels of the blocks' linear layers. Those of which a mask trains
            entries stay in `dtype`, as those that are trained as a whole are in none of the frozen parts.

    Raises:
        UserError: if it is not "auto", and no kernel can be stored so.
    """
    flat = _flat(parts.frozen)
    chosen = set() if frozen_dtype == AUTO else _kernels(parts.frozen) - _masked(parts.frozen)
    if frozen_dtype != AUTO and not chosen:
        raise UserError(
            f"config.frozen_dtype is {frozen_dtype!r}, which is for the linear layers of a transformer that are not "
            "trained, and this run has none (a ResNet, or a method that trains them all); leave it out."
        )
    largest = _limits(parts, {path[:-2] for path in chosen}) if frozen_dtype == "fp8" else {}
    return traverse_util.unflatten_dict(
        {
            path: _kernel(x, frozen_dtype, largest.get(path, math.inf)) if path in chosen else _cast(path, x, dtype)
            for path, x in flat.items()
        }
    )


def remarks(parts: Parts, frozen_dtype: str, device: Any) -> Iterator[str]:
    """Yields what a user should know of the storage: which layers it is about, their memory, what a device lacks."""
    if frozen_dtype == AUTO:
        return
    total = len(_kernels(parts.frozen) | _kernels(parts.tuner))
    chosen = [_flat(parts.frozen)[path] for path in _kernels(parts.frozen) - _masked(parts.frozen)]
    now, wide = sum(x.nbytes for x in jax.tree.leaves(chosen)), sum(2 * kernel.size for kernel in chosen)
    yield (
        f"The kernels of {len(chosen)} of {total} linear layers are kept in {frozen_dtype}: {now / 1e6:,.1f} MB, in "
        f"bfloat16 {wide / 1e6:,.1f} MB; what is trained is float32."
    )
    if frozen_dtype == "fp8" and not _multiplies_fp8(device):
        yield (
            f"Warning: {device.device_kind} has no products of fp8, which are emulated and no faster; "
            "config.frozen_dtype=int8 is for TPUs and older GPUs."
        )


def _multiplies_fp8(device: Any) -> bool:
    if device.platform == "gpu":
        return float(getattr(device, "compute_capability", 0)) >= _FIRST_WITH_FP8
    return device.platform == "tpu" and "7" in device.device_kind


def _kernels(tree: Tree) -> set[Path]:
    """Returns the paths of the kernels of the blocks' linear layers, of both towers."""
    names = get_args(LinearName)
    return {
        path
        for path in _flat(tree)
        if path[-1] == "kernel" and path[-2] in names and re.fullmatch(r"block_\d+", path[-3])
    }


def _masked(frozen: Tree) -> set[Path]:
    """Returns the paths of the kernels at linear layers whose weight or bias a mask trains entries of."""
    indices = (path for path in _flat(frozen) if path[-1].endswith(INDEX))
    return {(*path[:-3], path[-2], "kernel") for path in indices}


def _limits(parts: Parts, blocks: set[Path]) -> dict[Path, float]:
    """Returns the largest magnitude of the inputs of blocks' linear layers, by the path of each kernel."""
    params = partition.merge(*parts)
    found = {block: limits(functools.reduce(operator.getitem, block, params)) for block in blocks}
    return {(*block, str(name), "kernel"): most for block, each in found.items() for name, most in each.items()}


def _kernel(kernel: Any, frozen_dtype: str, limit: float) -> np.ndarray | Quantised:
    if frozen_dtype in STORED:
        return quantise_kernel(np.asarray(kernel), frozen_dtype, limit)
    return np.asarray(kernel).astype(jnp.dtype(frozen_dtype))


def _cast(path: Path, array: Any, dtype: jnp.dtype) -> np.ndarray:
    array = np.asarray(array)
    tower = path[0] == partition.BACKBONE or path[1] == "tower"
    return array.astype(dtype, copy=False) if tower and jnp.issubdtype(array.dtype, jnp.floating) else array


def _flat(tree: Tree) -> dict[Path, Any]:
    return traverse_util.flatten_dict(dict(tree))  # pyright: ignore[reportReturnType]
