"""The processes of a run: how they start together, what they tell each other, and how they end."""

import contextlib
import glob
import importlib.util
import logging
import os
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from lift_jax.cluster import preemption, xla_flags
from lift_jax.errors import UserError, first_line, print_error


def start(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> None:
    """Connects the processes of a run; called once, before anything else asks JAX for its devices.

    Compiled programs are kept on disk, and flags that help on GPUs are set (`xla_flags`). If the run has several
    processes they find each other: those of a TPU pod slice, of SLURM and of GKE by the environment, others by the
    arguments, which then must all be given.

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
    xla_flags.set_for_gpus(os.environ)
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
        print_error(UserError(f"The processes of this run did not find each other within {seconds} s; {remedy}"))
        os._exit(1)  # the main thread waits inside JAX and hears nothing

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _of_a_cluster() -> bool:
    """Tells whether the environment is that of one of several processes, which JAX then finds by itself."""
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
        sentence = (
            f"Another process of this run was lost ({first_line(error)}); start all again, they go on from the newest "
            "checkpoint."
        )
        print_error(UserError(sentence))
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
    """Runs a block that each process runs by itself: if one of them fails, all fail with its sentence.

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
    """Tells whether `value` is true on all processes."""
    return bool(np.all(multihost_utils.process_allgather(np.asarray(value)))) if jax.process_count() > 1 else value


def first_says(value: bool) -> bool:
    """Gives the first process's `value` to all of them."""
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(value))) if jax.process_count() > 1 else value


def wait_for_all(what: str) -> None:
    """Waits until all processes have come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def is_first() -> bool:
    """Tells whether this is the process that speaks and writes for all of them."""
    return jax.process_index() == 0
