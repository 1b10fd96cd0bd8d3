"""Resizing with Pillow's antialiased filters, or with faster code that is within a grey level or two of them."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from lift_jax.errors import UserError

try:
    import cykooz_resizer
except ImportError:  # It has no wheel for every platform.
    cykooz_resizer = None

Pixels = UInt8[np.ndarray, "height width 3"]
Region = tuple[float, float, float, float]
"""(top, left, height, width) in pixels, possibly with fractions."""

FIDELITIES = ("exact", "close", "scaled")
"""How near the pixels come to the reference's, from slow to fast.

- "exact": those of Pillow.
- "close": a SIMD resampler; 99 of 100 values are the same, the others differ by one grey level, hardly ever by two.
- "scaled": besides, a JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that still has as many pixels as are asked
  for. Most values differ by a grey level or two, at sharp edges by tens.
"""

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_SIMD_FILTERS = {"bilinear": "bilinear", "bicubic": "catmull_rom"}


def check_fidelity(fidelity: str) -> None:
    """Raises a UserError unless this is one of `FIDELITIES`."""
    if fidelity not in FIDELITIES:
        raise UserError(
            f"config.data.fidelity or config.data.test_fidelity is {fidelity!r}; write one of {', '.join(FIDELITIES)}."
        )


def resample(image: Pixels, height: int, width: int, interpolation: str, fidelity: str = "exact") -> Pixels:
    """Resizes to an exact size with an antialiased filter: first along the rows, then along the columns.

    Pillow before 13 had this order of its two passes, and so have the reference's pixels; Pillow 13 goes the other way
    round where that is less work, and since each pass is rounded and clipped, bicubic edges then differ by tens of grey
    levels. So the passes are asked for one by one.

    Args:
        image: RGB pixels.
        height, width: of the result.
        interpolation: "bilinear" or "bicubic".
        fidelity: one of `FIDELITIES`; the last two are the same here.

    Raises:
        UserError: another interpolation.
    """
    if interpolation not in _FILTERS:
        raise UserError(f"config.interpolation is {interpolation!r}; write one of {', '.join(_FILTERS)}.")
    if image.shape[:2] == (height, width):
        return image
    if fidelity != "exact" and cykooz_resizer is not None:
        return _resample_simd(image, height, width, interpolation)
    rows = Image.fromarray(image).resize((width, image.shape[0]), _FILTERS[interpolation])
    return np.asarray(rows.resize((width, height), _FILTERS[interpolation]))


def _resample_simd(image: Pixels, height: int, width: int, interpolation: str) -> Pixels:
    assert cykooz_resizer is not None
    rgb = cykooz_resizer.PixelType.U8x3
    kernel = getattr(cykooz_resizer.FilterType, _SIMD_FILTERS[interpolation])
    options = cykooz_resizer.ResizeOptions(cykooz_resizer.ResizeAlg.convolution(kernel))
    resizer = cykooz_resizer.Resizer()  # One a call, for threads must not share it; it costs a microsecond.
    pixels = cykooz_resizer.ImageData(image.shape[1], image.shape[0], rgb, image.tobytes())
    for shape in (width, image.shape[0]), (width, height):
        smaller = cykooz_resizer.ImageData(*shape, rgb)
        resizer.resize(pixels, smaller, options)
        pixels = smaller
    return np.frombuffer(pixels.get_buffer(), np.uint8).reshape(height, width, 3)
