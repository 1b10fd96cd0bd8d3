"""Pre-trains the quickstart's foundation model, a small CLIP, on rendered glyphs with captions.

    python -m lift_jax.quickstart.pretrain --output DIR

It writes a folder in the Hugging Face layout and ends with a check on fonts that it has not seen.
"""

import argparse
import dataclasses
import functools
import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import tokenizers
from jaxtyping import Array, Float, Int, PRNGKeyArray
from tqdm import tqdm

from lift_jax.models.clip import CLIP
from lift_jax.quickstart import glyphs
from lift_jax.quickstart.captions import CaptionedBatch, CaptionedGlyphs, every_word
from lift_jax.quickstart.render import IMAGE_SIZE, render
from lift_jax.quickstart.tokenizer import END_OF_TEXT, START_OF_TEXT, make
from lift_jax.weights import huggingface
from lift_jax.weights.backbone import Params

MEAN = STD = 0.5
NUM_MERGES = 640  # enough for every word of the captions
CONTEXT_LENGTH = 32
LARGEST_SCALE = 100.0  # of the logits, as in CLIP


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings of the training; the defaults made the model that comes with the package.

    Attributes:
        steps, batch_size: how many steps, and how many pairs of image and caption in each.
        lr: the peak of the cosine schedule for the matrices of the blocks, which Muon trains.
        adam_lr: the same for everything else, which AdamW trains.
        warmup: steps to the peak.
        weight_decay: on everything but biases, norms and the temperature.
        ramp: share of the steps over which glyphs and captions go from plain to their full variety.
        seed: decides everything.
    """

    steps: int = 3000
    batch_size: int = 128
    lr: float = 0.02
    adam_lr: float = 3e-3
    warmup: int = 50
    weight_decay: float = 0.02
    ramp: float = 0.4
    seed: int = 0


def model_config(tokenizer: tokenizers.Tokenizer) -> dict[str, Any]:
    """Gives the model's config.json as transformers' CLIPConfig has it."""
    start, end = tokenizer.token_to_id(START_OF_TEXT), tokenizer.token_to_id(END_OF_TEXT)
    common = dict(hidden_act="quick_gelu", layer_norm_eps=1e-5, attention_dropout=0.0, projection_dim=64)
    text = dict(
        model_type="clip_text_model",
        vocab_size=tokenizer.get_vocab_size(),
        max_position_embeddings=CONTEXT_LENGTH,
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=end,
    )
    vision = dict(
        model_type="clip_vision_model",
        image_size=IMAGE_SIZE,
        patch_size=8,
        num_channels=3,
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=3,
    )
    return dict(
        architectures=["CLIPModel"],
        model_type="clip",
        projection_dim=64,
        logit_scale_init_value=2.6592,
        text_config=common | text,
        vision_config=common | vision,
    )


def contrastive_loss(logits: Float[Array, "n n"]) -> Float[Array, ""]:
    """Computes the mean over image-to-text and text-to-image cross-entropies (Radford et al. 2021, figure 3)."""
    return -(jnp.diag(jax.nn.log_softmax(logits, 0)) + jnp.diag(jax.nn.log_softmax(logits, 1))).mean() / 2


def tokenize(tokenizer: tokenizers.Tokenizer, captions: list[str]) -> Int[np.ndarray, "n length"]:
    """Gives token ids, padded with zeros to a multiple of eight: short captions are cheap, and few shapes compiled.

    Raises:
        ValueError: a caption does not fit into the context.
    """
    rows = [encoding.ids for encoding in tokenizer.encode_batch(captions)]
    longest = max(map(len, rows))
    if longest > CONTEXT_LENGTH:
        raise ValueError(f"A caption has {longest} tokens, and the context {CONTEXT_LENGTH}.")
    tokens = np.zeros((len(rows), -(-longest // 8) * 8), np.int32)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    return tokens


def images_of(
    key: PRNGKeyArray, source: CaptionedGlyphs, batch: CaptionedBatch, strength: float = 1.0
) -> Float[Array, "n size size 3"]:
    """Renders the batch's images, normalised; `strength` is that of `render`."""
    rows = batch.rows
    return (render(key, source.atlas.fields[rows], source.atlas.boxes[rows], batch.look, strength) - MEAN) / STD


def make_optimizer(settings: Settings) -> optax.GradientTransformation:
    """Makes Muon (Jordan et al. 2024) for the blocks' matrices, and AdamW for the rest.

    In this short a training Muon gets as far as AdamW does in two to three times the steps.
    """

    def schedule(peak: float) -> optax.Schedule:
        return optax.warmup_cosine_decay_schedule(0.0, peak, min(settings.warmup, settings.steps // 4), settings.steps)

    def labels(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: "muon" if path[-1].key == "kernel" else "adam", params)

    def decayed(params: Any) -> Any:
        return jax.tree.map(lambda x: x.ndim > 1, params)

    decay = settings.weight_decay
    optimizers: dict[Hashable, optax.GradientTransformation] = {
        "muon": optax.contrib.muon(schedule(settings.lr), weight_decay=decay),
        "adam": optax.adamw(schedule(settings.adam_lr), b2=0.98, weight_decay=decay, mask=decayed),
    }
    return optax.chain(optax.clip_by_global_norm(1.0), optax.multi_transform(optimizers, labels))


def train(
    model: CLIP, tokenizer: tokenizers.Tokenizer, source: CaptionedGlyphs, settings: Settings, progress: bool = True
) -> tuple[Params, list[float]]:
    """Trains from scratch. Equal settings give equal parameters.

    Returns:
        The parameters and the loss of every step.
    """
    key, seed = jax.random.split(jax.random.key(settings.seed))
    image = jnp.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3))
    params = model.init(seed, image, jnp.zeros((1, CONTEXT_LENGTH), jnp.int32))["params"]
    optimizer = make_optimizer(settings)
    state = optimizer.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params: Any, state: Any, images: Array, tokens: Array) -> tuple[Any, Any, Array]:
        def loss_of(params: Any) -> Array:
            return contrastive_loss(model.apply({"params": params}, images, tokens).logits)  # pyright: ignore

        loss, gradient = jax.value_and_grad(loss_of)(params)
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        return params | {"logit_scale": jnp.minimum(params["logit_scale"], np.log(LARGEST_SCALE))}, state, loss

    losses = []
    bar = tqdm(range(settings.steps), desc="pre-training", unit="step", disable=not progress)
    for i in bar:
        variety = min(1.0, i / max(1.0, settings.ramp * settings.steps))
        batch = source.draw(np.random.default_rng((settings.seed, i)), settings.batch_size, variety)
        images = images_of(jax.random.fold_in(key, i), source, batch, strength=0.3 + 0.7 * variety)
        params, state, loss = step(params, state, images, tokenize(tokenizer, batch.captions))
        losses.append(loss)
        if i % 20 == 0:
            bar.set_postfix(loss=f"{float(loss):.3f}")
    return params, [float(loss) for loss in losses]


def retrieval(
    model: CLIP,
    params: Params,
    tokenizer: tokenizers.Tokenizer,
    source: CaptionedGlyphs,
    rounds: int = 8,
    seed: int = 0,
) -> dict[str, float]:
    """Measures how often, in percent, an image's own plain caption is the nearest of all characters' captions.

    Returns:
        The share among all characters (`all`, `digits`, `letters`, `symbols`: which images are counted), and
        `digits among digits`, where only the ten digits' captions compete.
    """

    @jax.jit
    def logits_of(params: Params, images: Array, tokens: Array) -> Array:
        return model.apply({"params": params}, images, tokens).logits  # pyright: ignore

    logits, characters = [], np.empty(0, np.int32)
    for i in range(rounds):
        batch = source.each(np.random.default_rng((seed, i)))
        images = images_of(jax.random.fold_in(jax.random.key(seed), i), source, batch)
        logits.append(np.asarray(logits_of(params, images, tokenize(tokenizer, batch.captions))))
        characters = source.atlas.characters[batch.rows]
    right = np.stack(logits).argmax(axis=-1) == np.arange(len(characters))
    digit = characters < len(glyphs.DIGITS)
    letter = ~digit & (characters < len(glyphs.DIGITS + glyphs.LETTERS))
    among = np.stack(logits)[:, digit][:, :, digit].argmax(axis=-1) == np.arange(digit.sum())
    shares = {
        "all": right,
        "digits": right[:, digit],
        "letters": right[:, letter],
        "symbols": right[:, ~digit & ~letter],
        "digits among digits": among,
    }
    return {name: 100 * float(share.mean()) for name, share in shares.items() if share.size}


def save(folder: Path, tokenizer: tokenizers.Tokenizer, params: Params) -> None:
    """Writes the folder that `config.backbone` names. The arrays are stored in float16, which the loaders widen."""
    huggingface.save(folder, model_config(tokenizer), params, dtype=np.float16)
    tokenizer.save(str(folder / "tokenizer.json"))
    size = IMAGE_SIZE
    preprocessing = dict(
        image_processor_type="CLIPImageProcessor",
        do_convert_rgb=True,
        do_resize=True,
        size={"shortest_edge": size},
        resample=2,
        do_center_crop=True,
        crop_size={"height": size, "width": size},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=[MEAN] * 3,
        image_std=[STD] * 3,
    )
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2) + "\n")


def make_model(tokenizer: tokenizers.Tokenizer) -> CLIP:
    """Makes the network of `model_config`."""
    config = model_config(tokenizer)
    vision, text = huggingface.networks(config)
    return CLIP(vision, text, config["projection_dim"])


def main(arguments: list[str] | None = None) -> None:
    """Runs the command; `arguments` take the place of the process's own."""
    parser = argparse.ArgumentParser(
        prog="python -m lift_jax.quickstart.pretrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write the model to")
    for field in dataclasses.fields(Settings):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    options = vars(parser.parse_args(arguments))
    output = options.pop("output")
    output.mkdir(parents=True, exist_ok=True)

    tokenizer = make(every_word(), NUM_MERGES)
    model = make_model(tokenizer)
    source = CaptionedGlyphs(glyphs.atlas(), glyphs.FACES)
    params, _ = train(model, tokenizer, source, Settings(**options))
    save(output, tokenizer, params)

    print("Plain captions found for glyphs of fonts that were held out (percent):")
    held_out = CaptionedGlyphs(glyphs.atlas(glyphs.HELD_OUT_FACES), glyphs.HELD_OUT_FACES)
    for name, share in retrieval(model, params, tokenizer, held_out).items():
        print(f"  {name:20} {share:5.1f}")


if __name__ == "__main__":
    main()
