"""metrics.jsonl: a line for each split of each step that a run has logged."""

from typing import Any

import pydantic

from lift_jax.files import parse_json
from lift_jax.workdir import schema
from lift_jax.workdir.record import Count

FILE = "metrics.jsonl"

Line = dict[str, Any]
"""The values of a line by their keys, among them "step", "split" and sometimes "epoch"."""


class _Line(pydantic.BaseModel):
    """A line: the step, the epoch where there is one, the split, and then the values, null where one was not finite."""

    model_config = pydantic.ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, float | None]
    step: Count
    split: str
    epoch: Count | None = None


def parse(text: bytes) -> tuple[list[tuple[str, Line]], int]:
    """Reads the lines of a metrics.jsonl.

    Args:
        text: the content of the file.

    Returns:
        Each line with its values, in their order; and how many lines were left out, because they are torn or no line
        of a run. Empty lines are neither.
    """
    lines, left_out = [], 0
    for line in filter(bytes.strip, text.splitlines()):
        try:
            values = parse_json(line)
        except ValueError:
            values = None
        if schema.fits(values, _Line):
            lines.append((line.decode("utf-8"), values))
        else:
            left_out += 1
    return lines, left_out


def numbers(line: Line) -> dict[str, float]:
    """Gives the numbers of a line that were finite, by their names."""
    return {key: value for key, value in line.items() if key not in _Line.model_fields and value is not None}
