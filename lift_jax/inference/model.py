"""A trained run as a classifier of new images, without the data set it was trained on.

import lift_jax

model = lift_jax.load("runs/birds")
probabilities = model.predict([PIL.Image.open("wren.jpg"), "robin.jpg"])
for row in probabilities:
    print(model.class_names[row.argmax()], row.max())
"""

import dataclasses
import functools
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from lift_jax.data import TestLoader, workers
from lift_jax.data.given_images import GivenImages, ImageLike
from lift_jax.data.named_classes import SomeClasses
from lift_jax.errors import UserError
from lift_jax.evaluation.features import Extractor
from lift_jax.inference import priors
from lift_jax.inference.adjustment import Adjustment
from lift_jax.inference.label_sets import LabelSets
from lift_jax.inference.priors import AnyPrior
from lift_jax.inference.run_classifier import Outputs, Rows, RunClassifier
from lift_jax.workdir.logs import Logs

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Model(RunClassifier):
    """A run's classifier; `lift_jax.load` makes it.

    Its attributes are those of `lift_jax.inference.run_classifier.RunClassifier`.
    """

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
        with workers.silent():  # what cannot be read is raised
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
        decide, found = self.label_set_answers(tte), {}
        loader = self.loader(self.dataset(source, "images"), tte=tte)
        with workers.silent():
            for index, logits in self.scores(loader, Logs(None, enabled=False), "prediction"):
                answers = decide([""] * len(index), logits)
                found |= {i: [self.class_names[label] for label in each.labels] for i, each in zip(index, answers)}  # noqa: B905
        for problem in loader.problems.values():
            raise UserError(problem)
        return [found[i] for i in range(len(source))]

    def label_set_answers(self, tte: bool | None = None) -> LabelSets:
        """Makes what decides of which classes an image is.

        Args:
            tte: see `predict`.

        Raises:
            UserError: if the run has no thresholds.
        """
        if self.thresholds is None:
            raise UserError(
                "There are no thresholds by which classes are decided on: an image of the run is of one class each, or "
                "the thresholds were left out with raw; take predict."
            )
        section = "tte" if self.takes_views(tte) else "plain"
        if section not in self.thresholds:
            _LOGGER.warning(
                "The thresholds of this run were chosen for one view an image, and are used for the mean over several; "
                "evaluate it again with --config.tte.enabled=True, which chooses some for it, or take one view."
            )
            section = "plain"
        return LabelSets(self.thresholds[section])

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
        batches = self.outputs(loader, logs, prior=prior, only=only, desc=desc)
        return ((each.index, each.probabilities) for each in batches)

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
        for each in self.outputs(loader, logs, energies=True, desc=desc):
            assert each.energies is not None
            yield each.index, each.probabilities, each.energies

    def outputs(
        self, loader: TestLoader, logs: Logs, *, prior: AnyPrior | None = None, only: SomeClasses | None = None,
        energies: bool = False, features: bool = False, desc: str = "prediction",
    ) -> Iterator[Outputs]:  # fmt: skip
        """Yields all that one pass through the network says of images, batch by batch.

        A prior that is estimated needs the outputs of all images first, and they stay in memory.

        Args:
            loader, logs, prior, only, desc: see `stream`.
            energies: whether energies are asked for (see `scored`).
            features: whether features are.
        """
        program = self._program(prior, only, energies, features)

        def batches() -> Iterator[Outputs]:
            for index, rows in program(loader, logs, desc):
                (probabilities, energy), seen = rows if features else (rows, None)
                yield Outputs(index, probabilities, energy, seen)

        is_estimated = isinstance(prior, str) and prior == "estimate"
        return priors.with_estimated(batches(), self.class_names, logs) if is_estimated else batches()

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
        extractor = self.extractor if tuned else Extractor(self.untuned.classifier, self.untuned.input)
        params = self.params if tuned else self.untuned.params
        with workers.silent():
            found = extractor(params, loader, Logs(None, enabled=False), "features")
        for problem in loader.problems.values():
            raise UserError(problem)
        return found.rows

    def possible(self, prior: AnyPrior | None, only: SomeClasses | None = None) -> Bool[np.ndarray, " classes"]:
        """Says which classes have a probability above 0 beforehand (see `predict` for the arguments).

        Raises:
            UserError: if a class or prior is not known, or there is no such class.
        """
        return priors.possible(self.class_names, prior, only)

    @functools.cached_property
    def _compiled(self) -> dict[Any, Rows]:
        return {}

    def _program(self, prior: AnyPrior | None, only: SomeClasses | None, energies: bool, features: bool) -> Rows:
        """Gives the predictor of what `outputs` yields, compiled once for a prior and the possible classes."""
        if self.has_label_sets:
            if prior is not None or only is not None:
                self.require_one_label("A prior or a list of possible classes", "leave it out")
            return self._predictor([self.classified], lambda logits: (jax.nn.sigmoid(logits), None), features)
        shift = priors.shift(self, "uniform" if prior is None else prior, only)
        key = prior is None, None if shift is None else shift.tobytes(), energies, features

        def output(logits: Array) -> tuple[Array, Array | None]:
            return jax.nn.softmax(logits), jax.scipy.special.logsumexp(logits, axis=-1) if energies else None

        if key not in self._compiled:
            if self.calibration is None or self.calibration.adjustment == Adjustment():
                self._compiled[key] = self._predictor(
                    [self.classified], lambda logits: output(logits if shift is None else logits + shift), features
                )
            else:
                classifiers, adjusted = self.calibrated_logits(self.calibration, shift, keep_tau=prior is None)
                self._compiled[key] = self._predictor(classifiers, lambda *logits: output(adjusted(*logits)), features)
        return self._compiled[key]
