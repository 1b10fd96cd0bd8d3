"""Class names as sentences for the text tower."""

import json
import re
from collections.abc import Sequence

from lift_jax.data.dataset import read_bytes
from lift_jax.errors import UserError

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


def clean(name: str) -> str:
    """A class name as words: underscores become spaces, and a path of Places such as `/a/apartment_building/outdoor`
    becomes "outdoor apartment building"."""
    name = re.sub(r"^/?[a-z]/", "", name.strip())
    return " ".join(" ".join(reversed(name.split("/"))).replace("_", " ").split())


def build(class_names: Sequence[str], prompt: str = DEFAULT) -> list[list[str]]:
    """The sentences for each class, whose text features are to be averaged.

    Arguments:
        class_names: in label order; they are cleaned here.
        prompt: a template in which `{}` stands for the class name; or several, separated by `|`; or "name" for the name
            alone; or "ensemble" for CLIP's 80 templates; or a path that ends in .json, a file of descriptors, see
            `read_descriptors`.

    Returns:
        A list of sentences for each class.

    Raises:
        UserError: a template without `{}`, or a file of descriptors that lacks a class.
    """
    names = [clean(name) for name in class_names]
    if prompt.endswith(".json"):
        descriptors = read_descriptors(prompt, class_names)
        return [[describe(name, each) for each in group] for name, group in zip(names, descriptors, strict=True)]
    templates = {"name": ["{}"], "ensemble": list(CLIP_TEMPLATES)}.get(prompt, prompt.split("|"))
    for template in templates:
        if template.count("{}") != 1 or template.replace("{}", "").count("{"):
            raise UserError(
                f"config.prompt has the template {template!r}; write {{}} once where the class name goes, "
                f"or one of name, ensemble, a path to a .json of descriptors."
            )
    return [[template.replace("{}", name) for template in templates] for name in names]


def read_descriptors(path: str, class_names: Sequence[str]) -> list[list[str]]:
    """Descriptors of each class from a JSON object {class name: [descriptor, ...]}; case and underscores do not matter.

    Raises:
        UserError: the file is no such object, or lacks a class.
    """
    try:
        content = json.loads(read_bytes(path))
    except ValueError as error:
        raise UserError(f"{path} is no valid JSON ({error}).") from error
    if not isinstance(content, dict) or not all(
        isinstance(group, list) and group and all(isinstance(each, str) for each in group) for group in content.values()
    ):
        raise UserError(f"{path} must be an object from class name to a list of at least one descriptor.")
    groups = {clean(name).lower(): group for name, group in content.items()}
    missing = [name for name in class_names if clean(name).lower() not in groups]
    if missing:
        raise UserError(f"{path} has no descriptors for {len(missing)} classes, for example {missing[0]!r}; add them.")
    return [groups[clean(name).lower()] for name in class_names]


def describe(name: str, descriptor: str) -> str:
    """A sentence of class name and descriptor, as Menon & Vondrick (2023) build it: "hen, which has two legs."."""
    first = descriptor.split(" ", 1)[0].lower()
    if first in ("a", "an", "the", "used"):
        verb = "is "
    elif first in ("has", "have", "often", "typically", "may", "can", "is", "are", "usually"):
        verb = ""
    else:
        verb = "has "
    return f"{name}, which {verb}{descriptor}."
