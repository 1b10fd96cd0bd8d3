"""How much the program says: all of its sentences, or with --quiet its results and warnings alone."""

import contextlib
import enum
from collections.abc import Iterator, Sequence


class What(enum.IntEnum):
    """What is said, the least important first."""

    SENTENCE = 0
    RESULT = 1
    WARNING = 2


_least = What.SENTENCE


def without_flag(words: Sequence[str]) -> list[str]:
    """Takes --quiet out of the words of a command, and obeys it from then on; what follows "--" is no flag."""
    words = list(words)
    end = words.index("--") if "--" in words else len(words)
    if "--quiet" in words[:end]:
        _set(What.RESULT)
    return [word for word in words[:end] if word != "--quiet"] + words[end:]


def says(what: What) -> bool:
    """Tells whether such a thing is said now."""
    return what >= _least


def say(sentence: str) -> None:
    """Prints a sentence on standard output, unless the program is quiet."""
    if says(What.SENTENCE):
        print(sentence, flush=True)


@contextlib.contextmanager
def hushed(least: What = What.WARNING) -> Iterator[None]:
    """Lets nothing be said inside the block that is less important; the log files of runs get everything."""
    before = _least
    _set(max(least, before))
    try:
        yield
    finally:
        _set(before)


def _set(least: What) -> None:
    global _least
    _least = least
