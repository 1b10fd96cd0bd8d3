"""The tokenizer of OpenAI's CLIP, for checkpoints that come without one: all CLIPs of OpenAI and LAION share it."""

import gzip
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from lift_jax.errors import UserError, first_line
from lift_jax.files import parse_json
from lift_jax.weights.tokenizer import Tokenizer

_log = logging.getLogger(__name__)

MERGES = "bpe_simple_vocab_16e6.txt.gz"
"""The file of OpenAI's repository, and of open_clip's, that defines the tokenizer."""

VOCABULARY = ("vocab.json", "merges.txt")
"""The files in which transformers kept it before there was a tokenizer.json."""

_REPOSITORY = "openai/clip-vit-base-patch32"
_VOCAB_SIZE = 49408
_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def find(folder: Path, context_length: int, vocab_size: int) -> Tokenizer | None:
    """Finds the tokenizer of a checkpoint: the first of these that is there.

    They are tokenizer.json, vocab.json with merges.txt, OpenAI's list of merges, and what the hub's cache has of the
    tokenizer that all CLIPs of OpenAI and LAION share.

    Args:
        folder: the folder of the checkpoint.
        context_length: the length of a row of token ids.
        vocab_size: the number of ids that the text tower knows.

    Returns:
        The tokenizer; None, with a warning, if there is none. Only starting from text needs one.

    Raises:
        UserError: if a file cannot be read.
    """
    if (folder / "tokenizer.json").is_file():
        return Tokenizer(folder / "tokenizer.json", context_length, vocab_size=vocab_size)
    vocabulary, merges = (folder / name for name in VOCABULARY)
    if vocabulary.is_file() and merges.is_file():
        return Tokenizer(from_vocabulary(vocabulary, merges), context_length, vocab_size=vocab_size)
    if vocab_size == _VOCAB_SIZE:
        if (folder / MERGES).is_file():
            return Tokenizer(from_merges(folder / MERGES), context_length, vocab_size=vocab_size)
        # Files on this machine must do without a network, so only what was downloaded before is looked at.
        cached = huggingface_hub.try_to_load_from_cache(_REPOSITORY, "tokenizer.json")
        if isinstance(cached, str):
            return Tokenizer(Path(cached), context_length, vocab_size=vocab_size)
    _log.warning(
        "There is no tokenizer in %s: starting from class names needs one; `hf download %s tokenizer.json` fetches it.",
        folder,
        _REPOSITORY,
    )
    return None


def from_vocabulary(vocabulary: Path, merges: Path) -> tokenizers.Tokenizer:
    """Makes CLIP's tokenizer from the two files that transformers kept it in before there was a tokenizer.json.

    Args:
        vocabulary: vocab.json, an object of words and their ids.
        merges: merges.txt, a line of two parts for each merge, after a line with the version.

    Raises:
        UserError: if a file cannot be read, or they are not of one tokenizer.
    """
    try:
        ids = parse_json(vocabulary.read_bytes())
        lines = merges.read_text(encoding="utf-8").split("\n")
        lines = [line for line in lines if line.strip() and not line.startswith("#version")]
        return _build(ids, [_pair(line) for line in lines])
    except Exception as error:  # the library raises bare Exceptions
        raise UserError(
            f"{vocabulary} and {merges} are no tokenizer of a CLIP ({first_line(error)}); take both from the model's "
            "source again."
        ) from error


def from_merges(file: Path) -> tokenizers.Tokenizer:
    """Makes CLIP's tokenizer from OpenAI's list of merges.

    Raises:
        UserError: if the file cannot be read.
    """
    try:
        lines = gzip.decompress(file.read_bytes()).decode("utf-8").split("\n")
        merges = [_pair(line) for line in lines[1 : _VOCAB_SIZE - 512 - 1]]
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{file} cannot be read ({first_line(error)}); copy it again.") from error
    letters = _letters()
    words = [*letters, *(f"{x}</w>" for x in letters), *(a + b for a, b in merges), _START, _END]
    return _build({word: i for i, word in enumerate(words)}, merges)


def _pair(line: str) -> tuple[str, str]:
    left, _, right = line.strip().partition(" ")
    return left, right


def _build(vocabulary: dict[str, int], merges: Sequence[tuple[str, str]]) -> tokenizers.Tokenizer:
    """Makes a byte-level BPE of lower-case text whose words end in `</w>`, between a start and an end token."""
    ends = [(token, vocabulary[token]) for token in (_START, _END)]
    tokenizer = tokenizers.Tokenizer(
        models.BPE(vocab=vocabulary, merges=list(merges), end_of_word_suffix="</w>", unk_token=_END)
    )
    space = normalizers.Replace(Regex(r"\s+"), " ")
    split = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    # The library's attributes have setters that its type stubs do not show.
    parts = dict(
        normalizer=normalizers.Sequence([normalizers.NFC(), space, normalizers.Lowercase()]),
        pre_tokenizer=pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)]),
        post_processor=processors.TemplateProcessing(single=f"{_START} $A {_END}", special_tokens=ends),
        decoder=decoders.ByteLevel(),
    )
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    # In a text they stand for themselves, and are no letters and punctuation.
    tokenizer.add_special_tokens([tokenizers.AddedToken(token, normalized=False) for token in (_START, _END)])
    return tokenizer


def _letters() -> list[str]:
    """Returns the 256 bytes as characters, those that print as themselves first, as in CLIP's vocabulary."""
    printing = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printing)
    return [chr(code) for code in [*printing, *range(256, 256 + others)]]
