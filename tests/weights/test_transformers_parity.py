"""The Hugging Face layout against transformers itself: it writes and we read, we write and it reads."""

import numpy as np
import pytest
from comparison import assert_close, features, outputs, random_images, randomize, t
from conftest import write_tokenizer

from lift_jax import weights
from lift_jax.weights import huggingface

torch = pytest.importorskip("torch", reason="PyTorch is not installed (tests/requirements-parity-light.txt)")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

pytestmark = pytest.mark.parity

VISION = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2)
VISION |= dict(image_size=24, patch_size=8)
TEXT = dict(hidden_size=16, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, vocab_size=18)


def _clip(activation="quick_gelu", eos_token_id=17):
    text = TEXT | dict(max_position_embeddings=12, eos_token_id=eos_token_id, bos_token_id=16, pad_token_id=17)
    act = dict(hidden_act=activation)
    config = transformers.CLIPConfig(text_config=text | act, vision_config=VISION | act, projection_dim=20)
    return randomize(transformers.CLIPModel(config))


def _tokens():
    # The end token is the largest id, once in each row and at different places.
    tokens = np.random.default_rng(0).integers(0, 16, (3, 12))
    tokens[[0, 1, 2], [3, 11, 7]] = 17
    return tokens.astype(np.int32)


def _compare_clip(backbone, peer):
    images, tokens = random_images(3, backbone.resolution), _tokens()
    ours = outputs(backbone, images, tokens)
    with torch.no_grad():
        theirs = peer(pixel_values=t(images), input_ids=torch.tensor(tokens, dtype=torch.long))
    assert_close(ours.image_features, theirs.image_embeds)
    assert_close(ours.text_features, theirs.text_embeds)
    assert_close(ours.logits, theirs.logits_per_image)


@pytest.mark.parametrize("activation, eos_token_id", [("quick_gelu", 17), ("gelu", 2)])
def test_clip(tmp_path, activation, eos_token_id):
    peer = _clip(activation, eos_token_id)
    peer.save_pretrained(tmp_path / "theirs")
    write_tokenizer(tmp_path / "theirs" / "tokenizer.json")
    backbone = weights.load(str(tmp_path / "theirs"))
    _compare_clip(backbone, peer)
    huggingface.save_backbone(tmp_path / "ours", backbone)
    _compare_clip(backbone, transformers.CLIPModel.from_pretrained(tmp_path / "ours").eval())
    assert weights.load(str(tmp_path / "ours")).hash == backbone.hash


def test_sharded_and_bfloat16(tmp_path):
    peer = _clip().to(torch.bfloat16)
    peer.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    write_tokenizer(tmp_path / "tokenizer.json")
    _compare_clip(weights.load(str(tmp_path)), peer.float())


def test_a_pickled_state_dict(tmp_path):
    peer = _clip()
    peer.config.save_pretrained(tmp_path)
    torch.save(peer.half().state_dict(), tmp_path / "pytorch_model.bin")
    write_tokenizer(tmp_path / "tokenizer.json")
    _compare_clip(weights.load(str(tmp_path)), peer.float())


@pytest.mark.parametrize("kind", ["CLIPVisionModel", "CLIPVisionModelWithProjection"])
def test_clip_vision_tower_alone(tmp_path, kind):
    peer = randomize(getattr(transformers, kind)(transformers.CLIPVisionConfig(**VISION)))
    peer.save_pretrained(tmp_path / "theirs")
    backbone = weights.load(str(tmp_path / "theirs"))
    images = random_images(3, 24)
    ours = features(backbone, images)
    huggingface.save_backbone(tmp_path / "ours", backbone)
    again = transformers.CLIPVisionModel.from_pretrained(tmp_path / "ours").eval()
    with torch.no_grad():
        assert_close(ours, again(t(images)).pooler_output)
        if kind == "CLIPVisionModel":
            assert_close(ours, peer(t(images)).pooler_output)
        else:
            assert_close(ours @ peer.visual_projection.weight.numpy().T, peer(t(images)).image_embeds)


@pytest.mark.parametrize("kind", ["ViTModel", "ViTForImageClassification"])
def test_vit(tmp_path, kind):
    config = transformers.ViTConfig(**VISION, layer_norm_eps=1e-6)
    peer = randomize(getattr(transformers, kind)(config))
    peer.save_pretrained(tmp_path / "theirs")
    backbone = weights.load(str(tmp_path / "theirs"))
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    images = random_images(3, 24)
    ours = features(backbone, images)
    huggingface.save_backbone(tmp_path / "ours", backbone)
    again = transformers.ViTModel.from_pretrained(tmp_path / "ours", add_pooling_layer=False).eval()
    base = peer if kind == "ViTModel" else peer.vit
    with torch.no_grad():
        assert_close(ours, base(t(images)).last_hidden_state[:, 0])
        assert_close(ours, again(t(images)).last_hidden_state[:, 0])


def _siglip(image_size=24):
    text = TEXT | dict(max_position_embeddings=10, projection_size=24, bos_token_id=None, eos_token_id=1)
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION | dict(image_size=image_size))
    return randomize(transformers.SiglipModel(config))


@pytest.mark.parametrize("image_size", [24, 29])  # 29 leaves a rest that no patch covers
def test_siglip(tmp_path, image_size):
    peer = _siglip(image_size)
    peer.save_pretrained(tmp_path / "theirs")
    _siglip_tokenizer(tmp_path / "theirs" / "tokenizer.json")
    backbone = weights.load(str(tmp_path / "theirs"))
    images = random_images(3, image_size)
    tokens = np.random.default_rng(0).integers(0, 18, (3, 10)).astype(np.int32)
    ours = outputs(backbone, images, tokens)
    huggingface.save_backbone(tmp_path / "ours", backbone)
    for model in peer, transformers.SiglipModel.from_pretrained(tmp_path / "ours").eval():
        with torch.no_grad():
            theirs = model(pixel_values=t(images), input_ids=torch.tensor(tokens, dtype=torch.long))
        assert_close(ours.image_features, theirs.image_embeds)
        assert_close(ours.text_features, theirs.text_embeds)
        assert_close(ours.logits, theirs.logits_per_image)


def _siglip_tokenizer(file):
    import tokenizers

    vocabulary = {word: i for i, word in enumerate(["<unk>", "</s>", "a", "photo", "of", "cat", "dog"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(file))


def test_another_resolution(tmp_path):
    # transformers interpolates without antialiasing; where the grid grows, the two are the same but for the kernel
    # (PyTorch's bicubic has a = -0.75 and ours a = -0.5), so only the class token's position must be equal.
    peer = _clip()
    peer.save_pretrained(tmp_path)
    write_tokenizer(tmp_path / "tokenizer.json")
    backbone = weights.load(str(tmp_path), 40)
    positions = backbone.params["vision"]["position_embedding"]
    assert positions.shape == (26, 24)
    stored = peer.vision_model.embeddings.position_embedding.weight.detach().numpy()
    np.testing.assert_array_equal(positions[0], stored[0])
    images = random_images(2, 40)
    assert features(backbone, images).shape == (2, 24)
    # Pillow's antialiased bicubic is the reference of the resizing itself.
    from PIL import Image

    for channel in range(24):
        grid = Image.fromarray(stored[1:, channel].reshape(3, 3), mode="F")
        expected = np.asarray(grid.resize((5, 5), Image.Resampling.BICUBIC)).reshape(-1)
        np.testing.assert_allclose(positions[1:, channel], expected, atol=1e-5)
