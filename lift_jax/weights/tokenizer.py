"""Text to token ids, by the tokenizer.json that a checkpoint brings along."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers
from jaxtyping import Int

from lift_jax.errors import UserError

_log = logging.getLogger(__name__)


class Tokenizer:
    """A tokenizer of the `tokenizers` library with a fixed context length.

    Rows are padded with zeros after the end-of-text token, as OpenAI's tokenizer does; the text tower is causal, so
    what follows that token has no effect.
    """

    def __init__(self, file: Path, context_length: int):
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exceptions
            raise UserError(
                f"The tokenizer {file} cannot be read ({error}); take it from the model's source again."
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.context_length = context_length

    def __call__(self, texts: Sequence[str]) -> Int[np.ndarray, "n l"]:
        """Token ids with start and end tokens. A text too long is cut, keeps its end token, and is warned of."""
        tokens = np.zeros((len(texts), self.context_length), np.int32)
        for row, text, encoding in zip(tokens, texts, self._tokenizer.encode_batch(list(texts)), strict=True):
            ids = encoding.ids
            if len(ids) > self.context_length:
                _log.warning("The text %r has %d tokens and is cut to %d.", text, len(ids), self.context_length)
                ids = [*ids[: self.context_length - 1], ids[-1]]
            row[: len(ids)] = ids
        return tokens
