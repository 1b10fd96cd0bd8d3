import jax
import jax.numpy as jnp
import numpy as np
from conftest import flatten
from hypothesis import given
from hypothesis import strategies as st

from lift_jax.classifier.initialise import complete
from lift_jax.models import partition
from lift_jax.models.heads import Classifier, CosineHead

paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(tuple)


@given(st.sets(paths, min_size=1), st.sets(paths))
def test_split_and_merge_are_inverse_and_put_each_array_into_one_part(own, trained):
    # A path that continues another cannot be a leaf beside it.
    leaves = {path for path in own if not any(other[: len(path)] == path for other in own - {path})}
    flat = {("backbone", *path): i for i, path in enumerate(sorted(leaves))} | {("head", "kernel"): -1}
    params: dict = {}
    for path, value in flat.items():
        node = params
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = value
    parts = partition.split(params, lambda path: path in trained)
    assert set(flatten(parts.tuner)) == {("backbone", *path) for path in leaves & trained}
    assert set(flatten(parts.frozen)) == {("backbone", *path) for path in leaves - trained}
    assert parts.head == {"head": {"kernel": -1}}
    assert partition.merge(*parts) == params


def test_complete_keeps_what_is_there_and_starts_the_rest_from_the_key(tiny_clip):
    classifier, own = Classifier(tiny_clip.vision, CosineHead(5)), tiny_clip.params["vision"]
    one, same, other = (complete(classifier, own, (16, 16, 3), jax.random.key(i)) for i in (0, 0, 1))
    for path, array in flatten(own).items():
        np.testing.assert_array_equal(flatten(one["backbone"])[path], array)
    kernels = [tree["head"]["kernel"] for tree in (one, same, other)]
    assert kernels[0].shape == (24, 5)
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert jnp.abs(kernels[0] - kernels[2]).max() > 0.01
    assert partition.count(one) == partition.count(own) + 24 * 5
