"""Features of images, before the head."""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jaxtyping import Array, Bool, Float, Int

from lift_jax.data import Dataset, Examples, FeatureLoader, FeatureStore, TestLoader
from lift_jax.data.feature_store import named_folder
from lift_jax.evaluation.device_step import DeviceStep
from lift_jax.evaluation.evaluator import ordered_rows, view_features, view_means
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput
from lift_jax.models.partition import Tree
from lift_jax.models.untuned import Untuned
from lift_jax.workdir.logs import Logs


class Features(NamedTuple):
    """Features of those images of a data set that can be read, in its order.

    Attributes:
        rows: the features, float32.
        labels: of the images.
        index: of the images in the data set.
    """

    rows: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, " n"] | Bool[np.ndarray, "n classes"]
    index: Int[np.ndarray, " n"]


class Kept(NamedTuple):
    """Where features are kept.

    Attributes:
        folder: of the store.
        dtype: in which they are kept, "float32" or "float16".
    """

    folder: epath.Path
    dtype: str


def place_of(config: ml_collections.FrozenConfigDict, own: epath.PathLike | None = None) -> Kept | None:
    """Gives where features are kept by a run: the store that the config or the environment names, else `own`.

    Raises:
        UserError: if the store is no place where anything can be.
    """
    folder = named_folder(config) or own
    return None if folder is None else Kept(epath.Path(folder), config.features_dtype)


MakeLoader = Callable[[Dataset], TestLoader]
"""Makes the loader of this host's part of some images, with one view each."""


def extract_features(
    classifier: Classifier, params: Tree, image_input: ImageInput, loader: TestLoader, logs: Logs, desc: str
) -> Features:
    """Extracts the features of all examples, averaged over an image's views.

    Args:
        classifier: its backbone gives the features.
        params: of the classifier, placed on the mesh.
        image_input: what the device does with the images first.
        loader: this host's examples.
        logs: for the progress bar.
        desc: what the bar says.
    """
    return Extractor(classifier, image_input)(params, loader, logs, desc)


class Extractor:
    """Extracts the features of images, averaged over an image's views, by a program that is compiled once.

    Args:
        classifier: its backbone gives the features.
        image_input: what the device does with the images first.
    """

    def __init__(self, classifier: Classifier, image_input: ImageInput):
        def step(params: Tree, batch: dict[str, Array]) -> tuple[None, Array]:
            features = view_features(classifier.backbone, image_input, params, batch)
            return None, view_means(features, batch["corners"].shape[1])

        self._step = DeviceStep(step)
        self._width = functools.partial(_width, classifier, image_input=image_input)

    def __call__(self, params: Tree, loader: TestLoader, logs: Logs, desc: str) -> Features:
        """Gives the features of all examples; for the arguments see `extract_features`."""
        return _joined(self.batches(params, loader, logs, desc), self._width(params), loader.no_labels(0))

    def batches(
        self, params: Tree, loader: TestLoader, logs: Logs, desc: str
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n d"], Int[np.ndarray, " n"]]]:
        """Yields index, features and labels of this host's examples, batch by batch."""
        for batch, _, features in self._step(params, loader, logs, desc):
            real = batch["mask"]
            yield batch["index"][real], features[real], batch["label"][real]


def frozen_features(
    untuned: Untuned, dataset: Dataset, make_loader: MakeLoader, logs: Logs, desc: str, kept: Kept | None = None
) -> Features:
    """Gives the features of images by a backbone that is no longer trained; those that are kept are not computed again.

    What is computed is kept file by file, so that a computation that is interrupted goes on where it was.

    Args:
        untuned: the backbone; also one with tuners, where its settings say which.
        dataset: the images.
        make_loader: makes the loader of some of them.
        logs: for the progress bar.
        desc: what the bar says.
        kept: where features are kept; None for nowhere.

    Raises:
        UserError: if an image cannot be read and the loader does not skip it, or the store cannot be written.
    """
    if kept is None:
        return extract_features(*untuned[:3], make_loader(dataset), logs, desc)
    store = FeatureStore(kept.folder, {**untuned.settings, **make_loader(dataset).preprocessing}, kept.dtype)
    digests = store.digests(dataset)
    rows, found = store.read(digests)
    missing = np.flatnonzero(~_everywhere(found))
    if not len(missing):
        assert rows is not None or not len(dataset)
        rows = np.zeros((0, _width(*untuned[:3])), np.float32) if rows is None else rows
        return Features(rows, dataset.labels, np.arange(len(dataset), dtype=np.int32))
    width = _width(*untuned[:3])
    with store.adding(len(missing), width) as add:

        def kept_batches() -> Iterator[tuple[np.ndarray, ...]]:
            loader = make_loader(dataset.subset(missing) if found.any() else dataset)
            extractor = Extractor(untuned.classifier, untuned.input)
            for index, features, labels in extractor.batches(untuned.params, loader, logs, desc):
                whole = missing[index].astype(np.int32)
                yield whole, add([digests[i] for i in whole], features), labels

        new = _joined(kept_batches(), width, dataset.no_labels(0))
    if rows is None:
        return new
    known = np.setdiff1d(np.arange(len(dataset), dtype=np.int32), missing)
    order = np.argsort(index := np.concatenate([known, new.index]), kind="stable")
    return Features(np.concatenate([rows[known], new.rows])[order], dataset.labels[index[order]], index[order])


def examples(
    untuned: Untuned, dataset: Dataset, make_loader: MakeLoader, logs: Logs, desc: str, kept: Kept | None
) -> Examples:
    """Gives what an evaluation of a head on a backbone without tuners goes through.

    These are the images themselves where no features are kept, or there are several processes; else their features.
    For the arguments see `frozen_features`.
    """
    loader = make_loader(dataset)
    if kept is None or jax.process_count() > 1:
        return loader
    features = frozen_features(untuned, dataset, make_loader, logs, desc, kept)
    return FeatureLoader(features.rows, features.labels, features.index, loader.batch_size)


def _joined(batches: Iterator[tuple[np.ndarray, ...]], width: int, no_labels: np.ndarray) -> Features:
    # A host without a readable image still tells the others how wide the features are.
    none = np.zeros(0, np.int32), np.zeros((0, width), np.float32), no_labels
    index, features, labels = ordered_rows([none, *batches])
    return Features(features, labels, index)


def _width(classifier: Classifier, params: Tree, image_input: ImageInput) -> int:
    def plain(params: Tree, images: Array) -> Any:
        return classifier.apply({"params": params}, images, method="features")

    side = image_input.resolution
    return jax.eval_shape(plain, params, jnp.zeros((1, side, side, 3))).shape[-1]


def _everywhere(found: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Says which features all processes have found, whose disks may be different ones."""
    return found if jax.process_count() == 1 else multihost_utils.process_allgather(found).all(axis=0)
