"""A backbone, the tuners of a method, and a head, joined to one network."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh

from lift_jax import tuners
from lift_jax.classifier import frozen, text_side
from lift_jax.classifier.initialise import complete
from lift_jax.classifier.text_features import zero_shot_head
from lift_jax.cluster import placement
from lift_jax.data import prompts
from lift_jax.errors import UserError
from lift_jax.models import partition
from lift_jax.models.device import suited_to
from lift_jax.models.heads import HEADS, Classifier, GaussianHead, Head
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import Parts, Tree
from lift_jax.models.towers import Convolutional
from lift_jax.weights import Backbone

_tuning: Any = functools.lru_cache(maxsize=8)(tuners.build)
"""Runs of one method get the same makers of modules, by which JAX knows that it has traced their programs before."""


@dataclasses.dataclass(frozen=True)
class Network:
    """A network and its parameters.

    Attributes:
        method: what is tuned.
        classifier: the image tower with tuners, and the head: normalised images to logits.
        input: what the device does with images before the classifier sees them.
        tuning: what the method does to the backbone.
        parts: the parameters; the frozen towers in `input.dtype`, but for kernels that are in another
            `config.frozen_dtype` (see `lift_jax.classifier.frozen`), everything else in float32.
        class_names: the names of the classes in label order.
        strength: `config.tuner_strength`.
        start: the part `tuner` of the parameters before the training, which another strength than 1 needs.
    """

    method: tuners.Method
    classifier: Classifier
    input: ImageInput
    tuning: tuners.Tuning
    parts: Parts
    class_names: tuple[str, ...]
    strength: float = 1.0
    start: Tree = dataclasses.field(default_factory=dict)

    @property
    def params(self) -> dict[str, Any]:
        """Merges all parameters to one tree."""
        return partition.merge(*self.parts)

    def placed(self, mesh: Mesh, fsdp: bool = False) -> "Network":
        """Puts the parameters on the devices of a mesh: whole on each, or with `fsdp` the frozen ones in pieces.

        The network's attention becomes what suits these devices.
        """
        place = placement.shard if fsdp else placement.replicate
        trainable = placement.replicate((self.parts.tuner, self.parts.head), mesh)
        classifier = suited_to(mesh.local_devices[0], self.classifier)
        return dataclasses.replace(self, classifier=classifier, parts=Parts(place(self.parts.frozen, mesh), *trainable))

    def with_trained(self, trainable: dict[str, Any]) -> "Network":
        """Puts trained parameters in the place of the network's own."""
        parts = Parts(self.parts.frozen, trainable[partition.TUNER], trainable[partition.HEAD])
        return dataclasses.replace(self, parts=parts)

    def with_results(self, trainable: dict[str, Any]) -> "Network":
        """Puts what a training ended with in the place of the network's own parameters, for use: at its strength."""
        tuner = trainable[partition.TUNER]
        tuner = tuners.scaled(self.method, self.tuning, tuner, self.start, self.strength)
        return self.with_trained({**trainable, partition.TUNER: tuner})


def build(
    config: ml_collections.FrozenConfigDict, method: tuners.Method, backbone: Backbone, class_names: Sequence[str]
) -> Network:
    """Builds the network of a method on a loaded backbone.

    Tuners and head start from `config.seed`; the head of a zero-shot classifier is made of the class names.

    Args:
        config: the resolved config.
        method: what `config.method` was resolved to.
        backbone: the foundation model.
        class_names: the names of the classes in label order.

    Returns:
        The network, its parameters as NumPy arrays.

    Raises:
        UserError: if method, tuners or head do not fit the backbone.
    """
    dtype = jnp.dtype(config.dtype)
    tuning: tuners.Tuning = _tuning(method, backbone.vision, len(class_names), backbone.text)
    head, given = _head(config, method, backbone, tuning, class_names)
    vision = backbone.vision.clone(dtype=dtype, tuners=tuning.tuners)
    if config.remat != "none":
        if isinstance(vision, Convolutional):
            raise UserError(
                f"config.remat is {config.remat!r}, which is for transformers; with a ResNet or ConvNeXt leave it out."
            )
        vision = vision.clone(remat=config.remat)
    classifier = Classifier(vision, head)
    shape = (backbone.resolution, backbone.resolution, 3)
    params = complete(classifier, backbone.params["vision"], shape, jax.random.key(config.seed), given)
    parts = partition.split(params, tuning.trains)
    parts = Parts(
        frozen=frozen.stored(parts, dtype, config.frozen_dtype),
        tuner=jax.tree.map(lambda x: np.asarray(x, np.float32), parts.tuner),
        head=jax.tree.map(lambda x: np.asarray(x, np.float32), parts.head),
    )
    image_input = ImageInput(backbone.resolution, backbone.mean, backbone.std, dtype, config.matmul_precision)
    start = {} if config.tuner_strength == 1 else parts.tuner
    return Network(
        method, classifier, image_input, tuning, parts, tuple(class_names), strength=config.tuner_strength, start=start
    )


def cast(tree: Any, dtype: jnp.dtype) -> Any:
    """Casts the weights of a tower to the dtype of the activations."""
    return jax.tree.map(lambda x: np.asarray(x).astype(dtype), dict(tree))


def _head(
    config: ml_collections.FrozenConfigDict,
    method: tuners.Method,
    backbone: Backbone,
    tuning: tuners.Tuning,
    class_names: Sequence[str],
) -> tuple[Head, dict[str, Any]]:
    """Makes the head, and those of its parameters that the backbone gives."""
    if tuning.text is not None:
        return text_side.make(config, backbone, tuning.text, class_names)
    if method.closed_form:
        return GaussianHead(len(class_names)), {}
    if not method.zero_shot:
        return HEADS[config.head](len(class_names), config.head_scale), {}
    if backbone.text is None:
        raise UserError(
            f"config.method is {method.name}, but the backbone {backbone.name} has no text tower; "
            "take a CLIP, or another method with config.head_init=class_mean."
        )
    head, arrays = zero_shot_head(backbone, prompts.build(class_names, config.prompt))
    return head, {partition.HEAD: arrays}
