"""SigLIP's and SigLIP 2's tokenizers against transformers' own, on small vocabularies in the real ones' format."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, trainers

from lift_jax.data.prompts import CLIP_TEMPLATES
from lift_jax.errors import UserError
from lift_jax.weights import siglip_tokenizer

WHERE = "is not installed (tests/requirements-parity-light.txt)"
transformers = pytest.importorskip("transformers", reason=f"transformers {WHERE}")
sentencepiece = pytest.importorskip("sentencepiece", reason=f"sentencepiece {WHERE}")

pytestmark = pytest.mark.parity

LENGTH = 20
TEXTS = ["A photo of the Cat!", "a dog's bed.", "naïve CAFÉ   123 :-)", "", "   ", " x-ray, twenty-one "]
TEXTS += ["日本語 photo", "tab\there\nnew line", "a▁b", "—em–dash “quotes”", "ÜBER Straße İstanbul ΑΣ", "ﬁne Ⅳ a\u0301"]
TEXTS += ["emoji 😀 cat", "!!!", "a photo of the cat " * 10]
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
WORDS = st.sampled_from(["photo", "CAT", " of the ", "dog's", ".", "-", " ", "é", "ß"])


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """A folder with a spiece.model whose ids and normalisation are T5's."""
    folder = tmp_path_factory.mktemp("siglip")
    with (folder / "spiece.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([*CLIP_TEMPLATES, *TEXTS]), model_writer=file, vocab_size=300, minloglevel=2,
            hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="nmt_nfkc",
        )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def siglip_2(tmp_path_factory):
    """A folder with the files that transformers writes of SigLIP 2's tokenizer, which is Gemma's."""
    folder = tmp_path_factory.mktemp("siglip_2")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")  # pyright: ignore[reportAttributeAccessIssue]
    trained.train_from_iterator(
        CLIP_TEMPLATES, trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    )
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    peer = transformers.Siglip2Tokenizer(model["vocab"], merges, add_bos_token=False, add_eos_token=True)
    peer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["siglip", "siglip_2"])
def pair(request):
    """Our tokenizer and transformers', both from the same folder."""
    folder = request.getfixturevalue(request.param)
    kind = {"siglip": transformers.SiglipTokenizer, "siglip_2": transformers.Siglip2Tokenizer}[request.param]
    return siglip_tokenizer.find(folder, LENGTH), kind.from_pretrained(folder, padding_side="right")


def _assert_equal(pair, texts):
    ours, peer = pair
    theirs = peer(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="np")
    np.testing.assert_array_equal(ours(texts), theirs["input_ids"])


def test_texts(pair):
    _assert_equal(pair, TEXTS)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(WORDS | st.text(CHARACTERS, max_size=4), max_size=8).map("".join))
def test_any_text(pair, text):
    _assert_equal(pair, [text])


def test_the_tokenizer_json_of_a_spiece_model(siglip, tmp_path):
    ours = siglip_tokenizer.find(siglip, LENGTH)
    assert ours is not None
    (tmp_path / "tokenizer.json").write_text(ours.to_json(), encoding="utf-8")
    again = siglip_tokenizer.find(tmp_path, LENGTH)
    assert again is not None
    np.testing.assert_array_equal(again(TEXTS), ours(TEXTS))
    # Programs that leave the preparation to the caller find the end of the text in the file.
    assert Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("a photo of the cat").ids[-1] == ours.padding


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x0a\x03abc"])
def test_a_damaged_spiece_model(tmp_path, content):
    (tmp_path / "spiece.model").write_bytes(content)
    with pytest.raises(UserError, match=r"spiece\.model cannot be read") as raised:
        siglip_tokenizer.find(tmp_path, LENGTH)
    assert "\n" not in str(raised.value)
