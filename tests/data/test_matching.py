"""Which names mean the same."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift_jax.data.labels import number_or_name, whole_number
from lift_jax.data.matching import fold, in_order, match
from lift_jax.errors import UserError


@pytest.mark.parametrize(
    "wanted, given_names, positions",
    [
        (["dog", "cat"], ["cat", "dog"], [1, 0]),
        (["dog"], ["cat", "dog", "bee"], [1]),
        (["dog", "Dog"], ["Dog", "dog"], [1, 0]),
        (["great_dane", "red fox"], ["Red-Fox", "Great Dane"], [1, 0]),
        (["0", "1", "10"], ["00", "10", "01"], [0, 2, 1]),
        (["K\u00e4fer"], ["Ka\u0308fer"], [0]),
        (["dog", "Dog"], ["DOG", "doG"], None),
        (["dog", "Dog"], ["DOG"], None),
        (["dog"], ["DOG", "doG"], None),
        (["dog", "cat"], ["dog", "kat"], None),
        (["dog"], ["dog", "dog"], None),
    ],
)
def test_names_are_matched_by_the_strictest_spelling(wanted, given_names, positions):
    assert match(wanted, given_names) == positions


@given(st.lists(st.text(min_size=1, max_size=5), unique=True), st.randoms(use_true_random=False))
def test_all_names_that_are_given_are_found(names, random):
    shuffled = list(names)
    random.shuffle(shuffled)
    places = match(names, shuffled)
    assert places is not None and [shuffled[place] for place in places] == names
    other = [unicodedata.normalize("NFD", name).swapcase() for name in shuffled]
    places = match(names, other)
    assert places is None or [fold(other[place]) for place in places] == [fold(name) for name in names]


def test_numbers_are_in_the_order_of_numbers():
    assert in_order(["10", "9", "1", "9", "0"]) == ["0", "1", "9", "10"]
    assert in_order(["010", "2", "1" + "0" * 5000]) == ["2", "010", "1" + "0" * 5000]
    assert in_order(["10", "9", "b"]) == ["10", "9", "b"]
    assert in_order(["²", "1"]) == ["1", "²"]


@pytest.mark.parametrize(
    "text, number", [("8", 8), ("08", 8), ("8.0", 8), ("8.", 8), ("-1", -1), ("+3", 3), ("000", 0)]
)
def test_whole_numbers(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize("text", ["", "8.5", "nan", "²", "--1", "1_000", "٣", "1e3", "1" + "0" * 5000, "a"])
def test_no_whole_numbers(text):
    assert whole_number(text) is None


def test_labels_are_numbers_or_names():
    assert number_or_name(["8.0", "10", "9."], ["a"] * 3) == [8, 10, 9]
    assert number_or_name(["²", "--1", "dog"], ["a"] * 3) == ["²", "--1", "dog"]


@pytest.mark.parametrize("bad", ["nan", "NaN", "0.5", "inf", "-Infinity", "1e400", "1" + "0" * 30])
@pytest.mark.parametrize("others", [["0", "1"], ["dog", "cat"]])
def test_labels_that_are_numbers_and_not_whole_are_named_with_their_line(bad, others):
    with pytest.raises(UserError, match=r"^t\.csv line 4 has the label .*; write a whole number from 0 on, or a name"):
        number_or_name([*others, bad], [f"t.csv line {line}" for line in (2, 3, 4)])


def test_numbers_and_names_are_not_mixed():
    with pytest.raises(UserError, match=r"^t\.csv line 3 has the label 'dog', which mixes numbers \(such as 7\)"):
        number_or_name(["7", "dog"], ["t.csv line 2", "t.csv line 3"])
