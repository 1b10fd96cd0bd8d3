"""One mesh over all devices, and where arrays lie on it."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PRNGKeyArray

from lift_jax.errors import UserError

DATA = "data"

T = TypeVar("T")


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """Makes a mesh of all devices of all processes, or of those given, with one axis over which batches are sharded."""
    return Mesh(np.asarray(devices or jax.devices()), (DATA,))


def check_batch(batch_size: int, accumulate: int) -> None:
    """Refuses a batch that the devices do not divide.

    Raises:
        UserError: with the nearest batch size that they do.
    """
    devices = jax.device_count()
    unit = devices * accumulate
    if batch_size % unit:
        near = max(unit, round(batch_size / unit) * unit)
        raise UserError(
            f"config.batch_size is {batch_size}, which {devices} devices x config.accumulate={accumulate} do not "
            f"divide; take a multiple of {unit}, such as {near}."
        )


def replicate(tree: T, mesh: Mesh) -> T:
    """Puts a tree of host arrays on every device, whole."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard(tree: T, mesh: Mesh) -> T:
    """Cuts each host array into pieces over the devices (see `pieces`)."""
    return jax.tree.map(lambda array: jax.device_put(array, pieces(array.shape, mesh)), tree)


def pieces(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """Says how an array is cut: along the longest of its axes that the devices divide, or not at all if there is none.

    A vector stays whole: it is small, and to gather it takes as long as to gather a small matrix.
    """
    axes = [axis for axis, length in enumerate(shape) if len(shape) > 1 and length % mesh.size == 0]
    spec: list[str | None] = [None] * len(shape)
    if axes:
        spec[max(axes, key=lambda axis: shape[axis])] = DATA
    return NamedSharding(mesh, PartitionSpec(*spec))


def replicated_key(seed: int, mesh: Mesh) -> PRNGKeyArray:
    """Makes the random key of `seed` on every device.

    It is made there because a key that exists already cannot be put on the devices of other hosts, and from a traced
    seed so that all seeds share one program.
    """
    make = jax.jit(jax.random.key, out_shardings=NamedSharding(mesh, PartitionSpec()))
    return make(np.int32(seed))


def shard_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """Makes this process's rows of a global batch into global arrays, which are sharded along their first axis."""
    sharding = NamedSharding(mesh, PartitionSpec(DATA))
    return {key: jax.make_array_from_process_local_data(sharding, array) for key, array in batch.items()}


def is_sharded(tree: Any) -> bool:
    """Tells whether any array of a tree lies in pieces over its devices (see `shard`)."""
    return not all(array.is_fully_replicated for array in jax.tree.leaves(tree))


def local_replicas(tree: Any) -> Any:
    """Makes replicated global arrays into arrays over this process's devices alone, which is what pmap takes.

    Nothing is copied.
    """
    sharding = NamedSharding(Mesh(np.asarray(jax.local_devices()), (DATA,)), PartitionSpec())

    def local(array: jax.Array) -> jax.Array:
        shards = {shard.device: shard.data for shard in array.addressable_shards}
        return jax.make_array_from_single_device_arrays(array.shape, sharding, [shards[d] for d in jax.local_devices()])

    return jax.tree.map(local, tree)
