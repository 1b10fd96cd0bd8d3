"""LoRA as an adapter folder of Hugging Face's peft, for transformers' CLIP."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from flax import traverse_util

from lift_jax.errors import UserError
from lift_jax.files import filling
from lift_jax.models.partition import Tree
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import safetensors_files
from lift_jax.weights.backbone import Backbone

_TARGETS = {
    ("tuner_lora", "q"): "self_attn.q_proj",
    ("tuner_lora", "v"): "self_attn.v_proj",
    ("tuner_lora_mlp", "mlp_in"): "mlp.fc1",
    ("tuner_lora_mlp", "mlp_out"): "mlp.fc2",
}


def save(folder: str | Path, backbone: Backbone, tuner: Tree) -> None:
    """Writes adapter_config.json and adapter_model.safetensors, which peft loads on transformers' CLIP.

    Args:
        folder: is made if need be.
        backbone: of the run; the adapter names it as its base model.
        tuner: what the run has trained of the network: {"block_0": {"tuner_lora": {"q": {"lora_A", "lora_B"}, …}}, …}.

    Raises:
        UserError: if something else than LoRA was trained, or the backbone is not a CLIP with a ViT.
        OSError: if the folder cannot be written; it is then as it was.
    """
    vision = backbone.vision
    if not isinstance(vision, VisionTransformer) or vision.pool != "class" or not vision.pre_norm:
        raise UserError(
            f"The backbone {backbone.name} is no CLIP with a ViT; peft adapters are written for those alone."
        )
    arrays: dict[str, np.ndarray] = {}
    ranks: set[int] = set()
    flat: dict[tuple[str, ...], Any] = dict(traverse_util.flatten_dict(dict(tuner)))
    for path, array in flat.items():
        target = _TARGETS.get(path[1:3]) if len(path) == 4 else None
        if target is None:
            raise UserError(
                f"The run trained {'/'.join(path)}, which is not LoRA and has no place in a peft adapter; "
                "merge the run into the backbone instead."
            )
        layer = f"base_model.model.vision_model.encoder.layers.{path[0].removeprefix('block_')}.{target}"
        arrays[f"{layer}.{path[3]}.weight"] = np.ascontiguousarray(np.asarray(array, np.float32).T)
        ranks.add(array.shape[1] if path[3] == "lora_A" else array.shape[0])
    if len(ranks) != 1:
        raise UserError("The run has no LoRA, or LoRA of several ranks; a peft adapter is written of one rank.")
    config = _config(backbone, ranks.pop(), {name.split(".vision_model.")[1].rsplit(".lora_", 1)[0] for name in arrays})
    with filling(Path(folder)) as part:
        safetensors_files.write(part / "adapter_model.safetensors", arrays, {"format": "pt"})
        (part / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")


def _config(backbone: Backbone, rank: int, layers: set[str]) -> dict[str, Any]:
    name, _, revision = backbone.name.partition("@")  # of a hub id
    return dict(
        peft_type="LORA",
        task_type=None,
        base_model_name_or_path=name,
        revision=revision or None,
        r=rank,
        lora_alpha=1,  # peft multiplies by lora_alpha / r, LIFT by 1 / r
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=False,
        inference_mode=True,
        # A regular expression of whole names: the text tower has layers of the same names.
        target_modules=r".*vision_model\.(" + "|".join(sorted(name.replace(".", r"\.") for name in layers)) + ")",
    )
