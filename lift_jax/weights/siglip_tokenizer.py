"""The tokenizers of SigLIP, which is T5's, and of SigLIP 2, which is Gemma's."""

import importlib.util
import logging
import string
from pathlib import Path

import tokenizers
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors

from lift_jax.errors import UserError, first_line
from lift_jax.weights.tokenizer import Tokenizer, read

_log = logging.getLogger(__name__)

SENTENCEPIECE = "spiece.model"
"""What transformers' SiglipTokenizer.save_pretrained writes instead of a tokenizer.json."""


def find(folder: Path, context_length: int, vocab_size: int | None = None) -> Tokenizer | None:
    """Finds the tokenizer of a checkpoint, by its tokenizer.json or its spiece.model.

    Args:
        folder: the folder of the checkpoint.
        context_length: the length of a row of token ids.
        vocab_size: the number of ids that the text tower knows; None if they are not checked.

    Returns:
        The tokenizer; None, with a warning, if there is neither file, or the package is not installed that the latter
        needs. Only starting from text needs a tokenizer.

    Raises:
        UserError: if a file cannot be read.
    """
    if (folder / "tokenizer.json").is_file():
        return make(folder / "tokenizer.json", context_length, vocab_size)
    file = folder / SENTENCEPIECE
    if not file.is_file():
        problem = f"there is no tokenizer.json and no {SENTENCEPIECE} in {folder}"
    elif importlib.util.find_spec("sentencepiece") is None:
        problem = f"reading {file} needs the package sentencepiece; pip install sentencepiece"
    else:
        return make(from_sentencepiece(file), context_length, vocab_size)
    _log.warning("The head cannot start from class names: %s.", problem)
    return None


def make(file: Path | tokenizers.Tokenizer, context_length: int, vocab_size: int | None = None) -> Tokenizer:
    """Makes SigLIP's tokenizer (T5's vocabulary, `</s>` as padding, no punctuation) or SigLIP 2's, which is Gemma's.

    Both are of lower-case text (configurations of SigLIP and SigLIP 2 in google-research/big_vision).

    Args:
        file: a tokenizer.json, or what it holds.
        context_length: the length of a row.
        vocab_size: the number of ids that the text tower knows; None if they are not checked.

    Raises:
        UserError: if the file cannot be read or is of another model.
    """
    file = read(file)
    vocabulary = file.get_vocab()
    if "<eos>" in vocabulary:
        end, padding = vocabulary["<eos>"], vocabulary.get("<pad>", 0)
        return Tokenizer(file, context_length, padding, end, str.lower, vocab_size)
    if "</s>" not in vocabulary:
        raise UserError("The tokenizer.json has neither <eos> nor </s>, so it is not SigLIP's; take the model's own.")
    end = vocabulary["</s>"]
    return Tokenizer(file, context_length, end, end, _without_punctuation, vocab_size)


def _without_punctuation(text: str) -> str:
    return " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())


def from_sentencepiece(file: Path) -> tokenizers.Tokenizer:
    """Makes the tokenizer of a unigram model of SentencePiece (Kudo and Richardson 2018, arXiv 1808.06226), as T5's is.

    Raises:
        UserError: if the file is damaged or of another kind.
    """
    from sentencepiece import sentencepiece_model_pb2 as protocol

    try:
        # Its classes are made when it is imported.
        model = protocol.ModelProto.FromString(file.read_bytes())  # pyright: ignore[reportAttributeAccessIssue]
        pieces = [(piece.piece, piece.score) for piece in model.pieces]
        # It refuses an empty vocabulary, and an unknown piece that is not in it.
        tokenizer = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=model.trainer_spec.unk_id))
        characters = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
        end = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))])
    except Exception as error:  # of protobuf and of the tokenizers library, which raises bare Exceptions
        raise UserError(
            f"{file} cannot be read ({first_line(error)}); it is damaged or no unigram model of SentencePiece, copy it "
            "again."
        ) from error
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    # The library's attributes have setters that its type stubs do not show.
    tokenizer.normalizer = normalizers.Sequence([characters, normalizers.Strip(), spaces])  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = end  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
    return tokenizer
