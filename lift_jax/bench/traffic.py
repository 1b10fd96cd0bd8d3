"""Where the bytes of a compiled program go: what is read and written, by the layer that asked for it."""

import re
from collections import Counter

from lift_jax.bench import instructions
from lift_jax.text import aligned

_WRAPPERS = re.compile(r"^(?:jit|pjit|shard_map|transpose|jvp|vmap|remat\w*|checkpoint)\b")


def table(hlo: str, rows: int, most: int = 30) -> str:
    """Formats a line for each layer and operation, and direction, those with most bytes first.

    Args:
        hlo: the text of a compiled program.
        rows: images that it is for.
        most: lines at most.
    """
    sizes: Counter[tuple[str, str]] = Counter()
    for source, size in instructions.traffic(hlo):
        sizes[_place(source)] += size
    whole = sum(sizes.values())
    lines = [("MB an image", "share", "", "layer and operation")]
    for (direction, place), size in sizes.most_common(most):
        lines.append((f"{size / rows / 1e6:.2f}", f"{100 * size / whole:.1f} %", direction, place))
    return aligned(lines, right=False)


def _place(source: str) -> tuple[str, str]:
    """Takes the direction and the layer from the name of an operation, without what JAX wrapped around them.

    Example:
        >>> _place("jit(step)/transpose(jvp(Classifier))/backbone/block_3/mlp_in/dot_general")
        ('backward', 'backbone/block/mlp_in/dot_general')
    """
    words = [word for word in source.split("/") if not _WRAPPERS.match(word)]
    place = re.sub(r"block_\d+", "block", "/".join(words)) or source
    return "backward" if "transpose(" in source else "forward", place
