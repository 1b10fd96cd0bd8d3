"""The tokenizer of OpenAI's CLIP, for checkpoints that come without one: all CLIPs of OpenAI and LAION share it."""

import gzip
import logging
from pathlib import Path

import huggingface_hub
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from lift_jax.errors import UserError
from lift_jax.weights.tokenizer import Tokenizer

_log = logging.getLogger(__name__)

MERGES = "bpe_simple_vocab_16e6.txt.gz"
"""The file of OpenAI's repository, and of open_clip's, that defines the tokenizer."""

_REPOSITORY = "openai/clip-vit-base-patch32"
_VOCAB_SIZE = 49408
_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def find(folder: Path, context_length: int, vocab_size: int) -> Tokenizer | None:
    """The tokenizer of a checkpoint in `folder`: its tokenizer.json, OpenAI's merges, or the one in the hub's cache.

    None, with a warning, if there is none of them; only starting from text needs a tokenizer.
    """
    if (folder / "tokenizer.json").is_file():
        return Tokenizer(folder / "tokenizer.json", context_length)
    if vocab_size == _VOCAB_SIZE:
        if (folder / MERGES).is_file():
            return Tokenizer(from_merges(folder / MERGES), context_length)
        # Files on this machine must do without a network, so only what was downloaded before is looked at.
        cached = huggingface_hub.try_to_load_from_cache(_REPOSITORY, "tokenizer.json")
        if isinstance(cached, str):
            return Tokenizer(Path(cached), context_length)
    _log.warning(
        "There is no tokenizer in %s: starting from class names needs one; `hf download %s tokenizer.json` fetches it.",
        folder,
        _REPOSITORY,
    )
    return None


def from_merges(file: Path) -> tokenizers.Tokenizer:
    """CLIP's tokenizer from OpenAI's list of merges.

    Raises:
        UserError: if the file cannot be read.
    """
    try:
        lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read ({error}); copy it again.") from error
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines[1 : _VOCAB_SIZE - 512 - 1])]
    letters = _letters()
    words = [*letters, *(f"{x}</w>" for x in letters), *(a + b for a, b in merges), _START, _END]
    vocabulary = {word: i for i, word in enumerate(words)}
    bpe = models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", unk_token=_END)
    tokenizer = tokenizers.Tokenizer(bpe)
    space = normalizers.Replace(Regex(r"\s+"), " ")
    split = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    # The library's attributes have setters that its type stubs do not show.
    parts = dict(
        normalizer=normalizers.Sequence([normalizers.NFC(), space, normalizers.Lowercase()]),
        pre_tokenizer=pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        post_processor=processors.TemplateProcessing(
            single=f"{_START} $A {_END}", special_tokens=[(x, vocabulary[x]) for x in (_START, _END)]
        ),
        decoder=decoders.ByteLevel(),
    )
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    return tokenizer


def _letters() -> list[str]:
    """The 256 bytes as characters, those that print as themselves first, as in GPT-2's and CLIP's vocabularies."""
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printing)
    return [chr(code) for code in [*printing, *range(256, 256 + others)]]
