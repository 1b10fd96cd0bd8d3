"""CLIP folders in the Hugging Face layout: config.json, model.safetensors, tokenizer.json, preprocessor_config.json."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from lift_jax.errors import UserError
from lift_jax.models.text import TextTransformer
from lift_jax.models.transformer import ACTIVATIONS
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights.arrays import Entry, Flat, read, same, transposed, write
from lift_jax.weights.backbone import Backbone, Params, content_hash
from lift_jax.weights.tokenizer import Tokenizer

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# What transformers' CLIPConfig leaves out of config.json where it has its default.
_VISION_DEFAULTS = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
_VISION_DEFAULTS |= dict(image_size=224, patch_size=32, hidden_act="quick_gelu", layer_norm_eps=1e-5)
_TEXT_DEFAULTS = dict(hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8)
_TEXT_DEFAULTS |= dict(max_position_embeddings=77, vocab_size=49408, hidden_act="quick_gelu", layer_norm_eps=1e-5)
_TEXT_DEFAULTS |= dict(eos_token_id=49407)


def load(folder: str | Path) -> Backbone:
    """A CLIP from a folder in the Hugging Face layout.

    Raises:
        UserError: if a file is missing or cannot be read, or the configuration is not of a CLIP that we know.
    """
    folder = Path(folder)
    config = _json(folder, "config.json")
    if config.get("model_type") != "clip":
        raise UserError(
            f"The model_type in {folder / 'config.json'} is {config.get('model_type')!r}; "
            "give a folder of a CLIP model, whose model_type is 'clip'."
        )
    vision, text = networks(config)
    table = clip_table(config)
    params = read(table, _safetensors(folder), str(folder / "model.safetensors"))
    context = {**_TEXT_DEFAULTS, **config.get("text_config", {})}["max_position_embeddings"]
    mean, std = _normalisation(folder)
    return Backbone(
        name=str(folder),
        vision=vision,
        params=params,
        resolution={**_VISION_DEFAULTS, **config.get("vision_config", {})}["image_size"],
        mean=mean,
        std=std,
        text=text,
        tokenizer=Tokenizer(_file(folder, "tokenizer.json"), context),
        hash=content_hash(params),
    )


def save(
    folder: str | Path, config: Mapping[str, Any], params: Params, dtype: np.typing.DTypeLike = np.float32
) -> None:
    """Writes config.json and model.safetensors so that `load`, and transformers' CLIPModel, read them.

    Args:
        folder: is made if need be.
        config: as in transformers' CLIPConfig.
        params: the tree of a `Backbone`.
        dtype: of the stored arrays.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: array.astype(dtype) for name, array in write(clip_table(config), params).items()}
    safetensors.numpy.save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def networks(config: Mapping[str, Any]) -> tuple[VisionTransformer, TextTransformer]:
    """The two towers that a CLIP's config.json describes."""
    v = {**_VISION_DEFAULTS, **config.get("vision_config", {})}
    t = {**_TEXT_DEFAULTS, **config.get("text_config", {})}
    for tower in v, t:
        if tower["hidden_act"] not in ACTIVATIONS:
            raise UserError(
                f"The activation {tower['hidden_act']!r} in config.json is not known; the known ones are "
                f"{', '.join(ACTIVATIONS)}."
            )
    vision = VisionTransformer(patch_size=v["patch_size"], **_common(v))
    # Configurations from before 2023 say 2 whatever the id is; transformers then takes the largest id of a row.
    end = None if t["eos_token_id"] == 2 else t["eos_token_id"]
    text = TextTransformer(t["vocab_size"], t["max_position_embeddings"], **_common(t), end_of_text=end)
    return vision, text


def _common(tower: Mapping[str, Any]) -> dict[str, Any]:
    return dict(
        width=tower["hidden_size"],
        depth=tower["num_hidden_layers"],
        num_heads=tower["num_attention_heads"],
        mlp_dim=tower["intermediate_size"],
        activation=tower["hidden_act"],
        epsilon=tower["layer_norm_eps"],
    )


def clip_table(config: Mapping[str, Any]) -> list[Entry]:
    """Every array of transformers' CLIPModel and where it goes in our tree."""
    v = {**_VISION_DEFAULTS, **config.get("vision_config", {})}
    t = {**_TEXT_DEFAULTS, **config.get("text_config", {})}
    e = config.get("projection_dim", 512)
    vw, tw, p = v["hidden_size"], t["hidden_size"], v["patch_size"]
    patches = (v["image_size"] // p) ** 2
    patch = Entry(
        "vision/patch_embedding",
        ("vision_model.embeddings.patch_embedding.weight",),
        ((vw, 3, p, p),),
        lambda x: x.transpose(2, 3, 1, 0),
        lambda x: (x.transpose(3, 2, 0, 1),),
    )
    return [
        patch,
        same("vision/class_embedding", "vision_model.embeddings.class_embedding", vw),
        same("vision/position_embedding", "vision_model.embeddings.position_embedding.weight", patches + 1, vw),
        *_norm("vision/ln_pre", "vision_model.pre_layrnorm", vw),
        *_blocks("vision", "vision_model.encoder.layers", v),
        *_norm("vision/ln_post", "vision_model.post_layernorm", vw),
        same("text/token_embedding", "text_model.embeddings.token_embedding.weight", t["vocab_size"], tw),
        same(
            "text/position_embedding",
            "text_model.embeddings.position_embedding.weight",
            t["max_position_embeddings"],
            tw,
        ),
        *_blocks("text", "text_model.encoder.layers", t),
        *_norm("text/ln_final", "text_model.final_layer_norm", tw),
        transposed("visual_projection", "visual_projection.weight", vw, e),
        transposed("text_projection", "text_projection.weight", tw, e),
        same("logit_scale", "logit_scale"),
    ]


def _norm(path: str, name: str, width: int) -> list[Entry]:
    return [same(f"{path}/scale", f"{name}.weight", width), same(f"{path}/bias", f"{name}.bias", width)]


def _linear(path: str, name: str, inputs: int, outputs: int) -> list[Entry]:
    return [
        transposed(f"{path}/kernel", f"{name}.weight", inputs, outputs),
        same(f"{path}/bias", f"{name}.bias", outputs),
    ]


def _blocks(tower: str, layers: str, config: Mapping[str, Any]) -> list[Entry]:
    width, mlp = config["hidden_size"], config["intermediate_size"]
    entries = []
    for i in range(config["num_hidden_layers"]):
        ours, theirs = f"{tower}/block_{i}", f"{layers}.{i}"
        qkv = [f"{theirs}.self_attn.{x}_proj" for x in "qkv"]
        entries += [
            Entry(
                f"{ours}/attn_in/kernel",
                tuple(f"{name}.weight" for name in qkv),
                ((width, width),) * 3,
                lambda q, k, v: np.concatenate([q.T, k.T, v.T], axis=1),
                lambda x: [part.T for part in np.split(x, 3, axis=1)],
            ),
            Entry(
                f"{ours}/attn_in/bias",
                tuple(f"{name}.bias" for name in qkv),
                ((width,),) * 3,
                lambda q, k, v: np.concatenate([q, k, v]),
                lambda x: np.split(x, 3),
            ),
            *_linear(f"{ours}/attn_out", f"{theirs}.self_attn.out_proj", width, width),
            *_norm(f"{ours}/ln_1", f"{theirs}.layer_norm1", width),
            *_norm(f"{ours}/ln_2", f"{theirs}.layer_norm2", width),
            *_linear(f"{ours}/mlp_in", f"{theirs}.mlp.fc1", width, mlp),
            *_linear(f"{ours}/mlp_out", f"{theirs}.mlp.fc2", mlp, width),
        ]
    return entries


def _file(folder: Path, name: str) -> Path:
    file = folder / name
    if not file.is_file():
        what = "is not a folder" if not folder.is_dir() else f"has no {name}"
        raise UserError(
            f"The backbone {folder} {what}; config.backbone names a folder with config.json, model.safetensors and "
            "tokenizer.json, as transformers' save_pretrained writes it."
        )
    return file


def _json(folder: Path, name: str) -> dict[str, Any]:
    file = _file(folder, name)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not valid JSON ({error}); take it from the model's source again.") from error


def _safetensors(folder: Path) -> Flat:
    """All arrays but the position ids, which old versions of transformers stored although they are constants."""
    file = _file(folder, "model.safetensors")
    try:
        with safetensors.safe_open(file, framework="np") as archive:
            names = [name for name in archive.keys() if not name.endswith(".position_ids")]  # noqa: SIM118
            return {name: archive.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, OSError) as error:
        raise UserError(f"{file} cannot be read ({error}); it is damaged or incomplete, copy it again.") from error


def _normalisation(folder: Path) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    if not (folder / "preprocessor_config.json").is_file():
        return CLIP_MEAN, CLIP_STD
    settings = _json(folder, "preprocessor_config.json")
    return tuple(settings.get("image_mean", CLIP_MEAN)), tuple(settings.get("image_std", CLIP_STD))
