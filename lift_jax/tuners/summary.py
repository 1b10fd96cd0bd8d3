"""What a run trains, as a table."""

from typing import Any, NamedTuple

from flax import traverse_util

from lift_jax.models.partition import BACKBONE, Parts, Path, Tree, count, rule_path
from lift_jax.text import aligned
from lift_jax.tuners.tuning import TUNER_PREFIX, Tuning


class Row(NamedTuple):
    """A group of trainable parameters.

    Attributes:
        group: a tuner, a selection, or the head.
        blocks: in how many blocks it is; 0 for the head and the text side's outside of its tower.
        arrays: number of arrays.
        params: number of parameters.
        share: of the vision tower's number of parameters.
    """

    group: str
    blocks: int
    arrays: int
    params: int
    share: float


def rows(tuning: Tuning, parts: Parts) -> list[Row]:
    """Lists the groups in the order of their first block, and then the head."""
    frozen, trained = (_flat(part) for part in (parts.frozen, parts.tuner))
    own = {path: array for path, array in {**frozen, **trained}.items() if path[0] == BACKBONE and not _added(path)}
    total = sum(array.size for array in own.values())
    groups: dict[str, list[Path]] = {}
    for path in trained:
        groups.setdefault(str(tuning.group(rule_path(path))), []).append(path)
    table = []
    for group, paths in groups.items():
        params = sum(trained[path].size for path in paths)
        table.append(
            Row(group, len({block for path in paths if (block := _block(path))}), len(paths), params, params / total)
        )
    head = count(parts.head)
    if not head:  # the classes are those of the text side
        return table
    return [*table, Row("head", 0, len(_flat(parts.head)), head, head / total)]


def summary(tuning: Tuning, parts: Parts) -> str:
    """Makes the table that is shown at start-up, with a line for each group and one for their sum."""
    table = rows(tuning, parts)
    if len(table) > 1:
        total = [sum(column) for column in zip(*(row[2:] for row in table), strict=True)]
        table.append(Row("total", 0, int(total[0]), int(total[1]), total[2]))
    lines = [("trained", "blocks", "arrays", "parameters", "of the backbone")]
    lines += [(r.group, str(r.blocks or ""), str(r.arrays), f"{r.params:,}", f"{100 * r.share:.3f} %") for r in table]
    return aligned(lines)


def _flat(part: Tree) -> dict[Path, Any]:
    return traverse_util.flatten_dict(dict(part))  # pyright: ignore[reportReturnType]


def _block(path: Path) -> Path | None:
    if path[0] == BACKBONE:
        return path[:2]
    return path[:3] if path[1] == "tower" else None


def _added(path: Path) -> bool:
    return any(part.startswith(TUNER_PREFIX) for part in path)
