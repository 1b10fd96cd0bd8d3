"""What the bad inputs are made from: pictures, a backbone, and a finished run on both."""

import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from safetensors import numpy as safetensors

from lift_jax import config as lift_config
from lift_jax.bench.abuse import runner
from lift_jax.bench.abuse.cases import Setting
from lift_jax.data import load
from lift_jax.weights import source

CLASSES = ("bee", "cat", "dog", "hen")
IMAGES_PER_CLASS = 5
STEPS = 4
"""The finished run has two epochs of two steps."""

ANYTHING: tuple[Any, ...] = (
    None,
    "x",
    -1,
    10**12,
    10**30,
    1.5,
    float("nan"),
    True,
    [],
    [1, 2],
    {},
    {"a": 1},
    "\0",
    "\ud800",
)
"""Values of many types, of which a place in a file takes few."""

Mapping = tuple[tuple[str, str], ...]

_LIMITS = runner.Limits(300, 8 << 30)


def picture(seed: int, height: int = 20, width: int = 24) -> UInt8[np.ndarray, "height width 3"]:
    """Makes a picture that is as smooth as a photograph."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(pixels: np.ndarray, form: str, **options: Any) -> bytes:
    """Encodes a picture in one of Pillow's formats."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def paths() -> list[tuple[str, str]]:
    """Lists (path below the folder of photos, class) of all pictures."""
    return [(f"{label}/{label}{i}.png", label) for label in CLASSES for i in range(IMAGES_PER_CLASS)]


def labelled(root: Path, **data: Any) -> Mapping:
    """Loads a data set and gives (path below `root`, class name) of all its images, training and test together."""
    config = lift_config.default()
    config.data.update(root=str(root), **data)
    return tuple(
        sorted(
            (os.path.relpath(part.path(index), root), part.class_names[label])
            for part in load(config.data, 0)
            for index, label in enumerate(part.labels)
        )
    )


def truth(name_of: Callable[[str], str] = str) -> Mapping:
    """Gives what `labelled` must find in the setting's pictures if `name_of` names the classes."""
    return tuple(sorted((path, name_of(label)) for path, label in paths()))


def write_photos(folder: Path) -> None:
    """Writes all pictures into the folders of their classes."""
    for index, (path, _) in enumerate(paths()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(index)).save(folder / path)


def config(photos: Path, backbone: Path) -> ml_collections.ConfigDict:
    """Makes the config of the finished run."""
    made = lift_config.default()
    made.update(backbone=str(backbone), num_epochs=2, batch_size=8, eval_batch_size=4, log_every=1, method="head_only")
    made.data.update(name="photos", format="folder", root=str(photos), val_fraction=0.2)
    made.tte.enabled = False
    return made


def make(folder: Path, known_of_run: Callable[[Path], dict[str, Any]]) -> Setting:
    """Makes the setting below a folder, which takes half a minute; what needs JAX is done in children.

    Args:
        folder: an empty folder.
        known_of_run: gives the known answers about a finished run.

    Returns:
        The setting; its `known` has `total`, the sum of all parameters of the backbone as they lie in its file, and
        what `known_of_run` gives.
    """
    photos, backbone, run = folder / "photos", folder / "backbone", folder / "run"
    write_photos(photos)
    shutil.copytree(source.find(source.QUICKSTART), backbone)

    def finish() -> None:
        answers = _finish(config(photos, backbone), run, known_of_run)
        (folder / "known.pickle").write_bytes(pickle.dumps(answers))  # our own, read back at once

    runner.apart(finish, folder / "children", _LIMITS)
    arrays = safetensors.load_file(backbone / "model.safetensors")
    known = {"total": total(arrays.values()), **pickle.loads((folder / "known.pickle").read_bytes())}
    return Setting(photos, backbone, run, known)


def total(arrays) -> float:
    """Adds up all parameters, to nine digits; how they are laid out makes no difference."""
    return float(f"{sum(float(np.sum(np.asarray(array, np.float64))) for array in arrays):.9g}")


def _finish(
    made: ml_collections.ConfigDict, run: Path, known_of_run: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    from lift_jax.cluster import processes
    from lift_jax.export.__main__ import main as export
    from lift_jax.run import run as train

    processes.start()
    train(made, run)
    if export(["--workdir", str(run), "--format", "safetensors", "--no-check"]):
        raise RuntimeError("The run cannot be exported.")
    return known_of_run(run)
