"""Fully sharded frozen parameters: in pieces over the devices, gathered where they are used.

ZeRO-3 (Rajbhandari et al. 2020, arXiv 1910.02054), FSDP (Zhao et al. 2023, arXiv 2304.11277).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import flax.struct
import jax
from flax.core import meta
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

T = TypeVar("T")
Y = TypeVar("Y")


@flax.struct.dataclass
class Shard(meta.AxisMetadata[Array]):
    """One device's piece of a parameter, inside a `shard_map`. A module that asks for the parameter gets all of it.

    Attributes:
        value: the piece.
        axis: of the parameter, along which it is cut.
        mesh_axis: name of the mesh axis over which the pieces lie.
    """

    value: Array
    axis: int = flax.struct.field(pytree_node=False)
    mesh_axis: str = flax.struct.field(pytree_node=False)

    def unbox(self) -> Array:
        """Gathers the whole parameter from all devices."""
        return jax.lax.all_gather(self.value, self.mesh_axis, axis=self.axis, tiled=True)

    def replace_boxed(self, val: Any) -> "Shard":
        return Shard(val, self.axis, self.mesh_axis)

    def add_axis(self, index: int, params: dict[Any, Any]) -> "Shard":
        raise NotImplementedError("A parameter in pieces gets no further axis.")

    def remove_axis(self, index: int, params: dict[Any, Any]) -> "Shard":
        raise NotImplementedError("A parameter in pieces loses no axis.")


def boxed(tree: T, specs: Any) -> T:
    """Wraps those arrays of a `shard_map`'s argument that `specs`, its in_specs, cut along an axis, as `Shard`s."""

    def box(array: Array, spec: PartitionSpec) -> Array | Shard:
        cut = [(axis, name) for axis, name in enumerate(spec) if name is not None]
        return Shard(array, *cut[0]) if cut else array  # pyright: ignore[reportArgumentType]

    return jax.tree.map(box, tree, specs)


def gathering(function: Callable[[Array, Array], Y], x: Float[Array, "..."], kernel: Shard) -> Y:
    """Returns the function of x and a whole frozen kernel, which is gathered for it, and again for the gradient.

    Otherwise the backward pass would keep the kernels of all layers whole, from the forward pass on.
    """
    return jax.checkpoint(lambda x, kernel: function(x, kernel.unbox().astype(x.dtype)))(x, kernel)
