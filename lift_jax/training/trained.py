"""What a run has trained, from one of its checkpoints."""

import ml_collections
from etils import epath

from lift_jax.classifier.network import Network
from lift_jax.cluster import placement
from lift_jax.training import optimizer
from lift_jax.training.state import initial_state
from lift_jax.weights import Backbone
from lift_jax.workdir import checkpoints
from lift_jax.workdir.identity import identify


def restored(
    checkpoint: epath.PathLike, config: ml_collections.FrozenConfigDict, backbone: Backbone, network: Network
) -> Network:
    """Puts into a run's network what its results are of.

    Args:
        checkpoint: its folder.
        config: the resolved config of the run.
        backbone: the run's backbone.
        network: what `lift_jax.classifier.network.build` makes of them.

    Raises:
        UserError: if the checkpoint is damaged, or belongs to another backbone or config.
    """
    tx = optimizer.make(lambda step: 0.0 * step, config.momentum, config.weight_decay, config.ema, config.head_alone)
    identity = identify(config, backbone.name, backbone.hash, network.class_names, network.method.tunes_text)
    like = initial_state(network.parts, tx, placement.make_mesh())
    return network.with_results(checkpoints.restore(checkpoint, like, identity).state.result)
