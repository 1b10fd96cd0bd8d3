"""Images that a caller gives: of Pillow, as arrays, or by the paths of files."""

import os
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lift_jax.data.dataset import read_bytes
from lift_jax.data.images import to_rgb
from lift_jax.errors import UserError

ImageLike = Image.Image | UInt8[np.ndarray, "height width 3"] | str | os.PathLike[str]
"""An image: of Pillow, an array of RGB pixels (uint8; [height, width] is grey), or a file's path."""


class GivenImages:
    """A source of images in memory or in files, for `lift_jax.data.Dataset`.

    Args:
        images: one image or several, or one array [n, height, width, 3].

    Raises:
        UserError: for what is no image; for an array of another kind when it is asked for.
    """

    def __init__(self, images: ImageLike | Sequence[ImageLike] | np.ndarray):
        if isinstance(images, Image.Image | str | os.PathLike):
            images = [images]
        elif isinstance(images, np.ndarray):
            images = images if images.ndim == 4 else [images]
        elif not isinstance(images, Iterable):
            raise UserError(f"{type(images).__name__} is no image; give PIL images, uint8 arrays or paths.")
        self.images: list[ImageLike] = list(images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> bytes | UInt8[np.ndarray, "height width 3"]:
        image = self.images[index]
        if isinstance(image, str | os.PathLike):
            return read_bytes(os.fspath(image))
        if isinstance(image, Image.Image):
            return np.asarray(to_rgb(image, f"image {index}"))
        array = np.asarray(image)
        array = np.repeat(array[..., None], 3, axis=-1) if array.ndim == 2 else array
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3 or 0 in array.shape:
            raise UserError(
                f"Image {index} is an array of {array.dtype} {list(array.shape)}; images are uint8 "
                "[height, width, 3] with values from 0 to 255."
            )
        return array

    def path(self, index: int) -> str:
        image = self.images[index]
        return os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {index}"
