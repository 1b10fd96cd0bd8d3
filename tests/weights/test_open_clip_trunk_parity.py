"""open_clip's models with an image tower of timm's against open_clip itself: both towers and the zero-shot logits."""

import functools
import json
from typing import Any

import numpy as np
import pytest
from comparison import assert_close, outputs, random_images, random_tokens, randomize, t

from lift_jax import weights
from lift_jax.errors import UserError

WHERE = "is not installed (tests/requirements-parity.txt)"
torch = pytest.importorskip("torch", reason=f"PyTorch {WHERE}")
timm = pytest.importorskip("timm", reason=f"timm {WHERE}")
open_clip = pytest.importorskip("open_clip", reason=f"open_clip {WHERE}")
safetensors_torch = pytest.importorskip("safetensors.torch")

pytestmark = pytest.mark.parity

TOLERANCE = 1e-5
TEXT = dict(context_length=12, vocab_size=40, width=48, heads=2, layers=2)
SIGLIP_TEXT = TEXT | dict(no_causal_mask=True, proj_bias=True, pool_type="last", norm_kwargs=dict(eps=1e-6))
SIGLIP_TEXT |= dict(hf_tokenizer_name="timm/ViT-B-16-SigLIP", tokenizer_kwargs=dict(clean="canonicalize"))
TANH = dict(act_kwargs=dict(approximate="tanh"))


def _model(name, text, embed=24, pool="token", proj=None, **options):
    vision = dict(image_size=64, timm_model_name=name, timm_model_pretrained=False, timm_pool=pool, timm_proj=proj)
    return dict(embed_dim=embed, custom_text=True, vision_cfg=vision, text_cfg=text, **options)


SIGLIP: dict[str, Any] = dict(embed=128, pool="map", proj="none", init_logit_bias=-10)
KINDS = {
    "SigLIP": _model("vit_base_patch16_siglip_224", SIGLIP_TEXT, **SIGLIP),
    "SigLIP 2": _model("vit_so400m_patch16_siglip_256", SIGLIP_TEXT | TANH, **SIGLIP),
    "EVA02": _model("eva02_base_patch16_clip_224", TEXT),
    "Perception Encoder": _model("vit_pe_core_base_patch16_224", TEXT | dict(width=32), pool="map"),
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes a tiny model of a kind, and gives it."""
    size = dict(img_size=64, depth=2, embed_dim=128, num_heads=2)
    monkeypatch.setattr(timm, "create_model", functools.partial(timm.create_model, **size))

    def make(kind):
        model = KINDS[kind]
        peer = randomize(open_clip.CustomTextCLIP(**{k: x for k, x in model.items() if k != "custom_text"}))
        config = dict(model_cfg=model, preprocess_cfg=dict(mean=[0.5] * 3, std=[0.4] * 3))
        (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
        safetensors_torch.save_file(peer.state_dict(), tmp_path / "open_clip_model.safetensors")
        return peer

    return make


def _compare(backbone, peer):
    images = random_images(2, backbone.resolution)
    tokens = random_tokens(3, backbone.text.context_length, backbone.text.vocab_size)
    with torch.no_grad():
        image, text, scale, *bias = peer(t(images), torch.from_numpy(tokens).long())
        logits = scale * image @ text.T + sum(bias)
    for ours, theirs in zip(outputs(backbone, images, tokens), (image, text, logits), strict=True):
        assert_close(ours, theirs, TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_both_towers(tmp_path, write, kind):
    peer = write(kind)
    backbone = weights.load(str(tmp_path))
    assert backbone.resolution == 64 and backbone.mean == (0.5, 0.5, 0.5) and backbone.std == (0.4, 0.4, 0.4)
    _compare(backbone, peer)
    peer.visual.trunk.set_input_size(img_size=(48, 48))
    _compare(weights.load(str(tmp_path), 48), peer)


def test_a_state_dict_beside_its_configuration(tmp_path, write):
    peer = write("EVA02")
    expected = weights.load(str(tmp_path))
    (tmp_path / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {f"module.{name}": x for name, x in peer.state_dict().items()}}, tmp_path / "epoch_3.pt")
    assert weights.load(str(tmp_path / "epoch_3.pt")).hash == expected.hash
    (tmp_path / "open_clip_config.json").unlink()
    with pytest.raises(UserError, match=r"visual\.trunk.*put the model's open_clip_config\.json beside"):
        weights.load(str(tmp_path / "epoch_3.pt"))


def test_an_image_tower_alone(tmp_path, write):
    peer = write("EVA02")
    arrays = {name: x for name, x in peer.state_dict().items() if name.startswith("visual.")}
    safetensors_torch.save_file(arrays, tmp_path / "open_clip_model.safetensors")
    backbone = weights.load(str(tmp_path))
    assert backbone.text is None
    with pytest.raises(UserError, match="has no text tower"):
        backbone.clip()


@pytest.mark.parametrize(
    "tower, change, words",
    [
        (
            "vision_cfg",
            dict(timm_model_name="eva02_tiny_patch14_224"),
            "timm_model_name in .* is 'eva02_tiny_patch14_224', .* nearest",
        ),
        ("vision_cfg", dict(timm_proj="mlp"), "timm_pool and timm_proj in .* are 'token' and 'mlp'"),
        ("text_cfg", dict(pool_type="last"), "pool_type and proj_bias in .* are 'last' and False"),
        ("text_cfg", dict(embed_cls=True), "embed_cls in .* is not known here"),
        ("text_cfg", dict(width=32), r"text\.token_embedding\.weight is \(40, 48\) instead of \(40, 32\)"),
        ("text_cfg", dict(norm_kwargs=dict(eps="small")), "eps in norm_kwargs of .* is 'small'"),
    ],
)
def test_settings_that_do_not_fit(tmp_path, write, tower, change, words):
    write("EVA02")
    file = tmp_path / "open_clip_config.json"
    config = json.loads(file.read_text())
    config["model_cfg"][tower] |= change
    file.write_text(json.dumps(config))
    with pytest.raises(UserError, match=words):
        weights.load(str(tmp_path))


def test_nan_weights(tmp_path, write):
    arrays = write("EVA02").state_dict()
    arrays["visual.trunk.blocks.1.attn.k_proj.weight"][3, 3] = np.nan
    safetensors_torch.save_file(arrays, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(UserError, match=r"visual\.trunk\.blocks\.1\.attn\.k_proj\.weight in .* not finite"):
        weights.load(str(tmp_path))
