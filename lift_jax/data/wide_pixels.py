"""Images of more than 8 bits a channel: 16-bit and 32-bit integers, and floating-point numbers."""

import io
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from PIL import Image, TiffImagePlugin

from lift_jax.errors import UserError

Wide = Shaped[np.ndarray, "height width"]
"""Pixels of uint16, int32 or float32."""

MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Pillow's modes of one such channel."""

_BITS, _COMPRESSION, _SAMPLES, _PLANAR, _SAMPLE_FORMAT = 258, 259, 277, 284, 339
_UNSIGNED, _SIGNED = 1, 2
"""Tags of a TIFF file, and sample formats."""

_NODATA = 42113
"""The tag in which GDAL writes the value that stands for "not measured"."""

_SENTINELS = (-999.0, -9999.0, -32767.0, -32768.0, -99999.0)
"""Values that stand for "not measured" in files that do not declare one."""

_LARGEST = 1e30
"""Beyond it is no brightness: the largest float32, positive or negative, stands for "not measured" as well."""

_BLOCK = 1 << 20
"""Pixels that are converted at a time; in float64 a whole image would take gigabytes."""


def to_grey(image: Image.Image, name: str, nodata: float | None = None) -> Image.Image:
    """Makes 8-bit grey of a channel of more than 8 bits.

    - 16-bit integers are divided by 257, so that 65535 becomes 255.
    - 32-bit integers are taken as 8-bit or 16-bit ones if they fit, and else as floating-point numbers are.
    - Floating-point numbers are stretched from their range: the smallest becomes 0, the largest 255. NaN, infinity and
      what stands for "not measured" have no part in the range, and become 0.

    "Not measured" are the declared value, what is larger than any brightness, and one of the usual sentinels if it lies
    farther from the other values than these among themselves.

    Args:
        image: of one of the `MODES`.
        name: its path, for the message.
        nodata: see `declared_nodata`.

    Raises:
        UserError: not one pixel was measured.
    """
    values = np.asarray(image)
    if image.mode == "F" or (image.mode == "I" and values.max() > 65535):
        return _stretched(values, name, nodata)
    divisor = 1 if image.mode == "I" and values.max() <= 255 else 257
    grey = np.empty(values.shape, np.uint8)
    for rows, block in _blocks(values):
        grey[rows] = _rounded(block / divisor)
    return Image.fromarray(grey)


def declared_nodata(image: Image.Image) -> float | None:
    """Reads the value that a TIFF file declares to stand for "not measured", or None."""
    tags = getattr(image, "tag_v2", {})
    try:
        return float(str(tags[_NODATA]).strip(" \0"))
    except (KeyError, ValueError):
        return None


def unusual_bands(data: bytes) -> str:
    """Names the bands of a TIFF file that Pillow has no mode for, such as "5 bands of 32-bit floats"; "" for others."""
    try:
        stream = io.BytesIO(data)
        tags = TiffImagePlugin.ImageFileDirectory_v2(stream.read(8))
        stream.seek(tags.next)
        tags.load(stream)
        bands, bits, form, _ = _layout(tags)
    except Exception:  # A broken header can raise almost anything.
        return ""
    return "" if bands <= 4 and bits <= 16 and form == _UNSIGNED else _bands(bands, bits, form)


def misread(image: Image.Image) -> str:
    """Names the bands of a decoded TIFF whose pixels Pillow (up to 13.0) silently gets wrong; "" for other images."""
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return ""
    bands, bits, form, planar = _layout(tags)
    packed = tags.get(_COMPRESSION, 1) != 1
    wrong = (
        (bits == 8 and form == _SIGNED)
        or (bits == 16 and bands > 1 and planar and not packed)
        or (image.mode in ("I", "F") and packed and tags.prefix == b"MM")  # whose bytes are swapped twice
        or (image.mode == "I" and form == _UNSIGNED and np.asarray(image).min() < 0)  # beyond 31 bits
    )
    return _bands(bands, bits, form) if wrong else ""


def _layout(tags: TiffImagePlugin.ImageFileDirectory_v2) -> tuple[int, int, int, bool]:
    """Reads how many bands there are, bits and sample format of each, and whether they come one after another."""
    bits, form = (int(np.max(tags.get(tag, 1))) for tag in (_BITS, _SAMPLE_FORMAT))
    return int(tags.get(_SAMPLES, 1)), bits, form, tags.get(_PLANAR, 1) == 2


def _bands(bands: int, bits: int, form: int) -> str:
    kinds = {_SIGNED: "signed integers", 3: "floats", 5: "complex integers", 6: "complex numbers"}
    return f"{bands} band{'s' * (bands > 1)} of {bits}-bit {kinds.get(form, 'integers')}"


def _stretched(values: Wide, name: str, nodata: float | None) -> Image.Image:
    excluded = () if nodata is None else (nodata,)
    low, high = _range(values, excluded)
    if low in _SENTINELS:
        second, _ = _range(values, (*excluded, low))
        if second - low > high - second:
            excluded, low = (*excluded, low), second
    if low > high:
        raise UserError(f"{name} has no pixel with a finite value that was measured; take it out of the images.")
    factor = 255 / (high - low) if high > low else 0.0
    grey = np.zeros(values.shape, np.uint8)
    for rows, block in _blocks(values):
        measured = _measured(block, excluded)
        grey[rows][measured] = _rounded((block[measured] - low) * factor)
    return Image.fromarray(grey)


def _range(values: Wide, excluded: tuple[float, ...]) -> tuple[float, float]:
    """Finds the smallest and the largest measured value; (inf, -inf) if there is none."""
    low, high = np.inf, -np.inf
    for _, block in _blocks(values):
        measured = block[_measured(block, excluded)]
        low, high = min(low, measured.min(initial=np.inf)), max(high, measured.max(initial=-np.inf))
    return float(low), float(high)


def _measured(block: Float[np.ndarray, "rows width"], excluded: tuple[float, ...]) -> Bool[np.ndarray, "rows width"]:
    kept = np.abs(block) < _LARGEST  # False for NaN
    for value in excluded:
        kept &= block != np.float32(value)  # Floating-point pixels are float32.
    return kept


def _rounded(values: Float[np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def _blocks(values: Wide) -> Iterator[tuple[slice, Float[np.ndarray, "rows width"]]]:
    """Yields the values in blocks of rows, as float64."""
    height = max(1, _BLOCK // values.shape[1])
    for top in range(0, len(values), height):
        rows = slice(top, top + height)
        yield rows, values[rows].astype(np.float64)
