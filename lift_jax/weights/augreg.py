"""Google's AugReg checkpoints (Steiner et al. 2021, arXiv 2106.10270): one .npz file of a ViT.

https://github.com/google-research/vision_transformer names them, for example
B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0.npz.
"""

import functools
import math
import zipfile
from pathlib import Path

import numpy as np

from lift_jax.errors import UserError
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import misplaced
from lift_jax.weights.arrays import Entry, Stored, reshaped, same, unused
from lift_jax.weights.assembly import assemble
from lift_jax.weights.backbone import Backbone
from lift_jax.weights.layout import HALF, Layout, check_heads


def load(file: Path) -> Backbone:
    """Loads the ViT of an AugReg file; its classification head and representation layer, if any, are left out.

    Raises:
        UserError: if the file is damaged or holds another model.
    """
    foreign = _arrays(file)
    try:
        patch_size, _, _, width = foreign["embedding/kernel"].shape
        positions = foreign["Transformer/posembed_input/pos_embedding"].shape[1]
        attention = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
        num_heads = foreign[attention].shape[1]
        mlp_dim = foreign["Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        what = misplaced.missing(error)
        raise UserError(
            f"{file} holds no ViT of AugReg ({what}); give one of google-research/vision_transformer."
        ) from error
    check_heads(width, num_heads, f"The number of heads of {attention} in {file}")
    depth = len({name.split("/")[1] for name in foreign if name.startswith("Transformer/encoderblock_")})
    vision = VisionTransformer(
        patch_size, width, depth, num_heads, mlp_dim, activation="gelu", epsilon=1e-6, pre_norm=False, patch_bias=True
    )
    side = math.isqrt(positions - 1)
    classes = foreign["head/bias"].shape[0] if "head/bias" in foreign else 0
    representation = foreign["pre_logits/bias"].shape[0] if "pre_logits/bias" in foreign else 0
    table = [
        *_table(vision, side**2 + 1),
        unused("head/kernel", representation or width, classes),
        unused("head/bias", classes),
        unused("pre_logits/kernel", width, representation),
        unused("pre_logits/bias", representation),
    ]
    return assemble(file, Layout(vision, None, side * patch_size, table, HALF, HALF), foreign, str(file))


def _arrays(file: Path) -> dict[str, Stored]:
    try:
        with zipfile.ZipFile(file) as archive:
            return {name.removesuffix(".npy"): _stored(archive, file, name) for name in archive.namelist()}
    except Exception as error:  # damaged bytes make zipfile, zlib and NumPy raise anything
        raise misplaced.damaged(file, error) from error


def _stored(archive: zipfile.ZipFile, file: Path, name: str) -> Stored:
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, _ = header(stream)
    return Stored(shape, functools.partial(_load, file, name.removesuffix(".npy")))


def _load(file: Path, name: str) -> np.ndarray:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return archive[name]
    except Exception as error:  # damaged bytes make zipfile, zlib and NumPy raise anything
        raise misplaced.damaged(file, error) from error


def _table(vision: VisionTransformer, positions: int) -> list[Entry]:
    width, p = vision.width, vision.patch_size
    table = [
        same("vision/patch_embedding", "embedding/kernel", p, p, 3, width),
        same("vision/patch_bias", "embedding/bias", width),
        reshaped("vision/class_embedding", "cls", (1, 1, width), (width,)),
        reshaped(
            "vision/position_embedding",
            "Transformer/posembed_input/pos_embedding",
            (1, positions, width),
            (positions, width),
        ),
        *_same("vision/ln_post", "Transformer/encoder_norm", scale=(width,), bias=(width,)),
    ]
    for i in range(vision.depth):
        table += _block(f"vision/block_{i}", f"Transformer/encoderblock_{i}", vision)
    return table


def _block(ours: str, theirs: str, vision: VisionTransformer) -> list[Entry]:
    width, mlp, heads = vision.width, vision.mlp_dim, vision.num_heads
    size = width // heads
    attention = f"{theirs}/MultiHeadDotProductAttention_1"
    qkv = [f"{attention}/{name}" for name in ("query", "key", "value")]
    return [
        *_same(f"{ours}/ln_1", f"{theirs}/LayerNorm_0", scale=(width,), bias=(width,)),
        Entry(
            f"{ours}/attn_in/kernel",
            tuple(f"{name}/kernel" for name in qkv),
            ((width, heads, size),) * 3,
            lambda *parts: np.concatenate([part.reshape(width, width) for part in parts], axis=1),
            lambda x: [part.reshape(width, heads, size) for part in np.split(x, 3, axis=1)],
        ),
        Entry(
            f"{ours}/attn_in/bias",
            tuple(f"{name}/bias" for name in qkv),
            ((heads, size),) * 3,
            lambda *parts: np.concatenate([part.reshape(width) for part in parts]),
            lambda x: [part.reshape(heads, size) for part in np.split(x, 3)],
        ),
        reshaped(f"{ours}/attn_out/kernel", f"{attention}/out/kernel", (heads, size, width), (width, width)),
        same(f"{ours}/attn_out/bias", f"{attention}/out/bias", width),
        *_same(f"{ours}/ln_2", f"{theirs}/LayerNorm_2", scale=(width,), bias=(width,)),
        *_same(f"{ours}/mlp_in", f"{theirs}/MlpBlock_3/Dense_0", kernel=(width, mlp), bias=(mlp,)),
        *_same(f"{ours}/mlp_out", f"{theirs}/MlpBlock_3/Dense_1", kernel=(mlp, width), bias=(width,)),
    ]


def _same(ours: str, theirs: str, **shapes: tuple[int, ...]) -> list[Entry]:
    return [same(f"{ours}/{name}", f"{theirs}/{name}", *shape) for name, shape in shapes.items()]
