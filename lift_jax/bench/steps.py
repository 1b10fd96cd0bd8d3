"""The training and the evaluation step of a config, ready to be compiled for devices that need not be here."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from lift_jax import devices, state, tuners
from lift_jax.bench import architectures
from lift_jax.data import views
from lift_jax.errors import UserError
from lift_jax.evaluate import Evaluator
from lift_jax.experiment import Network, build_network, objective
from lift_jax.state import TrainState
from lift_jax.train import jitted_step

_PHOTOGRAPH = (375, 500)
"""Height and width of a test image, from which its canvas follows."""


def network(config: ml_collections.FrozenConfigDict, num_classes: int) -> Network:
    """The classifier that a run of `config` (resolved) would have, its backbone without weights.

    Raises:
        UserError: if the backbone's shapes are not known, or the method needs more of it than shapes.
    """
    if config.method == "zero_shot" or tuners.tunes_text(config.method):
        raise UserError(
            f"config.method is {config.method!r}, whose text side depends on class names and a tokenizer; only methods "
            "with a head on the image side can be compiled without them."
        )
    backbone = architectures.backbone(config.backbone, config.resolution)
    return build_network(config, backbone, [""] * num_classes)


def training(config: ml_collections.FrozenConfigDict, network: Network, on: Sequence[Any], batch_size: int) -> Any:
    """The training step, lowered.

    Args:
        config: resolved.
        network: of `network`.
        on: all devices of the run.
        batch_size: over all devices.
    """
    mesh = devices.make_mesh(on)
    num_classes, side = network.classifier.head.num_classes, network.pixels.resolution
    loss, _, tx = objective(config, np.arange(num_classes, 0, -1))
    trainable = {state.TUNER: network.parts.tuner, state.HEAD: network.parts.head}
    whole, of_shard = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(devices.DATA))
    start = jax.eval_shape(lambda t: TrainState(jnp.zeros((), jnp.int32), t, tx.init(t)), trainable)
    rows = {
        "image": jax.ShapeDtypeStruct((batch_size, side, side, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
    }
    key = jax.eval_shape(lambda: jax.random.key(0))

    def placed(tree: Any, place: Callable[[tuple[int, ...]], NamedSharding]) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place(x.shape)), tree)

    step = jitted_step(config, network.classifier, loss, tx, network.pixels, mesh)
    return step.lower(
        placed(start, lambda _: whole),
        placed(network.parts.frozen, lambda shape: devices.pieces(shape, mesh) if config.fsdp else whole),
        placed(rows, lambda _: of_shard),
        placed(key, lambda _: whole),
    )


def evaluation(config: ml_collections.FrozenConfigDict, network: Network, local: Sequence[Any]) -> tuple[Any, int]:
    """The evaluation step, lowered, and the number of views that each device gets.

    Args:
        config: resolved.
        network: of `network`.
        local: the devices of one host, which evaluates on its own.
    """
    mode = config.tte.mode if config.tte.enabled else "plain"
    entry = views.prepare_test(
        np.zeros((*_PHOTOGRAPH, 3), np.uint8), network.pixels.resolution, config.tte.expand, mode, config.interpolation,
        config.tte.views,
    )  # fmt: skip
    entry |= {"label": np.int32(0), "mask": np.bool_(True)}
    size = len(local), -(-config.eval_batch_size // len(local))
    batch = {name: jax.ShapeDtypeStruct((*size, *np.shape(x)), x.dtype) for name, x in entry.items()}
    params = jax.eval_shape(lambda: state.merge(*network.parts))
    step: Any = Evaluator(network.classifier, network.pixels, local).step
    return step.lower(params, batch), size[1] * len(entry["corners"])
