"""The training: a frozen backbone, a tuner and a head, the logit-adjusted loss, SGD."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
from jaxtyping import PRNGKeyArray

from lift_jax.classifier.network import Network
from lift_jax.data import TrainLoader
from lift_jax.training.feeding import Feed
from lift_jax.training.objective import Objective
from lift_jax.training.state import TrainState
from lift_jax.training.step import StepMetrics, TrainingStep


class Hooks(Protocol):
    """What happens around the steps: logs, checkpoints, the end of the process."""

    def __enter__(self) -> Any:
        """Is called before the first step."""
        ...

    def __exit__(self, *error: Any) -> Any:
        """Is called after the last step, or when an error ends the training."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the training ends before its last step."""
        ...

    def log(self, metrics: StepMetrics, examples: int) -> None:
        """Is called after every step.

        Args:
            metrics: those of the step, still being computed.
            examples: images of the step over all hosts, without padding.
        """
        ...

    def save(self, state: Callable[[], TrainState]) -> None:
        """Is called after every step, once it was logged.

        Args:
            state: gives the state after the step, still being computed; to be asked before the call ends, if at all.
        """
        ...


def fit(
    network: Network,
    objective: Objective,
    loader: TrainLoader,
    hooks: Hooks,
    *,
    step: TrainingStep,
    state: TrainState,
    key: PRNGKeyArray,
) -> TrainState:
    """Trains tuner and head of a network, from where the loader is to its end.

    Args:
        network: the network, its parameters placed on the mesh; the frozen ones are used and never changed.
        objective: gives the hyperparameters.
        loader: this host's batches.
        hooks: what happens around the steps.
        step: a step of the objective.
        state: the state to begin with, which is used up.
        key: random key of the run, on all devices.

    Returns:
        The state after the last step that was taken.

    Raises:
        UserError: if an image cannot be read.
    """
    frozen, feed = network.parts.frozen, Feed(loader, step.mesh)
    hyperparameters = objective.hyperparameters.placed(step.mesh)
    update = jax.jit(step, donate_argnums=0)
    with hooks:
        while loader.step < loader.num_steps and not hooks.finished:
            batch, examples = feed.take()
            with jax.transfer_guard("disallow"):
                state, metrics = update(state, frozen, batch, key, hyperparameters)
            feed.prepare()
            hooks.log(metrics, examples)
            hooks.save(lambda state=state: state)
    return state
