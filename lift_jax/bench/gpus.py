"""NVIDIA GPUs that need not be here: their figures, and devices to compile for."""

import dataclasses
import importlib.util
import os
import re
from typing import Any

from jax.experimental import topologies

from lift_jax.bench.tpus import Chip
from lift_jax.cluster import xla_flags
from lift_jax.errors import UserError

_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


@dataclasses.dataclass(frozen=True)
class _Gpu:
    """A kind of GPU as the compiler is told of it, by its data sheet and CUDA's table of compute capabilities.

    Attributes:
        name: NVIDIA's.
        chip: the figures that a roofline needs; peaks are those of dense products.
        capability: major and minor compute capability.
        multiprocessors: of the GPU.
        l2: size of its cache, bytes.
        shared: memory that the blocks of a multiprocessor share, bytes; one block gets 1 KiB less.
        clock: GHz.
    """

    name: str
    chip: Chip
    capability: tuple[int, int]
    multiprocessors: int
    l2: int
    shared: int
    clock: float


_A100 = Chip(312e12, 624e12, 2039e9, 80e9, dims=1, cores=1)
_H100 = Chip(989e12, 1979e12, 3350e9, 80e9, dims=1, cores=1)
_H200 = Chip(989e12, 1979e12, 4800e9, 141e9, dims=1, cores=1)
GPUS = {
    "a100": _Gpu("NVIDIA A100-SXM4-80GB", _A100, (8, 0), 108, 40 * 2**20, 164 * 2**10, 1.41),
    "h100": _Gpu("NVIDIA H100 80GB HBM3", _H100, (9, 0), 132, 50 * 2**20, 228 * 2**10, 1.98),
    "h200": _Gpu("NVIDIA H200", _H200, (9, 0), 132, 60 * 2**20, 228 * 2**10, 1.98),
}

_CONFIG = """
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: {gpu.shared}
  shared_memory_per_block_optin: {optin}
  threads_per_core_limit: 2048
  core_count: {gpu.multiprocessors}
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  memory_bandwidth: {gpu.chip.bandwidth:.0f}
  device_memory_size: {gpu.chip.hbm:.0f}
  l2_cache_size: {gpu.l2}
  clock_rate_ghz: {gpu.clock}
  cuda_compute_capability {{ major: {gpu.capability[0]} minor: {gpu.capability[1]} }}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 12 }}
runtime_version {{ major: 12 minor: 9 }}
device_description_str: "{gpu.name}"
"""
"""XLA's description of a target, in protobuf's text format."""


def is_gpu(name: str) -> bool:
    """Tells whether a topology is of GPUs and not of TPUs."""
    return name.partition("-")[0] in GPUS


def parse(name: str) -> tuple[Chip, int]:
    """Reads the name of a topology, such as h100 or h100-8: gives its chip and the number of GPUs.

    Raises:
        UserError: if it is not of that form.
    """
    match = re.fullmatch(rf"({'|'.join(GPUS)})(?:-([1-8]))?", name)
    if match is None:
        raise UserError(
            f"--topology is {name!r}; write {', '.join(GPUS)}, or one of them and a number up to 8, such as h100-8."
        )
    return GPUS[match[1]].chip, int(match[2] or 1)


def devices(name: str) -> list[Any]:
    """Gives the GPUs of a topology: programs can be compiled for them, but not run.

    Raises:
        UserError: as `parse` does, and if JAX's plugin, which compiles for GPUs, is not installed.
    """
    _, count = parse(name)
    if not any(map(importlib.util.find_spec, _PLUGINS)):
        raise UserError(
            "The compiler for GPUs is not installed; run: pip install 'jax[cuda12]' (it needs no GPU), best in an "
            "environment of its own."
        )
    gpu = GPUS[name.partition("-")[0]]
    _set_flags()  # which the plugin reads when it is loaded
    text = _CONFIG.format(gpu=gpu, optin=gpu.shared - 1024)
    return list(topologies.get_topology_desc(platform="cuda", target_config=text, topology=f"1x1x{count}").devices)


def _set_flags() -> None:
    """Sets the compiler's flags as a run on a GPU has them; what would try kernels out on a device is off."""
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_gpu_autotune_level=0"]
    flags += [f"--{name}={value}" for name, value in xla_flags.FLAGS.items()]
    os.environ["XLA_FLAGS"] = " ".join(filter(None, flags))
