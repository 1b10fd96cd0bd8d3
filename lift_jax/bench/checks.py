"""What `lift_jax doctor` looks at: whether this machine has what a training needs."""

import importlib.metadata
import os
import platform
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

import jax
import numpy as np
from huggingface_hub import constants
from packaging.requirements import Requirement

from lift_jax.bench.jax_step import JaxStep
from lift_jax.bench.workload import Workload
from lift_jax.cluster.memory import available
from lift_jax.errors import first_line
from lift_jax.models.vit import VisionTransformer

_GIB = 2**30
_MEMORY, _ROOM = 2 * _GIB, 2 * _GIB
"""Bytes: what a training of a CLIP ViT-B takes on the host at least, and what its weights and checkpoints fill."""

_STEPS = 60
"""Steps of the training that is tried; the momentum carries the loss up before it falls."""

_SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class Finding(NamedTuple):
    """What a check has found.

    Attributes:
        state: "ok"; "note" for what works, but not for everything; "wrong" for what keeps a training from working.
        said: what there is.
        remedy: what to do about it, as a sentence; "" where there is nothing to do.
    """

    state: Literal["ok", "note", "wrong"]
    said: str
    remedy: str = ""


def run_all(checks: "Mapping[str, Callable[[], Finding]] | None" = None) -> Iterator[tuple[str, Finding]]:
    """Yields the name and the finding of each check, as soon as it is through; one that fails has found that.

    Args:
        checks: those to make; None for all.
    """
    for name, check in (CHECKS if checks is None else checks).items():
        try:
            found = check()
        except Exception as error:  # whatever is wrong with a machine, the other checks go on
            said = f"{type(error).__name__}: {first_line(error)}"
            found = Finding("wrong", said, "This check failed; install lift_jax anew in an empty environment.")
        yield name, found


def python() -> Finding:
    """Names Python and the system."""
    return Finding("ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def packages() -> Finding:
    """Compares the installed packages with those that lift_jax needs."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _SHOWN)
    unmet = [str(each) for each in _requirements() if not _is_met(each)]
    if unmet:
        wanted = " ".join(f'"{each}"' for each in unmet)
        return Finding("wrong", f"missing or of another version: {', '.join(unmet)}", f"Run pip install {wanted}.")
    return Finding("ok", versions)


def _requirements() -> list[Requirement]:
    """Gives what lift_jax needs without extras; nothing is known of a copy that was not installed."""
    try:
        lines = importlib.metadata.requires("lift_jax") or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    needed = [Requirement(line) for line in lines]
    return [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]


def _is_met(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False


def devices() -> Finding:
    """Names the devices that JAX sees, and a GPU that it does not see."""
    try:
        found = jax.devices()
    except RuntimeError as error:
        return Finding("wrong", f"JAX finds no device ({first_line(error)})", _REMEDY_CUDA)
    said = f"{len(found)} x {found[0].device_kind} ({jax.default_backend()}), {os.cpu_count()} processor cores"
    if jax.default_backend() == "cpu" and shutil.which("nvidia-smi"):
        return Finding("note", f"{said}; there is an NVIDIA GPU that JAX does not use", _REMEDY_CUDA)
    return Finding("ok", said)


_REMEDY_CUDA = "For an NVIDIA GPU, run pip install 'jax[cuda12]' and unset JAX_PLATFORMS."


def memory() -> Finding:
    """Tells the host's memory."""
    total, free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), available()
    if free is None:
        return Finding("ok", f"{total / _GIB:.1f} GiB")
    said = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB are available"
    if free < _MEMORY:
        return Finding("note", said, "Close other programs, or take a smaller backbone and config.batch_size.")
    return Finding("ok", said)


def disk() -> Finding:
    """Tells the room on the disk of the present folder, where runs are written unless --workdir says otherwise."""
    folder = Path.cwd()
    free = shutil.disk_usage(folder).free
    said = f"{free / _GIB:.1f} GiB are free at {folder}"
    if not os.access(folder, os.W_OK):
        return Finding("note", f"{folder} cannot be written", "Name another folder for runs with --workdir.")
    if free < _ROOM:
        return Finding("note", said, "Make room, or name a folder on another disk with --workdir.")
    return Finding("ok", said)


def caches() -> Finding:
    """Tells where downloaded backbones and compiled programs are kept."""
    hub, programs = Path(constants.HF_HUB_CACHE), os.environ.get("JAX_COMPILATION_CACHE_DIR")
    models = len(list(hub.glob("models--*"))) if hub.is_dir() else 0
    place = next(each for each in (hub, *hub.parents) if each.exists())
    compiled = f"compiled programs in {programs}" if programs else "compiled programs are not kept"
    said = f"{models} backbones of the hub in {hub} ({shutil.disk_usage(place).free / _GIB:.1f} GiB free); {compiled}"
    if not os.access(place, os.W_OK):
        return Finding("note", said, f"{place} cannot be written; name another folder with HF_HOME.")
    if not programs:
        return Finding("ok", said, "JAX_COMPILATION_CACHE_DIR=FOLDER keeps compiled programs for the next run.")
    return Finding("ok", said)


def hub(endpoint: str = constants.ENDPOINT, seconds: float = 3.0) -> Finding:
    """Tells whether the Hugging Face hub, from which backbones are fetched, can be reached.

    Args:
        endpoint: its address.
        seconds: after which it counts as not reachable; looking up its name counts in.
    """
    if constants.HF_HUB_OFFLINE:
        return Finding("note", "HF_HUB_OFFLINE is set: only the cache is read")
    address = urlsplit(endpoint)
    problems: list[str] = []

    def connect() -> None:
        try:
            port = address.port or (443 if address.scheme == "https" else 80)
            socket.create_connection((address.hostname or "", port), timeout=seconds).close()
            problems.append("")
        except OSError as error:
            problems.append(error.strerror or first_line(error))

    # The look-up of a name knows no timeout, so that it is left to a thread which ends with the program.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(seconds)
    problem = problems[0] if problems else f"no answer in {seconds:g} s"
    if not problem:
        return Finding("ok", f"{endpoint} can be reached")
    remedy = (
        "The quickstart and backbones in folders or in the cache work without it; copy others from a machine that has "
        "it, or name a mirror with HF_ENDPOINT."
    )
    return Finding("note", f"{endpoint} cannot be reached ({problem})", remedy)


def self_test() -> Finding:
    """Trains a tiny ViT on one batch, whose loss has to fall."""
    start, count = time.monotonic(), jax.local_device_count()
    vision = VisionTransformer(patch_size=8, width=16, depth=1, num_heads=2, mlp_dim=32)
    side = JaxStep(Workload(vision, resolution=16, dim=4, num_classes=4, batch=16 * count))
    losses = [side.train() for _ in range(_STEPS)]
    said = f"{_STEPS} steps of a tiny ViT in {time.monotonic() - start:.1f} s, loss {losses[0]:.2f} to {losses[-1]:.2f}"
    if not np.isfinite(losses).all() or losses[-1] >= losses[0]:
        return Finding("wrong", said, "The loss does not fall; update jax, and the driver of the device.")
    return Finding("ok", said)


CHECKS: Mapping[str, Callable[[], Finding]] = {
    "Python": python,
    "packages": packages,
    "devices": devices,
    "memory": memory,
    "disk": disk,
    "caches": caches,
    "hub": hub,
    "training": self_test,
}
