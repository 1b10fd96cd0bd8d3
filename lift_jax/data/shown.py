"""Text from a person's files, as it can stand in a message: on one line, printable and not too long."""

from collections.abc import Sequence, Sized

import numpy as np

from lift_jax.text import printable

_LONGEST = 80
"""Characters of a text that are shown."""


def shown(text: object) -> str:
    """Escapes control characters and lone surrogates, and cuts the text where it is long."""
    text = str(text)
    escaped = printable(text[:_LONGEST], None)
    return escaped if len(text) <= _LONGEST else f"{escaped}… ({len(text):,} characters)"


def some(items: Sequence[object] | np.ndarray, limit: int = 10) -> str:
    """Lists the first few of the items, an empty text as "", and says how many more there are."""
    return ", ".join(shown(item) or '""' for item in items[:limit]) + and_more(items, limit)


def and_more(items: Sized, limit: int) -> str:
    """Says how many items there are beyond the first, as the end of a list; "" for none."""
    return f" and {len(items) - limit:,} more" if len(items) > limit else ""
