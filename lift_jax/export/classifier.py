"""The whole classifier as one function of uint8 images, and what a program that runs it must know."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import traverse_util
from jaxtyping import Array, Float, UInt8

from lift_jax.export.preprocessing import to_square
from lift_jax.inference.calibration import Calibration
from lift_jax.inference.frozen_classifiers import Classified
from lift_jax.inference.model import Model
from lift_jax.models.device import suited_to


def function(model: Model) -> Callable[[UInt8[Array, "b side side 3"]], Float[Array, "b classes"]]:
    """Makes a function from images to logits, with the parameters inside as constants.

    The logits are those of the calibrated answers where the model has a calibration, else those of the run.
    """
    classifiers, adjusted = _answers(model)
    networks = [suited_to(None, each.classifier) for each in classifiers]
    params = _shared([jax.device_get(each.params) for each in classifiers])
    image_input = model.network.input

    def logits(images: UInt8[Array, "b side side 3"]) -> Float[Array, "b classes"]:
        pixels = image_input.normalize(images)
        values: list[Any] = [each.apply({"params": own}, pixels) for each, own in zip(networks, params, strict=True)]
        return adjusted(*(each.astype(jnp.float32) for each in values))

    return logits


def in_float32(model: Model) -> Model:
    """Gives a model whose activations are float32, by the trained weights that it has, whatever `config.dtype` is."""
    if model.config.dtype == "float32":
        return model
    config = ml_collections.ConfigDict(model.config)
    config.dtype = "float32"
    network, dtype = model.network, jnp.dtype(jnp.float32)
    tower: Any = network.classifier.backbone
    whole = dataclasses.replace(
        network,
        classifier=network.classifier.clone(backbone=tower.clone(dtype=dtype)),
        input=dataclasses.replace(network.input, dtype=dtype),
    )
    params = jax.tree.map(lambda x: x.astype(dtype) if x.dtype == jnp.bfloat16 else x, model.params)
    return dataclasses.replace(model, config=ml_collections.FrozenConfigDict(config), network=whole, params=params)


def _answers(model: Model) -> tuple[list[Classified], Callable[..., Array]]:
    """Gives the classifiers of a model, and what is made of their logits."""
    if model.calibration is None:
        return [model.classified], lambda logits: logits
    return model.calibrated_logits(model.calibration, model.log_prior_shift("uniform"))


def _shared(trees: Sequence[Any]) -> list[Any]:
    """Makes equal arrays of several trees one, so that a file has the frozen weights of a backbone once."""
    flat: list[dict[str, Any]] = []
    for tree in trees:
        flat.append(dict(traverse_util.flatten_dict(tree, sep="/")))  # pyright: ignore[reportArgumentType]
    first, *others = flat
    for tree in others:
        for name in tree.keys() & first.keys():
            if tree[name].dtype == first[name].dtype and np.array_equal(tree[name], first[name]):
                tree[name] = first[name]
    return [traverse_util.unflatten_dict(tree, sep="/") for tree in flat]


def of_photographs(model: Model) -> Callable[[UInt8[Array, "b height width 3"]], Float[Array, "b classes"]]:
    """Makes a function from photographs of one size, whatever it is, to logits.

    It is `function` of the squares that the evaluation would cut out of them.
    """
    logits = function(model)
    side, interpolation = model.network.input.resolution, model.config.interpolation
    return lambda images: logits(to_square(images, side, interpolation))


def description(model: Model, photographs: bool) -> Mapping[str, Any]:
    """Gives the content of model.json: what goes in, what comes out.

    Args:
        model: the run's classifier.
        photographs: whether the exported function is `of_photographs`.
    """
    side = model.network.input.resolution
    shape = ["batch", "height", "width", 3] if photographs else ["batch", side, side, 3]
    return {
        "input": {"name": "images", "type": "uint8", "shape": shape, "channels": "RGB"},
        "preprocessing": {
            "exif_rotate": model.config.data.exif_rotate,
            "resize_short_side": side + side // 7,
            "interpolation": model.config.interpolation,
            "antialiased": "as Pillow's",
            "center_crop": side,
            "resizing_and_cropping": "inside the model" if photographs else "before the model",
            "normalisation": "inside the model",
        },
        "output": {"name": "logits", "type": "float32", "shape": ["batch", len(model.class_names)]},
        **(_uncalibrated(model) if model.calibration is None else _calibrated(model.calibration)),
        "class_names": list(model.class_names),
    }


def _uncalibrated(model: Model) -> Mapping[str, Any]:
    """Says how the logits of the run become probabilities under a prior."""
    prior = model.logit_prior
    return {
        "calibration": None,
        "probabilities": "softmax(logits + log_prior_factor[prior] * log_prior), for the prior uniform or training",
        "prior_of_logits": prior.known,
        "log_prior_factor": {"uniform": prior.shift("uniform"), "training": prior.shift("training")},
        "log_prior": model.log_prior.tolist() if model.record is not None else None,
    }


def _calibrated(calibration: Calibration) -> Mapping[str, Any]:
    """Says what calibration is inside the function, which has its own prior; for another one, export with --raw."""
    return {
        "calibration": {"where": "inside the model", **calibration.adjustment.model_dump()},
        "probabilities": "softmax(logits)",
        "prior_of_logits": "calibrated",
    }
