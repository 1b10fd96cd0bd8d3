"""Classifiers of the backbone as it was, which a calibration mixes in: zero-shot, and Gaussians of training images."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from jaxtyping import Array, Float

from lift_jax import tuners
from lift_jax.classifier import network as networks
from lift_jax.classifier import untuned
from lift_jax.classifier.network import Network
from lift_jax.cluster import placement
from lift_jax.models.heads import Classifier, GaussianHead, TwoHeads
from lift_jax.models.partition import BACKBONE, HEAD
from lift_jax.models.untuned import Untuned
from lift_jax.weights import Backbone

GaussianArrays = Mapping[str, Float[np.ndarray, "..."]]
"""The parameters of a `lift_jax.models.heads.GaussianHead`."""


class Classified(NamedTuple):
    """A classifier with its parameters on all devices."""

    classifier: Classifier
    params: dict[str, Any]


class FrozenClassifiers(NamedTuple):
    """The backbone as it was, and its zero-shot classifier.

    Attributes:
        backbone: the backbone, with what its features depend on.
        zero_shot: None if the backbone has no text, or the run is a zero-shot classifier itself.
    """

    backbone: Untuned
    zero_shot: Classified | None

    def text(self) -> Float[np.ndarray, "classes e"] | None:
        """Gives the text features of the classes; None without a zero-shot classifier."""
        return None if self.zero_shot is None else np.asarray(self.zero_shot.params[HEAD]["text"]).T

    def classified(self, gaussians: GaussianArrays | None, zero_shot: bool = True) -> Classified | None:
        """Joins classifiers to one, through whose backbone images go once.

        Args:
            gaussians: the parameters of the Gaussians, None to do without.
            zero_shot: whether the zero-shot classifier is one of them, where there is one.

        Returns:
            The classifier, whose logits are those of zero-shot, and then those of the Gaussians; None for neither.
        """
        own = self.zero_shot if zero_shot else None
        if gaussians is None:
            return own
        arrays = placement.replicate(dict(gaussians), placement.make_mesh())
        head = GaussianHead(gaussians["bias"].shape[0])
        if own is None:
            params = {BACKBONE: self.backbone.params[BACKBONE], HEAD: arrays}
            return Classified(self.backbone.classifier.clone(head=head), params)
        both = TwoHeads(head.num_classes, first=own.classifier.head, second=head)
        params = {**own.params, HEAD: {"first": own.params[HEAD], "second": arrays}}
        return Classified(own.classifier.clone(head=both), params)


def make(config: ml_collections.FrozenConfigDict, network: Network, backbone: Backbone) -> FrozenClassifiers:
    """Makes the classifiers of the backbone of a run.

    Args:
        config: the resolved config of the run.
        network: with the trained parameters.
        backbone: the foundation model.
    """
    if backbone.text is None or backbone.tokenizer is None or network.method.zero_shot:
        return FrozenClassifiers(untuned.of_trained(network, backbone), None)
    method = tuners.resolve("zero_shot", tuners.tuner_defaults())
    built = networks.build(config, method, backbone, network.class_names).placed(placement.make_mesh())
    frozen = untuned.of_frozen(config, built, backbone.hash)
    assert frozen is not None  # it tunes nothing
    return FrozenClassifiers(frozen, Classified(built.classifier, built.params))


def split(logits: Array, num_classes: int) -> list[Array]:
    """Takes the logits of a joined classifier apart."""
    return [logits[:, start : start + num_classes] for start in range(0, logits.shape[-1], num_classes)]
