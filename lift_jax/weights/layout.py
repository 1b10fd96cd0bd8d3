"""What a foreign configuration says of its model: the networks, and where each of its arrays goes."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lift_jax.errors import UserError
from lift_jax.models.resnet import ResNet
from lift_jax.models.text import TextTransformer
from lift_jax.models.transformer import ACTIVATIONS
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights.arrays import Entry

Config = Mapping[str, Any]
Channels = tuple[float, float, float]

CLIP_MEAN: Channels = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Channels = (0.26862954, 0.26130258, 0.27577711)
HALF: Channels = (0.5, 0.5, 0.5)


class Layout(NamedTuple):
    """A model in a foreign format.

    Attributes:
        vision, text: the networks; text is None if the model has none.
        resolution: side of the square input, in pixels.
        table: every array.
        rename: a name in the file to the table's, where it has one more or less prefix than the table's.
        mean, std: of the normalisation, unless the files say otherwise.
    """

    vision: VisionTransformer | ResNet
    text: TextTransformer | None
    resolution: int
    table: list[Entry]
    rename: Callable[[str], str] = str
    mean: Channels = CLIP_MEAN
    std: Channels = CLIP_STD


def vision_prefix(name: str) -> str:
    """What transformers calls an array of a vision tower alone: since version 5 without `vision_model.`."""
    known = ("vision_model.", "visual_projection.")
    return name if name.startswith(known) else f"vision_model.{name}"


def transformer_size(tower: Config) -> dict[str, Any]:
    """The attributes that the towers share, from one tower of a transformers configuration.

    Raises:
        UserError: if its activation is not known.
    """
    if tower["hidden_act"] not in ACTIVATIONS:
        raise UserError(
            f"The activation {tower['hidden_act']!r} in config.json is not known; the known ones are "
            f"{', '.join(ACTIVATIONS)}."
        )
    return dict(
        width=tower["hidden_size"],
        depth=tower["num_hidden_layers"],
        num_heads=tower["num_attention_heads"],
        mlp_dim=tower["intermediate_size"],
        activation=tower["hidden_act"],
        epsilon=tower["layer_norm_eps"],
    )


def tower_config(tower: VisionTransformer | TextTransformer) -> dict[str, Any]:
    """The inverse of `transformer_size`."""
    return dict(
        hidden_size=tower.width,
        num_hidden_layers=tower.depth,
        num_attention_heads=tower.num_heads,
        intermediate_size=tower.mlp_dim,
        hidden_act=tower.activation,
        layer_norm_eps=tower.epsilon,
    )
