"""The vision transformers that timm has families of, in its own files, against timm itself at two resolutions."""

import json

import pytest
from comparison import assert_close, features, random_images, randomize, t

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import cache

WHERE = "is not installed (tests/requirements-parity.txt)"
torch = pytest.importorskip("torch", reason=f"PyTorch {WHERE}")
timm = pytest.importorskip("timm", reason=f"timm {WHERE}")

pytestmark = pytest.mark.parity

TOLERANCE = 1e-5
SIZE = dict(depth=2, embed_dim=128, num_heads=2)
KINDS = {
    "vit_base_patch16_siglip_224": SIZE,
    "vit_so400m_patch16_siglip_256": SIZE | dict(mlp_ratio=3.7362),
    "vit_base_patch16_siglip_gap_224": SIZE,
    "eva02_base_patch16_clip_224": SIZE | dict(num_classes=24),
    "eva02_large_patch14_clip_224": SIZE | dict(num_classes=24, qkv_fused=True),
    "vit_small_patch16_dinov3": SIZE,
    "vit_small_patch16_dinov3_qkvb": SIZE | dict(global_pool="token"),
    "vit_small_plus_patch16_dinov3": SIZE,
    "aimv2_large_patch14_224": SIZE,
    "vit_pe_core_base_patch16_224": SIZE | dict(num_classes=24),
    "vit_pe_core_gigantic_patch14_448": SIZE | dict(mlp_ratio=5.0, num_classes=24),
}


def _peer(name, patches, **options):
    side = patches * (14 if "patch14" in name else 16)
    return randomize(timm.create_model(name, img_size=side, **options))


def _compare(backbone, peer):
    images = random_images(2, backbone.resolution)
    with torch.no_grad():
        theirs = peer.forward_head(peer.forward_features(t(images)), pre_logits=True)
    assert_close(features(backbone, images), theirs, TOLERANCE)


@pytest.mark.parametrize("name", KINDS)
def test_features(tmp_path, name):
    from timm.models import save_for_hf

    options = KINDS[name]
    peer = _peer(name, 4, **options)
    save_for_hf(peer, tmp_path / "theirs", model_args=options, safe_serialization=True)
    # timm says the side of the published model where it takes any.
    side = peer.patch_embed.img_size[0]
    backbone = weights.load(str(tmp_path / "theirs"), side if peer.dynamic_img_size else None)
    assert backbone.text is None and backbone.resolution == side
    _compare(backbone, peer)
    side = 3 * backbone.vision.patch_size
    peer.set_input_size(img_size=(side, side))
    _compare(weights.load(str(tmp_path / "theirs"), side), peer)
    cache.save(tmp_path / "cached", backbone)
    again = weights.load(str(tmp_path / "cached"))
    assert again.hash == backbone.hash and again.vision == backbone.vision


@pytest.mark.parametrize("kind", ["a nearby architecture", "a pooling of another family"])
def test_a_model_that_is_near_is_refused(tmp_path, kind):
    from timm.models import save_for_hf

    changes, words = {
        "a nearby architecture": (
            dict(architecture="eva02_base_patch14_224"),
            r"architecture in .*config.json is 'eva02_base_patch14_224', .* the nearest such as "
            r"eva02_base_patch16_clip_224\.",
        ),
        "a pooling of another family": (
            dict(global_pool="avg"),
            "global_pool in .* is 'avg', so the ViT averages its tokens, .* with a class token, such as eva02_base",
        ),
    }[kind]
    save_for_hf(_peer("eva02_base_patch16_clip_224", 4, **SIZE), tmp_path, model_args=SIZE, safe_serialization=True)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(UserError, match=words):
        weights.load(str(tmp_path))
