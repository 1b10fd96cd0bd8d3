"""Our own format: an orbax checkpoint, on a disk or in a bucket (gs://), that every host of a pod can read at once."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tokenizers
from etils import epath

from lift_jax.errors import UserError, first_line
from lift_jax.models.resnet import ResNet
from lift_jax.models.text import TextTransformer
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import siglip_tokenizer
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.tokenizer import Tokenizer

CONFIG, PARAMS = "backbone.json", "params"

_NETWORKS = {"VisionTransformer": VisionTransformer, "ResNet": ResNet, "TextTransformer": TextTransformer}
_NOT_STORED = {"parent", "name", "dtype", "tuners"}


def save(folder: epath.PathLike, backbone: Backbone, dtype: np.typing.DTypeLike = np.float32) -> None:
    """Writes a backbone as an orbax checkpoint, with its networks and its tokenizer.

    Raises:
        UserError: if the folder holds something already.
    """
    folder = epath.Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    params = jax.tree.map(lambda x: x.astype(dtype, copy=False), dict(backbone.params))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / PARAMS, params)
    if backbone.tokenizer is not None:
        (folder / "tokenizer.json").write_text(backbone.tokenizer.to_json())
    # Last, so that a folder that has it is complete.
    stored = dict(
        source=backbone.name,
        vision=_describe(backbone.vision),
        text=None if backbone.text is None else _describe(backbone.text),
        shapes=jax.tree.map(lambda x: list(x.shape), params),
        dtype=np.dtype(dtype).name,
        resolution=backbone.resolution,
        mean=backbone.mean,
        std=backbone.std,
        hash=content_hash(_float32(params)),
    )
    (folder / CONFIG).write_text(json.dumps(stored, indent=2) + "\n")


def load(folder: epath.PathLike) -> Backbone:
    """Reads what `save` wrote.

    Raises:
        UserError: if the folder is damaged or incomplete, or its content is not what was written.
    """
    folder = epath.Path(folder)
    try:
        stored = json.loads((folder / CONFIG).read_text())
        like = _map_shapes(stored["shapes"], jnp.dtype(stored["dtype"]))
        with ocp.StandardCheckpointer() as checkpointer:
            params = _float32(checkpointer.restore(folder / PARAMS, like))
        vision, text = _network(stored["vision"]), stored["text"] and _network(stored["text"])
        resolution, digest = stored["resolution"], stored["hash"]
        mean, std = tuple(stored["mean"]), tuple(stored["std"])
        name = stored["source"]
        tokenizer = _tokenizer(folder / "tokenizer.json", text) if text else None
    except Exception as error:  # orbax, tensorstore, JSON and tokenizers have no common base
        raise UserError(
            f"The backbone {folder} is damaged or incomplete ({first_line(error)}); convert it again."
        ) from error
    if content_hash(params) != digest:
        raise UserError(f"The arrays in {folder} are not those that were written there; convert the backbone again.")
    return Backbone(name, vision, params, resolution, mean, std, text, tokenizer, digest)


def _tokenizer(file: epath.Path, text: TextTransformer) -> Tokenizer | None:
    if not file.exists():
        return None
    content = tokenizers.Tokenizer.from_str(file.read_text())
    return (Tokenizer if text.causal else siglip_tokenizer.make)(content, text.context_length)


def _describe(network: Any) -> dict[str, Any]:
    fields = {f.name: getattr(network, f.name) for f in dataclasses.fields(network) if f.name not in _NOT_STORED}
    return {"network": type(network).__name__, **fields}


def _network(fields: dict[str, Any]) -> Any:
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return _NETWORKS[fields.pop("network")](**fields)


def _map_shapes(shapes: dict[str, Any], dtype: jnp.dtype) -> dict[str, Any]:
    # On the first local device: what a run does with the arrays is its own affair.
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    return {
        name: _map_shapes(part, dtype)
        if isinstance(part, dict)
        else jax.ShapeDtypeStruct(tuple(part), dtype, sharding=sharding)
        for name, part in shapes.items()
    }


def _float32(params: Any) -> Any:
    return jax.tree.map(lambda x: np.asarray(x, np.float32), params)
