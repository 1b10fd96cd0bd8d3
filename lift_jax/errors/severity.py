"""The word before a sentence that is no mere news: "warning" or "error", in colour on a terminal."""

from typing import IO

_COLOURS = {"warning": "yellow", "error": "red"}


def prefix(word: str, stream: IO[str]) -> str:
    """Gives what stands before the sentence, such as "warning: ".

    Args:
        word: "warning" or "error".
        stream: where it will be printed. It has a colour there if Rich finds a terminal that shows any; the variables
            NO_COLOR and FORCE_COLOR (see https://no-color.org and https://force-color.org) are obeyed.
    """
    from rich.console import Console  # Slow to import, and seldom needed.
    from rich.text import Text

    console = Console(file=stream)
    with console.capture() as printed:
        console.print(Text(f"{word}:", _COLOURS[word]), end=" ", soft_wrap=True)
    return printed.get()
