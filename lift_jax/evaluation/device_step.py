"""How a function of parameters and a batch of canvases is run on the devices, whatever their number and hosts."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, PartitionSpec

from lift_jax.cluster import placement, processes
from lift_jax.data import Examples
from lift_jax.errors import UserError
from lift_jax.models.fsdp import boxed
from lift_jax.models.partition import BACKBONE, Tree
from lift_jax.workdir.logs import Logs

Batch = dict[str, np.ndarray]
Step = Callable[[Any, dict[str, Any]], tuple[Any, Any]]
"""A function of (parameters, the examples of one device) to (sums over these examples, a result for each of them)."""


def pmapped(step: Step, local: Sequence[Any] | None = None) -> Any:
    """Maps a step over devices of this host, each of which has all parameters; its sums are those of the host.

    The hosts evaluate on their own, because they have batches of different number and shape.

    Args:
        step: what is mapped.
        local: devices of this host; all by default.

    Returns:
        A function of replicated parameters and a batch with a leading axis for the devices.
    """

    def summed(params: Tree, batch: dict[str, Any]) -> tuple[Any, Any]:
        sums, rows = step(params, batch)
        return jax.lax.psum(sums, placement.DATA), rows

    devices = local or jax.local_devices()
    return jax.pmap(summed, axis_name=placement.DATA, in_axes=(None, 0), out_axes=(None, 0), devices=devices)


_pmapped_once = functools.lru_cache(maxsize=4)(pmapped)


def over_mesh(step: Step, specs: Any, mesh: Mesh) -> Any:
    """Maps a step over all devices of a mesh, on which frozen parameters may lie in pieces.

    Each piece is gathered where a layer uses it, so that no device ever holds the whole backbone.

    Args:
        step: what is mapped.
        specs: how each parameter lies on the mesh.
        mesh: all devices of the run.

    Returns:
        A jitted function of parameters and a global batch; its sums have a leading axis for the devices.
    """
    rows = PartitionSpec(placement.DATA)

    def on_one_device(params: Tree, batch: dict[str, Any]) -> tuple[Any, Any]:
        sums, results = step(boxed(params, specs), batch)
        return jax.tree.map(lambda x: x[None], sums), results

    sharded_step = jax.shard_map(on_one_device, mesh=mesh, in_specs=(specs, rows), out_specs=rows, check_vma=False)
    return jax.jit(sharded_step)


class DeviceStep:
    """Runs a step over a loader's batches: by pmap where the parameters are replicated, else over the mesh.

    Args:
        step: what is run.
        local: devices of this host, for replicated parameters; all by default.
        before: what is run on the images first, a program of its own, given the backbone's parameters alone. Its rows
            are in the images' place in what `step` is given, as "features"; networks of one backbone share them. None
            if `step` is given the images.
    """

    def __init__(self, step: Step, local: Sequence[Any] | None = None, before: Step | None = None):
        self.step = step
        self.pmapped = pmapped(step, local)
        self._before = before
        self._before_pmapped = None if before is None else _pmapped_once(before, local and tuple(local))
        self._sharded: Any = None

    def __call__(self, params: Any, loader: Examples, logs: Logs, desc: str) -> Iterator[tuple[Batch, Any, Any]]:
        """Yields each batch of this host with the step's sums and rows; the next batch is prepared meanwhile.

        Args:
            params: the parameters, placed on the mesh of the run.
            loader: this host's examples.
            logs: for the progress bar.
            desc: what the bar says.

        Raises:
            UserError: if an image cannot be read; the same on all processes, once they are through with theirs.
        """
        for batch, results in self.of_several([params], loader, [logs], desc):
            yield batch, *results[0]

    def of_several(
        self, params: Sequence[Any], loader: Examples, logs: Sequence[Logs], desc: str
    ) -> Iterator[tuple[Batch, list[tuple[Any, Any]]]]:
        """Yields each batch, which is made once, with the sums and rows of several parameters.

        Args:
            params: of several networks that this step is for, placed alike.
            loader: this host's examples.
            logs: of each of them, for its progress bar.
            desc: what the bars say.

        Raises:
            UserError: as for a call.
        """
        if placement.is_sharded(params[0]):
            start, fetch, batches = self._over_mesh(params), _from_mesh, _in_step(loader)
        else:
            start, fetch, batches = self._on_this_host(params), _from_pmap, loader
        waiting = None
        with processes.together(), _Bars(logs, loader.num_examples, desc) as bars:
            for batch in batches:
                given = {key: values for key, values in batch.items() if key != "index"}
                results = start(given)
                if waiting is not None:
                    yield _fetched(*waiting, fetch, bars)
                waiting = batch, results
            if waiting is not None:
                yield _fetched(*waiting, fetch, bars)

    def _on_this_host(self, params: Sequence[Any]) -> Callable[[Batch], list[Any]]:
        count = jax.local_device_count()

        def place(batch: Batch) -> Batch:
            return {k: v.reshape(count, -1, *v.shape[1:]) for k, v in batch.items()}

        replicas = [placement.local_replicas(each) for each in params]
        return _started(self.pmapped, self._before_pmapped, replicas, self._shared(params), place)

    def _over_mesh(self, params: Sequence[Any]) -> Callable[[Batch], list[Any]]:
        mesh = placement.make_mesh()
        if self._sharded is None:
            specs = jax.tree.map(lambda x: x.sharding.spec, params[0])
            before = self._before and over_mesh(self._before, _backbone(specs), mesh)
            self._sharded = over_mesh(self.step, specs, mesh), before
        step, before = self._sharded
        place = functools.partial(placement.shard_batch, mesh=mesh)
        return _started(step, before, params, self._shared(params), place)

    def _shared(self, params: Sequence[Any]) -> list[int]:
        """Gives for each of several networks the place of the first one whose `before` has the same arrays."""
        if self._before is None:
            return list(range(len(params)))
        arrays = [[id(array) for array in jax.tree.leaves(_backbone(each))] for each in params]
        return [arrays.index(own) for own in arrays]


def _started(
    step: Any, before: Any, params: Sequence[Any], backbones: Sequence[int], place: Callable[[Batch], Any]
) -> Callable[[Batch], list[Any]]:
    """Gives what starts a step of each network on a batch of this host, and `before` once for each backbone."""

    def start(batch: Batch) -> list[Any]:
        placed = place(batch)
        if before is None or "features" in placed:
            return [step(own, placed) for own in params]
        rows = {key: placed.pop(key) for key in ("label", "mask")}
        features = {first: before(_backbone(params[first]), placed)[1] for first in set(backbones)}
        return [step(own, {"features": features[b], **rows}) for own, b in zip(params, backbones, strict=True)]

    return start


def _backbone(params: Any) -> dict[str, Any]:
    return {BACKBONE: params[BACKBONE]}


def _fetched(
    batch: Batch, results: Sequence[Any], fetch: Callable[[Any], tuple[Any, Any]], bars: "_Bars"
) -> tuple[Batch, list[tuple[Any, Any]]]:
    fetched = [fetch(result) for result in results]
    bars.update(int(batch["mask"].sum()))
    return batch, fetched


class _Bars:
    """The progress bars of several networks, each of which speaks in its own logs."""

    def __init__(self, logs: Sequence[Logs], total: int, desc: str):
        self._bars = [(each, each.progress(total, desc, unit="images")) for each in logs]

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *error: Any) -> None:
        for logs, bar in self._bars:
            with logs.speaking():
                bar.close()

    def update(self, images: int) -> None:
        """Counts so many more images."""
        for logs, bar in self._bars:
            with logs.speaking():
                bar.update(images, images=images)


def _from_pmap(result: Any) -> tuple[Any, Any]:
    sums, rows = jax.device_get(result)
    return sums, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)


def _from_mesh(result: Any) -> tuple[Any, Any]:
    """Fetches the rows of this host, and the sums over its devices."""

    def local(array: jax.Array) -> np.ndarray:
        shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        return np.concatenate([np.asarray(shard.data) for shard in shards])

    sums, rows = jax.tree.map(local, result)
    return jax.tree.map(lambda x: x.sum(axis=0), sums), rows


def _in_step(loader: Examples) -> Iterator[Batch]:
    """Yields batches such that all processes have one of the same shape at a time, which may be padding alone."""
    if jax.process_count() == 1:
        yield from loader
        return
    problem: UserError | None = None
    batches = iter(loader)

    def following() -> Batch | None:
        nonlocal problem
        try:
            return next(batches, None)
        except UserError as error:  # the others must not wait for this process
            problem = error
            return None

    batch = following()
    while True:
        own = np.zeros(4, np.int64) if batch is None else np.asarray(batch["image"].shape, np.int64)
        shapes = [row for row in multihost_utils.process_allgather(own) if row.any()]
        if not shapes:
            break
        if batch is not None and np.array_equal(own, shapes[0]):
            yield batch
            batch = following()
        else:
            yield _padding(tuple(shapes[0].tolist()), loader)
    if problem is not None:
        raise problem


def _padding(shape: tuple[int, ...], loader: Examples) -> Batch:
    count, num_views = shape[0], loader.num_views
    return {
        "image": np.zeros(shape, np.uint8),
        "corners": np.zeros((count, num_views, 2), np.int32),
        "transposed": np.zeros(count, bool),
        "flipped": np.zeros((count, num_views), bool),
        "label": loader.no_labels(count),
        "mask": np.zeros(count, bool),
        "index": np.full(count, -1, np.int32),
    }
