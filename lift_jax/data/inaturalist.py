"""iNaturalist's JSON annotations (2017 to 2021), at any level of the taxonomy."""

import logging
from typing import Any

from lift_jax.data import text
from lift_jax.data.dataset import Dataset
from lift_jax.data.labels import whole_number
from lift_jax.data.lists import from_paths
from lift_jax.data.shown import shown
from lift_jax.errors import UserError
from lift_jax.files import parse_json

_LOGGER = logging.getLogger(__name__)

LEVELS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")


def load_inaturalist(
    root: str, train_json: str, test_json: str, categories_json: str, level: str, name: str
) -> tuple[Dataset, Dataset]:
    """Loads the training and the test split from the JSON annotations of the competitions.

    Args:
        root: folder that the annotations' `file_name`s are relative to (it has `train_val2018`).
        train_json, test_json: `train2018.json` and `val2018.json`.
        categories_json: `categories.json`, a list of {"id", "name", "kingdom", ...}; needed for 2018, whose annotations
            have no names. "" takes the categories in the annotations.
        level: one of `LEVELS`; above species, classes are the taxa of that level in alphabetical order.
        name: name of the data set.

    Raises:
        UserError: if a file cannot be read or is no such JSON, the categories lack the level, or the two files number
            them otherwise.
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
    categories = read_json(categories_json) if categories_json else _parts(train, train_json).get("categories", [])
    numbers, names = taxa(categories, level, where)
    if not categories_json:
        tested = _parts(test, test_json).get("categories")
        _check_alike(categories, tested if isinstance(tested, list) else [], level, train_json, test_json)
    return from_paths(
        root, (train_json, *_examples(train, numbers, train_json)), (test_json, *_examples(test, numbers, test_json)),
        names, name,
    )  # fmt: skip


def taxa(categories: Any, level: str, where: str) -> tuple[dict[int, int], list[str]]:
    """Gives the class of each category id, and the class names, at a level of the taxonomy.

    Args:
        categories: list of {"id", "name", and for levels above species the level's name}.
        level: one of `LEVELS`.
        where: the file, for messages.

    Raises:
        UserError: if a category lacks what is needed, or two have the same id.
    """
    key = _key(level)
    if not isinstance(categories, list) or not categories:
        raise UserError(
            f"{where} has no list of categories; set data.class_names to the categories.json of the same year."
        )
    named: dict[int, str] = {}
    for place, category in enumerate(categories, start=1):
        category_id = _id(category, "id", "category", place, where)
        if category_id in named:
            raise UserError(f"{where} has two categories with the id {category_id}; give each an id of its own.")
        if not isinstance(category.get(key), str):
            raise UserError(
                f"{where} has categories without {key!r}, such as that with the id {category_id}; set data.class_names "
                f"to the categories.json of the same year."
            )
        named[category_id] = category[key]
    if level == "species":
        order = sorted(named)
        return {category: label for label, category in enumerate(order)}, [named[category] for category in order]
    names = sorted(set(named.values()))
    position = {taxon: label for label, taxon in enumerate(names)}
    return {category: position[taxon] for category, taxon in named.items()}, names


def _key(level: str) -> str:
    """Gives the key of a category's name at a level of the taxonomy."""
    return "name" if level == "species" else level


def _check_alike(train: list[Any], test: list[Any], level: str, train_where: str, test_where: str) -> None:
    """Refuses a test split whose own categories have the training split's ids with other names."""
    key = _key(level)
    names = {str(category["id"]): category[key] for category in train}
    for category in test:
        own = category if isinstance(category, dict) else {}
        place, name = str(own.get("id")), own.get(key)
        if isinstance(name, str) and names.get(place, name) != name:
            raise UserError(
                f"{test_where} calls the category {shown(place)} '{shown(name)}', but {train_where} "
                f"'{shown(names[place])}'; number the categories alike in both."
            )


def _examples(content: Any, numbers: dict[int, int], where: str) -> tuple[list[str], list[int]]:
    """Gives paths and labels in the order of the annotations."""
    images, annotations = (_list(content, key, where) for key in ("images", "annotations"))
    files: dict[int, str] = {}
    for place, image in enumerate(images, start=1):
        image_id = _id(image, "id", "image", place, where)
        if not isinstance(image.get("file_name"), str):
            raise UserError(f"The image {image_id} of {where} has no 'file_name'; write the path of its file.")
        files[image_id] = image["file_name"]
    categories: dict[int, int] = {}
    for place, annotation in enumerate(annotations, start=1):
        image, category = (_id(annotation, key, "annotation", place, where) for key in ("image_id", "category_id"))
        if image not in files:
            raise UserError(f"{where} has an annotation of the image {image}, which is not among its images; add it.")
        if category not in numbers:
            raise UserError(
                f"{where} has an annotation with the category {category}, which is not among the categories; set "
                f"data.class_names to the categories.json of the same year."
            )
        if categories.setdefault(image, category) != category:
            raise UserError(
                f"{where} gives the image {image} ({shown(files[image])}) the categories {categories[image]} and "
                f"{category}; an image is of one class."
            )
    without = [file for image_id, file in files.items() if image_id not in categories]
    if without:
        _LOGGER.warning(
            "%s has %d images without annotation, for example %s, which are left out.",
            where, len(without), shown(without[0]),
        )  # fmt: skip
    if len(categories) < len(annotations):
        _LOGGER.warning(
            "%s has %d images with several annotations of the same category, each of which is taken once.",
            where, len(annotations) - len(categories),
        )  # fmt: skip
    return [files[image] for image in categories], [numbers[category] for category in categories.values()]


def _parts(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise UserError(
            f"{where} is no iNaturalist annotation file: it must be an object with images, annotations and categories."
        )
    return content


def _list(content: Any, key: str, where: str) -> list[Any]:
    value = _parts(content, where).get(key)
    if not isinstance(value, list):
        problem = "is no list" if key in content else "is missing"
        raise UserError(f"{where} is no iNaturalist annotation file: {key!r} {problem}; take it from the competition.")
    return value


def _id(item: Any, key: str, kind: str, place: int, where: str) -> int:
    """Reads the whole number that an object has under a key; the object is the `place`-th of its kind in the file."""
    value = item.get(key) if isinstance(item, dict) else None
    number = whole_number(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
    if number is None:
        raise UserError(
            f"{where} has no whole number as {key!r} of its {kind} {place:,}; take the file from the competition."
        )
    return number


def read_json(path: str) -> Any:
    """Reads a JSON file.

    Raises:
        UserError: if it cannot be read or is no JSON.
    """
    try:
        return parse_json(text.read(path))
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}).") from error
