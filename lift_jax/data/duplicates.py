"""Files with the same content in two splits."""

import filecmp
import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

MOST_FILES = 100_000
"""Larger data sets are not looked at."""

MOST_BYTES = 1 << 31
"""How much is read of files that begin alike, to compare them to their ends."""

_BEGINNING = 1 << 16


class Copies(NamedTuple):
    """Files of one split whose content is in another too.

    Attributes:
        pairs: each such file, and one of the other split with the same content.
        complete: whether these are all; False if to find all would have meant reading too much.
    """

    pairs: dict[str, str]
    complete: bool


def copies(train: Sequence[str], test: Sequence[str]) -> Copies:
    """Finds the test files that have the same content as a training file of another path.

    Only files of one size are opened, and only those that begin alike are read to their ends.

    Args:
        train, test: paths of local files.
    """
    if len(train) + len(test) > MOST_FILES:
        return Copies({}, False)
    sizes = {path: _size(path) for path in (*train, *test)}
    tested = sorted(set(test) - set(train))
    shared = {sizes[path] for path in train} & {sizes[path] for path in tested} - {-1, 0}
    alike: dict[tuple[int, bytes], list[str]] = defaultdict(list)
    for path in train:
        if sizes[path] in shared:
            alike[sizes[path], _beginning(path)].append(path)
    pairs: dict[str, str] = {}
    left = MOST_BYTES
    for path in tested:
        for other in alike.get((sizes[path], _beginning(path)), ()) if sizes[path] in shared else ():
            left -= 2 * sizes[path]
            if left < 0:
                return Copies(pairs, False)
            if _same(path, other):
                pairs[path] = other
                break
    return Copies(pairs, True)


def _size(path: str) -> int:
    """Gives the size of a file in bytes; -1 for what cannot be read or is no file."""
    try:
        return os.stat(path).st_size if os.path.isfile(path) else -1
    except OSError:
        return -1


def _beginning(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read(_BEGINNING), digest_size=16).digest()
    except OSError:
        return os.fsencode(path)


def _same(path: str, other: str) -> bool:
    try:
        return filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False
