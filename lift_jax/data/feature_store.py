"""Features of images on a disk, which are computed once for all runs that ask for them.

A store is a folder. What the features depend on besides the images (the weights, the size of the image, and so on) has
a folder of its own in it, whose name is a digest of these settings; features of other settings are not looked at. In
there, each file of safetensors has the features of some images, and the digests of the images' content. Files are
added, each whole or not at all, and none is ever changed or removed.
"""

import contextlib
import hashlib
import json
import logging
import os
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
from etils import epath
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from lift_jax.data.contents import DIGEST, digests, joined, split
from lift_jax.data.dataset import Dataset
from lift_jax.data.local_copies import VARIABLE
from lift_jax.errors import UserError, first_line
from lift_jax.files import place, replacing, require_room, write_json, writing

_SETTINGS, _FILES, _SUFFIX = "settings.json", "files.safetensors", ".safetensors"
_PART = 8 << 20
"""Bytes of features after which a file is written."""

_LOGGER = logging.getLogger(__name__)
_REMEDY = f"name another folder with config.features_dir or {VARIABLE}"


class FeatureStore:
    """The features of one set of settings in a store.

    Args:
        folder: of the store; it need not be there.
        settings: what the features depend on besides the images, as JSON can hold it.
        dtype: in which they are kept, "float32" or "float16".
    """

    def __init__(self, folder: epath.PathLike, settings: Mapping[str, Any], dtype: str = "float32"):
        self.root, self.dtype = epath.Path(folder), np.dtype(dtype)
        self._settings = {**settings, "stored": dtype}
        text = json.dumps(self._settings, sort_keys=True)
        self.folder = self.root / hashlib.sha256(text.encode()).hexdigest()[:24]

    def digests(self, dataset: Dataset) -> list[bytes | None]:
        """Gives a digest of each image (see `lift_jax.data.contents.digests`)."""
        return digests(dataset, self.root / _FILES)

    def read(self, images: Sequence[bytes | None]) -> tuple[Float[np.ndarray, "n d"] | None, Bool[np.ndarray, " n"]]:
        """Looks the features of images up.

        Args:
            images: the digests of their content.

        Returns:
            The features in float32, and which images have them; None for the features if no image has any.
        """
        wanted: dict[bytes, list[int]] = defaultdict(list)
        for position, digest in enumerate(images):
            if digest is not None:
                wanted[digest].append(position)
        rows, found = None, np.zeros(len(images), bool)
        for there, features in self._parts():
            pairs = [(to, row) for row, digest in enumerate(there) for to in wanted.pop(digest, ())]
            if not pairs:
                continue
            to, source = np.transpose(pairs)
            if rows is None:
                rows = np.zeros((len(images), features.shape[1]), np.float32)
            rows[to], found[to] = features[source], True
        return rows, found

    def _parts(self) -> Iterator[tuple[list[bytes], np.ndarray]]:
        """Yields the digests and the features of each file that can be read."""
        if not self.folder.is_dir():
            return
        width = None
        for file in sorted(self.folder.iterdir(), key=lambda each: each.name):
            if file.suffix != _SUFFIX or file.name.startswith("."):
                continue
            try:
                arrays = safetensors_numpy.load(file.read_bytes())
                there, features = split(arrays["content"]), arrays["features"]
                if features.dtype != self.dtype or features.shape != (len(there), width or features.shape[1]):
                    raise ValueError("its arrays are not those of a store")
            except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
                _LOGGER.warning(
                    "%s cannot be read (%s), and what it has is computed again; remove it.", file, first_line(error)
                )
                continue
            width = features.shape[1]
            yield there, features

    @contextlib.contextmanager
    def adding(self, count: int, width: int) -> Iterator["Adding"]:
        """Gives what takes new features, and sees to it that they are in the store at the end, whatever ends it.

        Args:
            count: how many images are to be added at most, for which there must be room.
            width: of the features.

        Raises:
            UserError: if the disk is full or the folder cannot be written; files that were added before stay.
        """
        with writing(self.folder, _REMEDY):
            self.folder.mkdir(parents=True, exist_ok=True)
            require_room(self.folder, count * (width * self.dtype.itemsize + DIGEST))
            write_json(self.folder / _SETTINGS, self._settings)
        added = Adding(self)
        try:
            yield added
        finally:
            added.flush()


class Adding:
    """Collects new features for a store, and writes them file by file.

    Args:
        store: the store.
    """

    def __init__(self, store: FeatureStore):
        self._store = store
        self._waiting: list[tuple[bytes, np.ndarray]] = []

    def __call__(self, images: Sequence[bytes | None], features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Adds the features of some images, and gives them as they will be read.

        Args:
            images: the digests of their content; an image without one is not kept.
            features: float32.

        Raises:
            UserError: if a feature is too large for the store's dtype, or a file cannot be written.
        """
        with np.errstate(over="ignore"):
            stored = features.astype(self._store.dtype)
        if np.isinf(stored).any() and np.isfinite(features).all():
            raise UserError(
                f"A feature is {np.abs(features).max():g}, which config.features_dtype=float16 cannot hold; write "
                "config.features_dtype=float32."
            )
        self._waiting += [(digest, row) for digest, row in zip(images, stored, strict=True) if digest is not None]
        if sum(row.nbytes for _, row in self._waiting) >= _PART:
            self.flush()
        return stored.astype(np.float32)

    def flush(self) -> None:
        """Writes what has been added since the last file."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        content, rows = zip(*waiting, strict=True)
        file = self._store.folder / f"{uuid.uuid4().hex}{_SUFFIX}"
        with writing(self._store.folder, _REMEDY), replacing(file) as part:
            part.write_bytes(safetensors_numpy.save({"content": joined(content), "features": np.stack(rows)}))


def named_folder(config: ml_collections.FrozenConfigDict) -> epath.Path | None:
    """Gives the folder of the store that runs share: that of the config, else of the environment; None without one.

    Raises:
        UserError: if it is no place where anything can be.
    """
    if config.features_dir:
        return place(config.features_dir, "config.features_dir")
    cache = os.environ.get(VARIABLE)
    return place(cache, VARIABLE) / "features" if cache else None
