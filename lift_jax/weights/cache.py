"""Our own format: an orbax checkpoint, on a disk or in a bucket (gs://), that every host of a pod can read at once."""

import contextlib
import dataclasses
import json
import logging
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tokenizers
from etils import epath
from flax import traverse_util

from lift_jax.errors import UserError, first_line, is_news
from lift_jax.files import parse_json, require_room
from lift_jax.models.convnext import ConvNeXt
from lift_jax.models.resnet import ResNet
from lift_jax.models.rotary import Grid
from lift_jax.models.text import TextTransformer
from lift_jax.models.transformer import ACTIVATIONS
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import preprocessing, siglip_tokenizer
from lift_jax.weights.arrays import DEEPEST
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.layout import check_heads
from lift_jax.weights.settings import LARGEST, Settings
from lift_jax.weights.tokenizer import Tokenizer

CONFIG, PARAMS = "backbone.json", "params"

_IMAGE_TOWERS = {"VisionTransformer": VisionTransformer, "ResNet": ResNet, "ConvNeXt": ConvNeXt}
_NETWORKS = {**_IMAGE_TOWERS, "TextTransformer": TextTransformer}
_CONVOLUTIONAL = ("ResNet", "ConvNeXt")
_DTYPES = ("float32", "float16", "bfloat16")
_NOT_STORED = {"parent", "name", "dtype", "tuners", "remat"}
_SIZES = {"patch_size", "width", "num_heads", "mlp_dim", "vocab_size", "context_length", "stem_width"}
_FLAGS = {"pre_norm", "patch_bias", "causal", "layer_scale", "gated", "antialias", "unpooled_class", "linear_positions"}
_FLAGS |= {"rms", "inner_norms", "patch_norm"}


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
    # A disk that fills up while arrays are written leaves traces of tensorstore's threads.
    require_room(folder, sum(x.nbytes for x in jax.tree.leaves(params)))
    with _quiet(), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / PARAMS, params)
    if backbone.tokenizer is not None:
        (folder / "tokenizer.json").write_text(backbone.tokenizer.to_json(), encoding="utf-8")
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


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps orbax from logging the tracebacks of an error that it raises as well."""
    logger = logging.getLogger("absl")
    logger.addFilter(is_news)
    try:
        yield
    finally:
        logger.removeFilter(is_news)


def load(folder: epath.PathLike) -> Backbone:
    """Reads what `save` wrote.

    Raises:
        UserError: if the folder is damaged or incomplete, or its content is not what was written.
    """
    folder = epath.Path(folder)
    try:
        backbone = _description(Settings(parse_json((folder / CONFIG).read_bytes()), str(folder / CONFIG)))
    except UserError:
        raise
    except Exception as error:  # a description may hold anything anywhere, and a bucket may fail in any way
        raise UserError(
            f"{folder / CONFIG} is damaged or incomplete ({first_line(error)}); convert the backbone again."
        ) from error
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            params = _float32(checkpointer.restore(folder / PARAMS, backbone.params))
        tokenizer = _tokenizer(folder / "tokenizer.json", backbone.text) if backbone.text else None
    except UserError:
        raise
    except Exception as error:  # orbax, tensorstore, JSON and tokenizers have no common base
        raise UserError(
            f"The backbone {folder} is damaged or incomplete ({first_line(error)}); convert it again."
        ) from error
    if content_hash(params) != backbone.hash:
        raise UserError(f"The arrays in {folder} are not those that were written there; convert the backbone again.")
    return dataclasses.replace(backbone, params=params, tokenizer=tokenizer)


def _description(stored: Settings) -> Backbone:
    """Returns the content of backbone.json: the backbone without its tokenizer, with shapes in the place of its arrays.

    Raises:
        UserError: if a value is of another kind or out of its range, or the networks have other arrays.
    """
    vision = _network(stored.section("vision"), *_IMAGE_TOWERS)
    text = None if stored["text"] is None else _network(stored.section("text"), "TextTransformer")
    mean, std = preprocessing.of_keys(stored, "mean", "std", None, None)
    like = _map_shapes(dict(stored.section("shapes")), jnp.dtype(stored.choice("dtype", _DTYPES)))
    name, resolution, digest = str(stored["source"]), stored.whole("resolution"), str(stored["hash"])
    backbone = Backbone(name, vision, like, resolution, mean, std, text, None, digest)
    # Orbax finds what differs, too, but says it in many lines.
    expected, found = _shapes(_initialised(backbone)), _shapes(like)
    if different := sorted({path for path, _ in expected.items() ^ found.items()}):
        raise UserError(
            f"{stored.place} describes networks with other arrays than it lists ({', '.join(different[:5])} differ); "
            "convert the backbone again."
        )
    return backbone


def _initialised(backbone: Backbone) -> Any:
    """Returns the parameters that the networks of a backbone ask for, as shapes."""
    key, images = jax.random.key(0), jax.ShapeDtypeStruct((1, backbone.resolution, backbone.resolution, 3), jnp.float32)
    if backbone.text is None:
        return {"vision": jax.eval_shape(backbone.vision.init, key, images)["params"]}
    tokens = jax.ShapeDtypeStruct((1, backbone.text.context_length), jnp.int32)
    return jax.eval_shape(backbone.clip().init, key, images, tokens)["params"]


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    flat: dict[str, Any] = traverse_util.flatten_dict(dict(tree), sep="/")
    return {path: tuple(array.shape) for path, array in flat.items()}


def _tokenizer(file: epath.Path, text: TextTransformer) -> Tokenizer | None:
    if not file.exists():
        return None
    content = tokenizers.Tokenizer.from_str(file.read_text())
    return (Tokenizer if text.causal else siglip_tokenizer.make)(
        content, text.context_length, vocab_size=text.vocab_size
    )


def _describe(network: Any) -> dict[str, Any]:
    fields = {f.name: getattr(network, f.name) for f in dataclasses.fields(network) if f.name not in _NOT_STORED}
    if (grid := fields.get("rope_grid")) is not None:
        fields["rope_grid"] = dataclasses.asdict(grid)
    return {"network": type(network).__name__, **fields}


def _network(fields: Settings, *kinds: str) -> Any:
    """Returns the network of one of several kinds, from what `_describe` made of it.

    Raises:
        UserError: if a value is of another kind or out of its range.
    """
    kind = fields.choice("network", kinds)
    names = {field.name for field in dataclasses.fields(_NETWORKS[kind])}
    for key in sorted(names & _SIZES):
        fields.whole(key)
    for key in sorted(names & _FLAGS & fields.keys()):
        fields.flag(key)
    if kind not in _CONVOLUTIONAL:
        fields.choice("activation", ACTIVATIONS)
        fields.number("epsilon", 0, 0.1)
        fields.whole("depth", high=DEEPEST)
        check_heads(fields["width"], fields["num_heads"], f"num_heads in {fields.place}")
    if "num_registers" in fields:
        fields.whole("num_registers", 0)
    if fields.get("rope_theta") is not None:
        fields.number("rope_theta", 1, 1e9)
    for key in ("pool_heads", "pool_mlp_dim"):
        if fields.get(key) is not None:
            fields.whole(key)
    if fields.get("end_of_text") is not None:
        fields.whole("end_of_text", 0, fields["vocab_size"] - 1)
    values = {key: tuple(x) if isinstance(x, list) else x for key, x in fields.items()}
    if fields.get("rope_grid") is not None:
        grid = fields.section("rope_grid")
        values["rope_grid"] = Grid(grid.whole("side"), grid.number("first", 0, LARGEST))
    return _NETWORKS[kind](**{key: x for key, x in values.items() if key in names - _NOT_STORED})


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
