"""What reads a finished run, and what the readers must give."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lift_jax import report
from lift_jax.bench.abuse.setting import CLASSES, IMAGES_PER_CLASS, STEPS
from lift_jax.inference.load import load
from lift_jax.report import files

Answer = tuple[Any, ...]
Reader = Callable[[Path], Answer]


def reported(run: Path) -> Answer:
    """Draws the report of a run, and gives what it was drawn from."""
    report.write(run)
    found = files.read(run)
    rows = tuple(zip(*(found.predictions[key].tolist() for key in ("index", "label", "prediction")), strict=True))
    counts = tuple(found.record.train_counts), tuple(found.record.test_counts)
    losses = tuple(found.curve("loss")[0])
    results = {key: None if value != value else value for key, value in found.results["plain"].items()}
    return tuple(sorted(results.items())), rows, tuple(found.record.class_names), counts, losses


def loaded(run: Path) -> Answer:
    """Loads a run as a model, and gives its class names and a checksum of what was trained."""
    model = load(run)
    config = model.config
    arrays = jax.tree.leaves(jax.device_get(dict(model.network.parts.trainable)))
    checksum = 0
    for array in sorted(np.asarray(array).tobytes() for array in arrays):
        checksum = zlib.crc32(array, checksum)
    return tuple(model.class_names), checksum, config.method, config.loss, config.tte.enabled, config.interpolation


def known(run: Path) -> dict[str, Answer]:
    """Gives what the readers must find, read without them from the files of a run that was just made and is whole."""
    results = json.loads((run / "eval.json").read_text())["plain"]
    with np.load(run / "predictions.npz") as saved:
        rows = tuple(zip(*(saved[key].tolist() for key in ("index", "label", "prediction")), strict=True))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = tuple(line["step"] for line in lines if line["split"] == "train" and "loss" in line)
    counts = (IMAGES_PER_CLASS - 1,) * len(CLASSES), (1,) * len(CLASSES)
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        saved = reader.restore(
            run / "checkpoints" / str(STEPS), args=ocp.args.Composite(state=ocp.args.StandardRestore())
        )
    checksum = 0
    for array in sorted(np.asarray(array).tobytes() for array in jax.tree.leaves(saved["state"]["trainable"])):
        checksum = zlib.crc32(array, checksum)
    config = json.loads((run / "config.json").read_text())
    model = CLASSES, checksum, config["method"], config["loss"], config["tte"]["enabled"], config["interpolation"]
    return {"reported": (tuple(sorted(results.items())), rows, CLASSES, counts, losses), "loaded": model}
