"""The nearest training images that the service shows beside an image."""

import dataclasses
import functools

import numpy as np
from etils import epath
from jaxtyping import Float

from lift_jax.errors import UserError
from lift_jax.inference import nearest
from lift_jax.inference.model import Model
from lift_jax.inference.predictions import Neighbour
from lift_jax.workdir.logs import Logs

ABSENT = "The training images cannot be read where this service runs, so none are shown; its log says why."
"""What the page says where there are none. It names no file: the page may be seen by others than the log."""

_PICTURES = 4096
"""Small pictures that are kept in memory, of some 8 KB each."""


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Finds the training images nearest to others, with a picture of each: a `lift_jax.inference.nearest.Search`.

    Attributes:
        images: the training images.
        count: how many are shown beside each image.
    """

    images: nearest.TrainingImages
    count: int

    def __call__(self, features: Float[np.ndarray, "n d"]) -> list[list[Neighbour]]:
        """Gives the training images nearest to each image, by the features of the images."""
        found = self.images.search(self.count)(features)
        return [[each._replace(picture=self._picture(each.index)) for each in row] for row in found]

    @functools.cached_property
    def _picture(self) -> "functools._lru_cache_wrapper[str | None]":
        return functools.lru_cache(_PICTURES)(self.images.picture)


def load(model: Model, count: int, own: epath.Path | None) -> Gallery | None:
    """Loads the training images of a run; None if they are not to be had, which the log then says.

    Args:
        model: the run's classifier.
        count: how many are shown beside each image.
        own: see `lift_jax.inference.nearest.load`.
    """
    try:
        return Gallery(nearest.load(model, own), count)
    except UserError as error:
        with Logs(None, to_stderr=True) as logs:
            logs.warning(f"No training images are shown. {error}")
        return None
