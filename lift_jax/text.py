"""Text for people: aligned columns, and names from their files as they can be shown anywhere."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], right: bool = True) -> str:
    """Joins rows of cells into lines whose columns are aligned.

    Args:
        rows: rows of as many cells each.
        right: whether all columns but the first are aligned to the right; otherwise all are to the left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(row(cells, widths, right) for cells in rows)


def row(cells: Sequence[str], widths: Sequence[int], right: bool = True) -> str:
    """Joins cells into the line of a table whose columns have these widths.

    Args:
        cells: of the row.
        widths: in characters, as many as cells; a longer cell pushes the others aside.
        right: as in `aligned`.
    """
    padded = [cell.rjust(width) if right else cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([cells[0].ljust(widths[0]), *padded[1:]]).rstrip()


def printable(text: object, most: int | None = 200) -> str:
    """Makes a text fit for one line of a terminal, a page or a picture.

    Args:
        text: the text, or a value whose `str` is meant.
        most: how many characters of the text are shown; what is too much is left out at the end. None shows all.

    Returns:
        The text, in which control characters, line breaks and bytes of a file's name that are no UTF-8 are escaped.
    """
    text = str(text)
    cut = text if most is None or len(text) <= most else text[: most - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in cut)
