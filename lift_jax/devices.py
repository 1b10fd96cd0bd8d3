"""One mesh over all devices: where arrays are."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lift_jax.errors import UserError

DATA = "data"

T = TypeVar("T")


def make_mesh() -> Mesh:
    """All devices of all processes along one axis, over which batches are sharded."""
    return Mesh(np.asarray(jax.devices()), (DATA,))


def check_batch(batch_size: int, accumulate: int) -> None:
    """Raises a UserError if the devices do not divide a micro-batch."""
    devices = jax.device_count()
    if batch_size % (devices * accumulate):
        unit = devices * accumulate
        near = max(unit, round(batch_size / unit) * unit)
        raise UserError(
            f"config.batch_size is {batch_size}, which {devices} devices x config.accumulate={accumulate} do not "
            f"divide; take a multiple of {unit}, such as {near}."
        )


def replicate(tree: T, mesh: Mesh) -> T:
    """The same tree of host arrays on every device."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of a global batch, as global arrays sharded along their first axis."""
    sharding = NamedSharding(mesh, PartitionSpec(DATA))
    return {key: jax.make_array_from_process_local_data(sharding, array) for key, array in batch.items()}


def local_replicas(tree: Any) -> Any:
    """Replicated global arrays as arrays over this process's devices alone, without a copy: what pmap takes."""
    sharding = NamedSharding(Mesh(np.asarray(jax.local_devices()), (DATA,)), PartitionSpec())

    def local(array: jax.Array) -> jax.Array:
        shards = {shard.device: shard.data for shard in array.addressable_shards}
        return jax.make_array_from_single_device_arrays(array.shape, sharding, [shards[d] for d in jax.local_devices()])

    return jax.tree.map(local, tree)


def start() -> None:
    """What a process does once, before anything else asks JAX for its devices: compiled programs are kept on disk."""
    # JAX tells that it looked for other kinds of devices, which is of no interest to who has none of them.
    logging.getLogger("jax._src.xla_bridge").setLevel(logging.WARNING)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lift_jax" / "xla"
    jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
