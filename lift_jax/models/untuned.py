"""A backbone without tuners."""

from typing import Any, NamedTuple

from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput


class Untuned(NamedTuple):
    """A backbone without tuners, whose features of an image are the same for all runs.

    Attributes:
        classifier: its backbone gives the features.
        params: of the classifier, placed on the mesh.
        input: what the device does with the images first.
        settings: what the features depend on besides the images and how they are cut, as JSON can hold it.
    """

    classifier: Classifier
    params: dict[str, Any]
    input: ImageInput
    settings: dict[str, Any]
