"""Flags of XLA that were measured to help on GPUs, set where the user has set none (docs/performance.md)."""

import glob
import importlib.util
import mmap
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

FLAGS: Mapping[str, str] = {
    # cuBLAS's products are as fast, and Triton's are compiled one by one: 13 s instead of 32 s to the first step.
    "xla_gpu_enable_triton_gemm": "false",
}
_PLUGINS = ("jax_plugins.xla_cuda12", "jax_plugins.xla_cuda13")


def set_for_gpus(environment: MutableMapping[str, str]) -> None:
    """Sets the flags in XLA_FLAGS if JAX will use an NVIDIA GPU; called before it is asked for its devices."""
    platforms = environment.get("JAX_PLATFORMS", "")
    is_wanted = not platforms or "cuda" in platforms or "gpu" in platforms
    plugins = [file for name in _PLUGINS for file in _libraries(name)]
    if is_wanted and plugins and glob.glob("/dev/nvidia[0-9]*"):
        add(environment, [*plugins, *_libraries("jaxlib")])


def add(environment: MutableMapping[str, str], libraries: Sequence[Path]) -> None:
    """Adds those flags to XLA_FLAGS that the user has not set there and that every library knows.

    An XLA that finds an unknown flag ends the process.

    Args:
        environment: variables of the process.
        libraries: those that contain an XLA; each reads XLA_FLAGS.
    """
    given = environment.get("XLA_FLAGS", "")
    theirs = {word.partition("=")[0].lstrip("-") for word in given.split()}
    added = [
        f"--{name}={value}"
        for name, value in FLAGS.items()
        if name not in theirs and all(_knows(library, name) for library in libraries)
    ]
    if added:
        environment["XLA_FLAGS"] = " ".join([*given.split(), *added])


def _libraries(package: str) -> list[Path]:
    """Finds the libraries of a package that are large enough for an XLA."""
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:  # the package above it is missing
        return []
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    return [file for folder in folders for file in folder.glob("*.so*") if file.stat().st_size > 2**24]


def _knows(library: Path, flag: str) -> bool:
    """Tells whether the name of a flag is among a library's constants."""
    with library.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"\0" + flag.encode() + b"\0") >= 0
