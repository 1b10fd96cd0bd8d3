"""Which activation a CLIP was trained with, as far as the name of its weights tells.

OpenAI trained with quick_gelu, and so did MetaCLIP, DFN and open_clip for its first models; LAION's and DataComp's
models have GELU. A state dict does not hold it, open_clip's configurations mention quick_gelu alone, and not even that
always, and timm computes many of the former with GELU. With the other one a model still seems to work, only worse.

The table follows the registries of open_clip 3.3 (`quick_gelu` of the tags in src/open_clip/pretrained.py) and of timm
1.0 (the models that it notes as "natively QuickGELU" in timm/models/vision_transformer.py).
"""

import dataclasses
import logging
import re
from pathlib import Path

from lift_jax.errors import UserError
from lift_jax.models.towers import Convolutional
from lift_jax.models.transformer import ACTIVATIONS
from lift_jax.weights.backbone import Backbone

_log = logging.getLogger(__name__)

QUICK, EXACT = "quick_gelu", "gelu"

_FAMILIES = (
    # The first that is found in a name decides; names are in lower case with hyphens for all punctuation.
    ("quick-?gelu", QUICK),
    ("ft-in1k|ft-in12k", EXACT),  # timm fine-tuned CLIPs with GELU, whatever they were trained with before
    ("dfn2b.*39b", EXACT),
    ("dfn[25]b", QUICK),
    ("^(?!.*378).*(h-14|huge-patch14-clip-224).*worldwide", QUICK),  # MetaCLIP 2
    ("worldwide", EXACT),
    ("altogether", EXACT),  # MetaCLIP 1.2
    ("metaclip|(b32|b16|l14|h14|g14)-(400m|fullcc)", QUICK),
    ("openai", QUICK),
    ("tinyclip", EXACT),
    ("yfcc15m|cc12m", QUICK),
    ("(b-32|base-patch32).*laion400m", QUICK),
    ("laion|datacomp|commonpool|clipa", EXACT),
)


def from_name(name: str) -> str | None:
    """Returns the activation of a family of models that is known by name; None if the name does not tell.

    Args:
        name: of a file, a folder or a hub repository, such as `apple/DFN5B-CLIP-ViT-H-14`.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower())
    return next((activation for family, activation in _FAMILIES if re.search(family, plain)), None)


def from_place(place: Path) -> str | None:
    """Returns the activation by the name of a file or folder, or of its repository in the hub's cache.

    Folders further up may be called anything and do not count.

    Args:
        place: the file of the weights, or the model's folder.
    """
    repositories = [part for part in place.parts if part.startswith("models--")]
    return from_name(repositories[-1] if repositories else place.name)


def with_activation(backbone: Backbone, activation: str) -> Backbone:
    """Returns a backbone with the activation that the user asks for, and warns where its files tell another one.

    Args:
        backbone: as its files describe it.
        activation: `config.backbone_activation`; if it is empty, the backbone stays as it is.
    """
    if not activation:
        return backbone
    vision, text = backbone.vision, backbone.text
    told = {tower.activation for tower in (vision, text) if tower is not None and not isinstance(tower, Convolutional)}
    if told - {activation}:
        _log.warning(
            "config.backbone_activation is %s, and that is taken, though the files of the backbone %s tell %s.",
            activation, backbone.name, " and ".join(sorted(told)),
        )  # fmt: skip
    if not isinstance(vision, Convolutional):
        vision = vision.clone(activation=activation)
    return dataclasses.replace(backbone, vision=vision, text=text and text.clone(activation=activation))


def check(activation: str) -> None:
    """Checks `config.backbone_activation`.

    Raises:
        UserError: if it is neither empty nor the name of an activation.
    """
    if activation and activation not in ACTIVATIONS:
        raise UserError(
            f"config.backbone_activation is {activation!r}; write one of {', '.join(ACTIVATIONS)}, or leave it empty "
            "where the backbone's files tell it."
        )


def unknown(source: str) -> UserError:
    """Returns the refusal of weights of which nothing tells the activation.

    Args:
        source: what to call the file in the message.
    """
    return UserError(
        f"{source} does not tell whether its CLIP was trained with quick_gelu or with gelu; write "
        f"config.backbone_activation={QUICK} (as OpenAI, MetaCLIP, DFN and open_clip's models with -quickgelu in their "
        f"name) or config.backbone_activation={EXACT} (as LAION and DataComp)."
    )
