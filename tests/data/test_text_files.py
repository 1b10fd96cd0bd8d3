"""Text files as people's programs write them."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lift_jax.data import text
from lift_jax.data.shown import shown, some
from lift_jax.errors import UserError

WORDS = "Käfer\nAmeise\nGrün-Specht\n"


@pytest.mark.parametrize(
    "encoding, said",
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("latin-1", "Windows-1252 (Latin-1)"),
        ("cp1252", "Windows-1252 (Latin-1)"),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encodings_and_newlines(tmp_path, caplog, encoding, said, newline):
    file = tmp_path / "names.txt"
    file.write_bytes(WORDS.replace("\n", newline).encode(encoding))
    with caplog.at_level(logging.WARNING, "lift_jax"):
        assert text.read(str(file)) == WORDS
    assert caplog.text.count(f"names.txt is not UTF-8 and is read as {said}.") == bool(said) == bool(caplog.text)


@pytest.mark.parametrize("words", ["café\n", "señor\nniño\n", "smörgås\nrå\n", "éléphant\nchat\n", "it’s a “cat”\n"])
def test_a_few_accents_are_enough(words):
    assert text.decode(words.encode("cp1252"), "names.txt") == words


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"PK\x03\x04\x14\0\x06\0\x08\0",
        "собака\nкошка\n".encode("koi8-r"),
        "いぬ\nねこ\n".encode("shift_jis"),
        b"\xff\xfea",  # half a character of UTF-16
        bytes(range(256)),
    ],
)
def test_what_is_no_text_is_refused(content):
    with pytest.raises(UserError, match=r"list\.txt is no text"):
        text.decode(content, "list.txt")


def test_bytes_in_no_known_encoding_are_kept_where_they_are_asked_for():
    content = "собака.jpg 0\n".encode("koi8-r")
    assert text.decode(content, "list.txt", keep_bytes=True).encode("utf-8", "surrogateescape") == content


@given(st.binary(max_size=60) | st.text(max_size=30).map(lambda each: each.encode("utf-8", "ignore")))
def test_bytes_are_text_or_refused(content):
    try:
        decoded = text.decode(content, "list.txt")
    except UserError:
        return
    assert "\0" not in decoded and "\r" not in decoded
    decoded.encode("utf-8")


@given(st.text(st.characters(exclude_characters="\0\r", codec="utf-8"), max_size=50))
def test_all_that_is_utf8_stays_as_it_is(words):
    assert text.decode(words.encode(), "list.txt") == words.removeprefix("\ufeff")
    assert text.decode(words.encode("utf-16"), "list.txt") == words


def test_a_file_of_absurd_size_is_refused_before_it_is_read(tmp_path):
    file = tmp_path / "names.txt"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(UserError, match=r"names\.txt has 1,099,511,627,776 bytes"):
        text.read(str(file))


@pytest.mark.parametrize(
    "words, problem",
    [("", "is empty"), (" \n", "is empty"), ("a\0b", r"a\\x00b, which has a NUL"), ("\ud800", r"\\ud800.*surrogate")],
)
def test_what_no_text_tower_reads(words, problem):
    with pytest.raises(UserError, match=rf"The name of class 3 {problem}|The name of class 3 is {problem}"):
        text.check(words, "The name of class 3")


def test_long_names_are_cut_and_refused():
    text.check("a" * 1000, "It")
    with pytest.raises(UserError, match=r"^It is a{80}… \(100,000 characters\), and no text tower"):
        text.check("a" * 100_000, "It")


def test_what_is_shown_is_printable():
    assert shown("a\nb\x1b[31m\ud800é") == "a\\nb\\x1b[31m\\ud800é"
    assert some([1, 2, 3], limit=2) == "1, 2 and 1 more"
    assert some(["a\n"]) == "a\\n"
