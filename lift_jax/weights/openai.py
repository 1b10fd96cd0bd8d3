"""CLIP as OpenAI published it: one .pt file, a TorchScript archive or a state dict (https://github.com/openai/CLIP).

open_clip has the same names, and takes its tables from here.
"""

import math
from pathlib import Path

from lift_jax.errors import UserError
from lift_jax.models.resnet import EXPANSION, ResNet
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import clip_tokenizer, torch_files, torchscript
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
    read,
    same,
    unused,
)
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.layout import CLIP_MEAN, CLIP_STD
from lift_jax.weights.timm import depth

_BLOCK = BlockNames("ln_1", ("attn.in_proj_",), "attn.out_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")


def load(file: Path) -> Backbone:
    """OpenAI's CLIP with a ViT or a ResNet. The sizes are those of the arrays; heads are 64 wide.

    Raises:
        UserError: if the file is damaged, holds code, or is not of a CLIP.
    """
    foreign = torchscript.arrays(file) if torchscript.is_archive(file) else torch_files.state_dict(file)
    try:
        vision, resolution = _vision(foreign)
        text = _text(foreign)
        embed = foreign["text_projection"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{file} holds no CLIP of OpenAI's ({error!r} is missing); give another file.") from error
    constants = [unused(name) for name in ("input_resolution", "context_length", "vocab_size")]
    table = [*vision_table(vision, resolution, embed), *text_table(text, embed), *constants]
    params = read(table, foreign, str(file))
    tokenizer = clip_tokenizer.find(file.parent, text.context_length, text.vocab_size)
    mean, std = CLIP_MEAN, CLIP_STD
    return Backbone(str(file), vision, params, resolution, mean, std, text, tokenizer, content_hash(params))


def _vision(foreign: Foreign) -> tuple[VisionTransformer | ResNet, int]:
    if "visual.proj" in foreign:
        width, _, patch_size, _ = foreign["visual.conv1.weight"].shape
        side = math.isqrt(foreign["visual.positional_embedding"].shape[0] - 1)
        number = depth(foreign, "visual.transformer.resblocks")
        vision = VisionTransformer(patch_size, width, number, num_heads=width // 64, mlp_dim=4 * width)
        return vision, side * patch_size
    layers = tuple(depth(foreign, f"visual.layer{i}") for i in range(1, 5))
    stem_width = foreign["visual.layer1.0.conv1.weight"].shape[0]
    side = math.isqrt(foreign["visual.attnpool.positional_embedding"].shape[0] - 1)
    return resnet(layers, stem_width, foreign["text_projection"].shape[1]), side * 32


def resnet(layers: tuple[int, ...], stem_width: int, embed_dim: int, head_width: int = 64) -> ResNet:
    """CLIP's ResNet, whose heads are 64 wide in all published models."""
    a, b, c, d = layers
    return ResNet((a, b, c, d), stem_width, embed_dim, num_heads=32 * stem_width // head_width)


def _text(foreign: Foreign) -> TextTransformer:
    vocab_size, width = foreign["token_embedding.weight"].shape
    return TextTransformer(
        vocab_size=vocab_size,
        context_length=foreign["positional_embedding"].shape[0],
        width=width,
        depth=depth(foreign, "transformer.resblocks"),
        num_heads=width // 64,
        mlp_dim=4 * width,
    )


def text_table(text: TextTransformer, embed: int) -> list[Entry]:
    """The text tower and what is of neither tower."""
    return [
        same("text/token_embedding", "token_embedding.weight", text.vocab_size, text.width),
        same("text/position_embedding", "positional_embedding", text.context_length, text.width),
        *blocks("text", "transformer.resblocks", _BLOCK, text.depth, text.width, text.mlp_dim),
        *norm("text/ln_final", "ln_final", text.width),
        same("text_projection", "text_projection", text.width, embed),
        same("logit_scale", "logit_scale"),
    ]


def vision_table(vision: VisionTransformer | ResNet, resolution: int, embed: int) -> list[Entry]:
    """The image tower, with its projection if it has one."""
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
        same("visual_projection", "visual.proj", width, embed),
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
    """A convolution and its batch normalisation; the number of batches that its statistics saw is left out."""
    return [
        convolution(f"{ours}/conv{suffix}/kernel", f"{conv}.weight", side, inputs, outputs),
        *norm(f"{ours}/bn{suffix}", bn, outputs),
        same(f"{ours}/bn{suffix}/mean", f"{bn}.running_mean", outputs),
        same(f"{ours}/bn{suffix}/var", f"{bn}.running_var", outputs),
        unused(f"{bn}.num_batches_tracked"),
    ]
