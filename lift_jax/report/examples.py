"""The worst mistakes among the rarest classes, as small pictures."""

import io
import logging
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from lift_jax.data import Dataset
from lift_jax.data.thumbnails import SIDE, thumbnail
from lift_jax.data.workers import pixels
from lift_jax.errors import UserError
from lift_jax.files import replacing
from lift_jax.report.files import RunFiles

FOLDER = "report"
"""The folder of a run that the pictures are in."""

_LOGGER = logging.getLogger(__name__)


class Example(NamedTuple):
    """A test image that was predicted wrong.

    Attributes:
        index: the image's place in the test split.
        label, prediction: the true class and the predicted one.
        confidence: the probability of the predicted class, 0 to 1.
        picture: the centre of the image, uint8 [160, 160, 3].
    """

    index: int
    label: int
    prediction: int
    confidence: float
    picture: UInt8[np.ndarray, "side side 3"]


def tail_group(run: RunFiles) -> int:
    """Finds the rarest group of classes that has test images: few, or medium, or many."""
    return max(np.asarray(run.record.class_groups)[run.predictions["label"]], default=0)


def mistakes(run: RunFiles) -> Int[np.ndarray, " n"]:
    """Finds the rows of the wrong predictions in the tail."""
    tail = np.asarray(run.record.class_groups)[run.predictions["label"]] == tail_group(run)
    return np.flatnonzero(tail & ~run.right)


def worst(run: RunFiles, test: Dataset | None, top: int = 12) -> list[Example]:
    """Chooses wrong predictions in the tail, the most confident first, no more than three of a class.

    Args:
        run: the files of the run.
        test: the test split, for the pictures; without it those that `save` has left in the run's folder are taken.
        top: how many predictions are chosen at most.
    """
    columns, rows = run.predictions, mistakes(run)
    chosen: list[Example] = []
    of_class: dict[int, int] = {}
    for row in rows[np.argsort(-columns["confidence"][rows], kind="stable")]:
        label = int(columns["label"][row])
        if len(chosen) == top or of_class.get(label, 0) == 3:
            continue
        index = int(columns["index"][row])
        picture = _saved(run, index) if test is None else _picture(test, index, run.config["data"]["exif_rotate"])
        if picture is None:
            continue
        of_class[label] = of_class.get(label, 0) + 1
        prediction, confidence = int(columns["prediction"][row]), float(columns["confidence"][row])
        chosen.append(Example(index, label, prediction, confidence, picture))
    return chosen


def _picture(test: Dataset, index: int, exif_rotate: bool) -> np.ndarray | None:
    """Reads an image and makes its picture; None if it cannot be read."""
    try:
        return thumbnail(pixels(test, index, exif_rotate))
    except UserError:
        return None


def _saved(run: RunFiles, index: int) -> np.ndarray | None:
    """Reads the picture that an earlier report has left; None if there is none, or no whole one of that size."""
    for file in (run.workdir / FOLDER).glob(f"worst_*_{index}.png"):
        try:
            with Image.open(io.BytesIO(file.read_bytes()), formats=("PNG",)) as image:
                if image.size == (SIDE, SIDE):
                    return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError):  # what Pillow raises for damaged PNG files
            pass
        _LOGGER.warning(f"{file} is damaged and left out; --mode eval with config.report draws it anew.")
    return None


def save(examples: list[Example], run: RunFiles) -> None:
    """Writes the pictures, and no others, as files whose names say what they are and what they were taken for."""
    folder, names = run.workdir / FOLDER, run.record.class_names
    written = set()
    for rank, example in enumerate(examples, start=1):
        what = f"{rank:02d}_{names[example.label]}_taken_for_{names[example.prediction]}"
        safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in what[:120])
        # A file's name has room for 255 bytes.
        safe = safe.encode("utf-8")[:200].decode("utf-8", "ignore")
        file = folder / f"worst_{safe}_{example.index}.png"
        with replacing(file) as part, part.open("wb") as opened:
            Image.fromarray(example.picture).save(opened, format="PNG")
        written.add(file.name)
    for old in folder.glob("worst_*.png"):
        if old.name not in written:
            old.unlink()
