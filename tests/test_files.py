"""Paths as people write them, JSON that is no JSON, and files that are never half written."""

import json
import shutil

import pytest
from etils import epath

from lift_jax.errors import UserError
from lift_jax.files import expand, parse_json, replacing, require_room, write_json


def test_paths_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PHOTOS", "/data/photos")
    assert expand("~/runs/a") == "/home/me/runs/a"
    assert expand("$PHOTOS/x") == expand("${PHOTOS}/x") == "/data/photos/x"
    assert expand("file:///data/a b") == expand("file://localhost/data/a b") == "/data/a b"
    assert expand("GS://bucket/a") == "gs://bucket/a"
    assert expand("relative/a~b") == "relative/a~b"
    assert expand("$NOT_SET_ANYWHERE/x") == "$NOT_SET_ANYWHERE/x"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("a\0b", r"config\.data\.root is 'a\\x00b', which has a NUL character"),
        ("https://example.org/a.jpg", "which is on the web; download it"),
        ("foo://x/y", r"foo:// is not known; write a path on the disk, or one at gs://, s3://, az://"),
    ],
)
def test_paths_that_cannot_be_opened_get_a_sentence(path, sentence):
    with pytest.raises(UserError, match=sentence):
        expand(path, "config.data.root")


@pytest.mark.parametrize("text", ["[" * 200_000 + "]" * 200_000, '{"a": ' * 100_000, "no", b"\xff\xfe", ""])
def test_bad_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1" + "0" * 6000 + "]", r"whole number of more than 4,300 digits$"),
        ('{"a": {"b": 1, "b": 2}}', "key 'b' is there"),
    ],
)
def test_what_json_could_mean_in_two_ways_or_not_at_all(text, words):
    with pytest.raises(ValueError, match=words):
        parse_json(text)
    assert parse_json('{"a": {"b": 1, "c": [10, "é"]}}') == {"a": {"b": 1, "c": [10, "é"]}}


def test_a_failure_leaves_the_file_as_it_was(tmp_path):
    file = tmp_path / "a.json"
    write_json(file, {"a": float("nan"), "b": [1, float("inf")], "c": "é"})
    assert json.loads(file.read_text()) == {"a": None, "b": [1, None], "c": "é"}
    with pytest.raises(RuntimeError), replacing(file) as part:
        part.write_text("half")
        raise RuntimeError
    assert json.loads(file.read_text())["c"] == "é"
    assert list(tmp_path.iterdir()) == [file]


def test_files_in_buckets_are_replaced(bucket):
    file = epath.Path(bucket) / "a.json"
    write_json(file, [1])
    write_json(file, [2])
    assert json.loads(file.read_text()) == [2]


def test_more_than_the_disk_has_room_for_is_refused(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    require_room(tmp_path, free // 2)
    with pytest.raises(OSError, match="No space left on device"):
        require_room(tmp_path, 2 * free)
