"""The largest training batch of backbones on chips of several kinds, by the bytes of one compiled program of each."""

from collections.abc import Iterator, Mapping, Sequence

import ml_collections

from lift_jax.bench import architectures, plan, steps
from lift_jax.bench.program import Program
from lift_jax.bench.tpus import CHIPS
from lift_jax.errors import UserError
from lift_jax.text import aligned

MEMORY: Mapping[str, float] = {
    "v5e": plan.USABLE * CHIPS["v5e"].hbm,
    "v6e": plan.USABLE * CHIPS["v6e"].hbm,
    "H100": 0.75 * 80e9,
}
"""Bytes that a program gets of a chip. Of a GPU's memory JAX takes three quarters, unless the variable
XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise."""

_HEADER = "backbone", "pixels", "fixed, GiB", "an image, MiB", *MEMORY, "images a second"


def table(
    config: ml_collections.FrozenConfigDict, num_classes: int, target: plan.Target, batch: int, names: Sequence[str]
) -> Iterator[str]:
    """Yields a line for each backbone as soon as it is compiled, and then the table.

    Args:
        config: the resolved config, whose backbone is each of `names` in turn.
        num_classes: of the head.
        target: the TPUs for which the programs are compiled, and to whose roofline the last column belongs.
        batch: images a chip in these programs; few enough that the compiler is not short of memory.
        names: the backbones, as in `lift_jax.bench.architectures.find`.

    Raises:
        UserError: if the target is a CPU, a backbone is not known, or its program does not fit.
    """
    if target.chip is None:
        raise UserError("--families asks the compiler for TPUs; write --topology v5e-16 or the like.")
    pixels = {name: config.resolution or architectures.find(name).resolution for name in names}
    rows: list[Sequence[str]] = [_HEADER]
    for name in names:
        own = ml_collections.ConfigDict(config.to_dict())
        own.backbone = name
        own = ml_collections.FrozenConfigDict(own)
        network = steps.network(own, num_classes)
        lowered = steps.training(own, network, target.everywhere, batch * len(target.everywhere))
        compiled = plan.fitting(lowered, f"The training step of {name} with {batch} images a chip")
        yield f"{name}: compiled in {compiled.seconds:.0f} s, {compiled.processor:.0f} s of processors"
        fixed, image = compiled.peak - compiled.temporaries, compiled.temporaries / batch
        sizes = (f"{largest(compiled, batch, memory)}" for memory in MEMORY.values())
        rate = batch / max(plan.roofline(compiled, target.chip))
        rows.append((name, f"{pixels[name]}", f"{fixed / 2**30:.2f}", f"{image / 2**20:.1f}", *sizes, f"{rate:,.0f}"))
    yield aligned(rows)


def largest(compiled: Program, batch: int, memory: float) -> int:
    """Gives the largest batch, a multiple of 8, whose temporaries fit beside all else; 0 if not even 8 images fit.

    Args:
        compiled: the program for `batch` images; its temporaries are taken to be in proportion to them.
        batch: images a chip.
        memory: bytes.
    """
    left = memory - (compiled.peak - compiled.temporaries)
    return max(0, int(left * batch / compiled.temporaries)) // 8 * 8
