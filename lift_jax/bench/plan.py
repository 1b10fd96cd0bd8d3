"""What the steps of a config need of a chip, in lines to be printed; and the largest batch that fits."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

import jax
import ml_collections
import numpy as np

from lift_jax.bench import gpus, ideal, program, steps, tpus, traffic
from lift_jax.bench.program import Program
from lift_jax.bench.tpus import Chip
from lift_jax.errors import UserError
from lift_jax.models import micro_batches
from lift_jax.models.attention_kernels import Attention
from lift_jax.models.transformer import Remat

_UNIT = 8
"""Batches of a chip are multiples of it: TPUs lay arrays out in tiles of eight rows."""

USABLE = 0.98
"""Share of the HBM that a program gets: the runtime keeps 0.25 of a v5e's 16 GiB."""

_TRIES = 6
"""Programs that are compiled for a rematerialisation policy at most; two are usual."""


class Target(NamedTuple):
    """The devices that programs are compiled for.

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

    def attention(self, dtype: np.dtype, head_dim: int) -> Attention:
        """Gives who computes attention in a run on these devices, if they are GPUs that have cuDNN."""
        suits = self.local[0].platform == "gpu" and dtype.itemsize == 2 and head_dim % 8 == 0
        return "cudnn" if suits else "plain"


def target(name: str) -> Target:
    """Gives the devices of a topology.

    JAX then takes no device of this machine but its processors, and compiles anew what its cache has: the time of
    compiling is wanted.

    Args:
        name: of TPUs (v5e-256), of GPUs (h100), or cpu for this machine.

    Raises:
        UserError: if there is no such topology, or the compiler for it is not installed.
    """
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)
    if name == "cpu":
        return Target(name, None, jax.devices(), jax.devices())
    if gpus.is_gpu(name):
        found = gpus.devices(name)
        return Target(name, gpus.parse(name)[0], found, found)
    return Target(name, tpus.parse(name)[0], *tpus.slice_devices(name))


def both(
    config: ml_collections.FrozenConfigDict, num_classes: int, target: Target, batch: int, by_layer: bool = False
) -> Iterator[str]:
    """Describes the training step with `batch` images a chip, and the evaluation step, in lines.

    If `by_layer`, the bytes of both are listed by layer and operation.

    Raises:
        UserError: if a step does not fit into the chip's memory, or cannot be made from the config alone.
    """
    network = steps.network(config, num_classes, target.attention)
    least = ideal.operations(config, network)

    def counted(rows: int, parts: int = 0) -> int:
        """Gives the rows whose operations the compiler counts: of a loop over micro-batches, those of one of them."""
        side, platform = network.input.resolution, target.local[0].platform
        return rows // (parts or micro_batches.suitable(network.classifier.backbone, (rows, side, side, 3), platform))

    yield _head(config, num_classes, target)
    lowered = steps.training(config, network, target.everywhere, batch * len(target.everywhere))
    compiled = fitting(lowered, f"The training step with {batch} images a chip")
    yield f"training step, {batch} images a chip, remat {config.remat}:"
    rows = counted(batch, config.accumulate)
    yield from _lines(compiled, target.chip, rows, least and least.total * rows)
    if by_layer:
        yield traffic.table(compiled.text, rows)
    if target.chip is not None:
        largest = next_batch({batch: compiled}, USABLE * target.chip.hbm, batch) or batch
        yield f"  largest batch    about {largest} a chip (--fit compiles to be sure)"
    lowered, views = steps.evaluation(config, network, target.everywhere, target.local)
    compiled = fitting(lowered, f"The evaluation step with {views} views a chip")
    yield f"evaluation step, {views} views a chip:"
    rows = counted(views)
    yield from _lines(compiled, target.chip, rows, least and least.forward * rows, "views")
    if by_layer:
        yield traffic.table(compiled.text, rows)


def fit(config: ml_collections.FrozenConfigDict, num_classes: int, target: Target, batch: int) -> Iterator[str]:
    """Finds the largest batch of each rematerialisation policy, and the policy with the least time an image.

    The search begins at `batch` images a chip; every batch that is named was compiled.

    Raises:
        UserError: if the target has no memory to fill, or not even the smallest batch fits.
    """
    chip = target.chip
    if chip is None:
        raise UserError("--fit fills the memory of a TPU's chip; write --topology v5e-16 or the like.")
    yield _head(config, num_classes, target)
    policies, found = get_args(Remat), {}
    began, compilations = time.monotonic(), 0
    for index, remat in enumerate(policies):
        own = ml_collections.ConfigDict(config.to_dict())
        own.remat = remat
        own = ml_collections.FrozenConfigDict(own)
        network = steps.network(own, num_classes, target.attention)
        programs: dict[int, Program | None] = {}
        while len(programs) < _TRIES and (size := next_batch(programs, USABLE * chip.hbm, batch)) is not None:
            compiled = _compiled(steps.training(own, network, target.everywhere, size * len(target.everywhere)))
            programs[size] = compiled
            compilations += 1
            left = (_TRIES * (len(policies) - index) - len(programs)) * (time.monotonic() - began) / compilations
            takes = f"take {_gib(compiled.peak)}" if compiled else "do not fit"
            yield f"  remat {remat}: {size} images a chip {takes}; at most {left / 60:.0f} min left"
        fitting = {size: compiled for size, compiled in programs.items() if compiled is not None}
        if not fitting:
            yield f"remat {remat:8} nothing fits"
            continue
        batch = max(fitting)  # what fits with less rematerialisation fits with more
        compiled = fitting[batch]
        rate = batch / max(roofline(compiled, chip))
        found[f"--config.remat={remat} with up to {batch} images a chip"] = rate
        yield f"remat {remat:8} {batch:5} images a chip, {_gib(compiled.peak)}, at most {rate:,.0f} images a second"
    if not found:
        raise UserError(f"Not even {_UNIT} images a chip fit; take a chip with more memory or a smaller backbone.")
    yield f"fastest by the roofline: {max(found, key=found.__getitem__)}"


def next_batch(programs: Mapping[int, Program | None], limit: float, start: int) -> int | None:
    """Chooses the batch to compile next in the search for the largest that fits.

    Memory grows nearly in proportion to the batch, so the line through the two largest programs, or through the largest
    and what it would need without temporaries, says where it reaches the limit.

    Args:
        programs: by their batch; None did not fit.
        limit: bytes.
        start: the first batch.

    Returns:
        A multiple of 8; None if the largest is known to a sixteenth, or not even 8 fit.
    """
    if not programs:
        return _floor(start)
    fitting = {size: compiled for size, compiled in programs.items() if compiled is not None}
    low, *smaller = sorted(fitting, reverse=True) or [0]
    high = min((size for size in programs if size > low), default=None)
    if low == 0:
        assert high is not None
        return _floor(high / 2) if high > _UNIT else None
    compiled = fitting[low]
    below, there = (smaller[0], fitting[smaller[0]].peak) if smaller else (0, compiled.peak - compiled.temporaries)
    slope = (compiled.peak - there) / (low - below)
    guess = _floor(low + (limit - compiled.peak) / slope) if slope > 0 else 2 * low
    step = max(_UNIT, low // 16)
    if high is not None and guess >= high:
        return _floor((low + high) / 2) if high - low > step else None
    return guess if guess - low >= step else None


def _floor(size: float) -> int:
    return max(_UNIT, int(size) // _UNIT * _UNIT)


def _compiled(lowered: Any) -> Program | None:
    """Compiles a program; gives None if it does not fit into the memory."""
    try:
        return program.compile(lowered)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise


def fitting(lowered: Any, what: str) -> Program:
    """Compiles a program.

    Args:
        lowered: what `jax.jit(...).lower(...)` gives.
        what: how the message begins.

    Raises:
        UserError: if it does not fit into the memory.
    """
    compiled = _compiled(lowered)
    if compiled is None:
        raise UserError(f"{what} does not fit into the memory; write a smaller --batch, or --fit to find the largest.")
    return compiled


def _head(config: ml_collections.FrozenConfigDict, num_classes: int, target: Target) -> str:
    chips = f"{len(target.everywhere)} chips" if target.chip else "this machine"
    kernels = "" if config.frozen_dtype == "auto" else f", frozen kernels in {config.frozen_dtype}"
    what = f"{config.backbone}, {config.method}, {num_classes:,} classes, {config.dtype}{kernels}"
    return f"{what}, on {target.name} ({chips})"


def roofline(compiled: Program, chip: Chip) -> tuple[float, float]:
    """Gives the seconds that a chip takes at least for a program's operations, and for its bytes."""
    operations = (compiled.flops - compiled.whole) / chip.flops + compiled.whole / chip.whole
    return operations, compiled.accessed / chip.bandwidth


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"


def _lines(compiled: Program, chip: Chip | None, rows: int, least: int | None, unit: str = "images") -> Iterator[str]:
    yield f"  compile time     {compiled.seconds:.0f} s, {compiled.processor:.0f} s of processors"
    if compiled.flops:
        ratio = f", {compiled.flops / least:.3f} times the ideal {least / 1e12:.3f}" if least else ""
        yield f"  operations       {compiled.flops / 1e12:.3f} TFLOP for {rows} {unit}{ratio}"
    elif least:
        yield f"  operations       {least / 1e12:.3f} TFLOP for {rows} {unit}, the ideal: the compiler counts none"
        compiled = compiled._replace(flops=float(least))
    if compiled.whole:
        yield f"  of them in int8  {compiled.whole / 1e12:.3f} TFLOP"
    yield f"  bytes accessed   {compiled.accessed / 1e9:.1f} GB, {compiled.accessed / rows / 1e6:.1f} MB of {unit}"
    parts = f"arguments {_gib(compiled.arguments)}, temporaries {_gib(compiled.temporaries)}"
    share = f" of {_gib(chip.hbm)}" if chip else ""
    yield f"  memory           {parts}, peak {_gib(compiled.peak)}{share}"
    for kind, (instructions, size) in compiled.collectives.items():
        yield f"  {kind:16} {instructions}, {size / 1e6:.2f} MB"
    if chip:
        arithmetic, memory = roofline(compiled, chip)
        seconds = max(arithmetic, memory)
        bound = f"operations {1e3 * arithmetic:.1f}, memory {1e3 * memory:.1f}"
        yield f"  roofline         {1e3 * seconds:.1f} ms ({bound}), {rows / seconds:,.0f} {unit} a second"
    if compiled.cycles:
        yield f"  cycles           {compiled.cycles / 1e6:.1f} million, by the compiler's model"
