"""The ImageNet-21K ViT in timm's and in Google's format, against timm on random weights."""

import numpy as np
import pytest
from comparison import assert_close, features, random_images, randomize, t

from lift_jax import weights

WHERE = "is not installed (tests/requirements-parity.txt)"
torch = pytest.importorskip("torch", reason=f"PyTorch {WHERE}")
timm = pytest.importorskip("timm", reason=f"timm {WHERE}")

pytestmark = [pytest.mark.parity, pytest.mark.slow]

SMALL = dict(img_size=32, depth=2, embed_dim=128, num_heads=4)
DINO = SMALL | dict(img_size=28)


def _write(folder, peer, **options):
    from timm.models import save_for_hf

    save_for_hf(peer, folder, model_args=options, safe_serialization=True)


@pytest.mark.parametrize(
    "name, options",
    [
        ("vit_tiny_patch16_224", SMALL | dict(num_classes=5)),
        ("vit_small_patch32_224", SMALL | dict(num_classes=0)),
        ("vit_base_patch16_clip_quickgelu_224", SMALL | dict(num_classes=24)),
        ("vit_base_patch16_clip_224", SMALL | dict(num_classes=24)),
        ("vit_small_patch14_dinov2", DINO),
        ("vit_small_patch14_reg4_dinov2", DINO),
        ("vit_giant_patch14_dinov2", DINO),
    ],
)
def test_timm(tmp_path, name, options):
    peer = randomize(timm.create_model(name, **options))
    _write(tmp_path, peer, **options)
    backbone = weights.load(str(tmp_path))
    assert backbone.resolution == options["img_size"] and backbone.text is None
    images = random_images(3, backbone.resolution)
    with torch.no_grad():
        assert_close(features(backbone, images), peer.forward_head(peer.forward_features(t(images)), pre_logits=True))


@pytest.mark.parametrize("head", [True, False])
def test_augreg(tmp_path, head):
    generator = np.random.default_rng(0)
    width, heads, mlp, side, patch = 128, 4, 192, 2, 16
    shapes = {
        "cls": (1, 1, width),
        "embedding/kernel": (patch, patch, 3, width),
        "embedding/bias": (width,),
        "Transformer/posembed_input/pos_embedding": (1, side * side + 1, width),
        "Transformer/encoder_norm/scale": (width,),
        "Transformer/encoder_norm/bias": (width,),
    }
    for i in range(2):
        block = f"Transformer/encoderblock_{i}"
        attention = f"{block}/MultiHeadDotProductAttention_1"
        for norm in "LayerNorm_0", "LayerNorm_2":
            shapes |= {f"{block}/{norm}/scale": (width,), f"{block}/{norm}/bias": (width,)}
        for name in "query", "key", "value":
            shapes[f"{attention}/{name}/kernel"] = (width, heads, width // heads)
            shapes[f"{attention}/{name}/bias"] = (heads, width // heads)
        shapes |= {f"{attention}/out/kernel": (heads, width // heads, width), f"{attention}/out/bias": (width,)}
        shapes |= {f"{block}/MlpBlock_3/Dense_0/kernel": (width, mlp), f"{block}/MlpBlock_3/Dense_0/bias": (mlp,)}
        shapes |= {f"{block}/MlpBlock_3/Dense_1/kernel": (mlp, width), f"{block}/MlpBlock_3/Dense_1/bias": (width,)}
    if head:
        shapes |= {"head/kernel": (width, 5), "head/bias": (5,)}
    arrays = {name: 0.1 * generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "ViT.npz", **arrays)
    peer = timm.create_model(
        "vit_tiny_patch16_224", **SMALL, mlp_ratio=mlp / width, num_classes=5 if head else 0
    ).eval()
    peer.load_pretrained(str(tmp_path / "ViT.npz"))
    backbone = weights.load(str(tmp_path / "ViT.npz"))
    assert backbone.mean == (0.5, 0.5, 0.5) and backbone.resolution == 32
    images = random_images(3, 32)
    with torch.no_grad():
        assert_close(features(backbone, images), peer.forward_head(peer.forward_features(t(images)), pre_logits=True))


def test_full_size(tmp_path):
    peer = randomize(timm.create_model("vit_base_patch16_224"))
    _write(tmp_path, peer)
    images = random_images(2, 224)
    with torch.no_grad():
        theirs = peer.forward_head(peer.forward_features(t(images)), pre_logits=True)
    assert_close(features(weights.load(str(tmp_path)), images), theirs)
