"""The pre-training learns, and the model that comes with the package is what it says it is."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lift_jax.quickstart
from lift_jax import weights
from lift_jax.models.clip import CLIP
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.quickstart import glyphs, pretrain
from lift_jax.quickstart.captions import CaptionedGlyphs, caption, every_word
from lift_jax.quickstart.render import IMAGE_SIZE
from lift_jax.quickstart.tokenizer import END_OF_TEXT, make

SHIPPED = Path(lift_jax.quickstart.__file__).parent / "glyph_clip"
FACES = glyphs.FACES[:3]
CHARACTERS = "0123456789ABXYZ+"


@pytest.fixture(scope="module")
def tokenizer():
    return make(every_word(), pretrain.NUM_MERGES)


@pytest.fixture(scope="module")
def tiny(tokenizer) -> CLIP:
    vision = VisionTransformer(patch_size=8, width=32, depth=1, num_heads=1, mlp_dim=64)
    end = tokenizer.token_to_id(END_OF_TEXT)
    text = TextTransformer(tokenizer.get_vocab_size(), pretrain.CONTEXT_LENGTH, 32, 1, 1, 64, end_of_text=end)
    return CLIP(vision, text, 16)


@pytest.mark.slow
def test_a_seed_decides_the_parameters(tiny, tokenizer):
    source = CaptionedGlyphs(glyphs.atlas(FACES, CHARACTERS), FACES)

    def train(seed: int):
        settings = pretrain.Settings(steps=4, batch_size=len(CHARACTERS), seed=seed)
        return pretrain.train(tiny, tokenizer, source, settings, progress=False)

    (first, losses), (again, same_losses), (_, other_losses) = train(1), train(1), train(2)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert losses == same_losses != other_losses


def test_the_contrastive_loss_is_the_mean_of_both_cross_entropies():
    logits = np.random.default_rng(0).normal(size=(5, 5)) * 3
    rows = sum(np.log(np.exp(logits[i]).sum()) - logits[i, i] for i in range(5)) / 5
    columns = sum(np.log(np.exp(logits[:, i]).sum()) - logits[i, i] for i in range(5)) / 5
    np.testing.assert_allclose(pretrain.contrastive_loss(jnp.asarray(logits)), (rows + columns) / 2, rtol=1e-5)


@pytest.mark.slow
def test_what_is_saved_loads_as_a_backbone(tokenizer, tmp_path):
    image = jnp.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3))
    params = pretrain.make_model(tokenizer).init(jax.random.key(0), image, jnp.ones((1, 8), jnp.int32))["params"]
    pretrain.save(tmp_path, tokenizer, params)
    loaded = weights.load(str(tmp_path))
    assert loaded.resolution == IMAGE_SIZE and loaded.mean == (0.5, 0.5, 0.5)
    half = jax.tree.map(lambda x: np.asarray(x, np.float16).astype(np.float32), params)
    jax.tree.map(np.testing.assert_array_equal, dict(loaded.params), half)


@pytest.fixture(scope="module")
def shipped() -> tuple[weights.Backbone, CLIP]:
    backbone = weights.load(str(SHIPPED))
    assert backbone.text is not None
    return backbone, CLIP(backbone.vision, backbone.text, backbone.params["visual_projection"].shape[1])


def test_the_shipped_folder_is_small_and_is_of_this_script(shipped, tokenizer):
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 3e6
    assert json.loads((SHIPPED / "config.json").read_text()) == pretrain.model_config(tokenizer)
    captions = [caption(c) for c in glyphs.CHARACTERS]
    ours = pretrain.tokenize(tokenizer, captions)
    np.testing.assert_array_equal(shipped[0].tokenizer(captions)[:, : ours.shape[1]], ours)


def test_the_shipped_model_reads_fonts_that_it_has_not_seen(shipped, tokenizer):
    backbone, model = shipped
    characters = glyphs.DIGITS + glyphs.LETTERS
    source = CaptionedGlyphs(glyphs.atlas(glyphs.HELD_OUT_FACES, characters), glyphs.HELD_OUT_FACES)
    found = pretrain.retrieval(model, backbone.params, tokenizer, source, rounds=4)
    assert found["digits among digits"] > 60
    assert found["letters"] > 30  # chance: 1.6; half of the alphabet looks alike in both cases


@pytest.mark.parity
def test_transformers_reads_the_shipped_folder_and_agrees(shipped):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    backbone, model = shipped
    peer = transformers.CLIPModel.from_pretrained(SHIPPED, dtype=torch.float32).eval()
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, 32, 32, 3)).astype(np.float32)
    texts = ["a photo of the digit three.", "a", "the thick handwritten red letter g on white", "an axolotl"]
    tokens = backbone.tokenizer(texts)
    ours = model.apply({"params": backbone.params}, images, tokens)
    with torch.no_grad():
        theirs = peer(
            pixel_values=torch.from_numpy(images.transpose(0, 3, 1, 2).copy()),
            input_ids=torch.from_numpy(tokens.astype(np.int64)),
        )
    np.testing.assert_allclose(ours.image_features, theirs.image_embeds.numpy(), atol=2e-5)
    np.testing.assert_allclose(ours.text_features, theirs.text_embeds.numpy(), atol=2e-5)
    np.testing.assert_allclose(ours.logits, theirs.logits_per_image.numpy(), atol=2e-3)
