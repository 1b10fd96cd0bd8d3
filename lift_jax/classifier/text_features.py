"""Class names as features of the text tower: the start of LIFT's head, and the whole of a zero-shot classifier."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int
from tqdm import tqdm

from lift_jax.errors import UserError
from lift_jax.models.clip import CLIP
from lift_jax.models.heads import ZeroShotHead
from lift_jax.models.unit_rows import unit_rows
from lift_jax.weights.backbone import Backbone

Prompts = Sequence[Sequence[str]]
"""For each class one or several prompts."""

_TOKENS_MULTIPLE = 8


def text_kernel(backbone: Backbone, prompts: Prompts, batch: int = 256) -> Float[np.ndarray, "d c"]:
    """Gives the start of LIFT's head: text features carried back through the visual projection P (section 4.2).

    It is normalise(normalise(text) P^T), so that the head works on the features before P, where the tuners act. Where
    the image features are in the shared space already (CLIP's ResNets, SigLIP), it is the text features themselves. The
    bias that a few projections have (EVA02-CLIP) is the same for all images, and is left out.

    Args:
        backbone: with a text tower; its image features have d dimensions.
        prompts: the prompts of each class, whose features are averaged.
        batch: prompts at a time, over all local devices.

    Raises:
        UserError: if the backbone has no text tower, or a class no prompt.
    """
    text = text_features(backbone, prompts, batch)
    projection = backbone.params.get("visual_projection")
    return text.T if projection is None else unit_rows(text @ np.asarray(projection).T).T


def zero_shot_head(
    backbone: Backbone, prompts: Prompts, batch: int = 256
) -> tuple[ZeroShotHead, dict[str, Float[np.ndarray, "..."]]]:
    """Makes the head of the backbone's zero-shot classifier (Radford et al. 2021, section 3.1.2).

    Args:
        backbone: with a text tower.
        prompts: the prompts of each class, whose features are averaged.
        batch: prompts at a time, over all local devices.

    Returns:
        The head, and its parameters: `projection` [d, e] of the image features, with `projection_bias` [e] if it has
        one, and `text` [e, classes], float32.

    Raises:
        UserError: as `text_kernel` does.
    """
    text = text_features(backbone, prompts, batch)
    projection = backbone.params.get("visual_projection", np.eye(text.shape[1], dtype=np.float32))
    arrays = {"projection": projection, "text": text.T}
    if (bias := backbone.params.get("visual_projection_bias")) is not None:
        arrays["projection_bias"] = bias
    scale = float(np.exp(backbone.params["logit_scale"]))
    head = ZeroShotHead(len(prompts), scale, text.shape[1], biased=bias is not None)
    return head, {name: np.asarray(array, np.float32) for name, array in arrays.items()}


def text_features(backbone: Backbone, prompts: Prompts, batch: int = 256) -> Float[np.ndarray, "c e"]:
    """Gives a unit feature for each class: the mean of the unit features of its prompts, normalised again."""
    clip = backbone.clip()
    prompts = [[group] if isinstance(group, str) else list(group) for group in prompts]
    bare = [c for c, group in enumerate(prompts) if not group]
    if bare:
        raise UserError(f"Class {bare[0]} has no prompt (as {len(bare)} of {len(prompts)} classes); give each a name.")
    classes = np.repeat(np.arange(len(prompts)), [len(group) for group in prompts])
    sums = np.zeros((len(prompts), backbone.params["text_projection"].shape[1]), np.float64)
    texts = [prompt for group in prompts for prompt in group]
    for start, features in _encode(backbone, clip, texts, batch):
        np.add.at(sums, classes[start : start + len(features)], features)
    return unit_rows(sums).astype(np.float32)


def _encode(
    backbone: Backbone, clip: CLIP, texts: Sequence[str], batch: int
) -> Iterator[tuple[int, Float[np.ndarray, "n e"]]]:
    """Yields unit features of the texts batch by batch, each with its start; all batches share one program."""
    mesh = Mesh(np.asarray(jax.local_devices()), ("data",))
    batch = -(-min(batch, len(texts)) // mesh.size) * mesh.size
    sharded, replicated = (NamedSharding(mesh, PartitionSpec(*axis)) for axis in (("data",), ()))
    tower = {name: array for name, array in backbone.params.items() if name != "vision"}
    params = jax.device_put(tower, replicated)

    starts = range(0, len(texts), batch)
    tokens = tokenize(backbone, texts)
    with tqdm(total=len(texts), desc="text features", unit=" prompts", disable=None) as bar:
        for start in starts:
            rows = tokens[start : start + batch]
            padded = np.pad(rows, ((0, batch - len(rows)), (0, 0)))
            yield start, np.asarray(_encoded(clip, params, jax.device_put(padded, sharded)))[: len(rows)]
            bar.update(len(rows))


@functools.partial(jax.jit, static_argnames="clip")
def _encoded(clip: CLIP, params: Any, tokens: Int[Array, "n l"]) -> Any:
    # TPUs and GPUs would round float32 operands, and this runs once.
    with jax.default_matmul_precision("highest"):
        return clip.apply({"params": params}, tokens, method=CLIP.encode_text)


def tokenize(backbone: Backbone, texts: Sequence[str]) -> Int[np.ndarray, "n l"]:
    """Gives token ids without the padding that has no effect; their length is a multiple of 8, or the whole context.

    Raises:
        UserError: if the backbone came without its tokenizer, or with another model's.
    """
    tokenizer = backbone.tokenizer
    assert backbone.text is not None, "whoever asks has a text tower"
    if tokenizer is None:
        raise UserError(
            f"The backbone {backbone.name} has no tokenizer.json, which class names need; put the one of its source "
            "beside the weights, or start the head from images, with config.head_init=class_mean."
        )
    tokens = tokenizer(texts)
    if tokens.max(initial=0) >= backbone.text.vocab_size:
        raise UserError(
            f"The tokenizer.json of the backbone {backbone.name} gives the id {tokens.max()}, but its text tower knows "
            f"{backbone.text.vocab_size}; take the one of the same model."
        )
    if not backbone.text.causal:
        return tokens
    # What follows the end of a text has no effect and can go: class names fill a fifth of CLIP's 77 tokens.
    return tokens[:, : -(-_used(tokens, tokenizer.padding) // _TOKENS_MULTIPLE) * _TOKENS_MULTIPLE]


def _used(tokens: Int[np.ndarray, "n l"], padding: int) -> int:
    """Gives the length of the longest row, and one more in case that the end token is the padding."""
    return int(np.flatnonzero((tokens != padding).any(axis=0))[-1]) + 2
