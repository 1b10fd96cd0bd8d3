"""The backbone of a network as it was loaded, or as it was trained, and what the features that it gives depend on."""

import dataclasses
from typing import Any

import jax
import ml_collections

from lift_jax.classifier.network import Network, cast
from lift_jax.cluster import placement
from lift_jax.models.device import suited_to
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import BACKBONE
from lift_jax.models.untuned import Untuned
from lift_jax.weights import Backbone
from lift_jax.weights.backbone import content_hash

_NO_FEATURE = {"parent", "name", "dtype", "remat", "attention", "tuners"}
"""Attributes of a tower on which its features do not depend but for rounding, or that are described elsewhere."""


def of_start(config: ml_collections.FrozenConfigDict, network: Network, backbone: Backbone) -> Untuned:
    """Gives the untuned backbone of a network before its first step, whose parameters are on the mesh already."""
    classifier = suited_to(jax.local_devices()[0], _classifier(network, backbone))
    settings = _settings(backbone.vision, backbone.hash, network.input, config.frozen_dtype)
    return Untuned(classifier, network.params, network.input, settings)


def of_trained(network: Network, backbone: Backbone) -> Untuned:
    """Gives the untuned backbone of a trained network; its weights are whole, whatever `config.frozen_dtype` is."""
    own = cast(backbone.params["vision"], network.input.dtype)
    params = placement.replicate({BACKBONE: own}, placement.make_mesh())
    settings = _settings(backbone.vision, backbone.hash, network.input, "auto")
    return Untuned(_classifier(network, backbone), params, network.input, settings)


def of_frozen(config: ml_collections.FrozenConfigDict, network: Network, backbone_hash: str) -> Untuned | None:
    """Gives the backbone of a network that trains nothing of its image tower; None of one that does."""
    if BACKBONE in network.parts.tuner:
        return None
    settings = _settings(network.classifier.backbone, backbone_hash, network.input, config.frozen_dtype)
    return Untuned(network.classifier, network.params, network.input, settings)


def of_tuned(
    config: ml_collections.FrozenConfigDict, network: Network, params: dict[str, Any], backbone_hash: str
) -> Untuned:
    """Gives the backbone of a trained network with its tuners.

    Args:
        config: the resolved config.
        network: the trained network.
        params: those that the classifier is used with, placed on the mesh.
        backbone_hash: of the weights that the backbone had before the training.
    """
    settings = _settings(network.classifier.backbone, backbone_hash, network.input, config.frozen_dtype)
    if BACKBONE in network.parts.tuner:
        settings["trained"] = content_hash(jax.device_get(network.parts.tuner[BACKBONE]))
        settings["method"] = [config.method, config.tuner.to_dict()]
    return Untuned(network.classifier, params, network.input, settings)


def _classifier(network: Network, backbone: Backbone) -> Classifier:
    return Classifier(backbone.vision.clone(dtype=network.input.dtype), network.classifier.head)


def _settings(vision: Any, backbone_hash: str, image_input: ImageInput, frozen_dtype: str) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(vision)} - _NO_FEATURE
    return {
        "backbone": backbone_hash,
        "network": {name: repr(getattr(vision, name)) for name in sorted(fields)},
        "mean": list(image_input.mean),
        "std": list(image_input.std),
        "dtype": str(image_input.dtype),
        "frozen_dtype": frozen_dtype,
        "matmul_precision": image_input.precision,
    }
