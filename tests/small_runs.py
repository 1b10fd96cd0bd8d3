"""A run that takes seconds, and its parts."""

import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_collections
import numpy as np
from jax.sharding import Mesh
from PIL import Image

from lift_jax import config as lift_config
from lift_jax import tuners, weights
from lift_jax.classifier import network as networks
from lift_jax.classifier.network import Network
from lift_jax.cluster import placement
from lift_jax.data import Dataset, RunData, load_run_data
from lift_jax.data.digits import load_digits
from lift_jax.run import Loaded, run
from lift_jax.training import objective
from lift_jax.training.objective import Objective
from lift_jax.training.state import TrainState, initial_state
from lift_jax.training.step import TrainingStep
from lift_jax.weights import Backbone
from lift_jax.workdir.identity import identify


def small_config(folder: str, **changes) -> ml_collections.ConfigDict:
    """Long-tailed digits on the tiny CLIP: 2 epochs of 3 steps, the last one padded."""
    config = lift_config.default()
    quick = {"report": False, "zero_shot": False}
    config.update(backbone=folder, num_epochs=2, batch_size=128, lr=0.05, log_every=1, **quick, **changes)
    config.data.imbalance = 50
    config.tte.expand = 4
    return config


def write_digits(root: Path, classes: Sequence[str], train: int, test: int, name: str = "{}.png") -> None:
    """Writes digits into the folders root/train/CLASS and root/test/CLASS, so many of each class."""
    digits, _ = load_digits(50)
    for label, class_name in enumerate(classes):
        for place, row in enumerate(np.flatnonzero(digits.labels == label)[: train + test].tolist()):
            file = root / ("train" if place < train else "test") / class_name / name.format(place)
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(digits.source[row])).save(file)


def zero_shot_run(folder: str, workdir: Path, **data: Any) -> Path:
    """Makes a run of the zero-shot classifier, in one view; `data` changes the data section of its config."""
    config = lift_config.default()
    config.update(backbone=folder, method="zero_shot", report=False)
    config.data.update(**data)
    config.tte.enabled = False
    run(config, workdir)
    return workdir


@dataclasses.dataclass(frozen=True)
class Built:
    """What a run is made of; the network is placed on all devices."""

    config: ml_collections.FrozenConfigDict
    data: RunData
    backbone: Backbone
    network: Network
    objective: Objective
    mesh: Mesh

    @property
    def identity(self) -> dict[str, Any]:
        names, reads = self.network.class_names, self.network.method.tunes_text
        return identify(self.config, self.backbone.name, self.backbone.hash, names, reads)

    def state(self) -> TrainState:
        return initial_state(self.network.parts, self.objective.tx(), self.mesh)

    def step(self, accumulate: int = 1, mirrored: bool = False, loss: Any = None) -> TrainingStep:
        classifier, image_input = self.network.classifier, self.network.input
        loss = loss or self.objective.loss
        return TrainingStep(classifier, loss, self.objective.tx, image_input, self.mesh, accumulate, mirrored)


def build(config: ml_collections.ConfigDict) -> Built:
    resolved = lift_config.resolve(config)
    data = load_run_data(resolved)
    backbone = weights.load(resolved.backbone, resolved.resolution or None)
    method = tuners.resolve(resolved.method, resolved.tuner)
    mesh = placement.make_mesh()
    network = networks.build(resolved, method, backbone, data.train.class_names).placed(mesh)
    return Built(resolved, data, backbone, network, objective.make(resolved, data.train.class_counts), mesh)


class CountingLoaded(Loaded):
    """Loads data of which it counts how often each test and held-out image is read.

    `reads` has the counts by the name of the split and the seed of the run that reads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: dict[tuple[str, int], collections.Counter] = collections.defaultdict(collections.Counter)

    def data(self, config: ml_collections.FrozenConfigDict) -> RunData:
        found = super().data(config)
        if found.held_out is not None:
            validation = self._counted(found.held_out.validation, "held-out", config.seed)
            found = dataclasses.replace(found, held_out=dataclasses.replace(found.held_out, validation=validation))
        return dataclasses.replace(found, test=self._counted(found.test, "test", config.seed))

    def _counted(self, dataset: Dataset, split: str, seed: int) -> Dataset:
        return dataclasses.replace(dataset, source=_Counted(dataset.source, self.reads[split, seed]))


class _Counted:
    """The images of a data set, each of which is counted when it is read."""

    def __init__(self, source: Any, reads: collections.Counter):
        self._source, self._reads = source, reads

    def __getitem__(self, index: int) -> Any:
        self._reads[index] += 1
        return self._source[index]

    def __len__(self) -> int:
        return len(self._source)
