"""Rendering: what is drawn, and that a seed decides it."""

import jax
import numpy as np
import pytest
from scipy import ndimage

from lift_jax.quickstart import glyphs
from lift_jax.quickstart.captions import CaptionedGlyphs, caption, every_word
from lift_jax.quickstart.pretrain import CONTEXT_LENGTH, NUM_MERGES, tokenize
from lift_jax.quickstart.render import IMAGE_SIZE, Look, render
from lift_jax.quickstart.tokenizer import END_OF_TEXT, START_OF_TEXT, make

FACES = (glyphs.FACES[0], glyphs.FACES[8])
N = 16  # images in every call of render, so that it is compiled once


@pytest.fixture(scope="module")
def atlas() -> glyphs.Atlas:
    return glyphs.atlas(FACES, "0123456789abcdxyzABCDXYZ+=★")


@pytest.fixture(scope="module")
def tokenizer():
    return make(every_word(), NUM_MERGES)


def plain_look(n: int, weight: float = 0.0) -> Look:
    return Look(
        ink=np.ones((n, 3), np.float32),
        paper=np.zeros((n, 3), np.float32),
        weight=np.full(n, weight, np.float32),
        cells=np.zeros(n, np.int64),
        blur=np.zeros(n, np.float32),
        fill=np.zeros(n, bool),
    )


def test_every_character_is_in_several_faces_and_has_its_own_plain_caption():
    whole = glyphs.atlas()
    assert np.bincount(whole.characters, minlength=len(glyphs.CHARACTERS)).min() >= 3
    captions = [caption(c) for c in glyphs.CHARACTERS]
    assert len(set(captions)) == len(captions)
    assert caption("7") == "a photo of the digit seven."


def test_held_out_faces_share_no_font_file_with_the_others():
    assert not {f.file for f in glyphs.FACES} & {f.file for f in glyphs.HELD_OUT_FACES}


def test_a_skeleton_is_thin_connected_and_inside(atlas):
    mask = np.zeros((1, 40, 40), bool)
    mask[0, 5:35, 10:18] = True
    mask[0, 27:35, 10:32] = True  # a thick L
    skeleton = np.asarray(glyphs.thin(mask))
    assert not (skeleton & ~mask).any()
    square = skeleton[0, 1:, 1:] & skeleton[0, :-1, 1:] & skeleton[0, 1:, :-1] & skeleton[0, :-1, :-1]
    assert not square.any()
    _, pieces = ndimage.label(skeleton[0], np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
    assert pieces == 1
    assert skeleton[0, 5:12].any() and skeleton[0, :, 26:].any()  # it still reaches both ends


def test_a_greater_weight_covers_more(atlas):
    key = jax.random.key(0)
    thin, thick = (
        np.asarray(render(key, atlas.fields[:N], atlas.boxes[:N], plain_look(N, weight), 1.0)) for weight in (1.0, 3.0)
    )
    assert (thick.mean(axis=(1, 2, 3)) > thin.mean(axis=(1, 2, 3))).all()


def test_undistorted_rendering_shows_the_glyph_itself(atlas):
    rows = np.flatnonzero(~atlas.drawn)[:N]
    fields = atlas.fields[rows]
    images = np.asarray(render(jax.random.key(0), fields, atlas.boxes[rows], plain_look(N), 0.0))[..., 0]
    cell = glyphs.FRAME // IMAGE_SIZE
    inside = (fields > 128).reshape(N, IMAGE_SIZE, cell, IMAGE_SIZE, cell).mean(axis=(2, 4))
    alike = np.corrcoef(images.reshape(N, -1), inside.reshape(N, -1))[:N, N:]
    assert alike.diagonal().min() > 0.8
    np.testing.assert_array_equal(alike.argmax(axis=1), np.arange(N))


def test_a_seed_decides_the_batch_and_the_images(atlas):
    source = CaptionedGlyphs(atlas, FACES)
    first, again, other = (source.draw(np.random.default_rng(seed), N) for seed in (3, 3, 4))
    assert first.captions == again.captions != other.captions

    def images(batch, seed):
        fields, boxes = atlas.fields[batch.rows], atlas.boxes[batch.rows]
        return np.asarray(render(jax.random.key(seed), fields, boxes, batch.look, 1.0))

    one = images(first, 0)
    assert one.shape == (N, IMAGE_SIZE, IMAGE_SIZE, 3) and one.min() >= 0 and one.max() <= 1
    np.testing.assert_array_equal(one, images(again, 0))
    assert np.abs(one - images(first, 1)).mean() > 0.01


def test_captions_of_a_batch_differ_and_pairs_of_a_character_are_told_apart(atlas):
    source = CaptionedGlyphs(atlas, FACES)
    for seed in range(20):
        batch = source.draw(np.random.default_rng(seed), 32)
        characters = atlas.characters[batch.rows]
        twice, counts = np.unique(characters, return_counts=True)
        assert counts.max() == 2 and (counts == 2).sum() == 2
        assert len(set(batch.captions)) == len(batch.captions)
        for character in twice[counts == 2]:
            one, two = np.flatnonzero(characters == character)
            assert np.abs(batch.look.ink[one] - batch.look.ink[two]).max() > 0.2


def test_captions_fit_the_context_and_get_start_and_end(tokenizer):
    faces = glyphs.FACES
    longest = max(glyphs.CHARACTERS, key=lambda c: len(tokenizer.encode(glyphs.names(c)[0]).ids))
    source = CaptionedGlyphs(glyphs.atlas(faces, longest), faces)
    captions = [source.draw(np.random.default_rng(seed), 2).captions[0] for seed in range(50)]
    style = max((f.style for f in faces), key=len)
    captions.append(f"a picture of the thick pixelated {style} purple {glyphs.names(longest)[0]} on purple.")
    tokens = tokenize(tokenizer, captions)
    assert tokens.shape[1] <= CONTEXT_LENGTH
    end = tokenizer.token_to_id(END_OF_TEXT)
    assert (tokens[:, 0] == tokenizer.token_to_id(START_OF_TEXT)).all()
    assert ((tokens == end).sum(axis=1) == 1).all() and tokens.max() == end


def test_any_text_can_be_tokenized_and_words_of_the_captions_are_whole(tokenizer):
    ids = tokenizer.encode("Naïve ☕ 東 axolotl's").ids
    assert ids[1:-1] and tokenizer.token_to_id(END_OF_TEXT) not in ids[1:-1]
    assert len(tokenizer.encode("A photo of the DIGIT seven").ids) == 2 + 6
