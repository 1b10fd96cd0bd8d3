"""Tuners and their combinations against PyTorch, at values where each of them matters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import flatten, make_clip, tune

from lift_jax.models import partition
from lift_jax.models.vit import VisionTransformer

torch = pytest.importorskip("torch", reason="torch is the peer (tests/requirements-parity-light.txt)")
torch_vit = pytest.importorskip("torch_vit")

CASES = {
    "every kind of site, on a range": (
        "lora+ssf_attn+ssf_mlp+ssf_ln+adapter+adaptformer+vpt_deep+bias_tuning",
        dict(partial="1:3", dim=3, vpt_len=2),
        {},
    ),
    "weights, fixed scale, other size": (
        "mask+lora+lora_mlp+adaptformer+ln_tuning+vpt_shallow",
        dict(mask_ratio=0.05, mask_seed=3, dim=12, scale=0.3),
        dict(hidden_size=36, num_attention_heads=3, num_hidden_layers=2, intermediate_size=20, hidden_act="gelu"),
    ),
    "full tuning of the last block": ("full_tuning+bias_tuning+adapter", dict(partial="1"), {}),
}


@pytest.mark.parity
@pytest.mark.parametrize("name", CASES)
def test_features_and_gradients(name, tmp_path):
    method, options, size = CASES[name]
    backbone = make_clip(tmp_path, **size)
    tuned = tune(backbone, method, noise=0.2, **options)
    vision, parts = backbone.vision, tuned.parts
    assert isinstance(vision, VisionTransformer)
    generator = np.random.default_rng(0)
    images, weight = (generator.normal(size=s).astype(np.float32) for s in ((2, 16, 16, 3), (2, vision.width)))

    @jax.jit
    def run(trained):
        def total(trained):
            features = tuned.apply(partition.merge(parts.frozen, trained, parts.head), images, "features")
            return jnp.sum(features * weight), features

        return jax.value_and_grad(total, has_aux=True)(trained)

    (_, features), gradients = run(parts.tuner)
    torch_params = jax.tree.map(lambda x: torch.from_numpy(np.array(x)), partition.merge(*parts))["backbone"]
    leaves = {k: v.requires_grad_() for k, v in flatten(torch_params).items() if k in flatten(parts.tuner["backbone"])}
    settings = vision.num_heads, vision.activation, options.get("scale")
    expected = torch_vit.features(torch_params, torch.from_numpy(images), *settings)
    (expected * torch.from_numpy(weight)).sum().backward()
    close(features, expected.detach(), 2e-5)
    ours = flatten(gradients["backbone"])
    assert set(ours) == set(leaves)
    for path, leaf in leaves.items():
        assert np.abs(leaf.grad).max() > 0, f"{path} has no effect"
        close(ours[path], leaf.grad, 1e-4, str(path))


def close(actual, expected, tolerance, name=""):
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max(), err_msg=name)
