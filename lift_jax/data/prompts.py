"""Class names as sentences for the text tower."""

import logging
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from lift_jax import files
from lift_jax.data import text
from lift_jax.data.matching import fold
from lift_jax.data.shown import shown, some
from lift_jax.errors import UserError

_LOGGER = logging.getLogger(__name__)

DEFAULT = "a photo of a {}."

# The 80 templates with which CLIP is evaluated on ImageNet (Radford et al. 2021): 38 with either article, four more.
_EITHER_ARTICLE = (
    "a photo of * {}.",
    "a good photo of * {}.",
    "a bad photo of * {}.",
    "a bright photo of * {}.",
    "a dark photo of * {}.",
    "a blurry photo of * {}.",
    "a cropped photo of * {}.",
    "a close-up photo of * {}.",
    "a low resolution photo of * {}.",
    "a pixelated photo of * {}.",
    "a jpeg corrupted photo of * {}.",
    "a black and white photo of * {}.",
    "a photo of * large {}.",
    "a photo of * small {}.",
    "a photo of * clean {}.",
    "a photo of * dirty {}.",
    "a photo of * nice {}.",
    "a photo of * cool {}.",
    "a photo of * weird {}.",
    "a photo of * hard to see {}.",
    "a painting of * {}.",
    "a drawing of * {}.",
    "a sketch of * {}.",
    "a doodle of * {}.",
    "a rendering of * {}.",
    "a rendition of * {}.",
    "a sculpture of * {}.",
    "a tattoo of * {}.",
    "art of * {}.",
    "graffiti of * {}.",
    "itap of * {}.",
    "* cartoon {}.",
    "* embroidered {}.",
    "* origami {}.",
    "* plastic {}.",
    "* plushie {}.",
    "* toy {}.",
    "* {} in a video game.",
)
CLIP_TEMPLATES = (
    *(template.replace("*", article) for template in _EITHER_ARTICLE for article in ("a", "the")),
    "a photo of many {}.",
    "a photo of my {}.",
    "a photo of one {}.",
    "itap of my {}.",
)
"""The 80 templates; `{}` stands for the class name."""


_VAGUE = re.compile(r"((class|label|category|cls|id) ?)?-?\d+", re.ASCII | re.IGNORECASE)


def clean(name: str, is_path: bool = False) -> str:
    """Writes a class name as words: underscores become spaces, and the last part of a path comes first.

    Args:
        name: as it is written.
        is_path: whether it is a path. Those of Places are known as such by the first letter of their first folder that
            stands before it: "/a/apartment_building/outdoor" becomes "outdoor apartment building". The slashes of other
            names stay: "w/o mask".
    """
    place = re.fullmatch(r"/?([a-z])/(\1.*)", name.strip(), re.DOTALL)
    if place or is_path:
        name = " ".join(reversed((place[2] if place else name).split("/")))
    return " ".join(name.replace("_", " ").split())


def clean_all(class_names: Sequence[str]) -> list[str]:
    """Writes class names as words.

    They are paths where their last parts would not tell them apart, for then `classnames.own_folders` makes them paths:
    "birds/small" and "cats/small" become "small birds" and "small cats".
    """
    distinct = set(class_names)
    are_paths = len({name.rpartition("/")[2] for name in distinct}) < len(distinct)
    return [clean(name, are_paths) for name in class_names]


def build(class_names: Sequence[str], prompt: str = DEFAULT) -> list[list[str]]:
    """Makes the sentences for each class, whose text features are to be averaged.

    Class names that say nothing, such as "class 7", and classes with the same sentences are warned about.

    Args:
        class_names: in label order; they are cleaned here.
        prompt: a template in which `{}` stands for the class name; or several, separated by `|`; or "name" for the name
            alone; or "ensemble" for CLIP's 80 templates; or a path that ends in .json, a file of descriptors, see
            `read_descriptors`.

    Returns:
        A list of sentences for each class.

    Raises:
        UserError: if a template lacks `{}`, a file of descriptors lacks a class, or there is what no tokenizer reads.
    """
    for label, name in enumerate(class_names):
        text.check(name, f"The name of class {label}")
    names = clean_all(class_names)
    if prompt.lower().endswith(".json"):
        descriptors = read_descriptors(files.expand(prompt, "config.prompt"), class_names)
        groups = [[describe(name, each) for each in group] for name, group in zip(names, descriptors, strict=True)]
    else:
        templates = _templates(prompt)
        groups = [[template.replace("{}", name) for template in templates] for name in names]
    _warn(names, groups)
    return groups


def _templates(prompt: str) -> list[str]:
    templates = {"name": ["{}"], "ensemble": list(CLIP_TEMPLATES)}.get(prompt, prompt.split("|"))
    for template in templates:
        if template.count("{}") != 1 or template.replace("{}", "").count("{"):
            raise UserError(
                f"config.prompt has the template '{shown(template)}'; write {{}} once where the class name goes, "
                f"or one of name, ensemble, a path to a .json of descriptors."
            )
        text.check(template, "config.prompt")
    return templates


def _warn(names: Sequence[str], groups: Sequence[Sequence[str]]) -> None:
    """Warns of names that say nothing to a text tower, and of classes whose sentences it cannot tell apart."""
    vague = [name for name in names if _VAGUE.fullmatch(name) or not any(map(str.isalnum, name))]
    if vague:
        _LOGGER.warning(
            "%d of %d class names say nothing to a text tower: %s; set config.data.class_names to a file of names.",
            len(vague), len(names), some(vague),
        )  # fmt: skip
    same: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for label, group in enumerate(groups):
        same[tuple(unicodedata.normalize("NFC", sentence.lower()) for sentence in group)].append(label)
    repeated = [" and ".join(f"{label} ({names[label]})" for label in each) for each in same.values() if len(each) > 1]
    if repeated:
        _LOGGER.warning(
            "These classes have the same prompt, so that a text tower cannot tell them apart: %s; give them different "
            "names in config.data.class_names.", some(repeated),
        )  # fmt: skip


def read_descriptors(path: str, class_names: Sequence[str]) -> list[list[str]]:
    """Reads the descriptors of each class from a JSON object {class name: [descriptor, ...]}.

    Case, underscores, hyphens and the composition of accents do not matter.

    Raises:
        UserError: if the file is no such object, or lacks a class.
    """
    try:
        content = files.parse_json(text.read(path))
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}).") from error
    if not isinstance(content, dict) or not all(
        isinstance(group, list) and group and all(isinstance(each, str) for each in group) for group in content.values()
    ):
        raise UserError(f"{path} must be an object from class name to a list of at least one descriptor.")
    groups = {fold(clean(name)): group for name, group in content.items()}
    missing = [name for name in class_names if fold(clean(name)) not in groups]
    if missing:
        raise UserError(
            f"{path} has no descriptors for {len(missing)} classes, for example '{shown(missing[0])}'; add them."
        )
    found = [groups[fold(clean(name))] for name in class_names]
    for name, group in zip(class_names, found, strict=True):
        for each in group:
            text.check(each, f"A descriptor of '{shown(name)}' in {path}")
    return found


def describe(name: str, descriptor: str) -> str:
    """Joins class name and descriptor to a sentence as Menon & Vondrick (2023) build it: "hen, which has two legs."."""
    first = descriptor.split(" ", 1)[0].lower()
    if first in ("a", "an", "the", "used"):
        verb = "is "
    elif first in ("has", "have", "often", "typically", "may", "can", "is", "are", "usually"):
        verb = ""
    else:
        verb = "has "
    return f"{name}, which {verb}{descriptor}."
