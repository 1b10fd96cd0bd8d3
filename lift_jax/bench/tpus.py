"""TPU slices that need not be here: their chips, and devices to compile for."""

import dataclasses
import importlib.util
import math
import re
from typing import Any

from jax.experimental import topologies

from lift_jax.cluster import processes
from lift_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
    """A kind of accelerator by its vendor's figures, for TPUs those of cloud.google.com/tpu/docs.

    Attributes:
        flops: peak of bfloat16 products, operations a second.
        whole: peak of products of eight-bit integers.
        bandwidth: of the HBM, bytes a second.
        hbm: size of the HBM, bytes.
        dims: of the torus in which the chips of a slice of TPUs lie.
        cores: of a chip. A slice's name counts cores where there are two: v4-32 has 16 chips.
    """

    flops: float
    whole: float
    bandwidth: float
    hbm: float
    dims: int
    cores: int


CHIPS = {
    "v4": Chip(275e12, 275e12, 1228e9, 32 * 2**30, dims=3, cores=2),
    "v5e": Chip(197e12, 393e12, 819e9, 16 * 2**30, dims=2, cores=1),
    "v5p": Chip(459e12, 918e12, 2765e9, 95 * 2**30, dims=3, cores=2),
    "v6e": Chip(918e12, 1836e12, 1640e9, 32 * 2**30, dims=2, cores=1),
}
_CHIPS_OF_A_SLICE = (8, 16, 32, 64, 128, 256)


def parse(name: str) -> tuple[Chip, tuple[int, ...]]:
    """Reads the name of a slice, such as v5e-256: gives its chip and its shape.

    Raises:
        UserError: if there is no such chip or no slice of that size.
    """
    match = re.fullmatch(r"(\w+)-(\d+)", name)
    if match is None or match[1] not in CHIPS:
        raise UserError(
            f"--topology is {name!r}; write a chip and a number, such as v5e-16, the chips being {', '.join(CHIPS)}, "
            "or a GPU such as h100, or cpu for this machine."
        )
    chip = CHIPS[match[1]]
    chips, rest = divmod(int(match[2]), chip.cores)
    if rest or chips not in _CHIPS_OF_A_SLICE:
        sizes = ", ".join(str(n * chip.cores) for n in _CHIPS_OF_A_SLICE)
        cores = " (it counts cores, two a chip)" if chip.cores > 1 else ""
        raise UserError(f"--topology is {name!r}; the number after {match[1]}-{cores} is one of {sizes}.")
    doublings = [(int(math.log2(chips)) + i) // chip.dims for i in range(chip.dims)]
    return chip, tuple(2**n for n in doublings)


def slice_devices(name: str) -> tuple[list[Any], list[Any]]:
    """Gives the devices of a slice, and those of one host: programs can be compiled for them, but not run.

    Raises:
        UserError: as `parse` does, and if libtpu, which compiles for TPUs, is not installed.
    """
    chip, shape = parse(name)
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            "The compiler for TPUs, libtpu, is not installed; run: pip install 'jax[tpu]', best in an environment "
            "of its own."
        )
    processes.silence_libtpu()
    # As on the machines, the two cores of a chip are one device.
    together = {"chip_config_name": "megacore"} if chip.cores > 1 else {}

    def of(shape: tuple[int, ...]) -> list[Any]:
        topology = f"{name.partition('-')[0]}:{'x'.join(map(str, shape))}"
        return list(topologies.get_topology_desc(topology, "tpu", **together).devices)

    return of(shape), of((2, 2, 1)[: chip.dims])
