"""DINOv2 and DINOv3 in transformers' layout against transformers itself, at two resolutions."""

import numpy as np
import pytest
from comparison import assert_close, features, random_images, randomize, t

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import cache, huggingface

torch = pytest.importorskip("torch", reason="PyTorch is not installed (tests/requirements-parity-light.txt)")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

pytestmark = pytest.mark.parity

TOLERANCE = 1e-5
SIZE = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14)
BIASES = dict.fromkeys(("query_bias", "key_bias", "value_bias", "proj_bias", "mlp_bias"), False)
V3 = SIZE | dict(image_size=64, patch_size=16, intermediate_size=48, num_register_tokens=4)
KINDS = {
    "DINOv2": ("Dinov2", SIZE),
    "DINOv2 with SwiGLU": ("Dinov2", SIZE | dict(use_swiglu_ffn=True, mlp_ratio=3)),
    "DINOv2 without biases": ("Dinov2", SIZE | dict(qkv_bias=False)),
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


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_again(tmp_path, kind):
    _peer(kind).save_pretrained(tmp_path / "theirs")
    backbone = weights.load(str(tmp_path / "theirs"))
    huggingface.save_backbone(tmp_path / "ours", backbone)
    _compare(backbone, getattr(transformers, KINDS[kind][0] + "Model").from_pretrained(tmp_path / "ours").eval())
    cache.save(tmp_path / "cached", backbone)
    for folder in "ours", "cached":
        again = weights.load(str(tmp_path / folder))
        assert again.hash == backbone.hash and again.vision == backbone.vision
