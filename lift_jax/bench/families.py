"""The largest training batch of backbones on chips of several kinds, by the bytes of one compiled program of each."""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import jax
import ml_collections

from lift_jax.bench import architectures, plan, steps
from lift_jax.bench.load import apart
from lift_jax.bench.program import Program
from lift_jax.bench.tpus import CHIPS, Chip
from lift_jax.errors import UserError, first_line
from lift_jax.text import row

MEMORY: Mapping[str, float] = {
    "v5e": plan.USABLE * CHIPS["v5e"].hbm,
    "v6e": plan.USABLE * CHIPS["v6e"].hbm,
    "H100": 0.75 * 80e9,
}
"""Bytes that a program gets of a chip. Of a GPU's memory JAX takes three quarters, unless the variable
XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise."""

_HEADER = "pixels", "fixed, GiB", "an image, MiB", *MEMORY, "images a second", "compiling, s"

_NARROWEST = len("1,000")

_FATAL = re.compile(r"^F\d{4} .*?\] (.*)", re.MULTILINE)
"""How the compilers' C++ begins the line after which it aborts the process."""


def table(
    config: ml_collections.FrozenConfigDict, num_classes: int, target: plan.Target, batch: int, names: Sequence[str]
) -> Iterator[str]:
    """Yields the lines of the table, each as soon as its backbone is compiled, in a process of its own.

    Args:
        config: the resolved config, whose backbone is each of `names` in turn.
        num_classes: of the head.
        target: the TPUs for which the programs are compiled, and to whose roofline a column belongs.
        batch: images a chip in these programs; few enough that the compiler is not short of memory.
        names: the backbones, as in `lift_jax.bench.architectures.find`.

    Raises:
        UserError: before anything is compiled, if the target is a CPU, the method needs more than shapes, a backbone is
            not known, or has no such resolution; at the end, if a backbone has no figures, for which its line has the
            reason.
    """
    if target.chip is None:
        raise UserError("--families asks the compiler for TPUs; write --topology v5e-16 or the like.")
    steps.resolve_method(config)
    pixels = [f"{architectures.backbone(name, config.resolution).resolution}" for name in names]
    first = max(map(len, ("backbone", *names)))
    widths = [first, *(max(len(title), _NARROWEST) for title in _HEADER)]
    yield row(("backbone", *_HEADER), widths)
    failed = []
    for name, side in zip(names, pixels, strict=True):
        own = ml_collections.ConfigDict(config.to_dict())
        own.backbone = name
        given = ml_collections.FrozenConfigDict(own), num_classes, target.name, target.chip, batch
        cells = attempt(_figures, *given)
        if isinstance(cells, str):
            failed.append(name)
            yield f"{name:{first}}  {cells}"
        else:
            yield row((name, side, *cells), widths)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(names)} backbones have no figures, for the reasons in the table: "
            f"{', '.join(failed)}; try another --batch or --config.resolution for them."
        )


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function that compiles, in a process of its own, whose standard error is not shown.

    Returns:
        What the function gives; if it has no program, or its process dies, the reason in a sentence.
    """
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        try:
            return apart(_attempt, said, function, arguments)
        except BrokenProcessPool:
            fatal = _FATAL.search(said.read_text(errors="replace"))
            what = fatal[1] if fatal else "its process ended without a word, maybe for want of this machine's memory."
            return f"the compiler failed: {what}"


def _attempt(said: Path, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    file = os.open(said, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 2)  # not sys.stderr alone: the compiler writes to the descriptor
    try:
        return function(*arguments)
    except UserError as error:
        return str(error)
    except jax.errors.JaxRuntimeError as error:
        return f"the compiler failed: {first_line(error)}"


def _figures(
    config: ml_collections.FrozenConfigDict, num_classes: int, topology: str, chip: Chip, batch: int
) -> tuple[str, ...]:
    """Compiles the training step of a backbone; gives its cells from the third column on."""
    devices = plan.target(topology).everywhere
    lowered = steps.training(config, steps.network(config, num_classes), devices, batch * len(devices))
    compiled = plan.fitting(lowered, f"The training step with {batch} images a chip")
    fixed, image = compiled.peak - compiled.temporaries, compiled.temporaries / batch
    sizes = (f"{largest(compiled, batch, memory):,}" for memory in MEMORY.values())
    rate = batch / max(plan.roofline(compiled, chip))
    memory = f"{fixed / 2**30:.2f}", f"{image / 2**20:.1f}"
    return *memory, *sizes, f"{rate:,.0f}", f"{compiled.processor:.0f}"


def largest(compiled: Program, batch: int, memory: float) -> int:
    """Gives the largest batch, a multiple of 8, whose temporaries fit beside all else; 0 if not even 8 images fit.

    Args:
        compiled: the program for `batch` images; its temporaries are taken to be in proportion to them.
        batch: images a chip.
        memory: bytes.
    """
    left = memory - (compiled.peak - compiled.temporaries)
    return max(0, int(left * batch / compiled.temporaries)) // 8 * 8
