"""CLIP as OpenAI and open_clip have it, against their own code on random weights."""

import numpy as np
import pytest
from comparison import assert_close, outputs, random_images, random_tokens, randomize, t

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import open_clip as ours
from lift_jax.weights.clip_tokenizer import MERGES, from_merges
from lift_jax.weights.tokenizer import Tokenizer

WHERE = "is not installed (tests/requirements-parity.txt)"
torch = pytest.importorskip("torch", reason=f"PyTorch {WHERE}")

pytestmark = [pytest.mark.parity, pytest.mark.slow]

VOCAB, LENGTH = 50, 12
TEXT = dict(context_length=LENGTH, vocab_size=VOCAB, transformer_width=64, transformer_heads=1, transformer_layers=2)
TOWERS = {
    "ViT": dict(image_resolution=32, vision_layers=2, vision_width=128, vision_patch_size=8),
    "ResNet": dict(image_resolution=64, vision_layers=(2, 1, 1, 2), vision_width=16, vision_patch_size=None),
}


def _compare(backbone, peer):
    images = random_images(3, backbone.resolution)
    tokens = random_tokens(3, backbone.text.context_length, backbone.text.vocab_size)
    ids = torch.tensor(tokens, dtype=torch.long)
    result = outputs(backbone, images, tokens)
    with torch.no_grad():
        image, text = peer.encode_image(t(images)), peer.encode_text(ids)
    image, text = (x / x.norm(dim=-1, keepdim=True) for x in (image, text))
    assert_close(result.image_features, image)
    assert_close(result.text_features, text)
    assert_close(result.logits, peer.logit_scale.exp() * image @ text.T)


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("form", ["state dict", "state dict of an archive", "TorchScript"])
@pytest.mark.filterwarnings("ignore")
def test_openai(tmp_path, tower, form):
    clip = pytest.importorskip("clip.model", reason=f"OpenAI's CLIP {WHERE}")
    peer = randomize(clip.CLIP(embed_dim=32, **TOWERS[tower], **TEXT))
    file, activation = tmp_path / "model.pt", ""
    if form == "state dict":
        torch.save(peer.state_dict(), file)
        with pytest.raises(UserError, match=r"config\.backbone_activation=quick_gelu"):
            weights.load(str(file))
        activation = "quick_gelu"
    elif form == "state dict of an archive":
        constants = {name: torch.tensor(1) for name in ("input_resolution", "context_length", "vocab_size")}
        torch.save(peer.state_dict() | constants, file)
    else:
        example = t(random_images(1, TOWERS[tower]["image_resolution"])), torch.zeros((1, LENGTH), dtype=torch.long)
        torch.jit.save(torch.jit.trace(peer, example), file)
    _compare(weights.load(str(file), activation=activation), peer)


def _open_clip(name, **changes):
    open_clip = pytest.importorskip("open_clip", reason=f"open_clip {WHERE}")
    config = open_clip.get_model_config(name)
    config["vision_cfg"] |= changes
    config["text_cfg"] |= dict(context_length=LENGTH, vocab_size=VOCAB, width=64, heads=2, layers=2)
    config["embed_dim"] = 32
    model = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    config.pop("custom_text", None)
    return randomize(model(**config)), config


SMALL = {
    "ViT-B-16": dict(image_size=32, layers=2, width=128, patch_size=8),
    "ViT-B-16-quickgelu": dict(image_size=32, layers=2, width=128, patch_size=8, head_width=32, mlp_ratio=3.0),
    "RN50-quickgelu": dict(image_size=64, layers=[1, 2, 1, 1], width=16),
}


def _save(folder, peer, config):
    import json

    from safetensors.torch import save_file

    folder.mkdir()
    arrays = {name: array.contiguous() for name, array in peer.state_dict().items()}
    save_file(arrays, folder / "open_clip_model.safetensors")
    (folder / ours.CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3}}))


@pytest.mark.parametrize("name", SMALL)
def test_open_clip(tmp_path, name):
    peer, config = _open_clip(name, **SMALL[name])
    _save(tmp_path / "theirs", peer, config)
    backbone = weights.load(str(tmp_path / "theirs"))
    assert backbone.mean == (0.5, 0.5, 0.5)
    _compare(backbone, peer)


@pytest.mark.parametrize("name", SMALL)
def test_open_clip_reads_what_we_write(tmp_path, name):
    import json

    from safetensors.torch import load_file

    open_clip = pytest.importorskip("open_clip", reason=f"open_clip {WHERE}")
    peer, config = _open_clip(name, **SMALL[name])
    _save(tmp_path / "theirs", peer, config)
    backbone = weights.load(str(tmp_path / "theirs"))
    ours.save_backbone(tmp_path / "ours", backbone)
    model = json.loads((tmp_path / "ours" / ours.CONFIG).read_text())["model_cfg"]
    again = open_clip.CLIP(**model)
    missing, unexpected = again.load_state_dict(
        load_file(tmp_path / "ours" / "open_clip_model.safetensors"), strict=False
    )
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing)
    _compare(backbone, again.requires_grad_(False).eval())


@pytest.mark.parametrize("name", ["RN50-quickgelu", "ViT-B-16-quickgelu", "ViT-L-14-quickgelu"])
def test_full_size(tmp_path, name):
    open_clip = pytest.importorskip("open_clip", reason=f"open_clip {WHERE}")
    config = open_clip.get_model_config(name)
    peer = randomize(open_clip.CLIP(**{key: value for key, value in config.items() if key != "custom_text"}))
    _save(tmp_path / "theirs", peer, config)
    _compare(weights.load(str(tmp_path / "theirs")), peer)


def test_tokenizer_from_the_merges():
    from pathlib import Path

    clip = pytest.importorskip("clip", reason=f"OpenAI's CLIP {WHERE}")
    tokenizer = Tokenizer(from_merges(Path(clip.__file__).parent / MERGES), 77)
    texts = ["a photo of a dog's bed.", "naïve CAFÉ   123 :-)", "", "日本語", "x-ray, twenty-one"]
    np.testing.assert_array_equal(tokenizer(texts), clip.tokenize(texts).numpy())
