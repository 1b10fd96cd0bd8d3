"""The nearest training images that the service shows beside an image."""

import dataclasses
import functools
import os
from collections.abc import Mapping

import numpy as np
from etils import epath

from lift_jax.data import Dataset
from lift_jax.errors import UserError
from lift_jax.files import place
from lift_jax.inference import hub, nearest
from lift_jax.inference.model import Model
from lift_jax.inference.predictions import Prediction
from lift_jax.training.head_start import STORE
from lift_jax.workdir.logs import Logs

ABSENT = "The training images cannot be read where this service runs, so none are shown; its log says why."
"""What the page says where there are none. It names no file: the page may be seen by others than the log."""

_PICTURES = 4096
"""Small pictures that are kept in memory, of some 8 KB each."""


@dataclasses.dataclass(frozen=True)
class Gallery:
    """Adds the nearest training images to predictions.

    Attributes:
        images: the training images.
        count: how many are shown beside each image.
    """

    images: nearest.TrainingImages
    count: int

    def added(self, dataset: Dataset, predictions: Mapping[int, Prediction]) -> dict[int, Prediction]:
        """Gives the predictions of a data set's images, by their index, with the training images nearest to each.

        Args:
            dataset: the images.
            predictions: those of the images that can be read.
        """
        places = sorted(predictions)
        found, _ = self.images.nearest_to(dataset.subset(np.array(places, np.int64)), self.count)
        return {
            place: predictions[place]._replace(
                nearest=[each._replace(picture=self._picture(each.index)) for each in found.get(row, ())]
            )
            for row, place in enumerate(places)
        }

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


def store_of(workdir: str | os.PathLike[str]) -> epath.Path | None:
    """Gives the folder for features in a run's own folder; None for a run that is a file or on the hub."""
    if str(workdir).startswith(hub.PREFIX):
        return None
    folder = place(workdir, "The run")
    return folder / STORE if folder.is_dir() else None
