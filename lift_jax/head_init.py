"""Starts of the classification head: text features, class means, k-shot means, a linear probe.

All give the kernel of a head, (features, classes) with unit columns; the random start is the head's own initialiser
(`lift_jax.models.heads`). Section 4.2 and figure 8 of LIFT (Shi et al. 2024) compare them.
"""

import warnings
from collections.abc import Iterator, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int
from tqdm import tqdm

from lift_jax.errors import UserError
from lift_jax.models.clip import CLIP
from lift_jax.weights.backbone import Backbone

Prompts = Sequence[Sequence[str]]
"""For each class one or several prompts."""

_TOKENS_MULTIPLE = 8


def text_kernel(backbone: Backbone, prompts: Prompts, batch: int = 256) -> Float[np.ndarray, "d c"]:
    """The start of LIFT's head: text features carried back through the visual projection P.

    normalise(normalise(text) P^T), so that the head's features are those before P, where the tuners act. Where the
    image features are in the shared space already (CLIP's ResNets, SigLIP), it is the text itself.

    Args:
        backbone: with a text tower; its image features have d dimensions.
        prompts: of each class; the features of several are averaged.
        batch: prompts at a time, over all local devices.

    Raises:
        UserError: if the backbone has no text tower, or a class no prompt.
    """
    text = text_features(backbone, prompts, batch)
    projection = backbone.params.get("visual_projection")
    return text.T if projection is None else _unit(text @ np.asarray(projection).T).T


def zero_shot_head(
    backbone: Backbone, prompts: Prompts, batch: int = 256
) -> tuple[Float[np.ndarray, "d e"], Float[np.ndarray, "e c"], float]:
    """What makes CLIP a classifier without training (Radford et al. 2021, section 3.1.2).

    Returns:
        `projection` and `text` of a `lift_jax.models.heads.ZeroShotHead`, and its scale, exp(logit_scale).

    Raises:
        UserError: as `text_kernel` does.
    """
    text = text_features(backbone, prompts, batch)
    projection = backbone.params.get("visual_projection", np.eye(text.shape[1], dtype=np.float32))
    return np.asarray(projection), text.T, float(np.exp(np.asarray(backbone.params["logit_scale"])))


def text_features(backbone: Backbone, prompts: Prompts, batch: int = 256) -> Float[np.ndarray, "c e"]:
    """Unit text features of the classes: the mean of the unit features of a class's prompts, normalised again."""
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
    return _unit(sums).astype(np.float32)


def _encode(
    backbone: Backbone, clip: CLIP, texts: Sequence[str], batch: int
) -> Iterator[tuple[int, Float[np.ndarray, "n e"]]]:
    """Unit features of the texts, batch by batch with the batch's start; one compilation whatever their number."""
    mesh = Mesh(np.asarray(jax.local_devices()), ("data",))
    batch = -(-min(batch, len(texts)) // mesh.size) * mesh.size
    sharded, replicated = (NamedSharding(mesh, PartitionSpec(*axis)) for axis in (("data",), ()))
    tower = {name: array for name, array in backbone.params.items() if name != "vision"}
    params = jax.device_put(tower, replicated)

    @jax.jit
    def encode(params, tokens):
        # TPUs and GPUs would round float32 operands, and this runs once.
        with jax.default_matmul_precision("highest"):
            return clip.apply({"params": params}, tokens, method=CLIP.encode_text)

    starts = range(0, len(texts), batch)
    tokens = tokenize(backbone, texts)
    with tqdm(total=len(texts), desc="text features", unit=" prompts", disable=None) as bar:
        for start in starts:
            rows = tokens[start : start + batch]
            padded = np.pad(rows, ((0, batch - len(rows)), (0, 0)))
            yield start, np.asarray(encode(params, jax.device_put(padded, sharded)))[: len(rows)]
            bar.update(len(rows))


def tokenize(backbone: Backbone, texts: Sequence[str]) -> Int[np.ndarray, "n l"]:
    """Token ids, without the padding that has no effect; a multiple of 8 long, or the whole context.

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
    """Length of the longest row, and one more in case that the end token is the padding."""
    return int(np.flatnonzero((tokens != padding).any(axis=0))[-1]) + 2


def few_shot(labels: Int[np.ndarray, " n"], num_classes: int, shots: int, seed: int = 0) -> Int[np.ndarray, " m"]:
    """Ascending indices of up to `shots` random examples of each class; a function of the seed and the labels alone."""
    generator = np.random.default_rng(seed)
    groups = (np.flatnonzero(labels == c) for c in range(num_classes))
    return np.sort(np.concatenate([generator.permutation(group)[:shots] for group in groups]))


def class_mean_kernel(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    num_classes: int,
) -> Float[np.ndarray, "d c"]:
    """The mean feature of each class, normalised.

    Args:
        features: of the frozen backbone on plain crops.
        labels: 0 to num_classes - 1.
        num_classes: c.

    Raises:
        UserError: if a class has no image.
    """
    _check_every_class(labels, num_classes)
    sums = np.zeros((num_classes, features.shape[1]), np.float64)
    np.add.at(sums, labels, features)
    return _unit(sums / np.bincount(labels, minlength=num_classes)[:, None]).T.astype(np.float32)


def linear_probe_kernel(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], num_classes: int, seed: int = 0
) -> Float[np.ndarray, "d c"]:
    """The normalised weights of a logistic regression: L2, lbfgs with at most 100 iterations, balanced classes.

    Args:
        features: of the frozen backbone on plain crops.
        labels: 0 to num_classes - 1.
        num_classes: c.
        seed: of the regression.

    Raises:
        UserError: if a class has no image.
    """
    from sklearn import exceptions, linear_model  # Slow to import, and this start is the only one that needs it.

    _check_every_class(labels, num_classes)
    probe = linear_model.LogisticRegression(max_iter=100, class_weight="balanced", random_state=seed)
    with warnings.catch_warnings():  # the published probe stops there, converged or not
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        weights = probe.fit(features, labels).coef_
    if num_classes == 2:  # scikit-learn keeps the second class's weights alone
        weights = np.concatenate([-weights, weights])
    return _unit(weights).T.astype(np.float32)


def _check_every_class(labels: Int[np.ndarray, " n"], num_classes: int) -> None:
    absent = np.flatnonzero(np.bincount(labels, minlength=num_classes) == 0)
    if len(absent):
        raise UserError(
            f"Class {absent[0]} has no training image (as {len(absent)} of {num_classes} classes), so the head cannot "
            "start from image features; write config.head_init=text or config.head_init=random."
        )


def _unit(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
