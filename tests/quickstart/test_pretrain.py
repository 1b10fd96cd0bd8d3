"""The pre-training learns, and the model that comes with the package is what it says it is."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import lift_jax.quickstart
from lift_jax import weights
from lift_jax.models.clip import CLIP
from lift_jax.quickstart import glyphs, pretrain
from lift_jax.quickstart.captions import CaptionedGlyphs, caption, every_word
from lift_jax.quickstart.tokenizer import make

SHIPPED = Path(lift_jax.quickstart.__file__).parent / "glyph_clip"
FACES = glyphs.FACES[:3]
CHARACTERS = "0123456789ABXYZ+"


def test_a_few_steps_find_held_out_glyphs_and_give_a_folder_that_loads(tmp_path):
    tokenizer = make(every_word(), pretrain.NUM_MERGES)
    model = pretrain.make_model(tokenizer)
    source = CaptionedGlyphs(glyphs.atlas(FACES, CHARACTERS), FACES)
    held_out = CaptionedGlyphs(glyphs.atlas(glyphs.HELD_OUT_FACES[:1], CHARACTERS), glyphs.HELD_OUT_FACES)
    settings = pretrain.Settings(steps=50, batch_size=16, lr=2e-3, warmup=5)
    params, losses = pretrain.train(model, tokenizer, source, settings, progress=False)
    assert np.mean(losses[-10:]) < np.mean(losses[:5]) - 0.3
    assert pretrain.retrieval(model, params, tokenizer, held_out)["all"] > 3 * 100 / len(CHARACTERS)

    again, _ = pretrain.train(model, tokenizer, source, pretrain.Settings(steps=1, batch_size=16), progress=False)
    same, _ = pretrain.train(model, tokenizer, source, pretrain.Settings(steps=1, batch_size=16), progress=False)
    jax.tree.map(np.testing.assert_array_equal, again, same)

    pretrain.save(tmp_path, tokenizer, params)
    loaded = weights.load(str(tmp_path))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), dict(loaded.params), params)


@pytest.fixture(scope="module")
def shipped() -> tuple[weights.Backbone, CLIP]:
    backbone = weights.load(str(SHIPPED))
    assert backbone.text is not None
    return backbone, CLIP(backbone.vision, backbone.text, backbone.params["visual_projection"].shape[1])


def test_the_shipped_folder_is_small_and_is_of_this_script(shipped):
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 3e6
    tokenizer = make(every_word(), pretrain.NUM_MERGES)
    assert json.loads((SHIPPED / "config.json").read_text()) == pretrain.model_config(tokenizer)
    captions = [caption(c) for c in glyphs.CHARACTERS]
    ours = pretrain.tokenize(tokenizer, captions)
    np.testing.assert_array_equal(shipped[0].tokenizer(captions)[:, : ours.shape[1]], ours)


def test_the_shipped_model_reads_fonts_that_it_has_not_seen(shipped):
    backbone, model = shipped
    characters = glyphs.DIGITS + glyphs.LETTERS
    source = CaptionedGlyphs(glyphs.atlas(glyphs.HELD_OUT_FACES, characters), glyphs.HELD_OUT_FACES)
    tokenizer = make(every_word(), pretrain.NUM_MERGES)
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
