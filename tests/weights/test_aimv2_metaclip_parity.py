"""AIMv2 and MetaCLIP 2 in transformers' layout against transformers itself."""

import json

import pytest
import tokenizers
from comparison import assert_close, features, outputs, random_images, random_tokens, randomize, t

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import huggingface

torch = pytest.importorskip("torch", reason="PyTorch is not installed (tests/requirements-parity-light.txt)")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

pytestmark = pytest.mark.parity

TOLERANCE = 1e-5
SIZE = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
VISION = SIZE | dict(image_size=64, patch_size=16)
AIM = VISION | dict(use_head=False)
TEXT = SIZE | dict(vocab_size=40, max_position_embeddings=12, eos_token_id=2)


def _aimv2(folder, **changes):
    peer = randomize(transformers.Aimv2VisionModel(transformers.Aimv2VisionConfig(**AIM | changes)))
    peer.save_pretrained(folder)
    return peer


def _compare_mean(backbone, peer):
    images = random_images(2, backbone.resolution)
    with torch.no_grad():
        assert_close(features(backbone, images), peer(t(images)).last_hidden_state.mean(1), TOLERANCE)


@pytest.mark.parametrize("changes", [{}, dict(qkv_bias=True, mlp_bias=True)], ids=str)
def test_aimv2(tmp_path, changes):
    peer = _aimv2(tmp_path / "theirs", **changes)
    backbone = weights.load(str(tmp_path / "theirs"))
    assert backbone.text is None and backbone.resolution == 64
    _compare_mean(backbone, peer)
    huggingface.save_backbone(tmp_path / "ours", backbone)
    _compare_mean(backbone, transformers.Aimv2VisionModel.from_pretrained(tmp_path / "ours").eval())
    assert weights.load(str(tmp_path / "ours")).hash == backbone.hash


def test_aimv2_at_another_resolution(tmp_path):
    """transformers has no other one: its table is given the positions that we computed."""
    peer = _aimv2(tmp_path)
    backbone = weights.load(str(tmp_path), 48)
    other = transformers.Aimv2VisionModel(transformers.Aimv2VisionConfig(**AIM | dict(image_size=48)))
    positions = torch.from_numpy(backbone.params["vision"]["position_embedding"])
    state = peer.state_dict() | {"embeddings.position_embedding.weight": positions}
    other.load_state_dict(state, strict=False)
    _compare_mean(backbone, other.eval())


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(use_head=True), "use_head in .* is true, so the AIMv2 has a pooling head"),
        (dict(is_native=True), "is_native in .* is true, .* images of any size"),
        (dict(model_type="aimv2"), "AIMv2 with a text tower"),
        (dict(mlp_bias=True), r"ffn\.gate_proj\.bias is missing"),
        (dict(rms_norm_eps="tiny"), "rms_norm_eps in .* is 'tiny'"),
    ],
)
def test_an_aimv2_that_does_not_fit(tmp_path, change, words):
    _aimv2(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(UserError, match=words):
        weights.load(str(tmp_path))


def _metaclip_2(folder):
    config = transformers.MetaClip2Config(text_config=TEXT, vision_config=VISION, projection_dim=24)
    peer = randomize(transformers.MetaClip2Model(config))
    peer.save_pretrained(folder)
    return peer


def _compare(backbone, peer, **options):
    images, tokens = random_images(2, backbone.resolution), random_tokens(3, 12, 40)
    tokens[tokens == 2] = 3
    tokens[:, 9] = 2  # the first </s> counts, and it is not the largest id
    tokens[1, 5] = 2
    with torch.no_grad():
        theirs = peer(torch.from_numpy(tokens).long(), t(images), **options)
    ours = outputs(backbone, images, tokens)
    for own, their in zip(ours, (theirs.image_embeds, theirs.text_embeds, theirs.logits_per_image), strict=True):
        assert_close(own, their, TOLERANCE)


def test_metaclip_2(tmp_path):
    peer = _metaclip_2(tmp_path / "theirs")
    backbone = weights.load(str(tmp_path / "theirs"))
    assert backbone.text is not None and backbone.text.end_of_text == 2
    _compare(backbone, peer)
    huggingface.save_backbone(tmp_path / "ours", backbone)
    _compare(backbone, transformers.MetaClip2Model.from_pretrained(tmp_path / "ours").eval())
    assert weights.load(str(tmp_path / "ours")).text == backbone.text


def test_metaclip_2_with_its_tokenizer(tmp_path):
    _metaclip_2(tmp_path)
    words = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "▁wolf"]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.Unigram([(word, -1.0) for word in words], unk_id=3))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    ends = [("<s>", 0), ("</s>", 2)]
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    backbone = weights.load(str(tmp_path))
    assert backbone.tokenizer is not None
    assert backbone.tokenizer(["a wolf", "wolf"])[:, :5].tolist() == [[0, 4, 5, 2, 0], [0, 5, 2, 0, 0]]
