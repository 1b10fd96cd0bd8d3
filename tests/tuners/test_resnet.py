import jax
import numpy as np
import pytest
from conftest import flatten

from lift_jax import tuners
from lift_jax.errors import UserError
from lift_jax.models import partition
from lift_jax.models.heads import Classifier, CosineHead
from lift_jax.models.resnet import ResNet

VISION = ResNet(layers=(1, 1, 1, 2), stem_width=4, width=8, num_heads=2)


def tune(method, **options):
    config = tuners.tuner_defaults()
    config.update(options)
    tuning = tuners.build(tuners.resolve(method, config), VISION, 5)
    classifier = Classifier(VISION.clone(tuners=tuning.tuners), CosineHead(5))
    shapes = jax.eval_shape(lambda: classifier.init(jax.random.key(0), np.zeros((1, 32, 32, 3))))
    paths = {"/".join(path[1:]) for path in flatten(shapes["params"]) if path[0] == "backbone"}
    return tuning, paths, {path for path in paths if tuning.trains(tuple(path.split("/")))}


def test_selections():
    _, paths, trained = tune("head_only")
    assert not trained
    norms = {path.rsplit("/", 1)[0] for path in paths if path.endswith("/var")}
    assert tune("bn_tuning")[2] == {f"{norm}/{leaf}" for norm in norms for leaf in ("scale", "bias")}
    blocks = {path for path in paths if path.startswith("stage_")}
    assert tune("full_tuning")[2] == {path for path in blocks if not path.endswith(("/mean", "/var"))}
    assert tune("bias_tuning")[2] == {path for path in blocks if path.endswith("/bias")}


def test_ssf_scales_and_shifts_the_attention_pool():
    tuning, paths, trained = tune("ssf_attn")
    assert trained == {path for path in paths if "tuner_ssf_attn" in path}
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    network = VISION.clone(tuners=tuning.tuners)
    params = jax.jit(network.init)(jax.random.key(0), images)["params"]
    plain = partition.split({"backbone": params}, tuning.trains).frozen["backbone"]
    features = jax.jit(VISION.apply)({"params": plain}, images)
    ssf = params["attn_pool"]["tuner_ssf_attn"]["attn_out"]
    tuned = jax.jit(network.apply)({"params": params}, images)
    np.testing.assert_allclose(tuned, features * ssf["scale"] + ssf["shift"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "method, options, words",
    [("lift", {}, "adaptformer is for vision transformers.*ssf_attn"), ("full_tuning", {"partial": "1"}, "as a whole")],
)
def test_mistakes_are_named(method, options, words):
    with pytest.raises(UserError, match=words):
        tune(method, **options)
