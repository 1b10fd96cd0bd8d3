"""The training and the evaluation step of a config, ready to be compiled for devices that need not be here."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lift_jax import tuners
from lift_jax.bench import architectures
from lift_jax.classifier import network as networks
from lift_jax.classifier.network import Network
from lift_jax.cluster import placement
from lift_jax.data import views
from lift_jax.errors import UserError
from lift_jax.evaluation.device_step import over_mesh
from lift_jax.evaluation.evaluator import Evaluator
from lift_jax.models import partition
from lift_jax.models.device import Choose, with_attention
from lift_jax.training import objective, step
from lift_jax.training.state import TrainState

_PHOTOGRAPH = (375, 500)
"""Height and width of a test image, from which its canvas follows."""


def resolve_method(config: ml_collections.FrozenConfigDict) -> tuners.Method:
    """Gives the method of `config`.

    Raises:
        UserError: if it needs more of the backbone than shapes.
    """
    method = tuners.resolve(config.method, config.tuner)
    if method.zero_shot or method.tunes_text:
        raise UserError(
            f"config.method is {config.method!r}, whose text side depends on class names and a tokenizer; only methods "
            "with a head on the image side can be compiled without them."
        )
    return method


def network(config: ml_collections.FrozenConfigDict, num_classes: int, choose: Choose | None = None) -> Network:
    """Makes the network that a run of `config` (resolved) would have, its backbone without weights.

    Args:
        config: the resolved config.
        num_classes: of the head.
        choose: who computes attention, which a run asks its device, that is not here; plain if absent.

    Raises:
        UserError: if the backbone's shapes are not known, or the method needs more of it than shapes.
    """
    method = resolve_method(config)
    backbone = architectures.backbone(config.backbone, config.resolution)
    built = networks.build(config, method, backbone, [""] * num_classes)
    return built if choose is None else dataclasses.replace(built, classifier=with_attention(choose, built.classifier))


def training(config: ml_collections.FrozenConfigDict, network: Network, on: Sequence[Any], batch_size: int) -> Any:
    """Lowers the training step.

    Args:
        config: the resolved config.
        network: what `network` gives.
        on: all devices of the run.
        batch_size: images over all devices.
    """
    mesh = placement.make_mesh(on)
    num_classes, side = network.classifier.head.num_classes, network.input.resolution
    goal = objective.make(config, np.arange(num_classes, 0, -1))
    tx, whole, rows = goal.tx(), PartitionSpec(), PartitionSpec(placement.DATA)
    start = jax.eval_shape(lambda t: TrainState(jnp.zeros((), jnp.int32), t, tx.init(t)), network.parts.trainable)
    batch = {
        "image": jax.ShapeDtypeStruct((batch_size, side, side, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))
    numbers = jax.tree.map(lambda _: jax.ShapeDtypeStruct((), jnp.float32), goal.hyperparameters)
    lowered = jax.jit(step.make(config, network, goal, mesh), donate_argnums=0)
    return lowered.lower(
        _placed(start, mesh, lambda _: whole),
        _placed(network.parts.frozen, mesh, _spec_of_frozen(config, mesh)),
        _placed(batch, mesh, lambda _: rows),
        _placed(key, mesh, lambda _: whole),
        _placed(numbers, mesh, lambda _: whole),
    )


def evaluation(
    config: ml_collections.FrozenConfigDict, network: Network, on: Sequence[Any], local: Sequence[Any]
) -> tuple[Any, int]:
    """Lowers the evaluation step, and gives the number of views that each device gets.

    Args:
        config: the resolved config.
        network: what `network` gives.
        on: all devices of the run, over which a backbone in pieces is evaluated.
        local: the devices of one host, which evaluates on its own where the backbone is replicated.
    """
    mode = config.tte.mode if config.tte.enabled else "plain"
    entry = views.prepare_test(
        np.zeros((*_PHOTOGRAPH, 3), np.uint8), network.input.resolution, config.tte.expand, mode, config.interpolation,
        config.tte.views,
    )  # fmt: skip
    entry |= {"label": np.int32(0), "mask": np.bool_(True)}
    rows = -(-config.eval_batch_size // len(local))
    evaluator = Evaluator(network.classifier, network.input, local).step
    if not config.fsdp:
        batch = {n: jax.ShapeDtypeStruct((len(local), rows, *np.shape(x)), x.dtype) for n, x in entry.items()}
        params = jax.eval_shape(lambda: network.params)
        return evaluator.pmapped.lower(params, batch), rows * len(entry["corners"])
    mesh = placement.make_mesh(on)
    spec_of = _spec_of_frozen(config, mesh)
    params = partition.merge(
        _placed(network.parts.frozen, mesh, spec_of),
        *_placed(network.parts.trainable, mesh, lambda _: PartitionSpec()).values(),
    )
    batch = {n: jax.ShapeDtypeStruct((rows * len(on), *np.shape(x)), x.dtype) for n, x in entry.items()}
    sharded = over_mesh(evaluator.step, jax.tree.map(lambda x: x.sharding.spec, params), mesh)
    batch = _placed(batch, mesh, lambda _: PartitionSpec(placement.DATA))
    return sharded.lower(params, batch), rows * len(entry["corners"])


def _spec_of_frozen(config: ml_collections.FrozenConfigDict, mesh: Mesh) -> Callable[[tuple[int, ...]], PartitionSpec]:
    return lambda shape: placement.pieces(shape, mesh).spec if config.fsdp else PartitionSpec()


def _placed(tree: Any, mesh: Mesh, spec_of: Callable[[tuple[int, ...]], PartitionSpec]) -> Any:
    """Gives shapes and dtypes of a tree's arrays as they lie on a mesh."""

    def place(x: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec_of(x.shape)))

    return jax.tree.map(place, tree)
