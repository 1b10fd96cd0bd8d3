"""timm's ViTs and ConvNeXts: a folder of the hub, such as timm/vit_base_patch16_224.augreg_in21k, or a .pth file of a
ViT's arrays alone.

The .pth files of DINOv2's authors have nearly the same names and are read here, too.
"""

import difflib
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lift_jax.errors import UserError
from lift_jax.weights import activations, names, preprocessing, timm_convnext, timm_vit
from lift_jax.weights.arrays import Foreign
from lift_jax.weights.assembly import assemble, named_arrays
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.folder import read_json
from lift_jax.weights.layout import CLIP_MEAN, CLIP_STD, HALF, IMAGENET_MEAN, IMAGENET_STD, Layout
from lift_jax.weights.settings import LARGEST, Settings, shown

_log = logging.getLogger(__name__)

_DINO_NAMES = ((r"^register_tokens$", "reg_token"), (r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2."))
"""What DINOv2's authors call arrays otherwise than timm."""

_RESULTS = {"token": "a class token", "avg": "the mean of its tokens or positions", "map": "attention pooling"}
"""What timm's words for the pooling mean."""


def load(folder: Path) -> Backbone:
    """Loads a ViT of a family in `lift_jax.weights.timm_vit`, or a ConvNeXt.

    A classification head, or a CLIP's projection, is left out.

    Raises:
        UserError: if a file cannot be read, or the architecture is another.
    """
    config = read_json(folder, "config.json")
    if not _is_convnext(config):
        architecture(config)  # what is not known is said before the weights are looked for
    return from_arrays(folder, *named_arrays(folder, aligned))


def aligned(foreign: Foreign, source: str) -> Foreign | None:
    """Returns the arrays by timm's names, whatever prefix they have; None if they are neither a ViT's nor a ConvNeXt's.

    Args:
        foreign: the arrays of a file.
        source: what to call the file in a message.

    Raises:
        UserError: if the file holds several models, or the tower is one half of a CLIP of open_clip's.
    """
    if any("visual.trunk." in name for name in foreign):
        raise UserError(
            f"{source} holds a CLIP of open_clip's with an image tower of timm's (visual.trunk), of which nothing "
            "tells the sizes; put the model's open_clip_config.json beside the file."
        )
    for anchor in timm_vit.FIRST_WEIGHT, timm_convnext.KNOWN_BY:
        if named := names.aligned(foreign, anchor, "", source):
            return {_timm_name(name): array for name, array in named.items()}
    return None


def _timm_name(name: str) -> str:
    for theirs, ours in _DINO_NAMES:
        name = re.sub(theirs, ours, name)
    return name


def from_arrays(folder: Path, foreign: Foreign, source: str) -> Backbone:
    """Makes a ViT or a ConvNeXt from its arrays and the config.json of its folder.

    Args:
        folder: the folder with the config.json.
        foreign: the arrays by timm's names.
        source: what to call the file of the arrays in a message.

    Raises:
        UserError: as `load` does.
    """
    return assemble(folder, layout(folder, foreign, source), foreign, source, str(folder / "config.json"))


def layout(folder: Path, foreign: Foreign, source: str) -> Layout:
    """Returns the layout of a folder's ViT or ConvNeXt.

    Args:
        folder, foreign, source: as of `from_arrays`.

    Raises:
        UserError: as `load` does.
    """
    config = read_json(folder, "config.json")
    pretrained = config.section("pretrained_cfg")
    settings = Settings({**config, **pretrained}, config.place, dict(input_size=[3, 224, 224]))
    resolution = _side(settings)
    normalisation = preprocessing.of_keys(settings, "mean", "std", HALF, HALF)
    if _is_convnext(config):
        _pool(config, "ConvNeXt", ("avg",), timm_convnext.EXAMPLE)
        convnext = timm_convnext.network(config["architecture"], foreign, None, source)
        return Layout(convnext, None, resolution, timm_convnext.table(convnext), *normalisation)
    name, family, pool = architecture(config)
    options = config.section("model_args")
    num_heads = options.whole("num_heads") if options.get("num_heads") is not None else None
    quick = "quickgelu" in name or _was_quick(name, pretrained, config.place)
    activation = "quick_gelu" if quick else family.activation
    vision = timm_vit.network(foreign, family, pool, num_heads, activation, source)
    return Layout(vision, None, resolution, timm_vit.table(vision, resolution, foreign, family), *normalisation)


def from_file(file: Path, foreign: Foreign, activation: str) -> Backbone:
    """Makes a ViT from its arrays alone, as a .pth file has them.

    What they do not show is what timm's ViTs have: heads 64 wide, and GELU in all but CLIPs.

    Args:
        file: the file of the arrays.
        foreign: the arrays by timm's names.
        activation: `config.backbone_activation`.

    Raises:
        UserError: if they are of another ViT, of a ConvNeXt, or of a CLIP of which neither `activation` nor the file's
            name tells the activation.
    """
    source = str(file)
    if timm_convnext.KNOWN_BY in foreign:
        raise UserError(
            f"{source} holds a ConvNeXt by timm's names, of which config.json tells the size of its images; put the "
            f"model's config.json into {file.parent}."
        )
    is_clip = "norm_pre.weight" in foreign
    known = activations.from_place(file) if is_clip else "gelu"
    if not (known or activation):
        raise activations.unknown(source)
    vision = timm_vit.network(foreign, timm_vit.PLAIN, "token", None, known or activation, source)
    side = math.isqrt(max(timm_vit.num_positions(foreign) - timm_vit.places_class(foreign), 0))
    mean, std, who = (HALF, HALF, "timm's ViTs of ImageNet-21K")
    if is_clip or vision.layer_scale:
        mean, std, who = (CLIP_MEAN, CLIP_STD, "CLIPs") if is_clip else (IMAGENET_MEAN, IMAGENET_STD, "DINOv2s")
    _log.warning(
        "%s does not tell how its images are normalised; mean %s and std %s are taken, as %s have them. If others are "
        "right, put the model's config.json beside the file.",
        source, mean, std, who,
    )  # fmt: skip
    resolution = side * vision.patch_size
    found = Layout(vision, None, resolution, timm_vit.table(vision, resolution, foreign), mean, std)
    return assemble(file, found, foreign, source)


def architecture(config: Settings) -> tuple[str, timm_vit.Family, str]:
    """Returns the name of timm's model that a config.json describes, its family, and what it pools in timm's words.

    Raises:
        UserError: if the family is not known, or pools something else.
    """
    name = config.get("architecture")
    family = known_family(name, f"The architecture in {config.place}")
    return str(name), family, _pool(config, "ViT", family.pools, family.example)


def _pool(config: Settings, kind: str, pools: Sequence[str], example: str) -> str:
    """Returns what a model of timm's pools, in timm's words: one of `pools`, of which the first is the usual one."""
    pool = pools[0]
    for section in config, config.section("model_args"):
        pool = section.get("global_pool", pool)
        if pool not in pools:
            how = "averages its tokens" if pool == "avg" else "has another result than the models of its family"
            raise UserError(
                f"global_pool in {section.place} is {shown(pool)}, so the {kind} {how}, which is not known here; take "
                f"one with {_RESULTS[pools[0]]}, such as {example}."
            )
    return pool


def _is_convnext(config: Settings) -> bool:
    return timm_convnext.is_known(config.get("architecture"))


def known_family(name: Any, what: str) -> timm_vit.Family:
    """Returns the family of an architecture.

    Args:
        name: timm's name of it, as a configuration has it.
        what: how the message begins.

    Raises:
        UserError: if it is not known; the nearest that is known is named.
    """
    family = timm_vit.family_of(name) if isinstance(name, str) else None
    if family is None:
        examples = [*(known.example for known in timm_vit.FAMILIES), timm_convnext.EXAMPLE]
        near = difflib.get_close_matches(str(name), examples, 1, 0.0)[0]
        raise UserError(
            f"{what} is {shown(name)}, which is not known; of timm's models those of the families in "
            f"docs/backbones.md are, the nearest such as {near}."
        )
    return family


def _side(settings: Settings) -> int:
    """Returns the side of the square input, in pixels, from the channels, height and width that are in `input_size`."""
    _, height, width = settings.numbers("input_size", 3)
    if height != width or type(width) is not int or not 1 <= width <= LARGEST:
        raise UserError(
            f"input_size in {settings.place} is {shown(settings['input_size'])}, but it has to be [3, SIDE, SIDE] with "
            f"a SIDE from 1 to {LARGEST} pixels; correct it, or take the file from the model's source again."
        )
    return width


def _was_quick(name: str, pretrained: Settings, place: str) -> bool:
    """Tells whether a CLIP was trained with quick_gelu though its architecture in timm has GELU, and says so."""
    tag = pretrained.get("tag")
    quick = "_clip_" in name and isinstance(tag, str) and activations.from_name(f"{name}.{tag}") == "quick_gelu"
    if quick:
        _log.warning(
            "%s names %s.%s, which timm computes with gelu though it was trained with quick_gelu; quick_gelu is taken. "
            "If it was fine-tuned in timm, write config.backbone_activation=gelu.",
            place, name, tag,
        )  # fmt: skip
    return quick
