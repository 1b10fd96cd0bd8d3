"""The training step in the forms that suit a GPU: attention by a kernel, and float32 products in float32."""

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import tune

from lift_jax import config as lift_config
from lift_jax.cluster import placement
from lift_jax.models.heads import Classifier
from lift_jax.models.image_input import ImageInput
from lift_jax.training import losses, optimizer
from lift_jax.training.hyperparameters import Hyperparameters, stacked
from lift_jax.training.state import initial_state
from lift_jax.training.step import TrainingStep


@pytest.fixture
def step_and_arguments(tiny_clip):
    """A training step of AdaptFormer, and what it takes."""
    tuned, mesh = tune(tiny_clip, "adaptformer", noise=0.1), placement.make_mesh(jax.devices()[:1])

    def tx(numbers):
        return optimizer.make(numbers.lr, numbers.momentum, numbers.weight_decay)

    generator = np.random.default_rng(0)
    batch = {
        "image": generator.integers(0, 256, (4, 16, 16, 3), np.uint8),
        "label": generator.integers(0, 7, 4).astype(np.int32),
        "mask": np.ones(4, bool),
    }
    image_input = ImageInput(16, tiny_clip.mean, tiny_clip.std, jnp.float32)
    step = TrainingStep(tuned.classifier, losses.make("LA", np.arange(7, 0, -1)), tx, image_input, mesh, accumulate=1)
    frozen = placement.replicate(tuned.parts.frozen, mesh)
    state = initial_state(tuned.parts, tx(Hyperparameters(0.1)), mesh)
    return step, (
        state,
        frozen,
        placement.shard_batch(batch, mesh),
        jax.random.key(0),
        Hyperparameters(jnp.float32(0.1)),
    )


def test_several_members_train_by_a_kernel_as_each_alone_by_plain_attention(step_and_arguments):
    plain, (state, frozen, batch, key, _) = step_and_arguments
    backbone: Any = plain.classifier.backbone
    classifier = Classifier(backbone.clone(attention="xla"), plain.classifier.head)
    by_kernel = dataclasses.replace(plain, classifier=classifier)
    members = [Hyperparameters(0.1), Hyperparameters(0.02)]
    numbers = stacked(members, plain.mesh)
    both = jax.tree.map(lambda x: jnp.stack([x, x]), (state, key))
    found, _ = jax.jit(by_kernel.of_members)(both[0], frozen, batch, both[1], numbers)
    alone = jax.jit(plain)
    for member, own_numbers in enumerate(members):
        expected, _ = alone(state, frozen, batch, key, own_numbers.placed(plain.mesh))
        pairs = zip(jax.tree.leaves(found.trainable), jax.tree.leaves(expected.trainable), strict=True)
        for own, other in pairs:
            np.testing.assert_allclose(own[member], other, rtol=0, atol=2e-5)


@pytest.mark.parametrize("precision", ["default", "highest"])
def test_every_product_of_a_step_has_the_precision(step_and_arguments, precision):
    step, arguments = step_and_arguments
    chosen = dataclasses.replace(step, input=dataclasses.replace(step.input, precision=precision))
    text = jax.jit(chosen).lower(*arguments).as_text()
    products = re.findall(r"stablehlo\.dot_general .*", text)
    highest = sum("[HIGHEST, HIGHEST]" in product for product in products)
    assert len(products) > 20
    # The head's are float32 in any case.
    assert highest == len(products) if precision == "highest" else 0 < highest < len(products) / 2


def test_on_a_cpu_nothing_changes_unless_it_is_asked_for():
    config = lift_config.default()
    assert lift_config.resolve(config).matmul_precision == "default"
    config.matmul_precision = "highest"
    assert lift_config.resolve(config).matmul_precision == "highest"
