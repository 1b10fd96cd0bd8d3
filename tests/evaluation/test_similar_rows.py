"""The most similar rows, against a sort of all cosines."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics.pairwise import cosine_similarity

from lift_jax.evaluation.similar_rows import SimilarRows
from lift_jax.models.unit_rows import unit_rows


def test_they_are_those_with_the_largest_cosines():
    generator = np.random.default_rng(0)
    rows, queries = (generator.normal(size=(n, 24)).astype(np.float32) for n in (700, 300))
    cosines = cosine_similarity(queries.astype(np.float64), rows.astype(np.float64))
    found, places = SimilarRows(unit_rows(rows), block=256)(queries, 7)
    np.testing.assert_array_equal(places, np.argsort(-cosines, axis=1)[:, :7])
    np.testing.assert_allclose(found, -np.sort(-cosines, axis=1)[:, :7], atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)]), min_size=1, max_size=9),
    st.integers(1, 12),
    st.sampled_from([4, 16]),
)
def test_of_equal_similarities_the_first_comes_first(rows, k, block):
    similar = SimilarRows(np.array(rows, np.float32), block)
    ((cosines,), (places,)) = similar(np.array([[2.0, 0.0]], np.float32), k)
    expected = sorted(range(len(rows)), key=lambda place: (-rows[place][0], place))[:k]
    assert places.tolist() == expected and cosines.tolist() == [rows[place][0] for place in expected]


def test_no_query_has_no_neighbours():
    cosines, places = SimilarRows(np.eye(3, dtype=np.float32))(np.zeros((0, 3), np.float32), 2)
    assert cosines.shape == places.shape == (0, 2)
