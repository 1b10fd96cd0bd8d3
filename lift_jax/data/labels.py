"""Labels as people write them: whole numbers, numbers that a table made floats of, or names."""

import re
from collections.abc import Sequence

from lift_jax.data.shown import shown
from lift_jax.errors import UserError

_WHOLE = re.compile(r"([+-]?)0*(\d{1,18})(\.0*)?", re.ASCII)
_FLOAT = re.compile(r"[+-]?((\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|nan|inf|infinity)", re.ASCII | re.IGNORECASE)


def whole_number(text: str) -> int | None:
    """Reads a whole number, such as 8 from "8", "08" and "8.0"; None if it is none, or has more than 18 digits."""
    found = _WHOLE.fullmatch(text)
    return int(found[1] + found[2]) if found else None


def number_or_name(labels: Sequence[str], places: Sequence[str]) -> list[int] | list[str]:
    """Gives the labels as whole numbers if all of them are, otherwise as the names that they are.

    Args:
        labels: as they are written, one an image.
        places: the file and line of each, for messages.

    Raises:
        UserError: if a label is a number but not a whole one (nan, 0.5, one of more than 18 digits), or some are
            numbers and others are names.
    """
    numbers = [whole_number(label) for label in labels]
    whole = [number for number in numbers if number is not None]
    if len(whole) == len(labels):
        return whole
    others = [(label, place) for label, number, place in zip(labels, numbers, places, strict=True) if number is None]
    for label, place in others:
        if _FLOAT.fullmatch(label):
            raise UserError(
                f"{place} has the label {shown(label)}; write a whole number from 0 on, or a name, or take it out."
            )
    if whole:
        raise UserError(
            f"{others[0][1]} has the label '{shown(others[0][0])}', which mixes numbers (such as {whole[0]}) and "
            f"names; use one of them."
        )
    return list(labels)
