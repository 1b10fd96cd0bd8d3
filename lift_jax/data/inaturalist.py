"""iNaturalist's JSON annotations (2017 to 2021), at any level of the taxonomy."""

import json
from typing import Any

from lift_jax.data.dataset import Dataset, read_bytes
from lift_jax.data.lists import from_paths
from lift_jax.errors import UserError

LEVELS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")


def load_inaturalist(
    root: str, train_json: str, test_json: str, categories_json: str, level: str, name: str
) -> tuple[Dataset, Dataset]:
    """Training and test split from the JSON annotations of the competitions.

    Arguments:
        root: folder that the annotations' `file_name`s are relative to (it has `train_val2018`).
        train_json, test_json: `train2018.json` and `val2018.json`.
        categories_json: `categories.json`, a list of {"id", "name", "kingdom", ...}; needed for 2018, whose annotations
            have no names. "" takes the categories in the annotations.
        level: one of `LEVELS`; above species, classes are the taxa of that level in alphabetical order.
        name: name of the data set.

    Raises:
        UserError: a file cannot be read or is no such JSON, or the categories lack the level.
    """
    if level not in LEVELS:
        raise UserError(f"config.data.level is {level!r}; write one of {', '.join(LEVELS)}.")
    for key, value in (("root", root), ("train_list", train_json), ("test_list", test_json)):
        if not value:
            raise UserError(
                f"config.data.{key} is empty; config.data.format=inaturalist needs root, train_list and test_list."
            )
    train, test = read_json(train_json), read_json(test_json)
    where = categories_json or train_json
    categories = read_json(categories_json) if categories_json else train.get("categories", [])
    numbers, names = taxa(categories, level, where)
    return from_paths(
        root, (train_json, *_examples(train, numbers, train_json)), (test_json, *_examples(test, numbers, test_json)),
        names, name,
    )  # fmt: skip


def taxa(categories: Any, level: str, where: str) -> tuple[dict[int, int], list[str]]:
    """The class of each category id, and the class names, at a level of the taxonomy.

    Arguments:
        categories: list of {"id", "name", and for levels above species the level's name}.
        level: one of `LEVELS`.
        where: the file, for messages.

    Raises:
        UserError: a category lacks what is needed.
    """
    key = "name" if level == "species" else level
    try:
        named = {int(category["id"]): str(category[key]) for category in categories}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{where} has categories without {key!r}; set data.class_names to the categories.json of the same year."
        ) from error
    if level == "species":
        order = sorted(named)
        return {category: label for label, category in enumerate(order)}, [named[category] for category in order]
    names = sorted(set(named.values()))
    position = {taxon: label for label, taxon in enumerate(names)}
    return {category: position[taxon] for category, taxon in named.items()}, names


def _examples(content: Any, numbers: dict[int, int], where: str) -> tuple[list[str], list[int]]:
    try:
        files = {image["id"]: image["file_name"] for image in content["images"]}
        pairs = [(files[each["image_id"]], numbers[each["category_id"]]) for each in content["annotations"]]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{where} is no iNaturalist annotation file: {error} is missing in images, annotations or categories."
        ) from error
    return [path for path, _ in pairs], [label for _, label in pairs]


def read_json(path: str) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: it cannot be read or is no JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}).") from error
