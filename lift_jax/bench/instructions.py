"""The instructions of a compiled program, read from its text, and the bytes that they move."""

import math
import re
from collections.abc import Iterator

_ARRAY = re.compile(r"(?P<dtype>[a-z]+\d+\w*|pred)\[(?P<shape>[\d,]*)\]")
_INSTRUCTION = re.compile(
    r"^\s+(?:ROOT )?(?P<name>%[\w.-]+) = (?P<result>\(.*?\)|\S+) (?P<kind>[\w-]+)\((?P<operands>[^)]*)\)(?P<rest>.*)$",
    re.M,
)
_REFERENCE = re.compile(r"%[\w.-]+")
_SOURCE = re.compile(r'op_name="([^"]*)"')
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "copy-done", "slice-done"}
"""Instructions that move nothing, and the ends of those that are counted where they begin."""

_SCRATCH = re.compile(r"\b[su]8\[\d+\](?:\{0\})?\)$")
"""The last result of a call of a library: memory for its own use, most of which it does not touch."""


def elements(shape: str) -> int:
    """Counts the elements of an array from its shape as it is written: `2,3`, or nothing for a scalar."""
    return math.prod(int(n) for n in shape.split(",") if n)


def size(arrays: str) -> int:
    """Adds up the bytes of the arrays in a text such as `(f32[2,3]{1,0}, pred[8])`."""
    return sum(elements(array["shape"]) * _width(array["dtype"]) for array in _ARRAY.finditer(arrays))


def _width(dtype: str) -> int:
    """Gives the bytes of one number; the names of XLA's types have its bits behind their letters: bf16, f8e4m3fn."""
    if dtype == "pred":
        return 1
    bits = re.match(r"[a-z]+(\d+)", dtype)
    assert bits is not None
    return -(-int(bits[1]) // 8)


def traffic(hlo: str) -> Iterator[tuple[str, int]]:
    """Yields for each instruction of a program what asked for it, and the bytes of its operands and its result.

    What is inside a fusion touches no memory: it is the fusion that reads and writes. Operands count as a whole, also
    where an instruction reads a part of one.
    """
    entry = hlo[hlo.index("\nENTRY ") :]
    sizes: dict[str, int] = {}
    for match in _INSTRUCTION.finditer(entry):
        written = _SCRATCH.sub("", match["result"]) if match["kind"] == "custom-call" else match["result"]
        result = sizes[match["name"]] = size(written)
        if match["kind"] in _FREE:
            continue
        source = _SOURCE.search(match["rest"])
        read = sum(sizes.get(name, 0) for name in _REFERENCE.findall(match["operands"]))
        yield source[1] if source else match["kind"], result + read
