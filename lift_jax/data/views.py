"""How test views travel: the host sends one uint8 canvas an image, and the device cuts the views out of it.

Five float32 views of one image are mostly the same pixels, four bytes each. The canvas holds them once, one byte each:
the resized image itself, lying (portrait images are transposed) and padded to one of a few widths, so that the device
program is compiled a few times only. Of images wider than three views, only the columns that the views need are packed
side by side.

At 224 + 24 pixels the canvas has 6.2 (square), 8.3 (4:3) or 9.3 (3:2) per cent of the bytes of the five float32 views.
The five crops of a longer image have more different pixels than a tenth could hold: 16:9 takes 11.0 per cent, and none
takes more than 16.7 (`python -m lift_jax.bench.data --views`).
"""

import math
from typing import Any

import numpy as np
from jaxtyping import UInt8

from lift_jax.data import transforms
from lift_jax.errors import UserError

MODES = ("plain", "center", "fivecrop", "tencrop", "random")

_ASPECTS = (1, 4 / 3, 3 / 2, 16 / 9)
_MAX_ASPECT = 100  # A longer image would be gigabytes when its short side is scaled up.


def canvas_widths(resolution: int, short_side: int) -> list[int]:
    """Lists the widths that a canvas of height `short_side` can have, ascending; the last is for packed columns."""
    slack = short_side // 64  # 500 x 332 counts as 3:2
    packed = 3 * resolution + 1
    widths = [math.ceil(aspect * short_side) + slack for aspect in _ASPECTS]
    return [width for width in widths if width < packed] + [max(packed, short_side)]


def num_views(mode: str, views: int = 10) -> int:
    """Counts the views of one image in an evaluation mode; `views` is the number for "random".

    Raises:
        UserError: an unknown mode.
    """
    if mode not in MODES:
        raise UserError(f"config.tte.mode is {mode!r}; write one of {', '.join(MODES)}.")
    return {"fivecrop": 5, "tencrop": 10, "random": views}.get(mode, 1)


def short_side(resolution: int, expand: int, mode: str) -> int:
    """Gives the pixels that the short side of a test image is resized to, in every mode but "random"."""
    return resolution + (resolution // 7 if mode == "plain" else expand)


def prepare_test(
    image: UInt8[np.ndarray, "height width 3"],
    resolution: int,
    expand: int,
    mode: str,
    interpolation: str,
    views: int = 10,
    rng: np.random.Generator | None = None,
    name: str = "The image",
    fidelity: str = "exact",
) -> dict[str, Any]:
    """Puts one test image on a canvas, and says where its views are.

    Args:
        image: RGB pixels.
        resolution: side of a view.
        expand: the short side is resized to resolution + expand; unused by "plain" and "random".
        mode: "plain" (short side to 8/7 of the resolution, centre crop), "center" (short side to resolution + expand,
            centre crop), "fivecrop", "tencrop" (the five crops, then those of the mirrored image), or "random" (`views`
            random resized crops with random flips, from `rng`).
        interpolation: "bilinear" or "bicubic".
        views, rng: number and generator of the views in the mode "random".
        name: the image's name for messages.
        fidelity: one of `resampling.FIDELITIES`.

    Returns:
        "image" uint8 [canvas height, canvas width, 3]; "corners" int32 [views, 2], top and left of each view in the
        canvas; "transposed" bool, whether the canvas is to be read with rows and columns exchanged; "flipped" bool
        [views], whether the view is to be mirrored from left to right at the end.

    Raises:
        UserError: an unknown mode or interpolation, or an image more than 100 times as long as wide.
    """
    count = num_views(mode, views)
    if max(image.shape[:2]) > _MAX_ASPECT * min(image.shape[:2]):
        raise UserError(f"{name} is too elongated to be cropped ({image.shape[1]} x {image.shape[0]} pixels).")
    if mode == "random":
        return _random_views(image, resolution, interpolation, count, rng or np.random.default_rng(0), fidelity)
    resized = transforms.resize(image, short_side(resolution, expand, mode), interpolation, fidelity)
    if count == 1:
        canvas = transforms.center_crop(resized, resolution)
        return _entry(canvas, [(0, 0)], False, [False])
    return _five_or_ten_crops(resized, resolution, mirrored=mode == "tencrop")


def _five_or_ten_crops(image: UInt8[np.ndarray, "height width 3"], resolution: int, mirrored: bool) -> dict[str, Any]:
    """Packs the corners and the centre of a resized image, and if asked for, the same crops of its mirror image."""
    height, width = image.shape[:2]
    corners = transforms.five_corners(height, width, resolution)
    flipped = [False] * 5
    if mirrored:  # A crop of the mirrored image is the mirrored crop from the other side.
        corners += [(top, width - resolution - left) for top, left in corners]
        flipped += [True] * 5
    transposed = height > width
    if transposed:
        image = image.transpose(1, 0, 2)
        corners = [(left, top) for top, left in corners]
    canvas, corners = _pack(image, corners, resolution)
    return _entry(canvas, corners, transposed, flipped)


def _pack(
    image: UInt8[np.ndarray, "height width 3"], corners: list[tuple[int, int]], resolution: int
) -> tuple[UInt8[np.ndarray, "height width 3"], list[tuple[int, int]]]:
    """Pads a landscape image to a canvas width, or packs the columns of its views if it is wider than all of them."""
    height, width = image.shape[:2]
    widths = canvas_widths(resolution, height)
    canvas = np.zeros((height, next((w for w in widths if w >= width), widths[-1]), 3), np.uint8)
    if width <= canvas.shape[1]:
        canvas[:, :width] = image
        return canvas, corners
    # The centre of the image and of its mirror image may be one column apart, so the middle strip is one column wider.
    middle = min(left for _, left in corners if 0 < left < width - resolution)
    starts = (0, middle, width - resolution)
    places = (0, resolution, 2 * resolution + 1)
    for start, place, span in zip(starts, places, (resolution, resolution + 1, resolution), strict=True):
        canvas[:, place : place + span] = image[:, start : start + span]
    packed = []
    for top, left in corners:
        strip = 0 if left == 0 else 2 if left == width - resolution else 1
        packed.append((top, places[strip] + left - starts[strip]))
    return canvas, packed


def _random_views(
    image: UInt8[np.ndarray, "height width 3"],
    resolution: int,
    interpolation: str,
    views: int,
    rng: np.random.Generator,
    fidelity: str,
) -> dict[str, Any]:
    """Puts random resized crops one above the other."""
    crop = transforms.RandomResizedCrop()
    boxes = [crop.box(rng, image.shape[0], image.shape[1]) for _ in range(views)]
    canvas = np.concatenate([transforms.resized_crop(image, box, resolution, interpolation, fidelity) for box in boxes])
    return _entry(canvas, [(v * resolution, 0) for v in range(views)], False, list(rng.random(views) < 0.5))


def _entry(canvas: np.ndarray, corners: list[tuple[int, int]], transposed: bool, flipped: list[bool]) -> dict[str, Any]:
    return {
        "image": canvas,
        "corners": np.array(corners, np.int32),
        "transposed": np.bool_(transposed),
        "flipped": np.array(flipped, np.bool_),
    }
