"""What the compiler says of a program: operations, memory, and what crosses the network."""

import math
import re
import time
from collections import Counter
from typing import Any, NamedTuple

from lift_jax.bench import instructions

_COLLECTIVE = re.compile(
    r"= (?P<result>\(.*?\)|\S+) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(-start)?\("
    r'(?:[^\n]*chain_id="(?P<chain>\d+)")?'
)
_DEFINED = re.compile(r"(?P<name>%[\w.-]+) = [a-z]+\d+\w*\[(?P<shape>[\d,]*)\]")
_WHOLE_PRODUCT = re.compile(
    r"(?P<name>%[\w.-]+) = s32\[[\d,]*\]\S* (dot|convolution)\((?P<one>%[\w.-]+), (?P<other>%[\w.-]+)\)"
)
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')


class Program(NamedTuple):
    """A compiled program; all numbers are of one device.

    Attributes:
        seconds: that the compiler took.
        flops: operations, on whole numbers as well as on others; 0 where the compiler does not count them.
        accessed: bytes read and written by its instructions.
        arguments, temporaries, outputs: bytes of memory; outputs that take their argument's place count nothing.
        code: bytes of the program itself.
        collectives: of each kind the number of instructions and the bytes of their results.
        processor: seconds of this machine's processors that the compiler took, which a busy machine hardly changes.
        whole: those operations that are in products of eight-bit integers, which some TPUs compute faster.
        cycles: that a TPU takes by the compiler's own model, without waiting for copies; 0 for other devices.
        text: of the program, after all that the compiler did to it.
    """

    seconds: float
    flops: float
    accessed: float
    arguments: int
    temporaries: int
    outputs: int
    code: int
    collectives: dict[str, tuple[int, int]]
    processor: float = 0.0
    whole: float = 0.0
    cycles: float = 0.0
    text: str = ""

    @property
    def peak(self) -> int:
        """The bytes of memory that the program needs while it runs."""
        return self.arguments + self.temporaries + self.outputs + self.code


def compile(lowered: Any) -> Program:
    """Compiles what `jax.jit(...).lower(...)` gives."""
    start, before = time.perf_counter(), time.process_time()
    compiled = lowered.compile()
    seconds, processor = time.perf_counter() - start, time.process_time() - before
    costs, memory, text = compiled.cost_analysis() or {}, compiled.memory_analysis(), compiled.as_text()
    return Program(
        seconds=seconds,
        flops=costs.get("flops", 0.0),
        accessed=costs["bytes accessed"] if costs else float(sum(size for _, size in instructions.traffic(text))),
        arguments=memory.argument_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        outputs=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        collectives=collectives(text),
        processor=processor,
        whole=whole_operations(text),
        cycles=sum(int(cycles) for cycles in _CYCLES.findall(text)),
        text=text,
    )


def collectives(hlo: str) -> dict[str, tuple[int, int]]:
    """Counts the collectives in a program's text: instructions of each kind, and the bytes of their results."""
    count, size = Counter(), Counter()
    asynchronous = set()  # a TPU's stands where it begins, where it ends, and in each fusion that it runs beside
    for match in _COLLECTIVE.finditer(hlo):
        if chain := match["chain"]:
            if chain in asynchronous:
                continue
            asynchronous.add(chain)
        count[match["kind"]] += 1
        size[match["kind"]] += instructions.size(match["result"])
    return {kind: (count[kind], size[kind]) for kind in count}


def whole_operations(hlo: str) -> float:
    """Counts the operations of the matrix products of whole numbers in a program's text.

    A product of an m x k and a k x n matrix is of m k n multiplications and as many additions, and m k, k n and m n are
    the sizes of the three arrays.
    """
    sizes = {match["name"]: instructions.elements(match["shape"]) for match in _DEFINED.finditer(hlo)}
    products = _WHOLE_PRODUCT.finditer(hlo)
    return sum(2 * math.sqrt(sizes[p["one"]] * sizes[p["other"]] * sizes[p["name"]]) for p in products)
