"""One mesh over all devices: where arrays are, and what the processes tell each other."""

import contextlib
import glob
import importlib.util
import logging
import os
import re
import sys
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PRNGKeyArray

from lift_jax import preemption
from lift_jax.errors import UserError, first_line

DATA = "data"

T = TypeVar("T")


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """All devices of all processes, or those given, along one axis, over which batches are sharded."""
    return Mesh(np.asarray(devices or jax.devices()), (DATA,))


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


def shard(tree: T, mesh: Mesh) -> T:
    """Each host array in pieces over the devices (see `pieces`)."""
    return jax.tree.map(lambda array: jax.device_put(array, pieces(array.shape, mesh)), tree)


def pieces(shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
    """An array in pieces along the longest of its axes that the devices divide; whole on each if there is none.

    A vector stays whole: it is small, and to gather it takes as long as a small matrix.
    """
    axes = [axis for axis, length in enumerate(shape) if len(shape) > 1 and length % mesh.size == 0]
    spec: list[str | None] = [None] * len(shape)
    if axes:
        spec[max(axes, key=lambda axis: shape[axis])] = DATA
    return NamedSharding(mesh, PartitionSpec(*spec))


def replicated_key(seed: int, mesh: Mesh) -> PRNGKeyArray:
    """The random key of `seed` on every device; a key that exists already could not be put on other hosts' devices."""
    return jax.jit(lambda: jax.random.key(seed), out_shardings=NamedSharding(mesh, PartitionSpec()))()


def shard_batch(batch: Mapping[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """This process's rows of a global batch, as global arrays sharded along their first axis."""
    sharding = NamedSharding(mesh, PartitionSpec(DATA))
    return {key: jax.make_array_from_process_local_data(sharding, array) for key, array in batch.items()}


def local_replicas(tree: Any) -> Any:
    """Global arrays as arrays over this process's devices alone, whole on each: what pmap takes.

    Replicated arrays are not copied; those that `shard` cut are put together.
    """
    sharding = NamedSharding(Mesh(np.asarray(jax.local_devices()), (DATA,)), PartitionSpec())
    if not all(array.is_fully_replicated for array in jax.tree.leaves(tree)):
        tree = jax.jit(lambda x: x, out_shardings=NamedSharding(make_mesh(), PartitionSpec()))(tree)

    def local(array: jax.Array) -> jax.Array:
        shards = {shard.device: shard.data for shard in array.addressable_shards}
        return jax.make_array_from_single_device_arrays(array.shape, sharding, [shards[d] for d in jax.local_devices()])

    return jax.tree.map(local, tree)


def start(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> None:
    """What a process does once, before anything else asks JAX for its devices.

    Compiled programs are kept on disk. If the run has several processes they find each other: those of a TPU pod slice,
    of SLURM and of GKE by the environment, others by the arguments, which then must all be given.

    Args:
        coordinator: host:port of the first process.
        num_processes: number of processes.
        process_id: of this one, from 0.

    Raises:
        UserError: if the arguments are incomplete, or the processes do not find each other.
    """
    # JAX tells that it looked for other kinds of devices, and how it connects, which is of no interest to most.
    for name in "jax._src.xla_bridge", "jax._src.distributed":
        logging.getLogger(name).setLevel(logging.WARNING)
    silence_libtpu()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lift_jax" / "xla"
    jax.config.update("jax_compilation_cache_dir", os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    explicit = (coordinator, num_processes, process_id)
    if any(x is not None for x in explicit) and None in explicit:
        raise UserError("--coordinator, --num_processes and --process_id belong together; give all three or none.")
    if coordinator is None and not _of_a_cluster():
        return
    timeout = int(os.environ.get("LIFT_JAX_CONNECT_SECONDS", "300"))
    with _deadline(timeout, f"see that all are started and can reach {coordinator or 'the first one'}."):
        try:
            # JAX's own deadline, which comes later, would end the process with a stack of C++.
            jax.distributed.initialize(coordinator, num_processes, process_id, initialization_timeout=timeout + 60)
        except Exception as error:  # gRPC's and the cluster detectors' have no common base
            raise UserError(
                f"The processes of this run did not find each other ({first_line(error)}); see that all are started "
                f"and can reach {coordinator or 'the first one'}."
            ) from error


@contextlib.contextmanager
def _deadline(seconds: float, remedy: str) -> Iterator[None]:
    """Ends the process with a sentence if the other processes are not found in time."""

    def give_up() -> None:
        print(f"error: The processes of this run did not find each other within {seconds} s; {remedy}", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)  # the main thread waits inside JAX and hears nothing

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _of_a_cluster() -> bool:
    """Whether the environment is that of one of several processes, which JAX then finds by itself."""
    environment = os.environ
    if "MEGASCALE_COORDINATOR_ADDRESS" in environment:  # several TPU slices
        return True
    if int(environment.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in environment:
        return True
    hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES")
    if hosts is not None:  # GKE
        return "," in hosts
    # A Cloud TPU VM does not tell its pod in the environment: JAX asks the metadata server, also where it is alone.
    chips = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    on_tpu = bool(chips) and importlib.util.find_spec("libtpu") is not None
    return on_tpu and "cpu" not in environment.get("JAX_PLATFORMS", "") and "TPU_SKIP_MDS_QUERY" not in environment


def silence_libtpu() -> None:
    """Keeps libtpu, where it is installed and no TPU is at hand, from warning and from letting in one process alone."""
    if os.environ.get("TPU_SKIP_MDS_QUERY"):  # JAX has found no chip
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-8")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Ends the process with a sentence if another one of the run is lost, where JAX says so by an exception.

    At its end Python would wait for the lost one for a minute, and then abort. Where the first process is lost, JAX
    aborts the others at once.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not re.search("Gloo|NCCL|UNAVAILABLE|heartbeat", str(error)):
            raise
        print(
            f"error: Another process of this run was lost ({first_line(error)}); start all again, they go on from the "
            "newest checkpoint.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(preemption.EXIT_CODE)


def agree(**values: object) -> None:
    """Stops all processes if they were started with different values, each of which is named.

    Raises:
        UserError: the same on every process.
    """
    if jax.process_count() == 1:
        return
    digests = [zlib.crc32(repr(value).encode()) for value in values.values()]
    everyones = multihost_utils.process_allgather(np.asarray(digests, np.uint32))
    different = [name for name, column in zip(values, everyones.T, strict=True) if len(set(column.tolist())) > 1]
    if different:
        raise UserError(
            f"The processes of this run disagree on {', '.join(different)}; start all with the same command and data."
        )


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What all processes do alike, and each by itself: if one of them fails, all fail with its sentence.

    Raises:
        UserError: the same on every process.
    """
    problem: UserError | None = None
    try:
        yield
    except UserError as error:
        problem = error
    if jax.process_count() > 1:
        told = np.zeros(_SENTENCE, np.uint8)
        text = str(problem or "").encode()[:_SENTENCE]
        told[: len(text)] = np.frombuffer(text, np.uint8)
        everyones = multihost_utils.process_allgather(told)
        failed = [process for process, row in enumerate(everyones) if row.any()]
        if failed:
            sentence = everyones[failed[0]].tobytes().rstrip(b"\0").decode(errors="replace")
            raise UserError(f"Process {failed[0]} of {jax.process_count()}: {sentence}") from problem
    elif problem is not None:
        raise problem


_SENTENCE = 1000
"""Bytes of a sentence that one process tells the others."""


def all_agree(value: bool) -> bool:
    """Whether `value` is true on all processes."""
    return bool(np.all(multihost_utils.process_allgather(np.asarray(value)))) if jax.process_count() > 1 else value


def first_says(value: bool) -> bool:
    """The first process's `value`, on all of them."""
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(value))) if jax.process_count() > 1 else value


def wait_for_all(what: str) -> None:
    """Goes on when all processes have come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
