"""The names of arrays, freed of the prefixes that wrappers and training programs put before them."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from lift_jax.errors import UserError

_log = logging.getLogger(__name__)

_HEAD = re.compile(r"(.*\.)?(classifier|head|fc|classification_head|linear_head)\.(weight|bias)")
_AVERAGED = re.compile(r"(?<![a-z])ema(?![a-z])|teacher", re.IGNORECASE)

T = TypeVar("T")


def prefixes(names: Iterable[str], anchor: str) -> list[str]:
    """Returns what stands before `anchor` in the names that end with it, without those inside another.

    Of `module.conv1.weight` and `module.layer1.0.conv1.weight` it is `module.`.

    Args:
        names: the names of the arrays of a file.
        anchor: the name of one array, as a format has it.
    """
    found = {name.removesuffix(anchor) for name in names if name == anchor or name.endswith(f".{anchor}")}
    return sorted(p for p in found if not any(other != p and p.startswith(other) for other in found))


def choose(labels: Sequence[str], source: str) -> str:
    """Returns the model that is meant where a file holds several: the averaged one if there is one beside a plain one.

    Args:
        labels: what the models are called in the file: keys or prefixes.
        source: what to call the file in a message.

    Raises:
        UserError: if several remain.
    """
    if len(labels) == 1:
        return labels[0]
    shown = ", ".join(label.strip(".") or "one without a prefix" for label in labels)
    averaged = [label for label in labels if _AVERAGED.search(label)]
    if len(averaged) != 1:
        raise UserError(
            f"{source} holds {len(labels)} models ({shown}), and nothing says which is meant; save that one alone, by "
            "torch.save(checkpoint[KEY], FILE)."
        )
    _log.warning("%s holds %d models (%s); the averaged one is taken, %s.", source, len(labels), shown, averaged[0])
    return averaged[0]


def aligned(foreign: Mapping[str, T], anchor: str, tower: str, source: str) -> dict[str, T] | None:
    """Returns the arrays by the names of a format, without a prefix of the file such as `module.` or `_orig_mod.`.

    Args:
        foreign: the arrays of a file by their names there.
        anchor: what the format calls the image tower's first weight.
        tower: the part of `anchor` that a file of the image tower alone leaves out of all its names, such as `visual.`.
        source: what to call the file in a message.

    Returns:
        The arrays with new names; those that lie outside the prefix keep theirs. None if `anchor` is not there.

    Raises:
        UserError: if the file holds several models.
    """
    for left_out in dict.fromkeys(("", tower)):
        found = prefixes(foreign, anchor.removeprefix(left_out))
        if not found:
            continue
        prefix = choose(found, source)
        others = tuple(other for other in found if other != prefix)
        outside = {n: x for n, x in foreign.items() if not n.startswith((prefix, *others))}
        inside = {left_out + n.removeprefix(prefix): x for n, x in foreign.items() if n.startswith(prefix)}
        return {**outside, **inside}
    return None


def without_head(foreign: Mapping[str, T], known: Iterable[str], source: str) -> dict[str, T]:
    """Returns the arrays without those of a classification head, and says so in a log line.

    Args:
        foreign: the arrays of a file.
        known: the names of the format, which are kept whatever they are.
        source: what to call the file in the log line.
    """
    heads = {name for name in foreign if _HEAD.fullmatch(name)}.difference(known)
    if heads:
        _log.info("The classification head in %s is left out: %s.", source, ", ".join(sorted(heads)))
    return {name: x for name, x in foreign.items() if name not in heads}
