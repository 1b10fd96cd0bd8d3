"""What a training minimises, and how: the loss and the optimizer with its learning rate."""

import dataclasses
from typing import Any

import ml_collections
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from lift_jax import config as lift_config
from lift_jax import tuners
from lift_jax.errors import UserError
from lift_jax.training import losses, optimizer
from lift_jax.training.losses import Loss
from lift_jax.training.priors import LogitPrior


@dataclasses.dataclass(frozen=True)
class Objective:
    """The objective of a training.

    Attributes:
        loss: the loss over a batch.
        prior: what the loss leaves of the training prior in the logits.
        lr: the learning rate at the start.
        schedule: how the learning rate falls, "cosine_epoch" or "cosine_step".
        num_epochs: epochs of the training.
        steps_per_epoch: steps of one epoch.
        momentum, weight_decay: of SGD.
        ema: decay of the average of the trained parameters, which the results are of; 0 for none.
    """

    loss: Loss
    prior: LogitPrior
    lr: float
    schedule: str
    num_epochs: int
    steps_per_epoch: int
    momentum: float
    weight_decay: float
    ema: float = 0.0

    def learning_rate(self, step: Any, lr: float | Float[Array, ""] | None = None) -> Array:
        """Gives the learning rate of a step.

        Args:
            step: number of steps that were taken before it.
            lr: the learning rate at the start; that of the objective if None.
        """
        start: Any = self.lr if lr is None else lr
        return optimizer.cosine(start, self.num_epochs, self.steps_per_epoch, self.schedule)(step)

    def tx(self, lr: float | Float[Array, ""] | None = None) -> optax.GradientTransformation:
        """Makes the optimizer. Its state has the same structure for all learning rates, which may be traced values.

        Args:
            lr: the learning rate at the start; that of the objective if None.
        """
        return optimizer.make(lambda step: self.learning_rate(step, lr), self.momentum, self.weight_decay, self.ema)


def check(config: ml_collections.FrozenConfigDict) -> None:
    """Refuses an objective that contradicts itself, as far as this can be known without data.

    Raises:
        UserError: if the loss is not known, or a scale is given that neither head nor loss reads.
    """
    spec, method = losses.spec(config.loss), tuners.resolve(config.method, config.tuner)
    own_head = not method.zero_shot and not method.tunes_text
    given = config.head_scale != lift_config.default().head_scale
    if own_head and given and config.head != "cosine" and not spec.uses_head_scale:
        raise UserError(
            f"config.head_scale is {config.head_scale}, but the head {config.head} has no scale; leave it out, "
            "or write config.head=cosine."
        )


def make(config: ml_collections.FrozenConfigDict, class_counts: Int[np.ndarray, " classes"]) -> Objective:
    """Makes the objective that a resolved config asks for.

    Args:
        config: the resolved config.
        class_counts: training images of each class.

    Raises:
        UserError: if the loss is not known, or cannot be summed over micro-batches and there are several.
    """
    loss = losses.make(config.loss, class_counts, tau=config.tau, scale=config.head_scale)
    if config.accumulate > 1 and not loss.additive:
        raise UserError(
            f"config.loss is {config.loss}, whose regulariser takes the whole batch at once, but config.accumulate is "
            f"{config.accumulate}; write config.accumulate=1."
        )
    return Objective(
        loss=loss,
        prior=losses.spec(config.loss).prior(config.tau),
        lr=config.lr,
        schedule=config.schedule,
        num_epochs=config.num_epochs,
        steps_per_epoch=-(-int(class_counts.sum()) // config.batch_size),
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        ema=config.ema,
    )
