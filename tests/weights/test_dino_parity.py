"""DINOv2 and DINOv3 in transformers' layout against transformers itself, at two resolutions."""

import json
import logging
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import assert_close, features, random_images, randomize, t

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import cache, huggingface

torch = pytest.importorskip("torch", reason="PyTorch is not installed (tests/requirements-parity-light.txt)")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
safetensors_torch = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.parity

TOLERANCE = 1e-5
SIZE = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14)
BIASES = dict.fromkeys(("query_bias", "key_bias", "value_bias", "proj_bias", "mlp_bias"), False)
V3 = SIZE | dict(image_size=64, patch_size=16, intermediate_size=48, num_register_tokens=4)
KINDS = {
    "DINOv2": ("Dinov2", SIZE),
    "DINOv2 with SwiGLU": ("Dinov2", SIZE | dict(use_swiglu_ffn=True, mlp_ratio=3, qkv_bias=False)),
    "DINOv2 with registers": ("Dinov2WithRegisters", SIZE | dict(num_register_tokens=4)),
    "DINOv3": ("DINOv3ViT", V3),
    "DINOv3 with SwiGLU": ("DINOv3ViT", V3 | dict(use_gated_mlp=True, hidden_act="silu", key_bias=True)),
    "DINOv3 without biases": ("DINOv3ViT", V3 | BIASES | dict(num_register_tokens=0, rope_theta=50.0)),
}


def _peer(kind, head="Model"):
    name, options = KINDS[kind]
    peer = getattr(transformers, name + head)(getattr(transformers, name + "Config")(**options))
    return randomize(peer)


def _compare(backbone, peer):
    images = random_images(2, backbone.resolution)
    with torch.no_grad():
        assert_close(features(backbone, images), peer(t(images)).pooler_output, TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_features(tmp_path, kind):
    peer = _peer(kind)
    peer.save_pretrained(tmp_path / "theirs")
    backbone = weights.load(str(tmp_path / "theirs"))
    assert backbone.text is None and backbone.mean == (0.485, 0.456, 0.406) and backbone.std == (0.229, 0.224, 0.225)
    assert backbone.resolution == KINDS[kind][1]["image_size"]
    _compare(backbone, peer)
    # Fewer patches, where antialiasing tells.
    _compare(weights.load(str(tmp_path / "theirs"), 3 * backbone.vision.patch_size), peer)
    # transformers reads what we write, and so do we.
    huggingface.save_backbone(tmp_path / "ours", backbone)
    _compare(backbone, getattr(transformers, KINDS[kind][0] + "Model").from_pretrained(tmp_path / "ours").eval())
    cache.save(tmp_path / "cached", backbone)
    for folder in "ours", "cached":
        again = weights.load(str(tmp_path / folder))
        assert again.hash == backbone.hash and again.vision == backbone.vision


AUTHORS = (
    (r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj"),
    (r"^embeddings\.position_embeddings", "pos_embed"),
    (r"^embeddings\.", ""),
    (r"^encoder\.layer\.", "blocks."),
    (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
    (r"attention\.output\.dense", "attn.proj"),
    (r"mlp\.weights_in", "mlp.w12"),
    (r"mlp\.weights_out", "mlp.w3"),
    (r"^layernorm", "norm"),
)
"""transformers' names of DINOv2's arrays, and those of the authors' .pth files."""


@pytest.mark.parametrize("change", [{}, dict(use_swiglu_ffn=True), dict(num_register_tokens=4)], ids=str)
def test_a_file_of_the_authors(tmp_path, change):
    name = "Dinov2WithRegisters" if "num_register_tokens" in change else "Dinov2"
    size = SIZE | dict(hidden_size=64, num_attention_heads=1) | change  # the file tells no heads; theirs are 64 wide
    peer = randomize(getattr(transformers, f"{name}Model")(getattr(transformers, f"{name}Config")(**size)))
    peer.save_pretrained(tmp_path / "theirs")
    arrays = safetensors_torch.load_file(tmp_path / "theirs" / "model.safetensors")
    for layer in range(size["num_hidden_layers"]):
        for part in "weight", "bias":
            own = [
                arrays.pop(f"encoder.layer.{layer}.attention.attention.{x}.{part}") for x in ("query", "key", "value")
            ]
            arrays[f"blocks.{layer}.attn.qkv.{part}"] = torch.cat(own)
    for theirs, ours in AUTHORS:
        arrays = {re.sub(theirs, ours, key): value for key, value in arrays.items()}
    torch.save(arrays, tmp_path / "dinov2.pth")
    backbone = weights.load(str(tmp_path / "dinov2.pth"))
    assert backbone.mean == (0.485, 0.456, 0.406) and backbone.resolution == 70
    _compare(backbone, peer)
    _compare(weights.load(str(tmp_path / "dinov2.pth"), 42), peer)


@pytest.mark.parametrize("kind", ["DINOv2", "DINOv2 with registers"])
def test_the_head_of_a_classifier_is_left_out(tmp_path, caplog, kind):
    caplog.set_level(logging.INFO)
    peer = _peer(kind, "ForImageClassification")
    peer.save_pretrained(tmp_path)
    backbone = weights.load(str(tmp_path))
    assert (
        "The classification head in" in caplog.text and "is left out: classifier.bias, classifier.weight" in caplog.text
    )
    stored = dict(peer.named_parameters())[f"{peer.base_model_prefix}.layernorm.weight"]
    np.testing.assert_array_equal(backbone.params["vision"]["ln_post"]["scale"], stored)


@pytest.mark.parametrize("kind", ["DINOv2 with registers", "DINOv3"])
def test_the_same_model_in_other_files(tmp_path, kind):
    peer = _peer(kind)
    peer.save_pretrained(tmp_path / "whole")
    expected = weights.load(str(tmp_path / "whole"))
    peer.save_pretrained(tmp_path / "sharded", max_shard_size="20KB")
    assert (tmp_path / "sharded" / "model.safetensors.index.json").is_file()
    peer.config.save_pretrained(tmp_path / "pickle")
    arrays = safetensors_torch.load_file(tmp_path / "whole" / "model.safetensors")
    torch.save(arrays, tmp_path / "pickle" / "pytorch_model.bin")
    for folder in "sharded", "pickle":
        assert weights.load(str(tmp_path / folder)).hash == expected.hash
    peer.to(torch.bfloat16).save_pretrained(tmp_path / "bfloat16")
    rounded = weights.load(str(tmp_path / "bfloat16"))
    both = jax.tree.leaves(rounded.params), jax.tree.leaves(expected.params)
    for short, full in zip(*both, strict=True):
        np.testing.assert_array_equal(short, full.astype(jnp.bfloat16).astype(np.float32))


def test_a_size_may_be_a_pair(tmp_path):
    _peer("DINOv2").save_pretrained(tmp_path)
    before, file = weights.load(str(tmp_path)), tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(image_size=[70, 70], patch_size=[14, 14])))
    after = weights.load(str(tmp_path))
    assert (after.hash, after.resolution, after.vision) == (before.hash, before.resolution, before.vision)
    file.write_text(json.dumps(json.loads(file.read_text()) | dict(image_size=[70, 84])))
    with pytest.raises(UserError, match=r"image_size in .* is \[70, 84\], .*a whole number"):
        weights.load(str(tmp_path))


def test_there_is_no_text_to_start_from(tmp_path):
    _peer("DINOv2").save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"has no text tower, .*config\.head_init=class_mean"):
        weights.load(str(tmp_path)).clip()


@pytest.mark.parametrize(
    "kind, change, words",
    [
        ("DINOv2", dict(use_swiglu_ffn="yes"), "use_swiglu_ffn in .*config.json is 'yes', .*true or false"),
        ("DINOv2", dict(mlp_ratio=0), "mlp_ratio in .*config.json is 0, .*from 0.01 to 1000"),
        ("DINOv2", dict(mlp_ratio=2), r"mlp\.fc1\.weight is \(128, 32\) instead of \(64, 32\)"),
        (
            "DINOv2 with registers",
            dict(num_register_tokens=2),
            r"register_tokens is \(1, 4, 32\) instead of \(1, 2, 32\)",
        ),
        ("DINOv2", dict(num_hidden_layers=1), r"encoder\.layer\.1\.\S+ is not known"),
        ("DINOv3", dict(num_hidden_layers=1), r"do not fit .*layer\.1\.\S+ is not known"),
        ("DINOv3", dict(rope_theta=-1), "rope_theta in .*config.json is -1, .*from 1 to"),
        ("DINOv3", dict(num_attention_heads=16), "attention heads in .*config.json are 2 wide, .*multiple of 4"),
        ("DINOv3", dict(key_bias=True), r"attention\.k_proj\.bias is missing"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, kind, change, words):
    _peer(kind).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=words):
        weights.load(str(tmp_path))
