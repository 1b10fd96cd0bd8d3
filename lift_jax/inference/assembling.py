"""Assembles a model from its backbone and whatever holds the trained parameters."""

from collections.abc import Callable, Sequence

import ml_collections

from lift_jax import tuners, weights
from lift_jax.classifier import network as networks
from lift_jax.classifier.network import Network
from lift_jax.cluster import placement
from lift_jax.errors import UserError
from lift_jax.inference.model import Model
from lift_jax.models.text_head import with_features
from lift_jax.training import objective
from lift_jax.weights import Backbone
from lift_jax.workdir import record


def assemble(
    config: ml_collections.FrozenConfigDict,
    class_names: Sequence[str],
    known: record.Record | None,
    trained: Callable[[Backbone, Network], Network],
    backbone: str | None = None,
) -> Model:
    """Assembles a model from its backbone and whatever holds the trained parameters.

    Args:
        config: the resolved config of the run.
        class_names: the names of the classes in label order.
        known: what else is known of the run.
        trained: a function that puts the trained parameters into the network.
        backbone: where the backbone is now, if no longer where the config says.

    Raises:
        UserError: if the backbone cannot be loaded, or does not fit the config.
    """
    if backbone is None and not config.backbone:
        raise UserError("config.backbone is empty; it names the foundation model of the run.")
    try:
        loaded = weights.load(backbone or config.backbone, config.resolution or None, config.backbone_activation)
    except UserError as error:
        if backbone is not None:
            raise
        raise UserError(
            f"The run's backbone, {config.backbone!r} in its config, cannot be loaded ({str(error).rstrip('.')}); name "
            "where it is now with --backbone, or in Python as `backbone`."
        ) from error
    objective.spec(config)  # so that an unknown one is told of now
    method = tuners.resolve(config.method, config.tuner)
    network = trained(loaded, networks.build(config, method, loaded, class_names)).placed(placement.make_mesh())
    return Model(config, network, with_features(network.classifier, network.params), loaded, known)
