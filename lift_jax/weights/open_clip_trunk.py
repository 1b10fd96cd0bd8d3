"""open_clip's CLIPs and SigLIPs whose image tower is one of timm's: SigLIP, EVA02-CLIP, Perception Encoder."""

import logging
from collections.abc import Iterable
from pathlib import Path

from lift_jax.errors import UserError
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import names, open_clip, openai, timm, timm_vit
from lift_jax.weights.arrays import Entry, Foreign, same, transposed, unused
from lift_jax.weights.assembly import assemble, named_arrays
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.layout import Layout, image_size
from lift_jax.weights.settings import Settings, shown

_log = logging.getLogger(__name__)

_TRUNK, _TEXT_TOWER = "visual.trunk.", "text."

_VISION = dict(image_size=224, timm_pool="avg", timm_proj="linear")
_HARMLESS = {"timm_model_name", "timm_model_pretrained", "timm_drop", "timm_drop_path", "patch_dropout"}
_TEXT = open_clip.TEXT | dict(no_causal_mask=False, proj_bias=False, pool_type="argmax")
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
    _family(model)  # what is not known is said before the weights are looked for
    _text(model)
    return from_arrays(folder, *named_arrays(folder, aligned, open_clip.ALL_FILES))


def aligned(foreign: Foreign, source: str) -> Foreign | None:
    """Returns the arrays by open_clip's names, whatever prefix they have; None if they have no image tower of timm's.

    Args:
        foreign: the arrays of a file.
        source: what to call the file in a message.

    Raises:
        UserError: if the file holds several models.
    """
    return names.aligned(foreign, _TRUNK + timm_vit.FIRST_WEIGHT, "", source)


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
    family, pool = _family(model)
    trunk = {name.removeprefix(_TRUNK): x for name, x in foreign.items() if name.startswith(_TRUNK)}
    vision = timm_vit.network(trunk, family, pool, None, family.activation, source)
    v = model.section("vision_cfg", _VISION)
    resolution, _ = image_size(Settings({**v, "patch_size": vision.patch_size}, v.place))
    text = _text(model)
    if not any(name.startswith(_TEXT_TOWER) for name in foreign):
        _log.info("%s holds an image tower alone; there is no text to start the head from.", source)
        text = None
    tower = _prefixed(_TRUNK, timm_vit.table(vision, resolution, trunk, family))
    table = [*tower, *_shared(model, vision, text)]
    return Layout(vision, text, resolution, table, *open_clip.normalisation(folder))


def _family(model: Settings) -> tuple[timm_vit.Family, str]:
    """Returns the family of the image tower, and what it pools in timm's words."""
    v = model.section("vision_cfg", _VISION)
    family = timm.known_family(v.get("timm_model_name"), f"timm_model_name in {v.place}")
    strange = [key for key, value in v.items() if key not in _HARMLESS and key not in _VISION and value]
    if strange:
        raise UserError(
            f"{', '.join(strange)} in {v.place} is not known here beside a timm_model_name; take a published model, "
            f"such as one of {family.example}."
        )
    if v["timm_pool"] not in family.pools or v["timm_proj"] not in (None, "", "none"):
        raise UserError(
            f"timm_pool and timm_proj in {v.place} are {shown(v['timm_pool'])} and {shown(v['timm_proj'])}, but the "
            f"known models of the kind of {family.example} have {family.pools[0]!r}, and null or 'none'; take one of "
            "these."
        )
    return family, v["timm_pool"]


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


def _shared(model: Settings, vision: VisionTransformer, text: TextTransformer | None) -> list[Entry]:
    """Describes the text tower, the projections into the shared space, and the scale of the logits."""
    embed, head = model.whole("embed_dim"), f"{_TRUNK}head"
    # A timm_proj of "none" means no projection at all, and null one that is the classification head of timm's tower.
    projected = model.section("vision_cfg", _VISION)["timm_proj"] != "none"
    if text is None:
        left = [unused(f"{head}.weight", embed, vision.width), unused(f"{head}.bias", embed)] if projected else []
        return [*left, unused("logit_scale"), unused("logit_bias")]
    table = []
    if projected:
        table += [
            transposed("visual_projection", f"{head}.weight", vision.width, embed),
            same("visual_projection_bias", f"{head}.bias", embed),
        ]
    tower = openai.text_tower(text)
    if text.causal:
        tower.append(same("text_projection", "text_projection", text.width, embed))
    else:
        tower.append(transposed("text_projection", "text_projection.weight", text.width, embed))
        tower.append(same("text_projection_bias", "text_projection.bias", embed))
        table.append(same("logit_bias", "logit_bias"))
    return [*table, *_prefixed(_TEXT_TOWER, tower), same("logit_scale", "logit_scale")]


def _prefixed(prefix: str, entries: Iterable[Entry]) -> list[Entry]:
    return [entry._replace(names=tuple(prefix + name for name in entry.names)) for entry in entries]
