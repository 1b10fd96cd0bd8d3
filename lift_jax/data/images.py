"""Encoded image files to RGB pixels."""

import contextlib
import io
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from lift_jax.data import image_kinds, jpeg_xl, png, wide_pixels
from lift_jax.errors import UserError, first_line

try:
    import simplejpeg
except ImportError:  # It has no wheel for every platform.
    simplejpeg = None

MAX_PIXELS = 178_956_970
"""Larger images are refused as decompression bombs: twice Pillow's limit of a quarter gigabyte of RGB pixels."""

PIXELS_AT_A_TIME = MAX_PIXELS
"""How many decoded pixels the threads of a process hold together (see `room`): at most 20 bytes each, so 3.6 GB."""

Content = bytes | UInt8[np.ndarray, "height width 3"] | Image.Image
"""What a source holds of an image: an encoded file, its RGB pixels, or an image of Pillow."""

_UNREADABLE_BANDS = "{} has {}, stored in a way that is not read; save it as RGB or grey with 8 or 16 bits."

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image upright, by its EXIF orientation."""


def open_image(data: bytes, name: str) -> Image.Image:
    """Opens the image in `data`: its header is read, its pixels are not yet decoded.

    Args:
        data: content of a file of a kind that `image_kinds` knows, whatever its name ends in.
        name: its path, for the message.

    Raises:
        UserError: this is no image of a kind that is read, its header is damaged, or it has more than `MAX_PIXELS`
            pixels.
    """
    if not data:
        raise UserError(f"{name} is an empty file.")
    kind = image_kinds.kind_of(data)
    if kind is None:
        raise UserError(
            f"{name} is no image of a kind that is read ({image_kinds.PHOTOGRAPHS}), for it begins with "
            f"{data[:12]!r}; convert it to PNG or JPEG, or take it out."
        )
    if kind.open is None:
        raise UserError(f"{name} is {kind.name}, {'' if kind.decoder else 'not a photograph; '}{kind.hint}.")
    image = _opened(kind.open, kind, data, name)
    check_size(image.height, image.width, name)
    return image


def _opened(decoder: Callable[..., Any], kind: image_kinds.Kind, data: bytes, name: str) -> Image.Image:
    """Opens an image with the decoder of its kind, and turns whatever that raises into a sentence."""
    try:
        if kind is image_kinds.JPEG_XL:  # whose decoder does not stop at the header
            check_size(*jpeg_xl.shape(data), name)
        if kind is image_kinds.PNG:
            png.check_pixels(data)
        return decoder(io.BytesIO(data), "")
    except UserError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, for frames and tiles.
        raise UserError(f"{name} has frames of more than the {MAX_PIXELS:,} pixels that are accepted.") from error
    except Exception as error:  # A broken header can raise almost anything, struct.error and SyntaxError among them.
        bands = wide_pixels.unusual_bands(data) if kind is image_kinds.TIFF else ""
        if bands:
            raise UserError(_UNREADABLE_BANDS.format(name, bands)) from error
        raise UserError(
            f"{name} is damaged or truncated: it begins as {kind.name}, but cannot be read ({first_line(error)})."
        ) from error


def to_rgb(image: Image.Image, name: str, exif_rotate: bool = False) -> Image.Image:
    """Decodes an opened image as 8-bit RGB; arguments and errors are those of `decode`."""
    check_size(image.height, image.width, name)
    try:
        image.load()
    except Exception as error:
        raise UserError(f"{name} is damaged or truncated ({first_line(error)}).") from error
    if bands := wide_pixels.misread(image):
        raise UserError(_UNREADABLE_BANDS.format(name, bands))
    nodata = wide_pixels.declared_nodata(image)
    if exif_rotate:
        image = _upright(image)
    if image.mode in wide_pixels.MODES:
        image = wide_pixels.to_grey(image, name, nodata)
    if "transparency" in image.info:  # Which convert() would warn about, and drop.
        image = image.copy()
        del image.info["transparency"]
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise UserError(
            f"{name} has pixels of the mode {image.mode}, which do not become RGB; save it as RGB."
        ) from error


def check_size(height: int, width: int, name: str) -> None:
    """Raises a UserError for an image of more than `MAX_PIXELS` pixels."""
    if height * width > MAX_PIXELS:
        raise UserError(f"{name} has {width} x {height} pixels, more than the {MAX_PIXELS:,} that are accepted.")


def decode(
    data: bytes, name: str = "the image", exif_rotate: bool = False, reduction: int = 1
) -> UInt8[np.ndarray, "height width 3"]:
    """Decodes an image to RGB pixels as Pillow's `convert("RGB")` gives them to the reference implementation.

    Of several frames or pages the first is taken. Grey and palette images are spread to three channels, CMYK is
    converted, transparency is dropped. One channel of more than 8 bits is scaled (see `wide_pixels`); Pillow alone
    would clip it to white.

    Args:
        data: content of the file.
        name: its path, for the message.
        exif_rotate: turn the image as its EXIF tag asks. The reference does not, so the default does not either.
        reduction: 2, 4 or 8 decodes an ordinary JPEG (one that has a `jpeg_shape`) to 1/2, 1/4 or 1/8 of its sides,
            rounded up, by leaving the high frequencies out. Other images come whole.

    Raises:
        UserError: the data are no image, are truncated, or have more than `MAX_PIXELS` pixels.
    """
    if not exif_rotate:
        fast = _decode_jpeg(data, reduction)
        if fast is not None:
            return fast
    return np.asarray(to_rgb(open_image(data, name), name, exif_rotate))


def pixels(
    content: Content, name: str, exif_rotate: bool = False, reduction: int = 1
) -> UInt8[np.ndarray, "height width 3"]:
    """Gives what a source holds of an image as RGB pixels; arguments and errors are those of `decode`."""
    if isinstance(content, Image.Image):
        return np.asarray(to_rgb(content, name, exif_rotate))
    return decode(content, name, exif_rotate, reduction) if isinstance(content, bytes) else content


def jpeg_shape(content: Content) -> tuple[int, int] | None:
    """Reads height and width from the header of an ordinary JPEG; None for anything that is better left to Pillow."""
    if simplejpeg is None or not isinstance(content, bytes) or content[:2] != b"\xff\xd8":
        return None
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError:  # Damaged, or merely odd: Pillow knows which.
        return None
    shape = int(height), int(width)
    return shape if colors in ("YCbCr", "Gray") and math.prod(shape) <= MAX_PIXELS else None


def largest_reduction(height: float, width: float, needed: int) -> int:
    """Gives the largest of the reductions 1, 2, 4, 8 that leaves at least `needed` pixels on both sides."""
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or min(height, width) >= factor * needed)


class _Room:
    """Lets threads share a number of pixels."""

    def __init__(self, pixels: int):
        self._free = self._all = pixels
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def __call__(self, content: Content) -> Iterator[None]:
        """Waits until the threads of this process hold few enough pixels for another image's.

        Args:
            content: of the image that the block decodes and resizes.
        """
        needed = min(_count(content), self._all)
        with self._changed:
            self._changed.wait_for(lambda: needed <= self._free)
            self._free -= needed
        try:
            yield
        finally:
            with self._changed:
                self._free += needed
                self._changed.notify_all()


room = _Room(PIXELS_AT_A_TIME)
"""Bounds the memory of the threads that decode: around all that holds an image's pixels stands `with room(content):`"""


def _count(content: Content) -> int:
    """Counts the pixels of an image by its header; 0 if it is none."""
    if not isinstance(content, bytes):
        return 0  # They are there already.
    shape = jpeg_shape(content)
    if shape is None:
        read = _SHAPES.get(image_kinds.kind_of(content)) or _opened_shape
        try:
            shape = read(content)
        except (UserError, ValueError):
            return 0
    count = math.prod(shape)
    return count if count <= MAX_PIXELS else 0  # It will be refused.


def _opened_shape(content: bytes) -> tuple[int, int]:
    image = open_image(content, "")
    return image.height, image.width


_SHAPES: dict[image_kinds.Kind | None, Callable[[bytes], tuple[int, int]]] = {
    image_kinds.JPEG_XL: jpeg_xl.shape,  # See `_opened`.
    image_kinds.PNG: png.shape,  # To open one is to look at all its bytes.
}
"""What reads height and width of an image in less time than it takes to open it."""


def _decode_jpeg(data: bytes, reduction: int) -> UInt8[np.ndarray, "height width 3"] | None:
    """Decodes an ordinary JPEG by simplejpeg; None for what is better left to Pillow.

    Both use libjpeg-turbo with its accurate settings and give the same pixels; simplejpeg writes them straight into the
    array, which saves a copy.
    """
    shape = jpeg_shape(data)
    if simplejpeg is None or shape is None:
        return None
    height, width = (-(-side // reduction) for side in shape)
    try:
        return simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)
    except ValueError:  # As above.
        return None


_FILTERS = threading.Lock()
"""`warnings.catch_warnings` changes filters of the whole process, so that one thread at a time may use it."""


def _upright(image: Image.Image) -> Image.Image:
    """Turns and mirrors the image as its EXIF tag says; leaves it as it is if the tag cannot be read."""
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Odd metadata: the pixels are fine.
            orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # As for a broken header.
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)
