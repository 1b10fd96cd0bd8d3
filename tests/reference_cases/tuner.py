"""kind = tuner: features, logits, loss, every gradient, and a short training run of a tuned classifier."""

import functools
from typing import Any

import jax
import numpy as np
import optax
from flax import traverse_util
from ml_collections import ConfigDict

from lift_jax import tuners
from lift_jax.classifier.initialise import complete
from lift_jax.models import partition
from lift_jax.models.heads import Classifier, CosineHead, L2NormedHead, LayerNormedHead, LinearHead
from lift_jax.models.vit import VisionTransformer
from lift_jax.training import losses, optimizer
from lift_jax.tuners.options import tuner_defaults
from reference_cases import keys, models
from reference_cases.case import Case, assert_close

HEADS = {
    "LinearClassifier": LinearHead,
    "CosineClassifier": CosineHead,
    "L2NormedClassifier": L2NormedHead,
    "LayerNormedClassifier": LayerNormedHead,
}
FLAGS = {
    "full_tuning", "bias_tuning", "ln_tuning", "vpt_shallow", "vpt_deep", "adapter", "adaptformer", "lora", "lora_mlp",
    "ssf_attn", "ssf_mlp", "ssf_ln", "mask",
}  # fmt: skip
OF_ALL_BLOCKS = {"bias_tuning", "ln_tuning", "vpt_shallow"}  # these ignore `partial`
VALUES = {  # our names, and whose options they are; others ignore them
    "adapter_dim": ("dim", {"adapter", "adaptformer", "lora", "lora_mlp"}),
    "vpt_len": ("vpt_len", {"vpt_shallow", "vpt_deep"}),
    "mask_ratio": ("mask_ratio", {"mask"}),
    "mask_seed": ("mask_seed", {"mask"}),
}


def check(case: Case) -> None:
    backbone = models.load(case.root / case.option("model"))
    options, counts, images = case.option("options"), case.array("class_counts"), case.array("images")
    num_classes = case.option("num_classes")
    assert num_classes == len(counts)
    assert isinstance(backbone.vision, VisionTransformer)
    method, config = configuration(options)
    tuning = tuners.build(tuners.resolve(method, config), backbone.vision, num_classes)
    head = HEADS[case.option("classifier")](num_classes, scale=case.option("scale"))
    classifier = Classifier(backbone.vision.clone(tuners=tuning.tuners), head)
    loss = losses.make(case.option("loss"), counts, scale=case.option("scale"))
    vision = backbone.params["vision"]
    # The case brings the values; drawing some would only cost a compilation.
    shapes = jax.eval_shape(lambda: complete(classifier, vision, images.shape[1:], jax.random.key(0)))
    prompts = "vpt_shallow" if options.get("vpt_shallow") else "vpt_deep"
    parts = partition.split(load(case, shapes, vision, prompts), tuning.trains)
    trainable = {partition.TUNER: parts.tuner, partition.HEAD: parts.head}
    assert partition.count(parts.tuner) == case.option("tuner_params")
    assert partition.count(parts.head) == case.option("head_params")

    @jax.jit
    def differentiate(trainable, frozen, images, labels):
        def forward(trainable):
            params = partition.merge(frozen, *trainable.values())
            features = classifier.apply({"params": params}, images, method=Classifier.features)
            logits = head.apply({"params": params["head"]}, features)
            return loss(logits, labels), (features, logits)

        with jax.default_matmul_precision("highest"):
            (value, (features, logits)), gradient = jax.value_and_grad(forward, has_aux=True)(trainable)
        return features, logits, value, gradient

    run = functools.partial(differentiate, frozen=parts.frozen)
    untuned = models.features(backbone, images)
    assert_close(untuned, case.array("features_frozen"), 2e-5, "features_frozen")
    *outputs, gradient = run(trainable, images=images, labels=case.array("labels"))
    for name, output in zip(("features", "logits", "loss"), outputs, strict=True):
        assert_close(output, case.array(name), 2e-5, name)
    check_gradients(case, partition.merge(*trainable.values()), partition.merge(*gradient.values()), prompts)
    check_training(case, run, trainable)


def configuration(options: dict) -> tuple[str, ConfigDict]:
    """Our method's name and config.tuner for the reference's options."""
    unknown = set(options) - FLAGS - set(VALUES) - {"partial", "classifier", "scale"}
    assert not unknown, f"the options {sorted(unknown)} are not known"
    flags = {name for name in FLAGS if options.get(name)}
    config = tuner_defaults()
    partial = options.get("partial")
    if partial == 0 or (isinstance(partial, list) and partial[0] == partial[1]):  # no block
        flags &= OF_ALL_BLOCKS
    elif partial is not None and flags - OF_ALL_BLOCKS:
        config.partial = str(partial) if isinstance(partial, int) else f"{partial[0]}:{partial[1]}"
    for name, (ours, users) in VALUES.items():
        if options.get(name) is not None and flags & users:
            config[ours] = options[name]
    return "+".join(sorted(flags)) or "head_only", config


def load(case: Case, shapes: partition.Tree, vision: partition.Tree, prompts: str) -> partition.Tree:
    """The parameters of a classifier: the backbone's, and the case's arrays and masks in their places."""
    flat: dict[tuple[str, ...], Any] = {
        k: v for k, v in traverse_util.flatten_dict(dict(shapes)).items() if "tuner_mask" not in k
    }
    flat |= traverse_util.flatten_dict({"backbone": vision})
    given = {keys.path_of(key, prompts): array for key, array in case.group("param").items()}
    placed = {path: keys.transpose(path, array) for path, array in given.items() if array.size}
    for key, packed in case.group("mask").items():
        path = keys.path_of(key, prompts)
        if path in placed:
            outputs = flat[(*path[:2], path[3], "bias")].size
            flat[*path[:-1], path[-1] + "_index"] = keys.mask_positions(packed, outputs, path[-1] == "weight")
            flat[path] = placed[path]
    for path, array in placed.items():
        assert flat[path].shape == array.shape, path
    return traverse_util.unflatten_dict({**flat, **placed})


def check_gradients(case: Case, params: partition.Tree, gradient: partition.Tree, prompts: str) -> None:
    """Every gradient, or for full tuning its norm; and that just these arrays are trained."""
    ours = traverse_util.flatten_dict(dict(gradient))
    # A gradient that is zero but for rounding, such as that of the keys' biases, has the noise of the largest ones.
    noise = float(np.finfo(np.float32).eps) * max(np.abs(np.asarray(g)).max(initial=0) for g in ours.values())
    seen = set()
    for key, expected in case.group("grad").items():
        path = keys.path_of(key, prompts)
        if expected.size:
            assert_close(keys.transpose(path, np.asarray(ours[path])), expected, 1e-4, f"gradient of {key}", noise)
            seen.add(path)
    values = traverse_util.flatten_dict(dict(params))
    for name, arrays, tolerance in (("param_norm", values, 2e-5), ("grad_norm", ours, 1e-4)):
        for key, expected in case.group(name).items():
            path = keys.path_of(key, prompts)
            assert_close(np.linalg.norm(np.asarray(arrays[path], np.float64)), expected, tolerance, f"{name} of {key}")
            seen.add(path)
    assert seen == set(ours)


def check_training(case: Case, run, trainable) -> None:
    """The short training run. The arrays may be absent, which keeps a case small."""
    settings = {name: case.option(name) for name in ("lr", "momentum", "weight_decay", "epochs", "steps")}
    if "train_images" not in case:
        return
    images, labels, rates = (case.array(f"train_{name}") for name in ("images", "labels", "lrs"))
    assert len(images) == settings["steps"]
    schedule = optimizer.cosine(settings["lr"], settings["epochs"], settings["steps"] // settings["epochs"])
    np.testing.assert_allclose(np.array([schedule(step) for step in range(len(images))]), rates, rtol=1e-5)
    tx = optimizer.make(schedule, settings["momentum"], settings["weight_decay"])
    opt_state = tx.init(trainable)

    @jax.jit
    def update(gradient, opt_state, trainable):
        updates, opt_state = tx.update(gradient, opt_state, trainable)
        return optax.apply_updates(trainable, updates), opt_state

    values = []
    for batch, target in zip(images, labels, strict=True):
        _, _, value, gradient = run(trainable, images=batch, labels=target)
        trainable, opt_state = update(gradient, opt_state, trainable)
        values.append(value)
    assert_close(values, case.array("train_losses"), 1e-3, "train_losses")
    _, logits, *_ = run(trainable, images=case.array("images"), labels=case.array("labels"))
    assert_close(logits, case.array("final_logits"), 1e-3, "final_logits")
