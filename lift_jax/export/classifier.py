"""The whole classifier as one function of uint8 images, and what a program that runs it must know."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from lift_jax.export.preprocessing import to_square
from lift_jax.inference.calibration import Calibration
from lift_jax.inference.model import Model
from lift_jax.models.device import suited_to


def function(model: Model) -> Callable[[UInt8[Array, "b side side 3"]], Float[Array, "b classes"]]:
    """Makes a function from images to logits, with the parameters inside as constants."""
    params = jax.device_get(model.params)
    classifier, image_input = suited_to(None, model.network.classifier), model.network.input

    def logits(images: UInt8[Array, "b side side 3"]) -> Float[Array, "b classes"]:
        values: Any = classifier.apply({"params": params}, image_input.normalize(images))
        return values.astype(jnp.float32)

    return logits


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
    prior = model.logit_prior
    log_prior = model.log_prior.tolist() if model.record is not None else None
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
        "probabilities": "softmax(logits + log_prior_factor[prior] * log_prior), for the prior uniform or training",
        "prior_of_logits": prior.known,
        "log_prior_factor": {"uniform": prior.shift("uniform"), "training": prior.shift("training")},
        "log_prior": log_prior,
        "class_names": list(model.class_names),
        **({} if model.calibration is None else {"calibration_left_out": _calibration(model.calibration)}),
    }


def _calibration(calibration: Calibration) -> Mapping[str, Any]:
    """Says what the exported function does not do, and how a program that runs it does it."""
    adjustment = calibration.adjustment
    return {
        "logits": "u = logits + log_prior_factor[uniform] * log_prior + tau * log_prior + mix * zero_shot_logits",
        "probabilities": "softmax(u / temperatures[class_groups[argmax(u)]])",
        "tau": adjustment.tau,
        "mix": adjustment.mix,
        "temperatures": adjustment.temperatures,
        "class_groups": calibration.class_groups,
    }
