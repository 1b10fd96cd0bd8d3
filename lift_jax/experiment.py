"""All that training and evaluation share, made from a config: data, network, parameters, loss."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from jax.sharding import Mesh

from lift_jax import config as lift_config
from lift_jax import devices, losses, metrics, optimizer, state, text_tuning, tuners, weights
from lift_jax.data import (
    Dataset,
    RandAugment,
    RandomResizedCrop,
    SquareCrop,
    TestLoader,
    TrainLoader,
    test_loader,
    train_loader,
)
from lift_jax.data import load as load_data
from lift_jax.data.longtail import class_sizes
from lift_jax.errors import UserError
from lift_jax.evaluate import Input
from lift_jax.logs import Logs
from lift_jax.models.heads import HEADS, Classifier, Head, ZeroShotHead
from lift_jax.models.resnet import ResNet
from lift_jax.state import Parts, TrainState
from lift_jax.weights import Backbone


@dataclasses.dataclass
class Experiment:
    """A run's parts.

    Attributes:
        config: resolved (see `lift_jax.config.resolve`).
        train, test: the data.
        backbone: the foundation model.
        classifier: the backbone's vision tower with tuners, and the head.
        pixels: what the device does with images first.
        mesh: all devices.
        tuning: what the method does to the backbone.
        parts: the parameters on the devices, frozen ones in config.dtype, the others in float32.
        loss: of the training.
        schedule: step to learning rate.
        tx: the optimizer.
        class_groups: the group (many, medium, few) of each class.
    """

    config: ml_collections.FrozenConfigDict
    train: Dataset
    test: Dataset
    backbone: Backbone
    classifier: Classifier
    pixels: Input
    mesh: Mesh
    tuning: tuners.Tuning
    parts: Parts
    loss: losses.Loss
    schedule: Callable[[Any], jax.Array]
    tx: optax.GradientTransformation
    class_groups: np.ndarray

    @property
    def params(self) -> dict[str, Any]:
        """The classifier's parameters as they are at the start of the training."""
        return state.merge(*self.parts)

    @property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint's parameters belong to."""
        return identity(self.config, self.backbone, self.train.class_names)

    def initial_state(self) -> TrainState:
        """The state before the first step."""
        trainable = {state.TUNER: self.parts.tuner, state.HEAD: self.parts.head}
        step = devices.replicate(jnp.zeros((), jnp.int32), self.mesh)
        # Under jit the optimizer's arrays are replicated over the mesh as the parameters are.
        return TrainState(step, trainable, devices.replicate(jax.jit(self.tx.init)(trainable), self.mesh))

    def params_of(self, train_state: TrainState) -> dict[str, Any]:
        """The classifier's parameters in a state."""
        return state.merge(self.parts.frozen, *train_state.trainable.values())

    def release_backbone(self) -> None:
        """Lets go of the loaded weights, once the head has its start: training needs those on the devices alone."""
        self.backbone = dataclasses.replace(self.backbone, params={})

    def train_loader(self) -> TrainLoader:
        """This host's training batches."""
        c = self.config
        return train_loader(
            self.train,
            batch_size=c.batch_size,
            seed=c.seed,
            resolution=self.pixels.resolution,
            crop=SquareCrop(c.crop_schedule) if c.crop == "square" else RandomResizedCrop(),
            num_epochs=c.num_epochs,
            fidelity=c.data.fidelity,
            augment=RandAugment(c.data.randaugment, c.data.randaugment_magnitude),
            sampler=c.data.sampler,
            **self._loading(),
        )

    def test_loader(self, mode: str) -> TestLoader:
        """This host's test examples, their views cut as `mode` says."""
        return self._ordered_loader(self.test, mode, self.config.tte.expand)

    def features_loader(self, indices: np.ndarray) -> TestLoader:
        """This host's part of the training examples `indices`, resized to the resolution and cropped at the centre."""
        return self._ordered_loader(self.train.subset(indices), "center", 0)

    def _ordered_loader(self, dataset: Dataset, mode: str, expand: int) -> TestLoader:
        c = self.config
        local = jax.local_device_count()
        return test_loader(
            dataset,
            batch_size=-(-c.eval_batch_size // local) * local,
            resolution=self.pixels.resolution,
            expand=expand,
            mode=mode,
            fidelity=c.data.test_fidelity,
            num_views=c.tte.views,
            seed=c.seed,
            **self._loading(),
        )

    def _loading(self) -> dict[str, Any]:
        c = self.config
        return dict(
            interpolation=c.interpolation,
            num_workers=c.data.num_workers,
            skip_bad_images=c.data.skip_bad_images,
            exif_rotate=c.data.exif_rotate,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )


def identity(config: ml_collections.FrozenConfigDict, backbone: Backbone, class_names: Sequence[str]) -> dict[str, Any]:
    """All that trained parameters mean something with: restored under another, they would fit and be wrong.

    Args:
        config: resolved.
        backbone: the foundation model.
        class_names: in label order.
    """
    return {
        "backbone": backbone.name,
        "backbone_hash": backbone.hash,
        "method": config.method,
        "tuner": config.tuner.to_dict(),
        "head": config.head,
        "head_scale": config.head_scale,
        # The head that starts from the prompts goes its own way; the text tower reads them at every step.
        "prompt": config.prompt if tuners.tunes_text(config.method) else "",
        "class_names": list(class_names),
    }


def build(config: ml_collections.FrozenConfigDict, logs: Logs) -> Experiment:
    """Loads data and backbone and initialises what is trained; the head is random (see `lift_jax.initialize`).

    Args:
        config: resolved.
        logs: for what is worth saying.

    Raises:
        UserError: for whatever does not fit.
    """
    devices.agree(config=config.to_json())
    devices.check_batch(config.batch_size, config.accumulate or 1)
    with devices.together():
        train, test = load_data(config.data, config.seed)
    logs.stage("data")
    counts = train.class_counts
    logs.info(
        f"{config.data.name}: {len(train):,} training images of {train.num_classes:,} classes "
        f"({counts.max():,} to {counts.min():,} a class), {len(test):,} test images."
    )
    loss, schedule, tx = objective(config, counts)
    start = time.monotonic()
    with devices.together():
        backbone = weights.load(config.backbone, config.resolution or None)
        tuning, classifier, pixels, parts = build_network(config, backbone, train.class_names)
    logs.info(
        f"Backbone {backbone.name}: {state.count(backbone.params['vision']):,} parameters, "
        f"{backbone.resolution} x {backbone.resolution} pixels, loaded in {time.monotonic() - start:.1f} s."
    )
    split = [(each.class_names, each.labels.tobytes()) for each in (train, test)]
    devices.agree(data=split, backbone=backbone.hash)
    mesh = devices.make_mesh()
    place = devices.shard if config.fsdp else devices.replicate
    if config.method != "zero_shot":  # which trains nothing, its head neither
        logs.info(tuners.summary(tuning, parts))
    experiment = Experiment(
        config=config,
        train=train,
        test=test,
        backbone=backbone,
        classifier=classifier,
        pixels=pixels,
        mesh=mesh,
        tuning=tuning,
        parts=Parts(place(parts.frozen, mesh), *devices.replicate(parts[1:], mesh)),
        loss=loss,
        schedule=schedule,
        tx=tx,
        class_groups=class_groups(config, counts),
    )
    logs.stage("backbone")
    return experiment


def objective(
    config: ml_collections.FrozenConfigDict, class_counts: np.ndarray
) -> tuple[losses.Loss, Callable[[Any], jax.Array], optax.GradientTransformation]:
    """Loss, learning rate by the step, and optimizer for training images of these numbers a class.

    Raises:
        UserError: if the loss cannot be summed over micro-batches and there are several.
    """
    steps_per_epoch = -(-int(class_counts.sum()) // config.batch_size)
    schedule = optimizer.cosine(config.lr, config.num_epochs, steps_per_epoch, config.schedule)
    loss = losses.make(config.loss, class_counts, tau=config.tau, scale=config.head_scale)
    if config.accumulate > 1 and not loss.additive:
        raise UserError(
            f"config.loss is {config.loss}, whose regulariser takes the whole batch at once, but config.accumulate is "
            f"{config.accumulate}; write config.accumulate=1."
        )
    return loss, schedule, optimizer.make(schedule, config.momentum, config.weight_decay)


class Network(NamedTuple):
    """The part of an `Experiment` that needs no data; its `parts` are NumPy arrays."""

    tuning: tuners.Tuning
    classifier: Classifier
    pixels: Input
    parts: Parts


def build_network(config: ml_collections.FrozenConfigDict, backbone: Backbone, class_names: Sequence[str]) -> Network:
    """The classifier on a loaded backbone, tuners and head initialised from `config.seed`.

    Raises:
        UserError: if method, tuners or head do not fit the backbone.
    """
    dtype = jnp.dtype(config.dtype)
    tuning = tuners.build(config.method, config.tuner, backbone.vision, len(class_names), backbone.text)
    head, others = _head(config, backbone, tuning, class_names)
    vision = backbone.vision.clone(dtype=dtype, tuners=tuning.tuners)
    if config.remat != "none":
        if isinstance(vision, ResNet):
            raise UserError(f"config.remat is {config.remat!r}, which is for transformers; with a ResNet leave it out.")
        vision = vision.clone(remat=config.remat)
    classifier = Classifier(vision, head)
    key = jax.random.key(config.seed)
    shape = (backbone.resolution, backbone.resolution, 3)
    params = state.complete(classifier, backbone.params["vision"], shape, key, others)
    parts = state.split(params, tuning.trains)
    parts = Parts(
        frozen=jax.tree_util.tree_map_with_path(lambda path, x: _cast(path, np.asarray(x), dtype), parts.frozen),
        tuner=jax.tree.map(lambda x: np.asarray(x, np.float32), parts.tuner),
        head=jax.tree.map(lambda x: np.asarray(x, np.float32), parts.head),
    )
    return Network(tuning, classifier, Input(backbone.resolution, backbone.mean, backbone.std, dtype), parts)


def _cast(path: tuple[Any, ...], array: np.ndarray, dtype: jnp.dtype) -> np.ndarray:
    """Weights of the towers to `dtype`; projections stay float32, tokens and a mask's indices whole numbers."""
    tower = path[0].key == state.BACKBONE or path[1].key == "tower"
    return array.astype(dtype, copy=False) if tower and jnp.issubdtype(array.dtype, jnp.floating) else array


def class_groups(config: ml_collections.FrozenConfigDict, counts: np.ndarray) -> np.ndarray:
    """The group of each class: by its training images, or as published for CIFAR-LT (config.class_groups)."""
    if config.class_groups == "":
        return metrics.groups(counts)
    if config.class_groups == "imbalance_100":
        return metrics.groups(class_sizes(counts.max(), len(counts), 100))
    raise UserError(f"config.class_groups is {config.class_groups!r}; write imbalance_100, or nothing.")


def _head(
    config: ml_collections.FrozenConfigDict, backbone: Backbone, tuning: tuners.Tuning, class_names: Sequence[str]
) -> tuple[Head, dict[str, Any]]:
    """The head, and those of its parameters that the backbone gives."""
    num_classes = len(class_names)
    if tuning.text is not None:
        return text_tuning.make(config, backbone, tuning.text, class_names)
    if config.method == "zero_shot":
        if backbone.text is None:
            raise UserError(
                f"config.method is zero_shot, but the backbone {backbone.name} has no text tower; "
                "take a CLIP, or another method with config.head_init=class_mean."
            )
        scale = float(np.exp(backbone.params["logit_scale"]))
        return ZeroShotHead(num_classes, scale, embed_dim=backbone.params["text_projection"].shape[1]), {}
    if config.head != "cosine" and config.head_scale != lift_config.default().head_scale and config.loss != "LDAM":
        raise UserError(
            f"config.head_scale is {config.head_scale}, but the head {config.head} has no scale; leave it out, "
            "or write config.head=cosine."
        )
    return HEADS[config.head](num_classes, config.head_scale), {}
