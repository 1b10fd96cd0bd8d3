"""What a training minimises, and how: the loss and the optimizer with its learning rate."""

import dataclasses
import functools
from typing import Any

import ml_collections
import numpy as np
import optax
from jaxtyping import Array, Int

from lift_jax import config as lift_config
from lift_jax import tuners
from lift_jax.errors import UserError
from lift_jax.training import losses, multilabel_losses, optimizer
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.training.losses import Loss, LossSpec
from lift_jax.training.multilabel_losses import MultilabelLossSpec
from lift_jax.training.priors import LogitPrior


@dataclasses.dataclass(frozen=True)
class Objective:
    """The objective of a training.

    Attributes:
        loss: the loss over a batch.
        prior: what the loss leaves of the training prior in the logits.
        hyperparameters: the numbers in which members of one program may differ.
        schedule: how the learning rate falls, "cosine_epoch" or "cosine_step".
        num_epochs: epochs of the training.
        steps_per_epoch: steps of one epoch.
        ema: decay of the average of the trained parameters, which the results are of; 0 for none.
        head_alone: whether the tuner stays as it is.
    """

    loss: Loss
    prior: LogitPrior
    hyperparameters: Hyperparameters
    schedule: str
    num_epochs: int
    steps_per_epoch: int
    ema: float = 0.0
    head_alone: bool = False

    def learning_rate(self, step: Any, start: Any = None) -> Array:
        """Gives the learning rate of a step.

        Args:
            step: number of steps that were taken before it.
            start: the learning rate at the start; that of the objective if None.
        """
        start = self.hyperparameters.lr if start is None else start
        return optimizer.cosine(start, self.num_epochs, self.steps_per_epoch, self.schedule)(step)

    def tx(self, hyperparameters: Hyperparameters | None = None) -> optax.GradientTransformation:
        """Makes the optimizer. Its state has the same structure for all hyperparameters, which may be traced values.

        Args:
            hyperparameters: those of the objective if None.
        """
        given = hyperparameters or self.hyperparameters
        schedule = functools.partial(self.learning_rate, start=given.lr)
        return optimizer.make(schedule, given.momentum, given.weight_decay, self.ema, self.head_alone)


def spec(config: ml_collections.FrozenConfigDict) -> LossSpec | MultilabelLossSpec:
    """Finds the loss of a config's task.

    Raises:
        UserError: if the task has no loss of that name.
    """
    if config.task == "multilabel":
        return multilabel_losses.spec(config.loss)
    if config.loss in multilabel_losses.LOSSES and config.loss not in losses.LOSSES:
        raise UserError(
            f"config.loss is {config.loss}, which is for images with several labels; write config.task=multilabel, or "
            f"another loss: {', '.join(losses.LOSSES)}."
        )
    return losses.spec(config.loss)


def check(config: ml_collections.FrozenConfigDict) -> None:
    """Refuses an objective that contradicts itself, as far as this can be known without data.

    Raises:
        UserError: if the loss is not known, or a scale is given that neither head nor loss reads.
    """
    loss, method = spec(config), tuners.resolve(config.method, config.tuner)
    if method.closed_form and config.init_from:
        raise UserError(
            f"config.init_from is {config.init_from}, but config.method={config.method} computes its head anew from "
            "the training images; leave config.init_from out."
        )
    if config.head_alone and not config.init_from:
        raise UserError(
            "config.head_alone is set, but there is no run whose tuner stays as it is; name it with config.init_from, "
            "or write config.method=head_only for the backbone as it is."
        )
    if config.head_alone and method.tunes_text:
        raise UserError(
            f"config.head_alone is set, but config.method={config.method} has no head, since its classes are those of "
            "the text; leave config.head_alone out."
        )
    own_head = not (method.zero_shot or method.closed_form or method.tunes_text)
    given = config.head_scale != lift_config.default().head_scale
    if own_head and given and config.head != "cosine" and not loss.uses_head_scale:
        raise UserError(
            f"config.head_scale is {config.head_scale}, but the head {config.head} has no scale; leave it out, "
            "or write config.head=cosine."
        )


def make(
    config: ml_collections.FrozenConfigDict, class_counts: Int[np.ndarray, " classes"], num_images: int | None = None
) -> Objective:
    """Makes the objective that a resolved config asks for.

    Args:
        config: the resolved config.
        class_counts: training images of each class.
        num_images: training images; None where each is of one class.

    Raises:
        UserError: if the loss is not known, or cannot be summed over micro-batches and there are several.
    """
    num_images = int(class_counts.sum()) if num_images is None else num_images
    if config.task == "multilabel":
        loss: Loss = multilabel_losses.make(config.loss, class_counts, num_images, config.tau)
    else:
        loss = losses.make(config.loss, class_counts, tau=config.tau, scale=config.head_scale)
    if config.accumulate > 1 and not loss.additive:
        raise UserError(
            f"config.loss is {config.loss}, whose regulariser takes the whole batch at once, but config.accumulate is "
            f"{config.accumulate}; write config.accumulate=1."
        )
    return Objective(
        loss=loss,
        prior=spec(config).prior(config.tau),
        hyperparameters=Hyperparameters(config.lr, config.momentum, config.weight_decay, config.tau),
        schedule=config.schedule,
        num_epochs=config.num_epochs,
        steps_per_epoch=-(-num_images // config.batch_size),
        ema=config.ema,
        head_alone=config.head_alone,
    )
