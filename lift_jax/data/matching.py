"""Which names mean the same: as they are written, or but for the way they are written."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence


def fold(name: str) -> str:
    """Removes from a name what is often written in two ways.

    They are capitals, underscores, hyphens and slashes for spaces, the composition of accents, and zeros before a
    number.
    """
    name = unicodedata.normalize("NFKC", name).casefold()
    name = re.sub(r"[\s_/-]+", " ", name).strip()
    return name.lstrip("0") or "0" if is_digits(name) else name


def is_digits(text: str) -> bool:
    """Tells whether the text is a number of the digits 0 to 9 alone, of any length."""
    return text.isascii() and text.isdigit()


SPELLINGS: tuple[Callable[[str], str], ...] = (str, lambda name: unicodedata.normalize("NFC", name), fold)
"""What names are compared by, the strictest first: as they are written, without regard to the composition of accents,
and without regard to all that `fold` takes away."""


def match(
    wanted: Sequence[str], given: Sequence[str], spellings: Sequence[Callable[[str], str]] = SPELLINGS
) -> list[int] | None:
    """Finds for each name that is wanted the position of the same name among those that are given.

    Args:
        wanted: names.
        given: names, possibly more of them.
        spellings: what the names are compared by; the next one only if not all are found by one.

    Returns:
        Positions in `given`, one for each of `wanted`; or None if, however they are compared, one name is not found,
        is found twice, or is that of two that are wanted.
    """
    for spelling in spellings:
        places: dict[str, list[int]] = defaultdict(list)
        for position, name in enumerate(given):
            places[spelling(name)].append(position)
        found = [places.get(spelling(name), []) for name in wanted]
        positions = [each[0] for each in found if len(each) == 1]
        if len(set(positions)) == len(wanted):
            return positions
    return None


def in_order(labels: Iterable[str]) -> list[str]:
    """Sorts the distinct labels into the order of their classes: as numbers if all are numbers, else as text."""
    distinct = sorted(set(labels))
    if all(map(is_digits, distinct)):
        distinct.sort(key=lambda label: (len(label.lstrip("0")), label.lstrip("0")))
    return distinct
