"""What makes logits and features of images: the classifier of a run, and those of its backbone as it was."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Float, Int

from lift_jax.classifier import untuned
from lift_jax.classifier.network import Network
from lift_jax.data import Dataset, TestLoader, evaluation_loader
from lift_jax.errors import UserError
from lift_jax.evaluation.features import Extractor, Features, frozen_features, place_of
from lift_jax.evaluation.predictor import Predictor
from lift_jax.evaluation.thresholds import Thresholds
from lift_jax.inference import frozen_classifiers
from lift_jax.inference.adjustment import Adjustment
from lift_jax.inference.calibration import Calibration
from lift_jax.inference.frozen_classifiers import Classified, FrozenClassifiers, GaussianArrays
from lift_jax.models.untuned import Untuned
from lift_jax.training import losses, objective
from lift_jax.training.priors import LogitPrior, Prior
from lift_jax.weights import Backbone
from lift_jax.workdir import one_label, record
from lift_jax.workdir.logs import Logs

Rows = Callable[[TestLoader, Logs, str], Iterator[tuple[Int[np.ndarray, " n"], Any]]]
"""Gives indices and rows, or a tree of them, of a loader's images, with a progress bar."""


class Outputs(NamedTuple):
    """What the network says of a batch of images.

    Attributes:
        index: of the images in their data set.
        probabilities: of the classes, 0 to 1.
        energies: the logarithm of the sum of the exponentials of the adjusted logits, where that is asked for.
        features: those that the run's logits are made of, averaged over an image's views, where they are asked for.
    """

    index: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n classes"]
    energies: Float[np.ndarray, " n"] | None = None
    features: Float[np.ndarray, "n d"] | None = None


@dataclasses.dataclass(frozen=True)
class RunClassifier:
    """The classifier of a run, without the answers that are made of its logits.

    Attributes:
        config: the resolved config of the run.
        network: the network with the trained parameters, on all devices.
        params: the parameters that the classifier is used with; a text tower has run and is left out.
        backbone: the foundation model.
        record: what else is known of the run, None for a run of a version that did not write it down.
        calibration: how the answers are calibrated, None for those of the run as it is.
        gaussians: the Gaussians that the calibration mixes in, None if it mixes none in.
        thresholds: the logits from which on an image is said to be of the classes, of a run whose images may be of
            several, for one view ("plain") and perhaps for several ("tte"); None of others, and where they are left
            out.
    """

    config: ml_collections.FrozenConfigDict
    network: Network
    params: dict[str, Any]
    backbone: Backbone
    record: record.Record | None
    calibration: Calibration | None = None
    gaussians: GaussianArrays | None = None
    thresholds: Mapping[str, Thresholds] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.network.class_names

    @property
    def has_label_sets(self) -> bool:
        """Whether an image of the run may be of several classes."""
        return self.config.task == "multilabel"

    def require_one_label(self, what: str, instead: str = "") -> None:
        """Refuses a run whose images have several labels (see `lift_jax.workdir.one_label.require`)."""
        one_label.require(self.config, what, instead)

    def dataset(self, source: Any, name: str) -> Dataset:
        """Makes images without labels into a data set."""
        return Dataset(name, source, np.zeros(len(source), np.int32), self.class_names)

    def takes_views(self, tte: bool | None) -> bool:
        """Tells whether several views of an image are averaged; None does as the run did."""
        return bool(self.config.tte.enabled if tte is None else tte)

    def loader(self, dataset: Dataset, *, tte: bool | None = None, num_workers: int = 0) -> TestLoader:
        """Makes the loader that the run's evaluation would use for the images; few images come in smaller batches.

        Images that cannot be read are left out: its `problems` says which, and why.
        """
        c = self.config
        # Powers of two, so that a few sizes are compiled whatever the number of images.
        size = min(c.eval_batch_size, 1 << max(0, len(dataset) - 1).bit_length())
        mode = c.tte.mode if self.takes_views(tte) else "plain"
        return evaluation_loader(
            c, dataset, self.network.input.resolution, mode,
            batch_size=size, num_workers=num_workers, skip_bad_images=True, none_readable=True, process_index=0,
            process_count=1,
        )  # fmt: skip

    def dataset_features(self, dataset: Dataset, logs: Logs, desc: str, *, tuned: bool) -> Features:
        """Gives the features of those images that can be read, in plain views; for the arguments see `features`.

        Those of the backbone as it was are kept where the config names a store.
        """
        if tuned:
            return self.extractor(self.params, self.loader(dataset, tte=False), logs, desc)
        make_loader = functools.partial(self.loader, tte=False)
        return frozen_features(self.untuned, dataset, make_loader, logs, desc, place_of(self.config))

    @functools.cached_property
    def extractor(self) -> Extractor:
        """What extracts features of the run."""
        return Extractor(self.network.classifier, self.network.input)

    @functools.cached_property
    def tuned(self) -> Untuned:
        """Makes the backbone as the run has trained it, for `lift_jax.evaluation.features.frozen_features`."""
        return untuned.of_tuned(self.config, self.network, self.params, self.backbone.hash)

    @functools.cached_property
    def untuned(self) -> Untuned:
        """Makes the backbone as it was."""
        return untuned.of_trained(self.network, self.backbone)

    @functools.cached_property
    def frozen(self) -> FrozenClassifiers:
        """Makes the classifiers of the backbone as it was."""
        return frozen_classifiers.make(self.config, self.network, self.backbone)

    @property
    def classified(self) -> Classified:
        """The classifier of the run, whose logits are those before any calibration."""
        return Classified(self.network.classifier, self.params)

    @property
    def zero_shot(self) -> Classified | None:
        """The zero-shot classifier of the backbone; None if the backbone has no text, or the run is one."""
        return self.frozen.zero_shot

    def logits(
        self, loader: TestLoader, logs: Logs, desc: str
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n classifiers classes"]]]:
        """Yields indices and logits batch by batch: those of the run, and of `zero_shot` where there is one.

        Args:
            loader: see `loader`.
            logs: for the progress bar.
            desc: what the bar is called.
        """
        classifiers = [each for each in (self.classified, self.zero_shot) if each is not None]
        return self._predictor(classifiers, lambda *logits: jnp.stack(logits, axis=1))(loader, logs, desc)

    def scores(
        self, loader: TestLoader, logs: Logs, desc: str
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n classes"]]]:
        """Yields indices and logits of the run batch by batch; for the arguments see `logits`."""
        return self._predictor([self.classified], lambda logits: logits)(loader, logs, desc)

    @property
    def logit_prior(self) -> LogitPrior:
        """The frequencies of the classes that the logits of the run take for granted."""
        if self.network.method.zero_shot or self.network.method.closed_form:
            return LogitPrior("uniform")
        return objective.spec(self.config).prior(self.config.tau)

    @property
    def log_prior(self) -> Float[np.ndarray, " classes"]:
        """The logarithm of each class's share of the training set, float32; the run must have a record."""
        assert self.record is not None
        return losses.log_prior(self.record.train_counts)

    def log_prior_shift(self, prior: Prior) -> Float[np.ndarray, " classes"] | None:
        """Gives what is added to the logits for a prior (see `predict`), None for nothing."""
        factor = self.logit_prior.shift(prior)
        if prior == self.logit_prior.known:
            return None
        if self.record is None:
            raise UserError(
                "The run does not say how many training images its classes had, so that there is no other prior than "
                "that of its evaluation; evaluate it again with --mode eval to write run.json."
            )
        return (factor * self.log_prior).astype(np.float32)

    def calibrated_logits(
        self, calibration: Calibration, shift: Float[np.ndarray, " classes"] | None, keep_tau: bool = True
    ) -> tuple[list[Classified], Callable[..., Array]]:
        """Gives the classifiers that calibrated answers are made of, and what is made of their logits.

        Args:
            calibration: that of the run.
            shift: what the prior and the possible classes add to the logits of the run; None for nothing.
            keep_tau: whether the calibrated strength of the prior is used.

        Returns:
            Classifiers, and a function of the logits of each, float32 [batch, classes], whose softmax are the
            probabilities.

        Raises:
            UserError: if the calibration needs the text side of the backbone, which is not there.
        """
        adjustment = calibration.adjustment
        if not keep_tau:
            adjustment = adjustment.model_copy(update={"tau": 0.0})
        nothing = np.zeros(len(self.class_names), np.float32)
        to_uniform = self.log_prior_shift("uniform")
        to_uniform = nothing if to_uniform is None else to_uniform
        added = (nothing if shift is None else shift) - to_uniform  # by the prior, to calibrated logits
        possible = np.isfinite(added)

        beside = self._beside(adjustment)

        def adjusted(logits: Array, *frozen: Array) -> Array:
            others = frozen_classifiers.split(frozen[0], len(self.class_names)) if frozen else []
            zero_shot = others.pop(0) if adjustment.mix else None
            summed = adjustment.summed(logits + to_uniform, zero_shot, self.log_prior, *others)
            return adjustment.divided(jnp.where(possible, summed, -jnp.inf), calibration.groups) + added

        return [self.classified, *([] if beside is None else [beside])], adjusted

    def _beside(self, adjustment: Adjustment) -> Classified | None:
        """Gives the classifier of the backbone as it was whose logits an adjustment mixes in."""
        if adjustment.mix and self.zero_shot is None:
            raise UserError(
                f"The calibration of the run mixes in the zero-shot classifier, but the backbone "
                f"{self.backbone.name} is here without its tokenizer.json; add it, or leave the calibration out "
                "with --raw."
            )
        if not adjustment.mix and not adjustment.gaussians:
            return None
        return self.frozen.classified(self.gaussians if adjustment.gaussians else None, bool(adjustment.mix))

    def _predictor(
        self, classifiers: Sequence[Classified], output: Callable[..., Any], with_features: bool = False
    ) -> Rows:
        predictor = Predictor([each.classifier for each in classifiers], self.network.input, output, with_features)
        return functools.partial(predictor, [each.params for each in classifiers])
