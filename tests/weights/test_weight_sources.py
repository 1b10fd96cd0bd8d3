"""One tiny model of every layout, whole and in shards, in float32 and bfloat16, as safetensors and as pickles."""

import json
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import test_timm_families as timm_families
from layouts import write_torch

from lift_jax import weights
from lift_jax.models.convnext import ConvNeXt
from lift_jax.models.text import TextTransformer
from lift_jax.weights import huggingface, open_clip, openai, timm_convnext
from lift_jax.weights.arrays import Entry, Flat
from lift_jax.weights.settings import Settings

TOWER = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)
IMAGE = TOWER | dict(image_size=32, patch_size=16)
TEXT = TOWER | dict(max_position_embeddings=8, vocab_size=20)
CLIP = dict(vision_config=IMAGE, text_config=TEXT | dict(eos_token_id=19), projection_dim=24)
NAFLEX = dict(vision_config=TOWER | dict(patch_size=16, num_patches=4), text_config=TEXT)
OPEN_CLIP_TEXT = dict(context_length=8, vocab_size=20, width=32, heads=2, layers=1)

TRANSFORMERS: dict[str, dict[str, Any]] = {
    "clip": CLIP,
    "clip_vision_model": IMAGE,
    "metaclip_2": CLIP,
    "siglip": dict(vision_config=IMAGE, text_config=TEXT),
    "siglip2": NAFLEX,
    "vit": IMAGE,
    "dinov2": IMAGE,
    "dinov2_with_registers": IMAGE | dict(use_swiglu_ffn=True),
    "dinov3_vit": IMAGE | dict(num_register_tokens=2, use_gated_mlp=True, hidden_act="silu"),
    "aimv2_vision_model": IMAGE | dict(use_head=False),
}
"""Configurations by transformers' model_type."""

LAYOUTS = (*TRANSFORMERS, *timm_families.SHAPES, "open_clip", "open_clip with timm's EVA02", "open_clip with ConvNeXt")


def _random(shapes: dict[str, tuple[int, ...]]) -> Flat:
    generator = np.random.default_rng(0)
    return {name: generator.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def _shapes(*entries: Entry, prefix: str = "") -> dict[str, tuple[int, ...]]:
    used = [entry for entry in entries if entry.path]
    return {prefix + name: shape for entry in used for name, shape in zip(entry.names, entry.shapes, strict=True)}


def _write_configuration(folder: Path, layout: str) -> Flat:
    """Writes all files of a model but the weights, which are returned."""
    if layout in TRANSFORMERS:
        config = dict(model_type=layout) | TRANSFORMERS[layout]
        (folder / "config.json").write_text(json.dumps(config))
        return _random(_shapes(*huggingface.MODEL_TYPES[layout](config).table))
    if layout in timm_families.SHAPES:
        arrays = timm_families._write(folder, layout)
        (folder / "model.safetensors").unlink()
        return arrays
    shapes, vision = _open_clip(layout)
    config = dict(model_cfg=dict(embed_dim=24, vision_cfg=vision, text_cfg=OPEN_CLIP_TEXT))
    (folder / open_clip.CONFIG).write_text(json.dumps(config))
    return _random(shapes)


def _open_clip(layout: str) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """The shapes of a CLIP of open_clip's, and its vision_cfg."""
    text = TextTransformer(20, 8, 32, 1, 2, 128)
    texts = _shapes(*openai.text_tower(text)) | {"text_projection": (32, 24)}
    if layout == "open_clip":
        vision = dict(image_size=32, patch_size=16, width=64, layers=2, head_width=32)
        settings = Settings(dict(embed_dim=24, vision_cfg=vision, text_cfg=OPEN_CLIP_TEXT), "here")
        tower, _, _ = open_clip.networks(settings)
        return _shapes(*openai.table(tower, text, 32, 24)), vision  # pyright: ignore[reportArgumentType]
    shared = {"logit_scale": ()}
    if layout == "open_clip with ConvNeXt":
        table = timm_convnext.table(ConvNeXt((1, 1, 1, 1), (4, 6, 8, 10)))
        vision = dict(image_size=64, timm_model_name="convnext_base", timm_pool="", timm_proj="linear")
        tower = _shapes(*table, prefix="visual.trunk.") | {"visual.head.proj.weight": (24, 10)}
        return tower | texts | shared, vision
    name = "eva02_base_patch16_clip_224"
    vision = dict(image_size=32, timm_model_name=name, timm_pool="token", timm_proj=None)
    trunk = {f"visual.trunk.{key}": tuple(shape) for key, shape in timm_families.SHAPES[name].items()}
    trunk |= {"visual.trunk.head.weight": (24, 64), "visual.trunk.head.bias": (24,)}
    return trunk | {f"text.{key}": shape for key, shape in texts.items()} | shared, vision


def _write_shards(folder: Path, arrays: Flat, ending: str, write: Any) -> None:
    stem = {"safetensors": "model", "bin": "pytorch_model"}[ending]
    parts = [dict(list(arrays.items())[i::2]) for i in range(2)]
    files = {f"{stem}-0000{i}-of-00002.{ending}": part for i, part in enumerate(parts, 1)}
    for name, part in files.items():
        write(folder / name, part)
    index = dict(weight_map={key: name for name, part in files.items() for key in part})
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps(index))


def _safetensors(file: Path, arrays: Flat) -> None:
    safetensors.numpy.save_file(arrays, file)


def _hash(folder: Path) -> str:
    """The hash of what is loaded; the weights are then removed."""
    found = weights.load(str(folder)).hash
    for file in [*folder.glob("*.safetensors"), *folder.glob("*.bin"), *folder.glob("*.index.json")]:
        file.unlink()
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_kind_of_source(tmp_path, layout):
    arrays = _write_configuration(tmp_path, layout)
    _safetensors(tmp_path / "model.safetensors", arrays)
    whole = weights.load(str(tmp_path))
    assert _hash(tmp_path) == whole.hash
    _write_shards(tmp_path, arrays, "safetensors", _safetensors)
    assert _hash(tmp_path) == whole.hash
    short = {name: array.astype(ml_dtypes.bfloat16) for name, array in arrays.items()}
    _safetensors(tmp_path / "model.safetensors", short)
    rounded = jax.tree.leaves(weights.load(str(tmp_path)).params)
    for ours, full in zip(rounded, jax.tree.leaves(whole.params), strict=True):
        np.testing.assert_array_equal(ours, full.astype(ml_dtypes.bfloat16).astype(np.float32))
    _hash(tmp_path)
    pytest.importorskip("torch", reason="PyTorch, which writes pickles, is not installed")
    write_torch(tmp_path / "pytorch_model.bin", arrays)
    assert _hash(tmp_path) == whole.hash
    _write_shards(tmp_path, arrays, "bin", write_torch)
    assert _hash(tmp_path) == whole.hash
