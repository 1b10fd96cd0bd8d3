"""How logits are adjusted: mixed with those of classifiers of the frozen backbone, moved by the prior, and divided.

The functions take arrays of NumPy and of JAX, so that what is chosen on the host is what runs on the devices.
"""

from typing import Annotated, Any

import numpy as np
import pydantic
from jaxtyping import Float, Int

from lift_jax.workdir import schema

LOWEST, HIGHEST = 0.1, 10.0
"""The range of temperatures."""

Temperature = Annotated[float, pydantic.Field(ge=LOWEST, le=HIGHEST)]
Share = Annotated[float, pydantic.Field(gt=0, le=1)]


class Adjustment(pydantic.BaseModel):
    """What is done to logits; by default nothing.

    Attributes:
        run: factor of the run's logits, 1 but where the others are better without them.
        mix: factor of the zero-shot classifier's logits, which are added to the run's.
        pretraining_prior: how frequent the classes were in the pre-training, as the zero-shot classifier takes it, with
            a sum of one. Its logarithm is taken out of the zero-shot logits (generalised logit adjustment, Zhu et al.
            2023, arXiv 2310.08106); None for nothing.
        gaussians: factor of the logits of `lift_jax.training.gaussian.fit_shrunk`, which are added as well.
        tau: factor of the logarithm of the training prior, which is added as well. The training prior takes the
            classes to be as frequent as in the training set; below 0, it helps the rare ones.
        temperatures: what the sums are divided by, for each group of classes (many, medium, few). The group is that of
            the largest sum, which stays the largest.
    """

    model_config = schema.STRICT | {"frozen": True}
    run: Annotated[float, pydantic.Field(ge=0, le=1)] = 1.0
    mix: Annotated[float, pydantic.Field(ge=0, le=100)] = 0.0
    pretraining_prior: list[Share] | None = None
    gaussians: Annotated[float, pydantic.Field(ge=0, le=100)] = 0.0
    tau: Annotated[float, pydantic.Field(ge=-10, le=10)] = 0.0
    temperatures: Annotated[list[Temperature], pydantic.Field(min_length=3, max_length=3)] = [1.0, 1.0, 1.0]

    def summed(
        self, logits: Any, zero_shot: Any, log_prior: Float[np.ndarray, " classes"], gaussians: Any = None
    ) -> Float[Any, "n classes"]:
        """Adds to the logits what belongs to them.

        Args:
            logits: of the run, under the uniform prior [n, classes].
            zero_shot: those of the zero-shot classifier, of the same shape; None only where `mix` is 0.
            log_prior: the logarithm of each class's share of the training set.
            gaussians: the logits of the Gaussians, of the same shape; None only where their factor is 0.
        """
        total = logits if self.run == 1 else self.run * logits
        if self.mix:
            if self.pretraining_prior is not None:
                zero_shot = zero_shot - np.log(self.pretraining_prior).astype(np.float32)
            total = total + self.mix * zero_shot
        if self.gaussians:
            total = total + self.gaussians * gaussians
        return total + self.tau * log_prior if self.tau else total

    def divided(self, summed: Any, groups: Int[np.ndarray, " classes"]) -> Float[Any, "n classes"]:
        """Divides each row of sums by the temperature of the group that its largest one belongs to.

        Args:
            summed: see `summed`.
            groups: the group of each class, as an index into `temperatures`.
        """
        xp = summed.__array_namespace__()
        of_classes = np.asarray(self.temperatures, summed.dtype)[groups]
        return summed / xp.take(xp.asarray(of_classes), xp.argmax(summed, axis=-1))[:, None]
