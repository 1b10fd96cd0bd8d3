"""The well-known backbones: `python -m lift_jax.backbones`.

Each is a config.backbone by its short name or its hub id; docs/backbones.md tells what else may be one.
"""

import json
import sys
from collections.abc import Sequence

from lift_jax.errors import exit_status
from lift_jax.errors.arguments import Parser
from lift_jax.text import aligned
from lift_jax.weights.known import BACKBONES

_HEADER = ("name", "model", "parameters", "pixels", "licence", "head_init", "hub id")


def rows() -> list[tuple[str, ...]]:
    """Returns the table's cells, the header first; parameters in millions, after the stroke with the text tower."""
    cells: list[tuple[str, ...]] = [_HEADER]
    for known in BACKBONES:
        parameters = f"{known.image}" if known.both is None else f"{known.image} / {known.both}"
        cells.append((known.short, known.label, parameters, str(known.pixels), known.licence, known.start, known.hub))
    return cells


def plain() -> str:
    """Formats the table for a console."""
    return aligned(rows(), right=False)


def markdown() -> str:
    """Formats the table of docs/backbones.md."""
    header, *body = rows()
    code = [[f"`{short}`", *rest, f"`{hub}`"] for short, *rest, hub in body]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, ["---"] * len(header), *code])


def as_json() -> str:
    """Formats the table for programs; parameters in millions, `all` is None where there is no text tower."""
    found = [
        {
            "name": known.short,
            "model": known.label,
            "parameters": {"image": known.image, "all": known.both},
            "pixels": known.pixels,
            "licence": known.licence,
            "head_init": known.start.split(", "),
            "hub_id": known.hub,
        }
        for known in BACKBONES
    ]
    return json.dumps(found, indent=2)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: the words after the program's name; None for those of the process.

    Returns:
        The exit status.
    """
    parser = Parser(prog="python -m lift_jax.backbones", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="print the table of docs/backbones.md")
    parser.add_argument("--json", action="store_true", help="print the table for programs")
    arguments = parser.parse_args(argv)
    form = as_json if arguments.json else markdown if arguments.markdown else plain
    return exit_status(lambda: print(form()))


if __name__ == "__main__":
    sys.exit(main())
