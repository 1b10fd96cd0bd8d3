import numpy as np
from conftest import flatten, tune
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_jax.tuners import rules
from lift_jax.tuners.mask import choose

sizes = st.integers(0, 500)


@settings(max_examples=50, deadline=None)
@given(sizes, sizes, st.floats(0, 1), st.integers(0, 9))
def test_choice_has_the_share_and_follows_the_seed(weights, biases, ratio, seed):
    together, apart = (choose(weights, biases, ratio, (seed, 0, 0), apart) for apart in (False, True))
    assert sum(map(len, together)) == int((weights + biases) * ratio)
    assert list(map(len, apart)) == [int(weights * ratio), int(biases * ratio)]
    for chosen in together, apart:
        for index, size in zip(chosen, (weights, biases), strict=True):
            assert (np.diff(index) > 0).all()
            assert len(index) == 0 or (index[0] >= 0 and index[-1] < size)
    again = choose(weights, biases, ratio, (seed, 0, 0), False)
    assert all(np.array_equal(x, y) for x, y in zip(together, again, strict=True))


def test_every_layer_of_every_block_has_its_own_choice(tiny_clip):
    flat = flatten(tune(tiny_clip, "mask", mask_ratio=0.1).parts.frozen)
    attn_in = [tuple(x) for path, x in flat.items() if path[-1] == "weight_index" and path[-2] == "attn_in"]
    assert len(set(attn_in)) == 3
    other = flatten(tune(tiny_clip, "mask", mask_ratio=0.1, mask_seed=1).parts.frozen)
    path = ("backbone", "block_0", "tuner_mask", "mlp_in", "weight_index")
    assert not np.array_equal(flat[path], other[path])


def test_trained_entries_start_at_the_loaded_ones(tiny_clip):
    parts = tune(tiny_clip, "mask_mlp", mask_ratio=0.2).parts
    frozen, tuner = map(flatten, (parts.frozen, parts.tuner))
    assert {path[3] for path in tuner} == {"mlp_in", "mlp_out"}
    for path, entries in tuner.items():
        own = frozen[(*path[:2], path[3], {"weight": "kernel", "bias": "bias"}[path[-1]])]
        np.testing.assert_array_equal(own.ravel()[frozen[(*path[:-1], f"{path[-1]}_index")]], entries)


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 10_000), st.integers(1, 24), st.sampled_from([192, 384, 768, 1024]))
def test_rules_keep_a_tuner_no_larger_than_the_head(num_classes, tuned, width):
    head = num_classes * width
    for dim, params in (
        (rules.bottleneck_dim(num_classes, tuned), 2 * width * tuned),
        (rules.lora_rank_plus(num_classes, tuned), 4 * width * tuned),
        (rules.prompt_length_plus(num_classes, tuned), width * tuned),
    ):
        assert dim == 1 or head / 2 < dim * params <= head
        assert dim & (dim - 1) == 0
    blocks: dict[rules.MaskedLayers, int] = {
        "all": (12 * width + 9) * width,
        "attn": (4 * width + 4) * width,
        "mlp": (8 * width + 5) * width,
    }
    for parts, size in blocks.items():
        ratio = rules.mask_ratio_plus(num_classes, tuned, width, parts)
        assert ratio == 1 or np.isclose(ratio * tuned * size, head)
    assert 0.001 <= rules.mask_ratio(num_classes, tuned, width) <= 1
