"""The taxonomy that the data set of a run has itself: the categories of iNaturalist."""

import os
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from lift_jax.data import inaturalist
from lift_jax.data.inaturalist import LEVELS
from lift_jax.data.matching import fold
from lift_jax.data.shown import and_more, shown
from lift_jax.errors import UserError
from lift_jax.files import expand
from lift_jax.inference.deciding import Rank, Rollup

INATURALIST = "inaturalist"
"""What `--rollup` says for it, in the place of a file."""

_REMEDY = "write a taxonomy with --rollup FILE"


def of_run(config: ml_collections.FrozenConfigDict, class_names: Sequence[str], threshold: float = 0.8) -> Rollup:
    """Makes the taxonomy of a run's classes of the categories that its data set names.

    Args:
        config: of the run; `data.class_names` or `data.train_list` is there.
        class_names: the names of the classes, in label order.
        threshold: see `lift_jax.inference.deciding.Rollup`.

    Raises:
        UserError: if the data set has no categories, or see `read`.
    """
    own = config.data
    file = own.class_names or (own.train_list if own.format == "inaturalist" else "")
    if own.format not in ("inaturalist", "tfds") or not file:
        raise UserError(
            f"--rollup is {INATURALIST}, but the run's data (config.data.format={own.format}) have no categories of "
            f"iNaturalist; {_REMEDY}."
        )
    key = "config.data.class_names" if own.class_names else "config.data.train_list"
    path, root = expand(file, key), expand(own.root, "config.data.root")
    if not os.path.exists(path) and os.path.isfile(below := os.path.join(root, path)):
        path = below
    content = inaturalist.read_json(path)
    categories = content.get("categories") if isinstance(content, dict) else content
    return make(categories, own.level, class_names, path, threshold)


def make(categories: Any, level: str, class_names: Sequence[str], where: str, threshold: float = 0.8) -> Rollup:
    """Makes a taxonomy of classes at a level, with those of the levels above that all categories name.

    A group is known by the taxa above it, too: a genus of birds and one of trees that have the same name are two.

    Args:
        categories: see `lift_jax.data.inaturalist.taxa`.
        level: of the classes, one of `LEVELS`.
        class_names: the names of the classes, in label order.
        where: the file, for messages.
        threshold: see `lift_jax.inference.deciding.Rollup`.

    Raises:
        UserError: if the categories are none, name no level above, lack a class, or have it in two taxa.
    """
    inaturalist.taxa(categories, level, where)  # it checks them
    key = "name" if level == "species" else level
    above = [each for each in reversed(LEVELS[: LEVELS.index(level)]) if all(_text(c.get(each)) for c in categories)]
    if not above:
        raise UserError(f"{where} has no level above {level} for all of its categories; {_REMEDY}.")
    lineages: dict[str, tuple[str, ...]] = {}
    for category in categories:
        lineage = tuple(category[each] for each in above)
        if lineages.setdefault(fold(category[key]), lineage) != lineage:
            raise UserError(
                f"{where} has the {level} '{shown(category[key])}' in more than one taxon of the levels above, which "
                f"are one class of the run; {_REMEDY}."
            )
    if absent := [name for name in class_names if fold(name) not in lineages]:
        raise UserError(
            f"{where} has no category for the class '{shown(absent[0])}'{and_more(absent, 1)}; give the file of the "
            f"same year as config.data.class_names, or {_REMEDY}."
        )
    own = [lineages[fold(name)] for name in class_names]
    classes = Rank(level, tuple(class_names), np.arange(len(class_names)))
    ranks = [_rank(name, [lineage[place:] for lineage in own]) for place, name in enumerate(above)]
    return Rollup((classes, *ranks), threshold)


def _rank(name: str, lineages: Sequence[tuple[str, ...]]) -> Rank:
    """Makes a rank whose groups are the different lineages, each of which begins with the group's name."""
    places = {lineage: place for place, lineage in enumerate(sorted(set(lineages)))}
    return Rank(name, tuple(lineage[0] for lineage in places), np.array([places[lineage] for lineage in lineages]))


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
