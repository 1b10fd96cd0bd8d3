"""Small pictures of images, for pages that people look at."""

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image

SIDE = 160
"""Pixels of a side of a small picture."""


def thumbnail(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "side side 3"]:
    """Cuts out the centre square of an image, 160 pixels wide; the pixels of a smaller image stay visible."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    how = Image.Resampling.NEAREST if side < SIDE // 2 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image[top : top + side, left : left + side]).resize((SIDE, SIDE), how))


def data_uri(picture: UInt8[np.ndarray, "side side 3"]) -> str:
    """Puts the picture as a JPEG into a link."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")
