"""CLIP as OpenAI published it: one .pt file, a TorchScript archive or a state dict (https://github.com/openai/CLIP).

open_clip's models have the same names, and its folders are read by the tables here (see `lift_jax.weights.open_clip`).
"""

import logging
import math
from collections.abc import Collection
from pathlib import Path

from lift_jax.errors import UserError
from lift_jax.models.resnet import EXPANSION, ResNet
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import activations, misplaced, names
from lift_jax.weights.arrays import (
    BlockNames,
    Entry,
    Foreign,
    block_numbers,
    blocks,
    convolution,
    joined,
    linear,
    norm,
    same,
    unused,
)
from lift_jax.weights.assembly import assemble
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.layout import Layout
from lift_jax.weights.timm_vit import depth, heads_of

_log = logging.getLogger(__name__)

_BLOCK = BlockNames("ln_1", ("attn.in_proj_",), "attn.out_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")

_TOWER = "visual."
_FIRST_WEIGHT = f"{_TOWER}conv1.weight"

_CONSTANTS = ("input_resolution", "context_length", "vocab_size")
"""Numbers that OpenAI's archives, and the state dicts that were saved of them, hold beside the arrays."""


def aligned(foreign: Foreign, source: str) -> Foreign | None:
    """Returns the arrays by OpenAI's names, whatever prefix they have; None if they are not those of a CLIP.

    Args:
        foreign: the arrays of a file, which may leave out `visual.` where they are those of an image tower alone.
        source: what to call the file in a message.

    Raises:
        UserError: if the file holds several models.
    """
    named = names.aligned(foreign, _FIRST_WEIGHT, _TOWER, source)
    if named is None or not {"visual.class_embedding", "visual.attnpool.positional_embedding"} & named.keys():
        return None
    # open_clip's CustomTextCLIP has its text tower in a module of its own.
    return {name.removeprefix("text."): array for name, array in named.items()}


def from_file(file: Path, foreign: Foreign, activation: str, classes: Collection[str] | None = None) -> Backbone:
    """Makes a CLIP with a ViT or a ResNet from its arrays alone.

    The sizes are those of the arrays. The heads are 64 wide but for the largest image towers of open_clip.

    Args:
        file: the file of the arrays.
        foreign: the arrays by OpenAI's names.
        activation: `config.backbone_activation`.
        classes: the classes of the modules of a TorchScript archive; None of another file.

    Raises:
        UserError: if an array is missing or does not fit the others, or neither `activation` nor the file tells the
            activation.
    """
    source = str(file)
    known = _activation(file, foreign, classes)
    if not (known or activation):
        raise activations.unknown(source)
    vision, resolution, embed = _vision(foreign, known or activation, source)
    text = _text(foreign, known or activation, source) if "token_embedding.weight" in foreign else None
    constants = [unused(name) for name in _CONSTANTS]
    layout = Layout(vision, text, resolution, [*table(vision, text, resolution, embed), *constants])
    return assemble(file, layout, foreign, source)


def _activation(file: Path, foreign: Foreign, classes: Collection[str] | None) -> str | None:
    """Returns the activation that a file shows, or its name; None if neither does. The log says which it was."""
    if classes is not None:
        # An archive names the classes of its modules. OpenAI alone published CLIPs as archives.
        found, why = ("gelu" if "GELU" in classes and "QuickGELU" not in classes else "quick_gelu"), "its modules"
    elif all(name in foreign for name in _CONSTANTS):
        found, why = "quick_gelu", "it is OpenAI's"
    else:
        found, why = activations.from_place(file), "its name"
    if found:
        _log.info("The activation of %s is %s, by what is known of it: %s.", file, found, why)
    return found


def _vision(foreign: Foreign, activation: str, source: str) -> tuple[VisionTransformer | ResNet, int, int]:
    """Returns the image tower, the side of its input in pixels, and the width of the space that it shares with text."""
    try:
        if "visual.class_embedding" in foreign:
            width, _, patch_size, _ = foreign[_FIRST_WEIGHT].shape
            side = math.isqrt(foreign["visual.positional_embedding"].shape[0] - 1)
            blocks = depth(foreign, "visual.transformer.resblocks")
            mlp_dim = foreign["visual.transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
            embed = foreign["visual.proj"].shape[1] if "visual.proj" in foreign else width
            heads = heads_of(width, source)
            return VisionTransformer(patch_size, width, blocks, heads, mlp_dim, activation), side * patch_size, embed
        layers = tuple(depth(foreign, f"visual.layer{i}") for i in range(1, 5))
        stem_width = foreign["visual.layer1.0.conv1.weight"].shape[0]
        side = math.isqrt(foreign["visual.attnpool.positional_embedding"].shape[0] - 1)
        embed = foreign["visual.attnpool.c_proj.weight"].shape[0]
        if not all(layers):
            raise KeyError(f"visual.layer{1 + layers.index(0)}.0.conv1.weight")
    except (KeyError, ValueError, IndexError) as error:
        raise _incomplete(error, source) from error
    return resnet(layers, stem_width, embed), side * 32, embed


def _incomplete(error: Exception, source: str) -> UserError:
    what = misplaced.missing(error)
    return UserError(f"{source} holds only a part of a CLIP ({what}); take the file from the model's source again.")


def resnet(layers: tuple[int, ...], stem_width: int, embed_dim: int, head_width: int = 64) -> ResNet:
    """Makes CLIP's ResNet, whose heads are 64 wide in all published models."""
    a, b, c, d = layers
    return ResNet((a, b, c, d), stem_width, embed_dim, num_heads=32 * stem_width // head_width)


def _text(foreign: Foreign, activation: str, source: str) -> TextTransformer:
    try:
        vocab_size, width = foreign["token_embedding.weight"].shape
        context_length = foreign["positional_embedding"].shape[0]
        mlp_dim = foreign["transformer.resblocks.0.mlp.c_fc.weight"].shape[0]
    except (KeyError, ValueError, IndexError) as error:
        raise _incomplete(error, source) from error
    blocks = depth(foreign, "transformer.resblocks")
    return TextTransformer(vocab_size, context_length, width, blocks, _text_heads(width, source), mlp_dim, activation)


def _text_heads(width: int, source: str) -> int:
    if width % 64:
        raise UserError(
            f"{source} holds a text tower of width {width}, which is no multiple of 64, so that nothing tells its "
            "number of heads; put the model's open_clip_config.json beside the file."
        )
    return width // 64


def table(vision: VisionTransformer | ResNet, text: TextTransformer | None, resolution: int, embed: int) -> list[Entry]:
    """Lists the arrays of a CLIP; of an image tower alone the projection, if there is one, is left out.

    Args:
        vision: the image network.
        text: the text network, or None if there is none.
        resolution: the side of the square input, in pixels.
        embed: the width of the space that images and texts share.
    """
    tower = _vision_table(vision, resolution)
    if text is None:
        # What is of neither tower is there in files from which only the text tower was taken.
        return [*tower, unused("visual.proj", vision.width, embed), unused("logit_scale")]
    # open_clip stored the causal mask until 2023.
    mask = unused("attn_mask", text.context_length, text.context_length)
    projection = [] if isinstance(vision, ResNet) else [same("visual_projection", "visual.proj", vision.width, embed)]
    return [*tower, *projection, *_text_table(text, embed), mask]


def text_tower(text: TextTransformer) -> list[Entry]:
    """Describes the arrays of a text tower without its projection."""
    return [
        same("text/token_embedding", "token_embedding.weight", text.vocab_size, text.width),
        same("text/position_embedding", "positional_embedding", text.context_length, text.width),
        *blocks("text", "transformer.resblocks", _BLOCK, text.depth, text.width, text.mlp_dim),
        *norm("text/ln_final", "ln_final", text.width),
    ]


def _text_table(text: TextTransformer, embed: int) -> list[Entry]:
    """Describes the text tower, its projection and the scale of the logits."""
    projection = same("text_projection", "text_projection", text.width, embed)
    return [*text_tower(text), projection, same("logit_scale", "logit_scale")]


def _vision_table(vision: VisionTransformer | ResNet, resolution: int) -> list[Entry]:
    """Returns the image tower without its projection."""
    if isinstance(vision, ResNet):
        return _resnet_table(vision, resolution)
    width, p = vision.width, vision.patch_size
    return [
        convolution("vision/patch_embedding", "visual.conv1.weight", p, 3, width),
        same("vision/class_embedding", "visual.class_embedding", width),
        same("vision/position_embedding", "visual.positional_embedding", (resolution // p) ** 2 + 1, width),
        *norm("vision/ln_pre", "visual.ln_pre", width),
        *blocks("vision", "visual.transformer.resblocks", _BLOCK, vision.depth, width, vision.mlp_dim),
        *norm("vision/ln_post", "visual.ln_post", width),
    ]


def _resnet_table(vision: ResNet, resolution: int) -> list[Entry]:
    stem = vision.stem_width
    table: list[Entry] = []
    for i, (inputs, outputs) in enumerate([(3, stem // 2), (stem // 2, stem // 2), (stem // 2, stem)], 1):
        table += _conv_norm("vision", f"_{i}", f"visual.conv{i}", f"visual.bn{i}", 3, inputs, outputs)
    inputs = stem
    for stage, number in enumerate(vision.layers):
        width = stem * 2**stage
        for i in block_numbers(number):
            ours, theirs = f"vision/stage_{stage}_block_{i}", f"visual.layer{stage + 1}.{i}"
            for k, side, a, b in (1, 1, inputs, width), (2, 3, width, width), (3, 1, width, EXPANSION * width):
                table += _conv_norm(ours, f"_{k}", f"{theirs}.conv{k}", f"{theirs}.bn{k}", side, a, b)
            if i == 0:  # every stage begins with another width or a stride
                short = f"{theirs}.downsample"
                table += _conv_norm(ours, "_short", f"{short}.0", f"{short}.1", 1, inputs, EXPANSION * width)
            inputs = EXPANSION * width
    pool, positions = "visual.attnpool", (resolution // vision.patch_size) ** 2 + 1
    return [
        *table,
        same("vision/attn_pool/position_embedding", f"{pool}.positional_embedding", positions, inputs),
        *joined("vision/attn_pool/attn_in", [f"{pool}.{name}_proj." for name in "qkv"], inputs, inputs),
        *linear("vision/attn_pool/attn_out", f"{pool}.c_proj", inputs, vision.width),
    ]


def _conv_norm(ours: str, suffix: str, conv: str, bn: str, side: int, inputs: int, outputs: int) -> list[Entry]:
    """Describes a convolution and its batch normalisation, without the number of batches that its statistics saw."""
    return [
        convolution(f"{ours}/conv{suffix}/kernel", f"{conv}.weight", side, inputs, outputs),
        *norm(f"{ours}/bn{suffix}", bn, outputs),
        same(f"{ours}/bn{suffix}/mean", f"{bn}.running_mean", outputs),
        same(f"{ours}/bn{suffix}/var", f"{bn}.running_var", outputs),
        unused(f"{bn}.num_batches_tracked"),
    ]
