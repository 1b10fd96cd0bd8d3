"""Class names from files and from folder names."""

import json
import os
import re
from collections.abc import Sequence

from lift_jax.data.dataset import read_bytes
from lift_jax.errors import UserError

_WNID = re.compile(r"n\d{8}$")


def read_class_names(path: str) -> tuple[str, ...]:
    """Names in label order, from a file in one of these forms, recognised by its content.

    - `.json`: a list of names, or an object from label to name.
    - WordNet: every line is `wnid name`, for example `n01644900 tailed frog`; lines are in label order.
    - Numbered: the lines are `label name` (or `label,name`), or all are `name label`, and the labels are exactly 0 to
      n-1 in any order; so a file of bare numbers is not taken for a numbered one.
    - Otherwise one name a line, in label order. A comma belongs to the name.

    Empty lines are skipped. Names are returned as written; `prompts.clean` makes them readable.

    Raises:
        UserError: the file cannot be read, has no names, or is not text.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is no UTF-8 text; data.class_names is a text file with one class name a line."
        ) from error
    if path.endswith(".json"):
        return _from_json(text, path)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UserError(f"{path} holds no class names; write one a line, in label order.")
    heads_tails = [re.split(r"[\s,]+", line, maxsplit=1) for line in lines]
    if all(len(parts) == 2 and _WNID.match(parts[0]) for parts in heads_tails):
        return tuple(parts[1] for parts in heads_tails)
    for pairs in (heads_tails, [re.split(r"[\s,]+(?=\S+$)", line)[::-1] for line in lines]):
        numbered = _numbered(pairs)
        if numbered is not None:
            return numbered
    return tuple(lines)


def _numbered(pairs: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    if not all(len(pair) == 2 and pair[0].isascii() and pair[0].isdigit() for pair in pairs):
        return None
    names = {int(label): name for label, name in pairs}
    if sorted(names) != list(range(len(pairs))):
        return None
    return tuple(names[label] for label in range(len(pairs)))


def _from_json(text: str, path: str) -> tuple[str, ...]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is no valid JSON (line {error.lineno}: {error.msg}).") from error
    if isinstance(content, dict):
        try:
            content = [content[str(label)] for label in range(len(content))]
        except KeyError as error:
            raise UserError(f"{path} has {len(content)} names but none for label {error.args[0]}.") from error
    if not isinstance(content, list) or not content or not all(isinstance(name, str) for name in content):
        raise UserError(f"{path} must hold a list of class names, or an object from label to name.")
    return tuple(content)


def names_of_folders(path: str, folders: Sequence[str]) -> list[str]:
    """Names for folders, from a file whose lines are `folder name`, or else are names in the order of `folders`.

    Raises:
        UserError: the file has another number of names than there are folders.
    """
    text = read_bytes(path).decode("utf-8-sig", "replace")
    pairs = [re.split(r"[\s,]+", line.strip(), maxsplit=1) for line in text.splitlines() if line.strip()]
    by_folder = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    if all(folder in by_folder for folder in folders):
        return [by_folder[folder] for folder in folders]
    names = read_class_names(path)
    if len(names) != len(folders):
        raise UserError(f"{path} has {len(names)} class names, but there are {len(folders)} class folders.")
    return list(names)


def folder_names(paths: Sequence[str], labels: Sequence[int], num_classes: int) -> tuple[str, ...]:
    """Each class's name from the folder that its images are in, where that is one folder of its own; else "class N".

    Where the last part of the folders' paths is not distinct, as in Places, the names are their paths below the folder
    that all have in common.

    Arguments:
        paths: relative paths of images.
        labels: their labels.
        num_classes: number of classes.
    """
    folders: dict[int, set[str]] = {}
    for path, label in zip(paths, labels, strict=True):
        folders.setdefault(label, set()).add(os.path.dirname(path))
    single = {label: next(iter(names)) for label, names in folders.items() if len(names) == 1}
    if len(single) == num_classes == len(set(single.values())) and all(single.values()):
        whole = [single[label] for label in range(num_classes)]
        last = [os.path.basename(folder) for folder in whole]
        if len(set(last)) == num_classes:
            return tuple(last)
        common = os.path.commonpath(whole)
        return tuple(os.path.relpath(folder, common or ".") for folder in whole)
    return tuple(f"class {label}" for label in range(num_classes))
