"""A trained run as a classifier of new images, without the data set it was trained on.

import lift_jax

model = lift_jax.load("runs/birds")
probabilities = model.predict([PIL.Image.open("wren.jpg"), "robin.jpg"])
for row in probabilities:
    print(model.class_names[row.argmax()], row.max())
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lift_jax import tuners, weights
from lift_jax.classifier import network as networks
from lift_jax.classifier import untuned
from lift_jax.classifier.network import Network
from lift_jax.cluster import placement
from lift_jax.data import Dataset, TestLoader, evaluation_loader, named_classes
from lift_jax.data.given_images import GivenImages, ImageLike
from lift_jax.data.named_classes import SomeClasses
from lift_jax.errors import UserError
from lift_jax.evaluation.features import Features, extract_features, frozen_features, place_of
from lift_jax.evaluation.predictor import Predictor
from lift_jax.evaluation.thresholds import Thresholds
from lift_jax.inference import deciding, frozen_classifiers
from lift_jax.inference.adjustment import Adjustment
from lift_jax.inference.calibration import Calibration
from lift_jax.inference.frozen_classifiers import Classified, FrozenClassifiers, GaussianArrays
from lift_jax.inference.label_sets import LabelSets
from lift_jax.models.text_head import with_features
from lift_jax.models.untuned import Untuned
from lift_jax.training import losses, objective
from lift_jax.training.priors import LogitPrior, Prior
from lift_jax.weights import Backbone
from lift_jax.workdir import one_label, record
from lift_jax.workdir.logs import Logs

AnyPrior = Prior | Literal["estimate"] | Mapping[str, float] | Float[np.ndarray, " classes"]
"""How frequent the classes are expected to be; see `Model.predict`."""


Rows = Callable[[TestLoader, Logs, str], Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n ..."]]]]
"""Gives indices and rows of a loader's images, with a progress bar."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A run's classifier; `lift_jax.load` makes it.

    Attributes:
        config: the resolved config of the run.
        network: the network with the trained parameters, on all devices.
        params: the parameters that the classifier is used with; a text tower has run and is left out.
        backbone: the foundation model.
        record: what else is known of the run, None for a run of a version that did not write it down.
        calibration: how the answers are calibrated, None for those of the run as it is.
        gaussians: the Gaussians that the calibration mixes in, None if it mixes none in.
        thresholds: the logits from which on an image is said to be of the classes, of a run whose images may be of
            several; None of others, and where they are left out.
    """

    config: ml_collections.FrozenConfigDict
    network: Network
    params: dict[str, Any]
    backbone: Backbone
    record: record.Record | None
    calibration: Calibration | None = None
    gaussians: GaussianArrays | None = None
    thresholds: Thresholds | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the probabilities."""
        return self.network.class_names

    def predict(
        self, images: ImageLike | Sequence[ImageLike] | np.ndarray, *, tte: bool | None = None,
        prior: AnyPrior | None = None, only: SomeClasses | None = None,
    ) -> Float[np.ndarray, "n classes"]:  # fmt: skip
        """Gives each image's probability of each class.

        In a run whose images may be of several classes, each probability is that of the class against its absence, and
        `label_sets` says of which classes an image is.

        The prior says how frequent the classes are expected to be among the images (`lift_jax.training.priors` has the
        formulas):

        - "uniform": every class is equally likely beforehand, as in the paper's evaluation;
        - "training": the classes are as frequent as in the training set, which suits images that come from where the
          training images came from;
        - "estimate": the classes are as frequent as the images themselves suggest (see
          `lift_jax.inference.deciding.estimate_prior`), which takes some hundred images;
        - weights: the classes are as frequent as you say;
        - None: as the calibration of the run says (see `lift_jax.inference.calibrating`), or "uniform" where there is
          none. Any other prior takes the place of the calibrated one.

        `lift_jax.inference.deciding` makes other answers of the probabilities than the most probable class.

        Args:
            images: one image or several; each a PIL image, a uint8 array [height, width, 3] or [height, width] of
                NumPy, JAX or PyTorch, a path, the content of a file in bytes, a file opened with the mode "rb", or
                the dictionary {"bytes": …, "path": …} of Hugging Face's datasets. Also one array [n, height, width,
                3]. They may differ in size, and are resized and cropped as the test images were; those of PIL and of
                files are turned by their EXIF tag if the run's were (`config.data.exif_rotate`).
            tte: whether the views of test-time ensembling are averaged; None does as the run did.
            prior: "uniform", "training", "estimate" or None; or the weight of each class, as a dict by class name or as
                an array [classes], at least 0 and of any sum.
            only: the names or labels of the classes that can occur, None for all. The others have a probability of 0.

        Returns:
            Rows in the order of the images, columns in that of `class_names`.

        Raises:
            UserError: if an image cannot be read or is of no such kind, or the prior or a class is not known.
        """
        source = GivenImages(images)
        probabilities = np.zeros((len(source), len(self.class_names)), np.float32)
        loader = self.loader(self.dataset(source, "images"), tte=tte)
        for index, rows in self.stream(loader, Logs(None, enabled=False), prior=prior, only=only):
            probabilities[index] = rows
        for problem in loader.problems.values():
            raise UserError(problem)
        return probabilities

    def label_sets(
        self, images: ImageLike | Sequence[ImageLike] | np.ndarray, *, tte: bool | None = None
    ) -> list[list[str]]:
        """Gives the names of each image's classes, the most probable first, of a run whose images may be of several.

        Args:
            images, tte: see `predict`.

        Raises:
            UserError: if an image cannot be read, or the run has no thresholds.
        """
        source = GivenImages(images)
        decide, found = self.label_set_answers, {}
        loader = self.loader(self.dataset(source, "images"), tte=tte)
        for index, logits in self.scores(loader, Logs(None, enabled=False), "prediction"):
            answers = decide([""] * len(index), logits)
            found |= {i: [self.class_names[label] for label in each.labels] for i, each in zip(index, answers)}  # noqa: B905
        for problem in loader.problems.values():
            raise UserError(problem)
        return [found[i] for i in range(len(source))]

    @property
    def label_set_answers(self) -> LabelSets:
        """What decides of which classes an image is.

        Raises:
            UserError: if the run has no thresholds.
        """
        if self.thresholds is None:
            raise UserError(
                "There are no thresholds by which classes are decided on: an image of the run is of one class each, or "
                "the thresholds were left out with raw; take predict."
            )
        return LabelSets(self.thresholds)

    @property
    def has_label_sets(self) -> bool:
        """Whether an image of the run may be of several classes."""
        return self.config.task == "multilabel"

    def scores(
        self, loader: TestLoader, logs: Logs, desc: str
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n classes"]]]:
        """Yields indices and logits of the run batch by batch; for the arguments see `logits`."""
        return self._predictor([self.classified], lambda logits: logits)(loader, logs, desc)

    def require_one_label(self, what: str, instead: str = "") -> None:
        """Refuses a run whose images have several labels (see `lift_jax.workdir.one_label.require`)."""
        one_label.require(self.config, what, instead)

    def dataset(self, source: Any, name: str) -> Dataset:
        """Makes images without labels into a data set."""
        return Dataset(name, source, np.zeros(len(source), np.int32), self.class_names)

    def loader(self, dataset: Dataset, *, tte: bool | None = None, num_workers: int = 0) -> TestLoader:
        """Makes the loader that the run's evaluation would use for the images; few images come in smaller batches.

        Images that cannot be read are left out: its `problems` says which, and why.
        """
        c = self.config
        # Powers of two, so that a few sizes are compiled whatever the number of images.
        size = min(c.eval_batch_size, 1 << max(0, len(dataset) - 1).bit_length())
        mode = c.tte.mode if (c.tte.enabled if tte is None else tte) else "plain"
        return evaluation_loader(
            c, dataset, self.network.input.resolution, mode,
            batch_size=size, num_workers=num_workers, skip_bad_images=True, none_readable=True, process_index=0,
            process_count=1,
        )  # fmt: skip

    def stream(
        self, loader: TestLoader, logs: Logs, *, prior: AnyPrior | None = None, only: SomeClasses | None = None,
        desc: str = "prediction",
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n classes"]]]:  # fmt: skip
        """Yields indices and probabilities batch by batch: this is `predict` for more images than fit into memory.

        A prior that is estimated needs the probabilities of all images first, and they stay in memory.

        Args:
            loader: see `loader`.
            logs: for the progress bar, and for the sentence about an estimated prior.
            prior, only: see `predict`.
            desc: what the bar is called.
        """
        batches = self._probabilities(prior, only)(loader, logs, desc)
        is_estimated = isinstance(prior, str) and prior == "estimate"
        return self._with_estimated_prior(batches, logs) if is_estimated else batches

    def scored(
        self, loader: TestLoader, logs: Logs, desc: str = "prediction"
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n classes"], Float[np.ndarray, " n"]]]:
        """Yields indices, probabilities and energies batch by batch, of the answers without another prior.

        The energy is the logarithm of the sum of the exponentials of the adjusted logits.

        Args:
            loader: see `loader`.
            logs: for the progress bar.
            desc: what the bar is called.
        """
        for index, rows in self._probabilities(None, None, with_energy=True)(loader, logs, desc):
            yield index, rows[:, :-1], rows[:, -1]

    def _with_estimated_prior(
        self, batches: Iterable[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n classes"]]], logs: Logs
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n classes"]]]:
        """Puts the prior that all batches together suggest in the place of the uniform one."""
        known = list(batches)
        if not known:
            return
        found = deciding.estimate_prior(np.concatenate([rows for _, rows in known]))
        logs.info(found.sentence(self.class_names))
        for index, rows in known:
            yield index, deciding.reweighted(rows, found.prior)

    def features(
        self, images: ImageLike | Sequence[ImageLike] | np.ndarray, *, tuned: bool = True
    ) -> Float[np.ndarray, "n d"]:
        """Gives the features of images, which the head gets, float32.

        Args:
            images: as for `predict`; each is seen in one view.
            tuned: whether the features are those of the run, or those of its backbone as it was.

        Raises:
            UserError: if an image cannot be read, or is none.
        """
        dataset = self.dataset(GivenImages(images), "images")
        loader = self.loader(dataset, tte=False)
        classifier, params, *_ = self.classified if tuned else self.untuned
        found = extract_features(classifier, params, self.network.input, loader, Logs(None, enabled=False), "features")
        for problem in loader.problems.values():
            raise UserError(problem)
        return found.rows

    def dataset_features(self, dataset: Dataset, logs: Logs, desc: str, *, tuned: bool) -> Features:
        """Gives the features of those images that can be read, in plain views; for the arguments see `features`.

        Those of the backbone as it was are kept where the config names a store.
        """
        if tuned:
            loader = self.loader(dataset, tte=False)
            return extract_features(self.network.classifier, self.params, self.network.input, loader, logs, desc)
        make_loader = functools.partial(self.loader, tte=False)
        return frozen_features(self.untuned, dataset, make_loader, logs, desc, place_of(self.config))

    @functools.cached_property
    def untuned(self) -> Untuned:
        """Makes the backbone as it was."""
        return untuned.of_trained(self.network, self.backbone)

    @property
    def logit_prior(self) -> LogitPrior:
        """The frequencies of the classes that the logits of the run take for granted."""
        if self.network.method.zero_shot or self.network.method.closed_form:
            return LogitPrior("uniform")
        return objective.spec(self.config).prior(self.config.tau)

    def possible(self, prior: AnyPrior | None, only: SomeClasses | None = None) -> Bool[np.ndarray, " classes"]:
        """Says which classes have a probability above 0 beforehand (see `predict` for the arguments).

        Raises:
            UserError: if a class or prior is not known, or there is no such class.
        """
        possible = np.ones(len(self.class_names), bool)
        if only is not None:
            possible[:] = False
            possible[named_classes.labels(only, self.class_names, "The list of possible classes")] = True
        if prior is not None and not isinstance(prior, str):
            possible &= deciding.prior_weights(prior, self.class_names, possible) > 0
        if not possible.any():
            raise UserError(
                "No class of the run can occur, by the classes and the prior that are given; name at least one class "
                "that has a weight above 0."
            )
        return possible

    def _shift(self, prior: AnyPrior, only: SomeClasses | None) -> Float[np.ndarray, " classes"] | None:
        """Gives what is added to the logits for a prior among the possible classes, None for nothing.

        A prior that is estimated is put in later, in the place of the uniform one.
        """
        possible = self.possible(prior, only)
        if isinstance(prior, str):
            shift = self.log_prior_shift("uniform" if prior == "estimate" else prior)
            if only is None:
                return shift
        else:
            shift = self.log_prior_shift("uniform")
            weights = deciding.prior_weights(prior, self.class_names, possible)
            with np.errstate(divide="ignore"):
                log_weights = np.log(weights / weights.sum())
            shift = log_weights if shift is None else shift + log_weights
        shift = np.zeros(len(possible)) if shift is None else shift
        return np.where(possible, shift, -np.inf).astype(np.float32)

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

    @property
    def log_prior(self) -> Float[np.ndarray, " classes"]:
        """The logarithm of each class's share of the training set, float32; the run must have a record."""
        assert self.record is not None
        return losses.log_prior(self.record.train_counts)

    @functools.cached_property
    def frozen(self) -> FrozenClassifiers:
        """Makes the classifiers of the backbone as it was."""
        return frozen_classifiers.make(self.config, self.network, self.backbone)

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

    @property
    def classified(self) -> Classified:
        """The classifier of the run, whose logits are those before any calibration."""
        return Classified(self.network.classifier, self.params)

    @functools.cached_property
    def _compiled(self) -> dict[Any, Rows]:
        return {}

    def _probabilities(self, prior: AnyPrior | None, only: SomeClasses | None, with_energy: bool = False) -> Rows:
        """Gives the predictor of probabilities for a prior and the possible classes, compiled once for both."""
        if self.has_label_sets:
            if prior is not None or only is not None:
                self.require_one_label("A prior or a list of possible classes", "leave it out")
            return self._predictor([self.classified], jax.nn.sigmoid)
        shift = self._shift("uniform" if prior is None else prior, only)
        key = prior is None, None if shift is None else shift.tobytes(), with_energy
        output = _with_energy if with_energy else jax.nn.softmax
        if key not in self._compiled:
            if self.calibration is None or self.calibration.adjustment == Adjustment():
                self._compiled[key] = self._predictor(
                    [self.classified], lambda logits: output(logits if shift is None else logits + shift)
                )
            else:
                classifiers, adjusted = self.calibrated_logits(self.calibration, shift, keep_tau=prior is None)
                self._compiled[key] = self._predictor(classifiers, lambda *logits: output(adjusted(*logits)))
        return self._compiled[key]

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

    def _predictor(self, classifiers: Sequence[Classified], output: Callable[..., Array]) -> Rows:
        predictor = Predictor([each.classifier for each in classifiers], self.network.input, output)
        return functools.partial(predictor, [each.params for each in classifiers])


def _with_energy(logits: Array) -> Array:
    """Gives the probabilities, and beside them the energy."""
    energy = jax.scipy.special.logsumexp(logits, axis=-1, keepdims=True)
    return jnp.concatenate([jax.nn.softmax(logits), energy], axis=-1)


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
