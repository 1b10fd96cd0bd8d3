"""What the runs of one process share: data, backbones, and their copies on the devices."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np

from lift_jax import weights
from lift_jax.classifier.network import Network
from lift_jax.cluster import placement
from lift_jax.data import RunData, load_run_data
from lift_jax.data.run_data import drawn_by
from lift_jax.models.partition import Tree
from lift_jax.weights import Backbone


class Loaded:
    """The newest data and backbone of this process, which runs that name the same ones share."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, Any]] = {}

    def data(self, config: ml_collections.FrozenConfigDict) -> RunData:
        """Gives the data of a run; what does not depend on the config's other keys is loaded once."""
        found = self._once("data", _images(config), lambda: load_run_data(config))
        return dataclasses.replace(found, config=config)

    def zero_shot(
        self, config: ml_collections.FrozenConfigDict, measure: Callable[[], dict[str, float] | None]
    ) -> dict[str, float] | None:
        """Gives what `measure` finds of the untrained backbone, once for all runs of which this is the same."""
        seen = config.prompt, config.dtype, config.frozen_dtype, config.interpolation, config.tte.expand
        return self._once("zero_shot", (_images(config), _backbone(config), *seen), measure)

    def backbone(self, config: ml_collections.FrozenConfigDict) -> Backbone:
        """Gives the backbone of a run."""
        key = _backbone(config)
        return self._once("backbone", key, lambda: weights.load(*key))

    def placed(self, network: Network, fsdp: bool) -> Network:
        """Places a network on all devices; if the newest one had equal frozen parameters, both share one copy."""
        mesh, frozen = placement.make_mesh(), network.parts.frozen
        before, on_devices = self._kept.pop("frozen", (None, None))
        if before is None or before[1] != fsdp or not _equal(before[0], frozen):
            on_devices = None  # before the next ones are there: both might not fit into memory
        if on_devices is not None:
            network = _with_frozen(network, on_devices)
        network = network.placed(mesh, fsdp)  # which copies nothing that is there already
        on_devices = network.parts.frozen if on_devices is None else on_devices
        self._kept["frozen"] = (frozen, fsdp), on_devices
        return _with_frozen(network, on_devices)

    def _once(self, kind: str, key: Any, load: Callable[[], Any]) -> Any:
        if self._kept.get(kind, (None, None))[0] != key:
            self._kept.pop(kind, None)  # before the next one is there: both might not fit into memory
            self._kept[kind] = key, load()
        return self._kept[kind][1]


def _images(config: ml_collections.FrozenConfigDict) -> tuple[Any, ...]:
    """Returns what the images and their groups depend on."""
    return config.data.to_json(), config.task, config.class_groups, config.validation, drawn_by(config)


def _backbone(config: ml_collections.FrozenConfigDict) -> tuple[str, int | None, str]:
    """Returns what the backbone depends on: the arguments of `weights.load`."""
    return config.backbone, config.resolution or None, config.backbone_activation


def _with_frozen(network: Network, frozen: Tree) -> Network:
    return dataclasses.replace(network, parts=network.parts._replace(frozen=frozen))


def _equal(tree: Any, other: Any) -> bool:
    """Tells whether two trees hold equal arrays at the same places."""
    same = jax.tree.structure(tree) == jax.tree.structure(other)
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=False)
    return same and all(x is y or (x.dtype == y.dtype and np.array_equal(x, y)) for x, y in pairs)
