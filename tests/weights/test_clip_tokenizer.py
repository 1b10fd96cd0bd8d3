"""CLIP's tokenizer from vocab.json and merges.txt, against transformers' own; and texts that are none."""

import json

import numpy as np
import pytest
from conftest import write_tokenizer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Trained
from tokenizers import models, normalizers, pre_tokenizers, trainers

from lift_jax.data.prompts import CLIP_TEMPLATES
from lift_jax.errors import UserError
from lift_jax.weights import clip_tokenizer
from lift_jax.weights.tokenizer import Tokenizer

LENGTH = 24
TEXTS = [
    "A photo of the Cat!",
    "a dog's bed.",
    "naïve CAFÉ   123 :-)",
    "",
    "   ",
    " x-ray, twenty-one ",
    "日本語 photo",
]
TEXTS += ["tab\there\nnew line", "—em–dash “quotes”", "ÜBER Straße İstanbul", "ﬁne Ⅳ a\u0301", "emoji 😀 cat", "!!!"]
TEXTS += ["a <|endoftext|> b", "<|startoftext|>x", "<|ENDOFTEXT|>"]
WORDS = st.sampled_from(["photo", "CAT", " of the ", "dog's", ".", "-", " ", "é", "ß", "'ll", "a photo of a "])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """vocab.json and merges.txt as CLIP's are, of few words."""
    folder = tmp_path_factory.mktemp("clip")
    trained = Trained(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])  # pyright: ignore[reportAttributeAccessIssue]
    trained.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    trained.train_from_iterator(CLIP_TEMPLATES * 3, trainer)
    model = json.loads(trained.to_str())["model"]
    words = dict.fromkeys([*sorted(letters), *(f"{x}</w>" for x in sorted(letters)), *model["vocab"]])
    vocabulary = {word: i for i, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    merges = (" ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def pair(folder):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    ours = clip_tokenizer.find(folder, LENGTH, 49408)
    return ours, transformers.CLIPTokenizer.from_pretrained(str(folder))


def _assert_equal(pair, texts):
    ours, peer = pair
    rows = ours(texts)
    for row, ids in zip(rows, peer(texts, truncation=True, max_length=LENGTH)["input_ids"], strict=True):
        np.testing.assert_array_equal(row[: len(ids)], ids)
        assert not row[len(ids) :].any()


@pytest.mark.parity
def test_texts(pair):
    _assert_equal(pair, TEXTS)


@pytest.mark.parity
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(WORDS | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=4), max_size=6).map("".join)
)
def test_any_text(pair, text):
    _assert_equal(pair, [text])


def test_a_known_text(folder):
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    tokenizer = clip_tokenizer.find(folder, 8, 49408)
    assert tokenizer is not None
    words = ["<|startoftext|>", "a</w>", "photo</w>", "of</w>", "the</w>", "<|endoftext|>"]
    assert list(tokenizer(["A photo  of the"])[0]) == [*(vocabulary[word] for word in words), 0, 0]


def test_it_is_the_same_as_a_tokenizer_json(folder, tmp_path):
    ours = clip_tokenizer.find(folder, LENGTH, 49408)
    assert ours is not None
    (tmp_path / "tokenizer.json").write_text(ours.to_json(), encoding="utf-8")
    again = clip_tokenizer.find(tmp_path, LENGTH, 49408)
    assert again is not None
    np.testing.assert_array_equal(again(TEXTS), ours(TEXTS))


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
@pytest.mark.parametrize("content", ["", "[]", "5", "[" * 100_000, '{"a": 0}', "x y z", "a", '{"a": "b"}'])
def test_damaged_files(folder, tmp_path, name, content):
    for other in clip_tokenizer.VOCABULARY:
        (tmp_path / other).write_bytes((folder / other).read_bytes())
    (tmp_path / name).write_text(content)
    if name == "merges.txt" and content == "":  # a tokenizer of letters
        assert clip_tokenizer.find(tmp_path, LENGTH, 49408) is not None
        return
    with pytest.raises(UserError, match=rf"{name}.* no tokenizer of a CLIP") as caught:
        clip_tokenizer.find(tmp_path, LENGTH, 49408)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a photo of a \ud800.", "\udfff", "a\0b", "x" * 5000 + "\ud83d"])
def test_texts_that_are_none(tmp_path, text):
    write_tokenizer(tmp_path / "tokenizer.json")
    tokenizer = Tokenizer(tmp_path / "tokenizer.json", 12)
    with pytest.raises(UserError, match=r"The text '.* which is no character; correct the class name") as caught:
        tokenizer(["a photo", text])
    assert len(str(caught.value).encode()) < 500
    assert tokenizer(["a photo of 😀"]).shape == (1, 12)


def test_a_vocabulary_of_another_model_is_refused(folder):
    size = max(
        clip_tokenizer.from_vocabulary(*(folder / name for name in clip_tokenizer.VOCABULARY)).get_vocab().values()
    )
    rows = clip_tokenizer.find(folder, LENGTH, size + 1)
    assert rows is not None and rows(TEXTS).max() == size
    other = clip_tokenizer.find(folder, LENGTH, size)
    assert other is not None
    with pytest.raises(
        UserError, match=rf"the token {size}, but the text tower knows those below {size}; take tokenizer"
    ):
        other(TEXTS)
