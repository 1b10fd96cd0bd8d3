"""Finds the classes that a person means by their names or labels."""

import difflib
from collections import defaultdict
from collections.abc import Sequence

from lift_jax.data.labels import whole_number
from lift_jax.data.matching import SPELLINGS, fold
from lift_jax.data.shown import and_more, shown, some
from lift_jax.errors import UserError

_SHOWN = 10
"""How many unknown names a sentence lists."""


SomeClasses = Sequence[str] | Sequence[int]
"""Classes by their names, or by their labels."""


def labels(classes: SomeClasses, class_names: Sequence[str], what: str) -> list[int]:
    """Gives the labels of classes that are named in Python; the arguments and errors are those of `find`."""
    given = [classes] if isinstance(classes, str) else list(classes)
    numbers = [int(each) for each in given if not isinstance(each, str)]
    if wrong := [number for number in numbers if not 0 <= number < len(class_names)]:
        raise UserError(f"{what} has the label {wrong[0]}; the labels of the run go from 0 to {len(class_names) - 1}.")
    return numbers + find([each for each in given if isinstance(each, str)], class_names, what)


def find(names: Sequence[str], class_names: Sequence[str], what: str) -> list[int]:
    """Finds the label of the class that each name means.

    A name is that of the class with the same spelling, or else of the one that differs in capitals, spaces, underscores
    or hyphens alone. Where no name is that of a class and all are whole numbers, they are labels.

    Args:
        names: as the person wrote them.
        class_names: the names of all classes, in label order.
        what: how the error message begins, such as the file.

    Raises:
        UserError: if a name is that of no class (the sentence says the nearest), or of several.
    """
    found = _by_name(names, class_names)
    numbers = [whole_number(name) for name in names]
    if not any(found) and all(number is not None and 0 <= number < len(class_names) for number in numbers):
        return [number for number in numbers if number is not None]
    if missing := list(dict.fromkeys(name for name, labels in zip(names, found, strict=True) if not labels)):
        listed = ", ".join(
            f"'{shown(name)}' (the nearest is {_nearest(name, class_names)})" for name in missing[:_SHOWN]
        )
        raise UserError(
            f"{what} has names that are no class of the run: {listed}{and_more(missing, _SHOWN)}; write the classes' "
            "names, or leave these out."
        )
    for name, labels in zip(names, found, strict=True):
        if len(labels) > 1:
            raise UserError(
                f"{what} has the name '{shown(name)}', which the classes with the labels {some(labels)} have; write "
                "labels instead of names everywhere in it."
            )
    return [labels[0] for labels in found]


def _by_name(names: Sequence[str], class_names: Sequence[str]) -> list[list[int]]:
    """Finds the labels of the classes that each name is the name of, by the strictest spelling that has any."""
    found: list[list[int]] = [[] for _ in names]
    for spelling in SPELLINGS:
        places: dict[str, list[int]] = defaultdict(list)
        for label, name in enumerate(class_names):
            places[spelling(name)].append(label)
        found = [labels or places.get(spelling(name), []) for name, labels in zip(names, found, strict=True)]
    return found


def _nearest(name: str, class_names: Sequence[str]) -> str:
    folded = {fold(each): each for each in class_names}
    nearest = difflib.get_close_matches(fold(name), folded, n=1, cutoff=0)
    return f"'{shown(folded[nearest[0]])}'"
