"""open_clip's CLIPs with a ConvNeXt against open_clip itself: both towers and the zero-shot logits."""

import functools
import json

import numpy as np
import pytest
from comparison import assert_close, features, outputs, random_images, random_tokens, randomize, t

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.models.convnext import ConvNeXt

WHERE = "is not installed (tests/requirements-parity.txt)"
torch = pytest.importorskip("torch", reason=f"PyTorch {WHERE}")
timm = pytest.importorskip("timm", reason=f"timm {WHERE}")
open_clip = pytest.importorskip("open_clip", reason=f"open_clip {WHERE}")
safetensors_torch = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.parity

TOLERANCE = 1e-5
TEXT = dict(context_length=12, vocab_size=40, width=32, heads=2, layers=1)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a tiny model with a linear projection or an MLP, and gives it."""
    size = dict(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))
    monkeypatch.setattr(timm, "create_model", functools.partial(timm.create_model, **size))

    def make(proj, name="convnext_base", **vision):
        vision = dict(image_size=64, timm_model_name=name, timm_pool="", timm_proj=proj, timm_drop_path=0.1) | vision
        model = dict(embed_dim=20, vision_cfg=vision, text_cfg=TEXT)
        peer = randomize(open_clip.CLIP(**model))
        config = dict(model_cfg=model, preprocess_cfg=dict(mean=[0.5] * 3, std=[0.4] * 3))
        (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
        safetensors_torch.save_file(peer.state_dict(), tmp_path / "open_clip_model.safetensors")
        return peer

    return make


def _compare(backbone, peer):
    images, tokens = random_images(2, backbone.resolution), random_tokens(3, 12, 40)
    with torch.no_grad():
        image, text, scale = peer(t(images), torch.from_numpy(tokens).long())
    for ours, theirs in zip(outputs(backbone, images, tokens), (image, text, scale * image @ text.T), strict=True):
        assert_close(ours, theirs, TOLERANCE)


@pytest.mark.parametrize("proj, name", [("linear", "convnext_base"), ("mlp", "convnext_xxlarge")])
def test_both_towers(tmp_path, write, proj, name):
    peer = write(proj, name)
    backbone = weights.load(str(tmp_path))
    assert isinstance(backbone.vision, ConvNeXt)
    assert backbone.resolution == 64 and backbone.mean == (0.5, 0.5, 0.5) and backbone.std == (0.4, 0.4, 0.4)
    assert backbone.vision.width == (32 if proj == "linear" else 20)
    _compare(backbone, peer)
    _compare(weights.load(str(tmp_path), 96), peer)


def test_a_state_dict_beside_its_configuration(tmp_path, write):
    peer = write("mlp")
    expected = weights.load(str(tmp_path))
    (tmp_path / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {f"module.{name}": x for name, x in peer.state_dict().items()}}, tmp_path / "epoch_3.pt")
    assert weights.load(str(tmp_path / "epoch_3.pt")).hash == expected.hash


@pytest.mark.parametrize("proj", ["linear", "mlp"])
def test_an_image_tower_alone(tmp_path, write, proj):
    peer = write(proj)
    whole = weights.load(str(tmp_path))
    tower = {name: x for name, x in peer.state_dict().items() if name.startswith("visual.")}
    safetensors_torch.save_file(tower, tmp_path / "open_clip_model.safetensors")
    backbone = weights.load(str(tmp_path))
    assert backbone.text is None and backbone.vision == whole.vision
    for path in "ln_post", "conv_stem":
        for name, array in backbone.params["vision"][path].items():
            np.testing.assert_array_equal(array, whole.params["vision"][path][name])


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(timm_model_name="convnextv2_base"), "timm_model_name in .* is 'convnextv2_base', which is not known"),
        (dict(timm_proj=None), r"timm_pool and timm_proj in .* are '' and None, .* have '', and 'linear' or 'mlp'"),
        (dict(timm_proj="mlp"), r"visual\.head\.mlp\.fc1\.weight is missing.* visual\.head\.proj\.weight is not known"),
        (dict(timm_pool="rot_attn"), "timm_pool and timm_proj in .* are 'rot_attn' and 'linear'"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, write, change, words):
    write("linear")
    file = tmp_path / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"]["vision_cfg"] |= change
    file.write_text(json.dumps(config))
    with pytest.raises(UserError, match=words):
        weights.load(str(tmp_path))


@pytest.mark.parametrize("name, head", [("convnext_base", {}), ("convnext_large_mlp", dict(head_hidden_size=12))])
def test_a_folder_of_timms(tmp_path, name, head):
    peer = randomize(timm.create_model(name, depths=(1, 1, 2, 1), dims=(8, 16, 24, 32), num_classes=5, **head)).eval()
    config = dict(architecture=name, num_classes=5, global_pool="avg")
    config |= dict(pretrained_cfg=dict(input_size=[3, 64, 64], mean=[0.5] * 3, std=[0.4] * 3))
    (tmp_path / "config.json").write_text(json.dumps(config))
    safetensors_torch.save_file(peer.state_dict(), tmp_path / "model.safetensors")
    for side in 64, 96:
        backbone, images = weights.load(str(tmp_path), side), random_images(2, side)
        assert backbone.std == (0.4, 0.4, 0.4)
        with torch.no_grad():
            pooled = peer.head.global_pool(peer.forward_features(t(images)))
            theirs = peer.head.flatten(peer.head.norm(pooled))
        assert_close(features(backbone, images), theirs, TOLERANCE)
