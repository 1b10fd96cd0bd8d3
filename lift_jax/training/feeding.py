"""How batches reach the devices: each is put there while the step before it is computed."""

import jax
import numpy as np
from jax.sharding import Mesh

from lift_jax.cluster import placement
from lift_jax.data import TrainLoader
from lift_jax.training.step import Batch


class Feed:
    """Puts the batches of a loader on the devices.

    The loader stays at the batch that was taken last, so that what is saved of it does not depend on what was
    prepared. Each step has two batches on the devices: its own, and the one that is on its way.

    Args:
        loader: this host's batches.
        mesh: the devices.
    """

    def __init__(self, loader: TrainLoader, mesh: Mesh):
        self._loader, self._mesh = loader, mesh
        self._prepared: Batch | None = None

    def prepare(self) -> None:
        """Begins to put the next batch on the devices, if there is one.

        It is called after a step was handed to the devices and before anything waits for that step. What is wrong with
        the batch is raised by `take`.
        """
        if (batch := self._loader.fetch()) is not None and self._prepared is None:
            self._prepared = self._placed(batch)

    def take(self) -> tuple[Batch, int]:
        """Goes on to the next batch.

        Returns:
            The batch on the devices, and its number of examples over all hosts.

        Raises:
            UserError: if an image cannot be read.
        """
        batch = next(self._loader)
        placed, self._prepared = self._prepared or self._placed(batch), None
        return placed, int(batch["mask"].sum()) * jax.process_count()

    def _placed(self, batch: dict[str, np.ndarray]) -> Batch:
        return placement.shard_batch({name: array for name, array in batch.items() if name != "index"}, self._mesh)
