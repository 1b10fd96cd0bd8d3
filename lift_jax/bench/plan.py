"""What the steps of a config need of a chip, in lines to be printed; and the largest batch that fits."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, get_args

import jax
import ml_collections

from lift_jax.bench import ideal, program, steps
from lift_jax.bench.program import Program
from lift_jax.bench.tpus import Chip
from lift_jax.errors import UserError
from lift_jax.models.transformer import Remat

_UNIT = 8
"""Batches of a chip are multiples of it: TPUs lay arrays out in tiles of eight rows."""

_USABLE = 0.98
"""Share of the HBM that a program gets: the runtime keeps 0.25 of a v5e's 16 GiB."""


class Target(NamedTuple):
    """What is compiled for.

    Attributes:
        name: of the topology.
        chip: None for a CPU.
        everywhere: all devices.
        local: those of one host.
    """

    name: str
    chip: Chip | None
    everywhere: Sequence[Any]
    local: Sequence[Any]


def both(config: ml_collections.FrozenConfigDict, num_classes: int, target: Target, batch: int) -> Iterator[str]:
    """Lines about the training step with `batch` images a chip, and about the evaluation step.

    Raises:
        UserError: if a step does not fit into the chip's memory, or cannot be made from the config alone.
    """
    network = steps.network(config, num_classes)
    least = ideal.operations(config, network)
    yield _head(config, num_classes, target)
    lowered = steps.training(config, network, target.everywhere, batch * len(target.everywhere))
    compiled = _fitting(lowered, f"The training step with {batch} images a chip")
    yield f"training step, {batch} images a chip, remat {config.remat}:"
    yield from _lines(compiled, target.chip, batch, least and least.total * batch)
    if target.chip is not None:
        yield f"  largest batch    about {_largest(compiled, target.chip, batch)} a chip (--fit compiles to be sure)"
    lowered, views = steps.evaluation(config, network, target.local)
    compiled = _fitting(lowered, f"The evaluation step with {views} views a chip")
    yield f"evaluation step, {views} views a chip:"
    yield from _lines(compiled, target.chip, views, least and least.forward * views, "views")


def fit(config: ml_collections.FrozenConfigDict, num_classes: int, target: Target, batch: int) -> Iterator[str]:
    """Lines about the largest batch of each rematerialisation policy, and the policy with the least time an image.

    The search begins at `batch` images a chip; every batch that is named was compiled.

    Raises:
        UserError: if the target has no memory to fill, or not even the smallest batch fits.
    """
    chip = target.chip
    if chip is None:
        raise UserError("--fit fills the memory of a TPU's chip; write --topology v5e-16 or the like.")
    yield _head(config, num_classes, target)
    found: list[tuple[float, str]] = []
    for remat in get_args(Remat):
        own = ml_collections.ConfigDict(config.to_dict())
        own.remat = remat
        own = ml_collections.FrozenConfigDict(own)
        network = steps.network(own, num_classes)

        def at(size: int, own=own, network=network) -> Program | None:
            lowered = steps.training(own, network, target.everywhere, size * len(target.everywhere))
            return _compiled(lowered)

        size, compiled = _search(at, chip, batch)
        if compiled is None:
            yield f"remat {remat:8} nothing fits"
            continue
        rate = size / _roofline(compiled, chip)
        found.append((rate, f"--config.remat={remat} with up to {size} images a chip"))
        yield f"remat {remat:8} {size:5} images a chip, {_gib(compiled.peak)}, at most {rate:,.0f} images a second"
    if not found:
        raise UserError(f"Not even {_UNIT} images a chip fit; take a chip with more memory or a smaller backbone.")
    yield f"fastest by the roofline: {max(found)[1]}"


def _search(at: Callable[[int], Program | None], chip: Chip, size: int) -> tuple[int, Program | None]:
    """The largest batch that compiles, in steps of a sixteenth or `_UNIT`, and its program."""
    best, most = (0, None), None
    size = _floor(size)
    while True:
        compiled = at(size)
        if compiled is None:
            most = size
            size = _floor((best[0] + most) / 2)
        else:
            best = (size, compiled)
            size = _largest(compiled, chip, size)
            if most is not None:
                size = min(size, _floor((best[0] + most) / 2))
        step = max(_UNIT, best[0] // 16)
        if size - best[0] < step or (most is not None and most - best[0] <= step):
            return best


def _largest(compiled: Program, chip: Chip, batch: int) -> int:
    """The batch at which temporaries that grow with it would fill the memory."""
    rest = _USABLE * chip.hbm - (compiled.peak - compiled.temporaries)
    return _floor(batch * rest / compiled.temporaries)


def _floor(size: float) -> int:
    return max(_UNIT, int(size) // _UNIT * _UNIT)


def _compiled(lowered: Any) -> Program | None:
    """None if the program does not fit into the memory."""
    try:
        return program.compile(lowered)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise


def _fitting(lowered: Any, what: str) -> Program:
    compiled = _compiled(lowered)
    if compiled is None:
        raise UserError(f"{what} does not fit into the memory; write a smaller --batch, or --fit to find the largest.")
    return compiled


def _head(config: ml_collections.FrozenConfigDict, num_classes: int, target: Target) -> str:
    chips = f"{len(target.everywhere)} chips" if target.chip else "this machine"
    return f"{config.backbone}, {config.method}, {num_classes:,} classes, {config.dtype}, on {target.name} ({chips})"


def _roofline(compiled: Program, chip: Chip) -> float:
    return max(compiled.flops / chip.flops, compiled.accessed / chip.bandwidth)


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


def _lines(compiled: Program, chip: Chip | None, rows: int, least: int | None, unit: str = "images") -> Iterator[str]:
    yield f"  compile time     {compiled.seconds:.0f} s"
    ratio = f", {compiled.flops / least:.3f} times the ideal {least / 1e12:.3f}" if least else ""
    yield f"  operations       {compiled.flops / 1e12:.3f} TFLOP{ratio}"
    yield f"  bytes accessed   {compiled.accessed / 1e9:.1f} GB"
    parts = f"arguments {_gib(compiled.arguments)}, temporaries {_gib(compiled.temporaries)}"
    share = f" of {_gib(chip.hbm)}" if chip else ""
    yield f"  memory           {parts}, peak {_gib(compiled.peak)}{share}"
    for kind, (number, size) in compiled.collectives.items():
        yield f"  {kind:16} {number}, {size / 1e6:.2f} MB"
    if chip:
        arithmetic, memory = compiled.flops / chip.flops, compiled.accessed / chip.bandwidth
        seconds = max(arithmetic, memory)
        bound = f"operations {1e3 * arithmetic:.1f}, memory {1e3 * memory:.1f}"
        yield f"  roofline         {1e3 * seconds:.1f} ms ({bound}), {rows / seconds:,.0f} {unit} a second"
