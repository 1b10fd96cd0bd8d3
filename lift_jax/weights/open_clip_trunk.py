"""open_clip's CLIPs and SigLIPs with an image tower of timm's: SigLIP, EVA02-CLIP, Perception Encoder, ConvNeXt."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from lift_jax.errors import UserError
from lift_jax.models.convnext import ConvNeXt
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import names, open_clip, openai, timm, timm_convnext, timm_vit
from lift_jax.weights.arrays import Entry, Foreign, same, transposed, unused
from lift_jax.weights.assembly import assemble, named_arrays
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.layout import Layout, image_size
from lift_jax.weights.settings import Settings, shown

_log = logging.getLogger(__name__)

_TRUNK, _TEXT_TOWER = "visual.trunk.", "text."
_PROJECTION = "visual.head."
"""Where open_clip's own projection is after a ConvNeXt; the ViTs have it in the place of timm's classification head."""

_VISION = dict(image_size=224, timm_pool="avg", timm_proj="linear")
_HARMLESS = {"timm_model_name", "timm_model_pretrained", "timm_drop", "timm_drop_path", "patch_dropout"}
_TEXT = open_clip.TEXT | dict(no_causal_mask=False, proj_bias=False, pool_type="argmax")
_CONVNEXT_PROJECTIONS = ("linear", "mlp")
_TEXT_KINDS = ("norm_kwargs", "act_kwargs")


def describes(folder: Path) -> bool:
    """Tells whether the open_clip_config.json of a folder has an image tower of timm's.

    Raises:
        UserError: if it cannot be read.
    """
    return "timm_model_name" in open_clip.model_section(folder).section("vision_cfg")


def load(folder: Path) -> Backbone:
    """Loads a CLIP or SigLIP of open_clip with an image tower of timm's.

    Raises:
        UserError: if a file cannot be read, or the model has parts that we do not.
    """
    model = open_clip.model_section(folder)
    _check(model)  # what is not known is said before the weights are looked for
    return from_arrays(folder, *named_arrays(folder, aligned, open_clip.ALL_FILES))


def aligned(foreign: Foreign, source: str) -> Foreign | None:
    """Returns the arrays by open_clip's names, whatever prefix they have; None if they have no image tower of timm's.

    Args:
        foreign: the arrays of a file.
        source: what to call the file in a message.

    Raises:
        UserError: if the file holds several models.
    """
    firsts = (_TRUNK + first for first in (timm_vit.FIRST_WEIGHT, timm_convnext.FIRST_WEIGHT))
    found = (names.aligned(foreign, first, "", source) for first in firsts)
    return next((named for named in found if named is not None), None)


def from_arrays(folder: Path, foreign: Foreign, source: str) -> Backbone:
    """Builds a CLIP or SigLIP from its arrays and the open_clip_config.json of its folder.

    Args:
        folder: the folder with the configuration.
        foreign: the arrays by open_clip's names.
        source: what to call the file of the arrays in a message.

    Raises:
        UserError: as `load` does.
    """
    found = layout(folder, foreign, source)
    return assemble(folder, found, foreign, source, str(folder / open_clip.CONFIG))


def layout(folder: Path, foreign: Foreign, source: str) -> Layout:
    """Returns the layout of a folder's model, without its text tower if the arrays have none.

    Args:
        folder, foreign, source: as of `from_arrays`.

    Raises:
        UserError: as `load` does.
    """
    model = open_clip.model_section(folder)
    _check(model)
    trunk = {name.removeprefix(_TRUNK): x for name, x in foreign.items() if name.startswith(_TRUNK)}
    vision, tower, projection = (_convnext if _is_convnext(model) else _vit)(model, trunk, source)
    v = model.section("vision_cfg", _VISION)
    resolution, _ = image_size(Settings({**v, "patch_size": vision.patch_size}, v.place))
    prefix = _TEXT_TOWER if any(name.startswith(_TEXT_TOWER) for name in foreign) else ""
    text = _text(model)
    if not any(name.startswith(f"{prefix}transformer.") for name in foreign):
        _log.info("%s holds an image tower alone; there is no text to start the head from.", source)
        text = None
    table = [*_prefixed(_TRUNK, tower), *_shared(model, projection, text, prefix)]
    return Layout(vision, text, resolution, table, *open_clip.normalisation(folder))


def _check(model: Settings) -> None:
    """Checks that both towers of a model are known.

    Raises:
        UserError: if one has a part that we do not have.
    """
    v = model.section("vision_cfg", _VISION)
    if _is_convnext(model):
        example, pools, projections = timm_convnext.EXAMPLE, ("", "avg"), _CONVNEXT_PROJECTIONS
    else:
        family = timm.known_family(v.get("timm_model_name"), f"timm_model_name in {v.place}")
        example, pools, projections = family.example, family.pools, (None, "none")
    strange = [key for key, value in v.items() if key not in _HARMLESS and key not in _VISION and value]
    if strange:
        raise UserError(
            f"{', '.join(strange)} in {v.place} is not known here beside a timm_model_name; take a published model, "
            f"such as one of {example}."
        )
    if v["timm_pool"] not in pools or (v["timm_proj"] or None) not in projections:
        raise UserError(
            f"timm_pool and timm_proj in {v.place} are {shown(v['timm_pool'])} and {shown(v['timm_proj'])}, but the "
            f"known models of the kind of {example} have {pools[0]!r}, and {' or '.join(map(_json, projections))}; "
            "take one of these."
        )
    _text(model)


def _json(value: str | None) -> str:
    return "null" if value is None else repr(value)


def _is_convnext(model: Settings) -> bool:
    return timm_convnext.is_known(model.section("vision_cfg").get("timm_model_name"))


def _vit(model: Settings, trunk: Foreign, source: str) -> tuple[VisionTransformer, list[Entry], list[Entry]]:
    """Returns a ViT, its arrays by timm's names, and its projection into the space of the texts."""
    v = model.section("vision_cfg", _VISION)
    family = timm.known_family(v.get("timm_model_name"), f"timm_model_name in {v.place}")
    vision = timm_vit.network(trunk, family, v["timm_pool"], None, family.activation, source)
    resolution, _ = image_size(Settings({**v, "patch_size": vision.patch_size}, v.place))
    # A timm_proj of "none" means no projection at all, and null one that is the classification head of timm's tower.
    embed, head = model.whole("embed_dim"), f"{_TRUNK}head"
    projection = [
        transposed("visual_projection", f"{head}.weight", vision.width, embed),
        same("visual_projection_bias", f"{head}.bias", embed),
    ]
    table = timm_vit.table(vision, resolution, trunk, family)
    return vision, table, [] if v["timm_proj"] == "none" else projection


def _convnext(model: Settings, trunk: Foreign, source: str) -> tuple[ConvNeXt, list[Entry], list[Entry]]:
    """Returns a ConvNeXt, its arrays by timm's names, and its projection into the space of the texts."""
    v, embed = model.section("vision_cfg", _VISION), model.whole("embed_dim")
    mlp = (2 * embed, embed) if v["timm_proj"] == "mlp" else None
    vision = timm_convnext.network(v["timm_model_name"], trunk, mlp, source)
    linear = transposed("visual_projection", f"{_PROJECTION}proj.weight", vision.width, embed)
    projection = [linear] if mlp is None else timm_convnext.projection_table(vision, f"{_PROJECTION}mlp.")
    return vision, timm_convnext.table(vision), projection


def _text(model: Settings) -> TextTransformer:
    """Builds the text tower: CLIP's, or SigLIP's, where all tokens see all."""
    t = model.section("text_cfg", _TEXT)
    open_clip.check_known(Settings({k: x for k, x in t.items() if k not in _TEXT_KINDS}, t.place), _TEXT)
    causal, sigmoid = not t.flag("no_causal_mask"), model.get("init_logit_bias") is not None
    if t["pool_type"] != ("argmax" if causal else "last") or t.flag("proj_bias") != sigmoid:
        raise UserError(
            f"pool_type and proj_bias in {t.place} are {shown(t['pool_type'])} and {t['proj_bias']}, which is neither "
            "CLIP's text tower nor SigLIP's (no_causal_mask, pool_type 'last', proj_bias and init_logit_bias "
            "together); take a published model."
        )
    quick = "quick_gelu" in model and model.flag("quick_gelu")
    tanh = t.section("act_kwargs", dict(approximate="none")).choice("approximate", ("none", "tanh")) == "tanh"
    epsilon = t.section("norm_kwargs", dict(eps=1e-5)).number("eps", 0, 0.1)
    tower = open_clip.text_network(t, "gelu_pytorch_tanh" if tanh else "quick_gelu" if quick else "gelu")
    return tower.clone(causal=causal, epsilon=epsilon)


def _shared(model: Settings, projection: Sequence[Entry], text: TextTransformer | None, prefix: str) -> list[Entry]:
    """Describes the text tower, the projections into the shared space, and the scale of the logits.

    Args:
        model: the section of open_clip's configuration.
        projection: the places of the image features' projection.
        text: the text tower; None if the file has none, and then what leads into the shared space is left out.
        prefix: what stands before the names of the text tower's arrays.
    """
    if text is None:
        left_out = [entry for entry in projection if not entry.path.startswith("vision/")]
        left = [
            unused(name, *shape) for entry in left_out for name, shape in zip(entry.names, entry.shapes, strict=True)
        ]
        kept = [entry for entry in projection if entry.path.startswith("vision/")]
        return [*kept, *left, unused("logit_scale"), unused("logit_bias")]
    embed, table, tower = model.whole("embed_dim"), [*projection], openai.text_tower(text)
    if text.causal:
        tower.append(same("text_projection", "text_projection", text.width, embed))
        tower.append(unused("attn_mask", text.context_length, text.context_length))  # stored until 2023
    else:
        tower.append(transposed("text_projection", "text_projection.weight", text.width, embed))
        tower.append(same("text_projection_bias", "text_projection.bias", embed))
        table.append(same("logit_bias", "logit_bias"))
    return [*table, *_prefixed(prefix, tower), same("logit_scale", "logit_scale")]


def _prefixed(prefix: str, entries: Iterable[Entry]) -> list[Entry]:
    return [entry._replace(names=tuple(prefix + name for name in entry.names)) for entry in entries]
