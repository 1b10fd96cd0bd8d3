import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import flatten, tune

from lift_jax import tuners
from lift_jax.errors import UserError
from lift_jax.models import partition
from lift_jax.models.vit import VisionTransformer
from lift_jax.training import optimizer
from lift_jax.training.losses import make as make_loss

VISION = VisionTransformer(patch_size=4, width=24, depth=3, num_heads=2, mlp_dim=48)


def build(method, **options):
    config = tuners.tuner_defaults()
    config.update(options)
    return tuners.build(tuners.resolve(method, config), VISION, 7)


def images(n=2):
    return np.random.default_rng(3).normal(size=(n, 16, 16, 3)).astype(np.float32)


def test_what_starts_as_the_identity_leaves_the_features_unchanged(tiny_clip):
    tuned = tune(tiny_clip, "mask+lora+lora_mlp+adapter+adaptformer+bias_tuning+ln_tuning")
    frozen = jax.jit(tiny_clip.vision.apply)({"params": tiny_clip.params["vision"]}, images())
    np.testing.assert_allclose(tuned.features(images()), frozen, rtol=1e-6, atol=1e-6)


def test_prompts_change_the_features_and_their_place_does_not(tiny_clip):
    tuned = tune(tiny_clip, "vpt_deep", vpt_len=3)
    plus = tune(tiny_clip, "vpt_deep", vpt_len=3, rules="lift_plus")
    frozen = jax.jit(tiny_clip.vision.apply)({"params": tiny_clip.params["vision"]}, images())
    features = tuned.features(images())
    assert np.abs(features - frozen).max() > 1e-3
    same = plus._replace(parts=plus.parts._replace(tuner=tuned.parts.tuner))
    np.testing.assert_allclose(same.features(images()), features, rtol=1e-5, atol=1e-5)


def test_training_changes_what_is_trained_and_nothing_else(tiny_clip):
    tuned = tune(tiny_clip, "mask+ssf_ln+vpt_deep+bias_tuning+adapter", noise=0.1, partial="1:3", mask_ratio=0.1)
    parts = tuned.parts
    params = partition.merge(*parts)
    before = jax.tree.map(np.array, flatten(params))
    loss, labels = make_loss("LA", [9, 5, 3, 3, 2, 1, 1]), jnp.array([0, 3])
    tx = optimizer.make(0.1, 0.9, 5e-4)

    @jax.jit
    def step(trainable, opt_state, frozen):
        def forward(trainable):
            return loss(tuned.apply(partition.merge(frozen, *trainable.values()), images()), labels)

        updates, opt_state = tx.update(jax.grad(forward)(trainable), opt_state, trainable)
        return optax.apply_updates(trainable, updates), opt_state

    trainable = {partition.TUNER: parts.tuner, partition.HEAD: parts.head}
    opt_state = tx.init(trainable)
    for _ in range(2):
        trainable, opt_state = step(trainable, opt_state, parts.frozen)
    after = flatten(partition.merge(parts.frozen, *trainable.values()))
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    blocks = {f"block_{i}" for i in (1, 2)}
    expected = {
        path
        for path in before
        if path[0] == "head"
        or (path[1] in blocks and path[2].startswith("tuner_") and not path[-1].endswith("_index"))
        or (path[1].startswith("block_") and path[-1] == "bias" and not path[2].startswith("tuner_"))
    }
    assert changed == expected


def test_selections_take_what_their_names_say(tiny_clip):
    own = [path[1:] for path in flatten(partition.merge(*tune(tiny_clip, "head_only").parts)) if path[0] == "backbone"]

    def chosen(method, **options):
        return {"/".join(path) for path in own if build(method, **options).trains(path)}

    assert chosen("head_only") == chosen("zero_shot") == chosen("lift") == set()
    layers = ("attn_in", "attn_out", "ln_1", "mlp_in", "mlp_out", "ln_2")
    assert chosen("bias_tuning") == {f"block_{i}/{layer}/bias" for i in range(3) for layer in layers}
    leaves = ("scale", "bias")
    assert chosen("ln_tuning") == {f"block_{i}/{n}/{x}" for i in range(3) for n in ("ln_1", "ln_2") for x in leaves}
    whole = {"/".join(path) for path in own if path[0].startswith("block_")}
    assert chosen("full_tuning") == whole
    assert chosen("full_tuning", partial="1") == {name for name in whole if name.startswith("block_2/")}
    assert chosen("full_tuning", partial="0:2") == {name for name in whole if not name.startswith("block_2/")}
    both = chosen("full_tuning+ln_tuning", partial="1")
    assert both == chosen("full_tuning", partial="1") | chosen("ln_tuning")


def test_tuners_are_where_the_range_says():
    tuning = build("lora+adaptformer+vpt_deep", partial="1:3")
    assert [list(tuning.tuners(i)) for i in range(3)] == [[], *[["lora", "adaptformer", "vpt_deep"]] * 2]
    shallow = build("vpt_shallow+ssf", partial="1")
    assert [list(shallow.tuners(i)) for i in range(3)] == [["vpt_shallow"], [], ["ssf_attn", "ssf_mlp"]]


def test_order_of_names_does_not_matter():
    one, other = (build(method) for method in ("adapter+lora+mask", "mask+adapter+lora"))
    assert list(one.tuners(0)) == list(other.tuners(0)) == ["mask", "lora", "adapter"]


def test_lift_plus_starts_uniform_and_lift_normal(tiny_clip):
    def down(method):
        flat = flatten(tune(tiny_clip, method, dim=64).parts.tuner)
        return np.concatenate([x.ravel() for path, x in flat.items() if path[-2:] == ("down_proj", "kernel")])

    normal, uniform = down("lift"), down("lift_plus")
    bound = (1 / 24) ** 0.5  # PyTorch's kaiming_uniform_(a=sqrt(5)) at fan 24
    assert np.abs(uniform).max() <= bound < np.abs(normal).max()
    for weights in normal, uniform:
        np.testing.assert_allclose(weights.std(), bound / 3**0.5, rtol=0.05)


def test_summary_names_every_group(tiny_clip):
    tuned = tune(tiny_clip, "lora+ln_tuning", dim=2, partial="2")
    backbone = partition.count(tiny_clip.params["vision"])
    lora, norms, head = 2 * 2 * (2 * 24 * 2), 3 * 4 * 24, 24 * 7
    assert [row[:4] for row in tuners.rows(tuned.tuning, tuned.parts)] == [
        ("ln_tuning", 3, 12, norms),
        ("lora", 2, 8, lora),
        ("head", 0, 1, head),
    ]
    lines = tuners.summary(tuned.tuning, tuned.parts).splitlines()
    assert lines[-1].split()[0] == "total"
    assert lines[-1].split()[2:4] == [f"{lora + norms + head:,}", f"{100 * (lora + norms + head) / backbone:.3f}"]


@pytest.mark.parametrize(
    "method, options, words",
    [
        ("adaptfomer", {}, "did you mean adaptformer?.*known ones: zero_shot, .*lora"),
        ("lora+bitfit", {}, "'bitfit' is not known"),
        ("zero_shot+lora", {}, "zero_shot has no tuners"),
        ("bn_tuning", {}, "no batch normalisation; write ln_tuning"),
        ("vpt_shallow+vpt_deep", {}, "vpt_shallow and vpt_deep exclude one another; keep one"),
        ("mask+mask_mlp", {}, "mask and mask_mlp exclude one another; keep one"),
        ("full_tuning+mask", {}, "full_tuning trains the weights that a mask would keep frozen"),
        ("lift", {"partial": "4"}, "has 3 blocks, 0 to 2; write at most 3"),
        ("lift", {"partial": "1:4"}, "within 0:3"),
        ("lift", {"partial": "2:2"}, "selects no block"),
        ("lift", {"partial": "last two"}, "write a number"),
        ("bias_tuning", {"partial": "1"}, "partial is 1, which config.method=bias_tuning does not use"),
        ("lora", {"scale": 0.1}, "scale is 0.1.*adaptformer"),
        ("ssf", {"dim": 4}, "config.tuner.dim is 4"),
        ("lift", {"rules": "paper"}, "write lift or lift_plus"),
    ],
)
def test_mistakes_are_named(method, options, words):
    with pytest.raises(UserError, match=words):
        build(method, **options)
