"""A trained run as a classifier of new images, without the data set it was trained on.

import lift_jax

model = lift_jax.load("runs/birds")
probabilities = model.predict([PIL.Image.open("wren.jpg"), "robin.jpg"])
for row in probabilities:
    print(model.class_names[row.argmax()], row.max())
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import ml_collections
import numpy as np
from jaxtyping import Float, Int

from lift_jax import devices, record, state, weights
from lift_jax.data import Dataset, TestLoader, test_loader
from lift_jax.data.given_images import GivenImages, ImageLike
from lift_jax.errors import UserError
from lift_jax.evaluate import Input, Predictor
from lift_jax.experiment import Network, build_network
from lift_jax.logs import Logs
from lift_jax.models.heads import Classifier
from lift_jax.models.text_head import with_features
from lift_jax.state import Parts
from lift_jax.weights import Backbone

Prior = Literal["uniform", "training"]
PRIORS: tuple[Prior, ...] = ("uniform", "training")

_WITH_PRIOR = ("CE", "Focal", "LDAM")
"""Losses under which the logits learn the prior. LA, BS and LADE add it in training alone, CB and GRW weigh it away."""


@dataclasses.dataclass(frozen=True)
class Model:
    """A run's classifier; `lift_jax.load` makes it.

    Attributes:
        config: the run's.
        class_names: in the order of the probabilities.
        classifier: normalised images to logits.
        params: of the classifier, on all devices; a text tower has run and is left out.
        pixels: what the device does with the images first.
        backbone: the foundation model.
        parts: all parameters, of which the run has trained `tuner` and `head`.
        record: what else is known of the run, None for a run of a version that did not write it down.
    """

    config: ml_collections.FrozenConfigDict
    class_names: tuple[str, ...]
    classifier: Classifier
    params: dict[str, Any]
    pixels: Input
    backbone: Backbone
    parts: Parts
    record: record.Record | None

    def predict(
        self, images: ImageLike | Sequence[ImageLike] | np.ndarray, *, tte: bool | None = None, prior: Prior = "uniform"
    ) -> Float[np.ndarray, "n classes"]:
        """Each image's probability of each class.

        The prior says how frequent the classes are expected to be among the images. The logit-adjusted loss (Menon et
        al. 2021, "Long-tail learning via logit adjustment", eq. 10; LIFT's equation 3) adds tau * log(prior of the
        training set) to the logits in training alone, so that the logits z that are learned have no prior in them:

            "uniform":   softmax(z), which the evaluation uses: every class is equally likely beforehand;
            "training":  softmax(z + tau * log prior): the classes are as frequent as in the training set, which suits
                         images that come from where the training images came from.

        Logits that were learned with a plain loss (CE, Focal, LDAM) have the prior in them: there "training" takes them
        as they are, as the evaluation does, and "uniform" subtracts it.

        Args:
            images: one image or several; each a PIL image, a uint8 array [height, width, 3] or [height, width], or a
                path. Also one array [n, height, width, 3]. They may differ in size, and are resized and cropped as
                the test images were.
            tte: whether the views of test-time ensembling are averaged; None does as the run did.
            prior: "uniform" or "training".

        Returns:
            Rows in the order of the images, columns in that of `class_names`.

        Raises:
            UserError: an image cannot be read or is of no such kind, or the prior is not known.
        """
        source = GivenImages(images)
        probabilities = np.zeros((len(source), len(self.class_names)), np.float32)
        loader = self.loader(self.dataset(source, "images"), tte=tte)
        for index, rows in self.stream(loader, Logs(None, enabled=False), prior=prior):
            probabilities[index] = rows
        for problem in loader.problems.values():
            raise UserError(problem)
        return probabilities

    def dataset(self, source: Any, name: str) -> Dataset:
        """Images without labels as a data set."""
        return Dataset(name, source, np.zeros(len(source), np.int32), self.class_names)

    def loader(self, dataset: Dataset, *, tte: bool | None = None, num_workers: int = 0) -> TestLoader:
        """The images as the run's evaluation would load them; few images come in smaller batches.

        Images that cannot be read are left out: its `problems` says which, and why.
        """
        c = self.config
        tte = c.tte.enabled if tte is None else tte
        # Powers of two, so that a few sizes are compiled whatever the number of images.
        size = min(c.eval_batch_size, 1 << max(0, len(dataset) - 1).bit_length())
        local = jax.local_device_count()
        return test_loader(
            dataset,
            batch_size=-(-size // local) * local,
            resolution=self.pixels.resolution,
            expand=c.tte.expand,
            mode=c.tte.mode if tte else "plain",
            interpolation=c.interpolation,
            num_views=c.tte.views,
            seed=c.seed,
            num_workers=num_workers,
            skip_bad_images=True,
            none_readable=True,
            exif_rotate=c.data.exif_rotate,
        )

    def stream(
        self, loader: TestLoader, logs: Logs, *, prior: Prior = "uniform", desc: str = "prediction"
    ) -> Iterator[tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n classes"]]]:
        """Indices and probabilities batch by batch: `predict` for more images than fit into memory."""
        return self._predictor(prior)(self.params, loader, logs, desc)

    @property
    def evaluated_prior(self) -> Prior:
        """The prior of the run's evaluation, which takes the logits as they are."""
        return "training" if self.config.method != "zero_shot" and self.config.loss in _WITH_PRIOR else "uniform"

    def log_prior_shift(self, prior: Prior) -> Float[np.ndarray, " classes"] | None:
        """What is added to the logits for a prior (see `predict`), None for nothing."""
        if prior not in PRIORS:
            raise UserError(f"The prior {prior!r} is not known; write uniform or training.")
        c = self.config
        trained = c.method != "zero_shot"
        if prior == self.evaluated_prior:
            return None
        sign = 1 if prior == "training" else -1
        if self.record is None:
            raise UserError(
                "The run does not say how many training images its classes had, so that there is no other prior than "
                "that of its evaluation; evaluate it again with --mode eval to write run.json."
            )
        return (sign * (c.tau if trained and c.loss == "LA" else 1.0) * self.record.log_prior).astype(np.float32)

    @functools.cached_property
    def _predictors(self) -> dict[str, Predictor]:
        return {}

    def _predictor(self, prior: Prior) -> Predictor:
        if prior not in self._predictors:
            self._predictors[prior] = Predictor(self.classifier, self.pixels, self.log_prior_shift(prior))
        return self._predictors[prior]


def assemble(
    config: ml_collections.FrozenConfigDict,
    class_names: tuple[str, ...],
    known: record.Record | None,
    trained: Callable[[Backbone, Network], Parts],
    backbone: str | None = None,
) -> Model:
    """A model from its backbone and whatever holds the trained parameters.

    Args:
        config: of the run, resolved.
        class_names: in label order.
        known: what else is known of the run.
        trained: gives the trained parts in the place of the network's own.
        backbone: instead of config.backbone.
    """
    loaded = weights.load(backbone or config.backbone, config.resolution or None)
    network = build_network(config, loaded, class_names)
    parts = devices.replicate(trained(loaded, network), devices.make_mesh())
    params = with_features(network.classifier, state.merge(*parts))
    return Model(config, class_names, network.classifier, params, network.pixels, loaded, parts, known)
