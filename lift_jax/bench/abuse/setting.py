"""What the bad inputs are made from: pictures, a backbone, and a finished run on both."""

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

import lift_jax
from lift_jax import config as lift_config
from lift_jax.bench.abuse import runner
from lift_jax.bench.abuse.cases import Setting

CLASSES = ("bee", "cat", "dog", "hen")
IMAGES_PER_CLASS = 5
STEPS = 4
"""Of the finished run: two epochs of two."""

_LIMITS = runner.Limits(300, 8 << 30)


def picture(seed: int, height: int = 20, width: int = 24) -> UInt8[np.ndarray, "height width 3"]:
    """A picture that is as smooth as a photograph."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def paths() -> list[tuple[str, str]]:
    """(path below the folder of photos, class) of all pictures."""
    return [(f"{label}/{label}{i}.png", label) for label in CLASSES for i in range(IMAGES_PER_CLASS)]


def write_photos(folder: Path) -> None:
    """Writes all pictures into the folders of their classes."""
    for number, (path, _) in enumerate(paths()):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(folder / path)


def config(photos: Path, backbone: Path) -> ml_collections.ConfigDict:
    """The config of the finished run."""
    made = lift_config.default()
    made.update(backbone=str(backbone), num_epochs=2, batch_size=8, eval_batch_size=4, log_every=1, method="head_only")
    made.data.update(name="photos", format="folder", root=str(photos), val_fraction=0.2)
    made.tte.enabled = False
    return made


def make(folder: Path, known_of_run: Callable[[Path], dict[str, Any]]) -> Setting:
    """Makes everything below a folder, which takes half a minute, and what JAX is needed for in children.

    Args:
        folder: an empty folder.
        known_of_run: gives the known answers about a finished run.

    Returns:
        The setting; its `known` has `total`, the sum of all parameters of the backbone as they lie in its file, and
        what `known_of_run` gives.
    """
    photos, backbone, run = folder / "photos", folder / "backbone", folder / "run"
    write_photos(photos)
    shutil.copytree(Path(lift_jax.__file__).parent / "quickstart" / "glyph_clip", backbone)

    def finish() -> None:
        answers = _finish(config(photos, backbone), run, known_of_run)
        (folder / "known.pickle").write_bytes(pickle.dumps(answers))  # our own, read back at once

    runner.apart(finish, folder / "children", _LIMITS)
    arrays = safetensors.load_file(backbone / "model.safetensors")
    known = {"total": total(arrays.values()), **pickle.loads((folder / "known.pickle").read_bytes())}
    return Setting(photos, backbone, run, known)


def total(arrays) -> float:
    """The sum of all parameters, which does not depend on how they are laid out, to nine digits."""
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
