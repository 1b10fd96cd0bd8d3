"""The worst mistakes among the rarest classes, as small pictures."""

import base64
import io
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from lift_jax.data import Dataset
from lift_jax.data.workers import pixels
from lift_jax.errors import UserError
from lift_jax.report.files import RunFiles

FOLDER = "report"
"""Of a run, for the pictures."""

_SIDE = 160


class Example(NamedTuple):
    """A test image that was predicted wrong.

    Attributes:
        index: in the test split.
        label, prediction: classes.
        confidence: in the prediction, 0 to 1.
        picture: uint8 [160, 160, 3].
    """

    index: int
    label: int
    prediction: int
    confidence: float
    picture: UInt8[np.ndarray, "side side 3"]


def tail_group(run: RunFiles) -> int:
    """The rarest group of classes that has test images: few, or medium, or many."""
    return max(np.asarray(run.record.class_groups)[run.predictions["label"]], default=0)


def mistakes(run: RunFiles) -> Int[np.ndarray, " n"]:
    """The rows of the wrong predictions in the tail."""
    tail = np.asarray(run.record.class_groups)[run.predictions["label"]] == tail_group(run)
    return np.flatnonzero(tail & ~run.right)


def worst(run: RunFiles, test: Dataset | None, top: int = 12) -> list[Example]:
    """Wrong predictions in the tail, the most confident first, no more than three of a class.

    Args:
        run: its files.
        test: the test split, for the pictures; without it those that `save` has left in the run's folder are taken.
        top: how many.
    """
    columns, rows = run.predictions, mistakes(run)
    chosen: list[Example] = []
    of_class: dict[int, int] = {}
    for row in rows[np.argsort(-columns["confidence"][rows], kind="stable")]:
        label = int(columns["label"][row])
        if len(chosen) == top or of_class.get(label, 0) == 3:
            continue
        index = int(columns["index"][row])
        picture = _saved(run, index) if test is None else _of(test, index, run.config["data"]["exif_rotate"])
        if picture is None:
            continue
        of_class[label] = of_class.get(label, 0) + 1
        prediction, confidence = int(columns["prediction"][row]), float(columns["confidence"][row])
        chosen.append(Example(index, label, prediction, confidence, picture))
    return chosen


def _of(test: Dataset, index: int, exif_rotate: bool) -> np.ndarray | None:
    """An image's picture, None if it cannot be read."""
    try:
        return thumbnail(pixels(test, index, exif_rotate))
    except UserError:
        return None


def _saved(run: RunFiles, index: int) -> np.ndarray | None:
    """The picture that an earlier report has left, or None."""
    for file in (run.workdir / FOLDER).glob(f"worst_*_{index}.png"):
        with Image.open(io.BytesIO(file.read_bytes())) as image:
            return np.asarray(image.convert("RGB"))
    return None


def thumbnail(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "side side 3"]:
    """The centre square of an image, 160 pixels wide; the pixels of a smaller one stay visible."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    how = Image.Resampling.NEAREST if side < _SIDE // 2 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(image[top : top + side, left : left + side]).resize((_SIDE, _SIDE), how))


def data_uri(picture: UInt8[np.ndarray, "side side 3"]) -> str:
    """The picture as a JPEG inside a link."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def save(examples: list[Example], run: RunFiles) -> None:
    """Writes the pictures, and no others, as files whose names say what they are and what they were taken for."""
    folder, names = run.workdir / FOLDER, run.record.class_names
    for old in folder.glob("worst_*.png"):
        old.unlink()
    for number, example in enumerate(examples, start=1):
        what = f"{number:02d}_{names[example.label]}_taken_for_{names[example.prediction]}"
        safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in what)[:120]
        with (folder / f"worst_{safe}_{example.index}.png").open("wb") as file:
            Image.fromarray(example.picture).save(file, format="PNG")
