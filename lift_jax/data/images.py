"""Encoded image files to RGB pixels."""

import io
import math
import warnings

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from lift_jax.errors import UserError

try:
    import simplejpeg
except ImportError:  # It has no wheel for every platform.
    simplejpeg = None

MAX_PIXELS = 178_956_970
"""Larger images are refused as decompression bombs: twice Pillow's limit of a quarter gigabyte of RGB pixels."""

Image.MAX_IMAGE_PIXELS = None  # Checked here, so that the message names the file.

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")


def open_image(data: bytes, name: str) -> Image.Image:
    """The image in `data` with its header read and its pixels not yet decoded.

    Raises:
        UserError: this is no image, or one of more than `MAX_PIXELS` pixels.
    """
    if not data:
        raise UserError(f"{name} is an empty file.")
    try:
        image = Image.open(io.BytesIO(data))
    except Exception as error:  # A broken header can raise almost anything, struct.error and SyntaxError among them.
        raise UserError(f"{name} is no image that can be read ({type(error).__name__}).") from error
    if image.width * image.height > MAX_PIXELS:
        raise UserError(
            f"{name} has {image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} that are accepted."
        )
    return image


def to_rgb(image: Image.Image, name: str, exif_rotate: bool = False) -> Image.Image:
    """Decode an opened image as 8-bit RGB; arguments and errors as `decode`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Odd metadata and palette transparency: the pixels are fine.
            if image.mode in _SIXTEEN_BIT:
                image = _from_wide(image)
            if exif_rotate:
                image = ImageOps.exif_transpose(image)
            return image.convert("RGB")
    except Exception as error:
        raise UserError(f"{name} is damaged or truncated ({error or type(error).__name__}).") from error


def decode(
    data: bytes, name: str = "the image", exif_rotate: bool = False, reduction: int = 1
) -> UInt8[np.ndarray, "height width 3"]:
    """RGB pixels of an encoded image, as Pillow's `convert("RGB")` gives them to the reference implementation.

    Grey and palette images are spread to three channels, CMYK is converted, transparency is dropped. Pixels of 16 and
    32 bits are scaled to 8 (Pillow alone would clip them to white).

    Arguments:
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
    content: bytes | UInt8[np.ndarray, "height width 3"], name: str, exif_rotate: bool = False, reduction: int = 1
) -> UInt8[np.ndarray, "height width 3"]:
    """What a source holds of an image, decoded if it is encoded; arguments and errors as `decode`."""
    return decode(content, name, exif_rotate, reduction) if isinstance(content, bytes) else content


def jpeg_shape(content: bytes | np.ndarray) -> tuple[int, int] | None:
    """Height and width of an ordinary JPEG, read from its header; None for anything that is better left to Pillow."""
    if simplejpeg is None or not isinstance(content, bytes) or content[:2] != b"\xff\xd8":
        return None
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError:  # Damaged, or merely odd: Pillow knows which.
        return None
    shape = int(height), int(width)
    return shape if colors in ("YCbCr", "Gray") and math.prod(shape) <= MAX_PIXELS else None


def largest_reduction(height: float, width: float, needed: int) -> int:
    """The largest of the reductions 1, 2, 4, 8 that leaves at least `needed` pixels on both sides."""
    return next(factor for factor in (8, 4, 2, 1) if factor == 1 or min(height, width) >= factor * needed)


def _decode_jpeg(data: bytes, reduction: int) -> UInt8[np.ndarray, "height width 3"] | None:
    """The pixels of an ordinary JPEG by simplejpeg, or None for what is better left to Pillow.

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


def _from_wide(image: Image.Image) -> Image.Image:
    """A one-channel image of more than 8 bits as 8-bit grey; floating-point pixels are stretched from their range."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F":
        low, high = float(values.min()), float(values.max())
        values = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    elif image.mode != "I" or values.max(initial=0) > 255:
        values = values / 257  # 65535 becomes 255
    return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
