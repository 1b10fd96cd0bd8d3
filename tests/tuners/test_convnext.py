"""What is tuned in a ConvNeXt: stages as a whole, biases, layer norms; and what is not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import flatten

from lift_jax import tuners
from lift_jax.errors import UserError
from lift_jax.models import partition
from lift_jax.models.convnext import ConvNeXt
from lift_jax.models.heads import Classifier, CosineHead

VISION = ConvNeXt(depths=(1, 1, 2, 1), widths=(4, 6, 8, 10), projection=(12, 5))
CLASSIFIER = Classifier(VISION, CosineHead(5))


@pytest.fixture(scope="module")
def params():
    shapes = jax.eval_shape(CLASSIFIER.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]
    generator = np.random.default_rng(0)
    return jax.tree.map(lambda x: generator.normal(0.2, 0.5, x.shape).astype(np.float32), shapes)


def build(method, **options):
    config = tuners.tuner_defaults()
    config.update(options)
    return tuners.build(tuners.resolve(method, config), VISION, 5)


def trained(params, method, **options):
    rule = build(method, **options).trains
    return {"/".join(path[1:]) for path in flatten(params) if path[0] == "backbone" and rule(path[1:])}


def test_selections(params):
    paths = {"/".join(path[1:]) for path in flatten(params) if path[0] == "backbone"}
    stages = {path for path in paths if path.startswith("stage_")}
    assert not trained(params, "head_only")
    assert trained(params, "full_tuning") == stages
    assert trained(params, "full_tuning", partial="1") == {path for path in stages if path.startswith("stage_3/")}
    middle = trained(params, "full_tuning", partial="1:3")
    assert middle == {path for path in stages if path.startswith(("stage_1/", "stage_2/"))}
    assert trained(params, "bias_tuning") == {path for path in stages if path.endswith("/bias")}
    norms = {path for path in stages if path.endswith(("ln/scale", "ln/bias", "ln_down/scale", "ln_down/bias"))}
    assert trained(params, "ln_tuning") == norms and len(norms) == 2 * (5 + 3)


@pytest.mark.parametrize("method, options", [("full_tuning", dict(partial="1")), ("bias_tuning+ln_tuning", {})])
def test_gradients_reach_all_that_is_trained(params, method, options):
    parts = partition.split(params, build(method, **options).trains)
    images = np.random.default_rng(1).normal(size=(2, 64, 64, 3)).astype(np.float32)

    @jax.jit
    def loss(tuner):
        logits: Any = CLASSIFIER.apply({"params": partition.merge(parts.frozen, tuner, parts.head)}, images)
        return jnp.sum(jnp.sin(logits * jnp.arange(1, 6)))

    gradients = flatten(jax.grad(loss)(parts.tuner))
    assert gradients and all(np.isfinite(x).all() and np.any(x) for x in gradients.values())


@pytest.mark.parametrize(
    "method, options, words",
    [
        ("lift", {}, "adaptformer is for vision transformers and the backbone is a ConvNeXt; .*head_only.*ln_tuning"),
        ("ssf_attn", {}, "ssf_attn is for vision transformers"),
        ("bn_tuning", {}, "bn_tuning is for ResNets"),
        ("full_tuning", {"partial": "5"}, "partial is 5, but the backbone has 4 stages, 0 to 3"),
        ("full_tuning", {"partial": "last"}, "last stages, such as 2, or a range such as 1:4 for stages 1, 2 and 3 of"),
    ],
)
def test_mistakes_are_named(method, options, words):
    with pytest.raises(UserError, match=words):
        build(method, **options)
