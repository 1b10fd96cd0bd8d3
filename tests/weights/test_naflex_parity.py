"""SigLIP 2's NaFlex models at fixed sizes against transformers, which is given images as rows of patches."""

import dataclasses
import json

import numpy as np
import pytest
from comparison import assert_close, features, outputs, random_images, randomize

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import cache, huggingface
from lift_jax.weights.positions import resize_positions

torch = pytest.importorskip("torch", reason="PyTorch is not installed (tests/requirements-parity-light.txt)")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

pytestmark = pytest.mark.parity

TOLERANCE = 1e-5
PATCH = 8
TOWER = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2)
VISION = TOWER | dict(patch_size=PATCH, num_patches=36)
TEXT = TOWER | dict(max_position_embeddings=10, vocab_size=40)
TEXT |= dict(pad_token_id=0, bos_token_id=None, eos_token_id=1)


@pytest.fixture(scope="module")
def peer():
    config = transformers.Siglip2Config(text_config=TEXT, vision_config=VISION)
    return randomize(transformers.Siglip2Model(config))


@pytest.fixture
def folder(peer, tmp_path):
    peer.save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def _patches(images):
    """What transformers' image processor makes of normalised images: their patches, a mask, and the grid's shape."""
    n, height, width, _ = images.shape
    rows, columns = height // PATCH, width // PATCH
    grid = images.reshape(n, rows, PATCH, columns, PATCH, 3).transpose(0, 1, 3, 2, 4, 5)
    pixels = torch.from_numpy(np.ascontiguousarray(grid.reshape(n, rows * columns, -1)))
    return dict(
        pixel_values=pixels,
        pixel_attention_mask=torch.ones(pixels.shape[:2], dtype=torch.int32),
        spatial_shapes=torch.tensor([[rows, columns]] * n),
    )


@pytest.mark.parametrize("side", [48, 32, 64])
def test_both_towers(folder, peer, side):
    backbone = weights.load(str(folder), None if side == 48 else side)
    assert backbone.resolution == side and backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    images = random_images(2, side)
    tokens = np.random.default_rng(0).integers(2, 40, (3, 10)).astype(np.int32)
    ours = outputs(backbone, images, tokens)
    with torch.no_grad():
        theirs = peer(input_ids=torch.from_numpy(tokens).long(), **_patches(images))
    assert_close(ours.image_features, theirs.image_embeds, TOLERANCE)
    assert_close(ours.text_features, theirs.text_embeds, TOLERANCE)
    assert_close(ours.logits, theirs.logits_per_image, TOLERANCE)


def test_a_grid_that_is_not_square(folder, peer):
    backbone = weights.load(str(folder))
    vision = dict(backbone.params["vision"])
    vision["position_embedding"] = resize_positions(vision["position_embedding"], (4, 7), 0, linear=True)
    backbone = dataclasses.replace(backbone, params={"vision": vision})
    images = random_images(2, 56)[:, :32]
    with torch.no_grad():
        theirs = peer.get_image_features(**_patches(images)).pooler_output
    assert_close(features(backbone, images), theirs, TOLERANCE)


def test_there_and_back(folder, tmp_path):
    backbone = weights.load(str(folder))
    cache.save(tmp_path / "cached", backbone)
    cached = weights.load(str(tmp_path / "cached"))
    assert cached.hash == backbone.hash and cached.vision == backbone.vision and cached.vision.linear_positions
    # At its own size it is a SigLIP like any other, which is what transformers gets.
    huggingface.save_backbone(tmp_path / "fixed", backbone)
    assert weights.load(str(tmp_path / "fixed")).hash == backbone.hash


def test_an_image_tower_alone(folder):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    whole = weights.load(str(folder))
    file.write_text(json.dumps(config["vision_config"] | dict(model_type="siglip2_vision_model")))
    import safetensors.torch

    arrays = safetensors.torch.load_file(folder / "model.safetensors")
    tower = {name: x for name, x in arrays.items() if name.startswith("vision_model.")}
    safetensors.torch.save_file(tower, folder / "model.safetensors")
    alone = weights.load(str(folder))
    assert alone.text is None and alone.vision == whole.vision
    file.write_text(json.dumps(config))
    assert weights.load(str(folder)).hash == alone.hash


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(num_patches=35), "num_patches in vision_config of .* is 35, which is no square number"),
        (dict(num_patches=25), r"position_embedding\.weight is \(36, 32\) instead of \(25, 32\)"),
        (dict(patch_size=4), r"patch_embedding\.weight is \(32, 192\) instead of \(32, 48\)"),
    ],
)
def test_settings_that_do_not_fit(folder, change, words):
    file = folder / "config.json"
    config = json.loads(file.read_text())
    config["vision_config"] |= change
    file.write_text(json.dumps(config))
    with pytest.raises(UserError, match=words):
        weights.load(str(folder))
