"""Plain tables of text in aligned columns."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], right: bool = True) -> str:
    """Joins rows of cells into lines whose columns are aligned.

    Args:
        rows: rows of as many cells each.
        right: whether all columns but the first are aligned to the right; otherwise all are to the left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        pairs = zip(others, widths[1:], strict=True)
        cells = [cell.rjust(width) if right else cell.ljust(width) for cell, width in pairs]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)
