"""What a foreign configuration says of its model: the networks, and where each of its arrays goes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lift_jax.errors import UserError
from lift_jax.models.text import TextTransformer
from lift_jax.models.towers import Tower
from lift_jax.models.transformer import ACTIVATIONS
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights.arrays import DEEPEST, Entry
from lift_jax.weights.settings import Settings

Config = Mapping[str, Any]
Channels = tuple[float, float, float]

CLIP_MEAN: Channels = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Channels = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
HALF: Channels = (0.5, 0.5, 0.5)


class Layout(NamedTuple):
    """A model in a foreign format.

    Attributes:
        vision: the image network.
        text: the text network; None if the model has none.
        resolution: the side of the square input, in pixels.
        table: every array.
        mean, std: of the normalisation, unless the files say otherwise.
    """

    vision: Tower
    text: TextTransformer | None
    resolution: int
    table: list[Entry]
    mean: Channels = CLIP_MEAN
    std: Channels = CLIP_STD


def settings(config: Config, defaults: Config | None = None) -> Settings:
    """Returns a configuration whose values are checked as they are read.

    Args:
        config: the content of a config.json; messages name the file that it was read from, or else config.json.
        defaults: the values of keys that it leaves out.
    """
    return Settings(config, config.place if isinstance(config, Settings) else "config.json", defaults)


def transformer_size(tower: Settings) -> dict[str, Any]:
    """Returns the attributes that the towers share, from one tower of a transformers configuration.

    Raises:
        UserError: if a size is of another kind or out of its range, or the activation is not known.
    """
    size: dict[str, Any] = dict(
        width=tower.whole("hidden_size"),
        depth=tower.whole("num_hidden_layers", high=DEEPEST),
        num_heads=tower.whole("num_attention_heads"),
        mlp_dim=tower.whole("intermediate_size"),
        activation=tower.choice("hidden_act", ACTIVATIONS),
        epsilon=tower.number("layer_norm_eps", 0, 0.1),
    )
    check_heads(size["width"], size["num_heads"], f"num_attention_heads in {tower.place}")
    return size


def check_heads(width: int, num_heads: int, what: str) -> None:
    """Checks that attention heads share the width evenly.

    Args:
        width: of the tokens.
        num_heads: the number of heads.
        what: how the message begins, such as "num_attention_heads in config.json".

    Raises:
        UserError: if they do not.
    """
    if num_heads < 1 or width % num_heads:
        raise UserError(
            f"{what} is {num_heads}, which does not divide the width {width}; take the file from the model's source "
            "again."
        )


def image_size(tower: Settings) -> tuple[int, int]:
    """Returns the side of the input and of a patch, in pixels.

    Raises:
        UserError: if one is no size, or an image has no whole patch.
    """
    side, patch = tower.whole("image_size"), tower.whole("patch_size")
    if side < patch:
        raise UserError(
            f"image_size in {tower.place} is {side}, less than one patch (patch_size is {patch}); take the file from "
            "the model's source again."
        )
    return side, patch


def tower_config(tower: VisionTransformer | TextTransformer) -> dict[str, Any]:
    """Writes what `transformer_size` reads."""
    return dict(
        hidden_size=tower.width,
        num_hidden_layers=tower.depth,
        num_attention_heads=tower.num_heads,
        intermediate_size=tower.mlp_dim,
        hidden_act=tower.activation,
        layer_norm_eps=tower.epsilon,
    )
