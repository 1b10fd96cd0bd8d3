"""The methods that `lift_jax.bench.peers` trains."""

import contextlib
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Float, Int

from lift_jax import tuners
from lift_jax.bench.load import peak
from lift_jax.bench.seeds import mean
from lift_jax.classifier import network as networks
from lift_jax.classifier import untuned
from lift_jax.classifier.loaded import Loaded
from lift_jax.data import RunData
from lift_jax.evaluation import metrics
from lift_jax.evaluation.features import Features, extract_features
from lift_jax.models.image_input import ImageInput
from lift_jax.run import check, run
from lift_jax.text import aligned
from lift_jax.weights.source import find
from lift_jax.workdir import record
from lift_jax.workdir.logs import Logs

LORA_RANK = 16
LORA_LR = 5e-3
"""The rank and the learning rate of the guide to the classification of images in PEFT's documentation, whose scale of
16, dropout of 0.1 and modules of queries and values are taken as well."""


class Outcome(NamedTuple):
    """What a training came to.

    Attributes:
        metrics: of the test images in one view (see `lift_jax.evaluation.metrics.summarize`).
        trained: number of trained parameters.
        seconds: of loading, training and testing.
        peak: largest resident set of the process, in bytes.
    """

    metrics: Mapping[str, float]
    trained: int
    seconds: float
    peak: int


def measure(name: str, config: dict[str, Any], seed: int) -> Outcome:
    """Trains and tests one of `METHODS`; to be called in a process of its own.

    Args:
        name: of the method.
        config: the entries of a config (see `lift_jax.config.default`).
        seed: of the training.

    Raises:
        UserError: for any mistake in the config.
    """
    chosen = ml_collections.ConfigDict(config)
    chosen.update(seed=seed, sweep="", report=False)
    chosen.tte.enabled = False
    start = time.perf_counter()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        found, trained = METHODS[name](chosen)
    return Outcome(found, trained, time.perf_counter() - start, peak())


def table(found: Mapping[str, Sequence[Outcome]]) -> str:
    """Formats a line a method: means over its trainings with standard errors, mean seconds and the largest memory."""
    rows = [["", *metrics.COLUMNS, "trained", "seconds", "memory"]]
    for name, outcomes in found.items():
        figures = [mean([each.metrics[metric] for each in outcomes]) for metric in metrics.COLUMNS.values()]
        seconds, memory = statistics.fmean(each.seconds for each in outcomes), max(each.peak for each in outcomes)
        rows.append([name, *figures, f"{outcomes[0].trained:,}", f"{seconds:.0f}", f"{memory / 1e9:.2f} GB"])
    return aligned(rows)


def _own(method: str, config: ml_collections.ConfigDict) -> tuple[Mapping[str, float], int]:
    config.method = method
    with tempfile.TemporaryDirectory() as workdir:
        found = run(config, workdir)["plain"]
        return found, sum(row["params"] for row in record.read(workdir).trainable)


def _logistic_regression(config: ml_collections.ConfigDict) -> tuple[Mapping[str, float], int]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data, _, features = _frozen(config)
    train, test = features(data.train), features(data.test)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000, class_weight="balanced"))
    model.fit(train.rows, train.labels)
    predicted = model.predict(test.rows)
    return _accuracies(data, test.labels, predicted), data.test.num_classes * (train.rows.shape[1] + 1)


def _peft_lora(config: ml_collections.ConfigDict) -> tuple[Mapping[str, float], int]:
    from lift_jax.bench import peer_lora

    data, image_input, _ = _frozen(config)
    trainer = peer_lora.Lora(find(config.backbone), data.test.num_classes, config.seed, LORA_RANK, LORA_LR)
    loader = data.train_loader(image_input.resolution)
    images, batch_size = data.config.num_epochs * len(data.train), data.config.batch_size
    trainer.train(_training_rows(loader, image_input, config), -(-images // batch_size), batch_size)
    labels, predicted = [], []
    for batch in data.plain_loader(image_input.resolution, data.test):
        real = batch["mask"]
        views = image_input.views({name: jnp.asarray(x) for name, x in batch.items()})
        predicted.append(trainer.predict(np.asarray(views)[real]))
        labels.append(batch["label"][real])
    return _accuracies(data, np.concatenate(labels), np.concatenate(predicted)), trainer.num_trained


METHODS: Mapping[str, Callable[[ml_collections.ConfigDict], tuple[Mapping[str, float], int]]] = {
    **{name: functools.partial(_own, name) for name in ("zero_shot", "head_only", "lift", "full_tuning")},
    "logistic_regression": _logistic_regression,
    "peft_lora": _peft_lora,
}
"""By name: what gives the metrics of a config's test images, and the number of trained parameters."""


def _frozen(config: ml_collections.ConfigDict) -> tuple[RunData, ImageInput, Callable[..., Features]]:
    """Gives the images of a config, how its backbone takes them, and what computes their features."""
    config.method = "head_only"
    resolved, loaded = check(config), Loaded()
    data, backbone = loaded.data(resolved), loaded.backbone(resolved)
    method = tuners.resolve(resolved.method, resolved.tuner)
    network = loaded.placed(networks.build(resolved, method, backbone, data.train.class_names), fsdp=False)
    tower, side = untuned.of_start(resolved, network, backbone), network.input.resolution

    def features(images: Any) -> Features:
        with Logs(None) as logs:
            return extract_features(*tower[:3], data.plain_loader(side, images), logs, images.name)

    return data, network.input, features


def _training_rows(
    loader: Any, image_input: ImageInput, config: ml_collections.ConfigDict
) -> Iterator[tuple[Float[np.ndarray, "h w 3"], int]]:
    """Yields the images of all epochs as the program's own trainings see them, and their labels."""
    rng = np.random.default_rng(config.seed)
    for batch in loader:
        images = np.asarray(image_input.normalize(batch["image"]))
        for image, label, real in zip(images, batch["label"], batch["mask"], strict=True):
            mirrored = config.crop != "square" and rng.random() < 0.5
            if real:
                yield image[:, ::-1] if mirrored else image, int(label)


def _accuracies(data: RunData, labels: Int[np.ndarray, " n"], predicted: Int[np.ndarray, " n"]) -> Mapping[str, float]:
    """Measures predictions in the groups of the run; confidences are not compared."""
    counts = metrics.count_rows(labels, predicted, np.ones(len(labels)), data.test.num_classes)
    return metrics.summarize(counts, class_groups=data.groups)
