"""The tokenizer of the quickstart's foundation model: byte-level BPE as CLIP's, with a small vocabulary."""

import json

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

START_OF_TEXT = "<|startoftext|>"
END_OF_TEXT = "<|endoftext|>"
_SUFFIX = "</w>"
# CLIP's own pattern: contractions, words, single digits, runs of anything else.
_PATTERN = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def make(texts: list[str], num_merges: int) -> Tokenizer:
    """Learns at most `num_merges` merges from `texts`. Any other text can be written as well, byte by byte if need be.

    Returns:
        A tokenizer of 514 + merges ids that lowers the case and puts the start and end tokens around a text. The end
        token has the largest id, which is how CLIP finds it.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    units = alphabet + [byte + _SUFFIX for byte in alphabet]
    learner = _bare(models.BPE(end_of_word_suffix=_SUFFIX))
    trainer = trainers.BpeTrainer(
        vocab_size=len(units) + num_merges,
        min_frequency=1,
        special_tokens=units,  # numbered beforehand, or the ids, and with them ties, would differ from run to run
        end_of_word_suffix=_SUFFIX,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"][:num_merges]]

    tokens = [*units, *(left + right for left, right in merges), START_OF_TEXT, END_OF_TEXT]
    model = models.BPE(
        {token: i for i, token in enumerate(tokens)}, merges, end_of_word_suffix=_SUFFIX, unk_token=END_OF_TEXT
    )
    tokenizer = _bare(model)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START_OF_TEXT} $A {END_OF_TEXT}",
        special_tokens=[(name, tokens.index(name)) for name in (START_OF_TEXT, END_OF_TEXT)],
    )
    return tokenizer


def _bare(model: models.BPE) -> Tokenizer:
    """Makes everything but the start and end tokens, which must not be there while the merges are learned."""
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.BPEDecoder(suffix=_SUFFIX)
    return tokenizer
