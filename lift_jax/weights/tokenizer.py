"""Text to token ids, by the tokenizer.json that a checkpoint brings along."""

import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from jaxtyping import Int

from lift_jax.errors import UserError, first_line

_log = logging.getLogger(__name__)


class Tokenizer:
    """A tokenizer of the `tokenizers` library with a fixed context length.

    Rows are padded after the end-of-text token. CLIP's are padded with zeros, as OpenAI's tokenizer does; the text
    tower is causal, so what follows that token has no effect.

    Attributes:
        context_length: the length of a row.
        padding: the id of the padding.

    Args:
        file: a tokenizer.json, or what it holds.
        context_length: the length of a row.
        padding: the id of the padding.
        end: the id that ends every text, and the only one that is added; None if the file says which are added.
        prepare: a function that is applied to every text first.
        vocab_size: the number of ids that the text tower knows; None if they are not checked.

    Raises:
        UserError: if the file cannot be read.
    """

    def __init__(
        self,
        file: Path | tokenizers.Tokenizer,
        context_length: int,
        padding: int = 0,
        end: int | None = None,
        prepare: Callable[[str], str] = str,
        vocab_size: int | None = None,
    ):
        self._tokenizer = read(file)
        self._vocab_size = vocab_size
        self._end, self._prepare = end, prepare
        self.context_length, self.padding = context_length, padding

    def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "n l"]:
        """Returns token ids with start and end tokens. A text too long is cut, keeps its end token, and is warned of.

        Raises:
            UserError: if a text has a character that no text has: NUL, or half of a surrogate pair.
        """
        for text in texts:
            _check(text)
        tokens = np.full((len(texts), self.context_length), self.padding, np.int32)
        prepared = [self._prepare(text) for text in texts]
        encodings = self._tokenizer.encode_batch(prepared, add_special_tokens=self._end is None)
        for row, text, encoding in zip(tokens, texts, encodings, strict=True):
            ids = encoding.ids if self._end is None else [*encoding.ids, self._end]
            if len(ids) > self.context_length:
                _log.warning("The text %r has %d tokens and is cut to %d.", text, len(ids), self.context_length)
                ids = [*ids[: self.context_length - 1], ids[-1]]
            if self._vocab_size is not None and max(ids, default=0) >= self._vocab_size:
                raise UserError(
                    f"The tokenizer.json gives {text!r} the token {max(ids)}, but the text tower knows those below "
                    f"{self._vocab_size}; take tokenizer.json from the model's source again."
                )
            row[: len(ids)] = ids
        return tokens

    def to_json(self) -> str:
        """Returns the content of a tokenizer.json."""
        return self._tokenizer.to_str(pretty=True)


def _check(text: str) -> None:
    if wrong := re.search("[\0\ud800-\udfff]", text):
        shown = repr(text if len(text) <= 200 else text[max(0, wrong.start() - 50) : wrong.start() + 50])
        raise UserError(
            f"The text {shown} has {wrong[0]!r} in it, which is no character; correct the class name or the prompt."
        )


def read(file: Path | tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Reads the tokenizer, which from now on neither pads nor cuts.

    Args:
        file: a tokenizer.json, or what it holds.

    Raises:
        UserError: if the file cannot be read.
    """
    if isinstance(file, Path):
        try:
            file = tokenizers.Tokenizer.from_str(file.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exceptions
            raise UserError(
                f"The tokenizer {file} cannot be read ({first_line(error)}); take it from the model's source again."
            ) from error
    file.no_padding()
    file.no_truncation()
    return file
