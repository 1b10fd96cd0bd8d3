"""Images that a caller gives: of Pillow, as arrays, as the content of files, or by their paths."""

import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lift_jax.data.images import Content, check_size
from lift_jax.data.named_images import located
from lift_jax.data.reading import read_bytes
from lift_jax.errors import UserError, first_line

ImageLike = (
    Image.Image
    | UInt8[np.ndarray, "height width 3"]
    | str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | IO[bytes]
    | Mapping[str, Any]
)
"""An image: of Pillow; an array of RGB pixels (uint8 [height, width, 3]; [height, width] is grey) of NumPy, JAX,
PyTorch or whatever else has `__array__`; a file's path; its content; an opened file; or the dictionary
{"bytes": …, "path": …} of Hugging Face's `datasets`."""

_SINGLE = (Image.Image, str, os.PathLike, bytes, bytearray, memoryview, Mapping)

_PASS = "images are uint8 [height, width, 3] with values from 0 to 255"

_LOADING = threading.Lock()
"""Pillow decodes an image where it is, and one image may be given twice."""


class GivenImages:
    """A source of images in memory or in files, for `lift_jax.data.Dataset`.

    However a picture is given, its pixels are the same; those of Pillow and of files are turned by their EXIF tag, if
    the caller wants that.

    Args:
        images: one image or several; or one array of several, [n, height, width, 3] or (of grey ones) [n, height,
            width].

    Raises:
        UserError: for what is no image; for an array of another kind when it is asked for.
    """

    def __init__(self, images: ImageLike | Iterable[ImageLike] | np.ndarray):
        self.images: Sequence[Any] = [_held(image, i) for i, image in enumerate(_several(images))]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Content:
        image = self.images[index]
        if isinstance(image, str):
            return read_bytes(image)
        if isinstance(image, bytes):
            return image
        if isinstance(image, Image.Image):
            return _loaded(image, index)
        return _rgb(_array(image, index), f"Image {index}")

    def path(self, index: int) -> str:
        image = self.images[index]
        return image if isinstance(image, str) else f"image {index}"


def _several(images: Any) -> Iterable[Any]:
    """Takes the images apart, one by one."""
    if isinstance(images, _SINGLE) or hasattr(images, "read"):
        return [images]
    if not hasattr(images, "__array__"):
        if isinstance(images, Iterable):
            return images
        raise UserError(
            f"{type(images).__name__} is no image; give PIL images, uint8 arrays, paths, or the content of files."
        )
    array = _array(images, 0)
    if array.ndim == 1:  # of paths, perhaps
        return array.tolist()
    if array.ndim == 3 and array.dtype == np.uint8 and _are_greys(array.shape):
        return array
    return array if array.ndim == 4 else [array]


def _are_greys(shape: tuple[int, ...]) -> bool:
    """Tells whether an array of this shape can be nothing but grey images: no axis is as short as one of colours."""
    return shape[0] not in (0, 1, 3, 4) and shape[-1] not in (1, 2, 3, 4)


def _held(image: Any, index: int) -> Any:
    """Keeps an image until it is asked for: as a path, bytes, an image of Pillow, or what will become an array."""
    if isinstance(image, Mapping):
        if "bytes" not in image and "path" not in image:
            raise UserError(f"Image {index} is a dictionary with {list(image)}; give its 'bytes' or its 'path'.")
        given = image.get("bytes")
        image = image.get("path") if given is None else given
    if hasattr(image, "read") and not isinstance(image, Image.Image):
        image = _read(image, index)
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike):
        return located(os.fsdecode(image), f"Image {index}")
    return image


def _read(file: Any, index: int) -> bytes:
    """Reads an opened file from its beginning."""
    try:
        if file.seekable():
            file.seek(0)
        content = file.read()
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"Image {index} is a file that cannot be read: {first_line(error)}.") from error
    if not isinstance(content, bytes):
        raise UserError(f"Image {index} is a file opened as text; open it with the mode 'rb'.")
    return content


def _loaded(image: Image.Image, index: int) -> Image.Image:
    check_size(image.height, image.width, f"Image {index}")
    try:
        with _LOADING:
            image.load()
    except Exception as error:  # A broken file can raise almost anything.
        raise UserError(f"Image {index} is damaged, truncated or closed ({first_line(error)}).") from error
    return image


def _array(image: Any, index: int) -> np.ndarray:
    try:
        return np.asarray(image)
    except Exception as error:  # Each library has its own, for an array on another device or of an odd type.
        raise UserError(
            f"Image {index}, a {type(image).__name__}, does not become an array: {first_line(error)}; {_PASS}."
        ) from error


def _rgb(array: np.ndarray, what: str) -> UInt8[np.ndarray, "height width 3"]:
    if array.dtype == np.uint8 and 0 not in array.shape:
        if array.ndim == 2:
            return np.repeat(array[..., None], 3, axis=-1)
        if array.ndim == 3 and array.shape[-1] == 3:
            return array
    fix = ""
    if array.ndim == 3 and array.shape[0] in (1, 3, 4):
        fix += "; move the channels to the end, as np.moveaxis(x, 0, -1) does"
    if array.dtype.kind == "f":
        fix += "; make values from 0 to 1 integers, as np.uint8(np.round(255 * x)) does"
    raise UserError(f"{what} is an array of {array.dtype} {list(array.shape)}; {_PASS}{fix}.")
