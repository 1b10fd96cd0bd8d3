"""Predictions in parts: every image once, whatever was killed and however many share the work."""

import concurrent.futures
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_jax.errors import UserError
from lift_jax.inference import parts
from lift_jax.inference.deciding import RolledUp
from lift_jax.inference.predictions import Answer, Prediction, as_json

parquet = pytest.importorskip("pyarrow.parquet")

CLASSES = ("cat", "dog")


def predict(paths: Sequence[str]) -> Iterator[Prediction]:
    """Predictions that differ from image to image; every seventh image cannot be read."""
    for path in paths:
        place = int(Path(path).stem)
        if place % 7 == 3:
            yield Prediction(path, [], [], f"{path} is an empty file.")
        else:
            yield Prediction(path, [place % 2, 1 - place % 2], [0.75, 0.25])


def images(count: int) -> list[str]:
    return [f"{place}.png" for place in range(count)]


def rows(folder: Path) -> list[dict]:
    """The rows of all parts in their order, without what is null."""
    found = [row for file in sorted(folder.glob("part-*")) for row in parquet.read_table(file).to_pylist()]
    return [{key: value for key, value in row.items() if value is not None} for row in found]


def expected(paths: Sequence[str]) -> list[dict]:
    return [as_json(prediction, CLASSES) for prediction in predict(paths)]


@settings(max_examples=12, deadline=None)
@given(count=st.integers(1, 40), size=st.integers(1, 12), shards=st.integers(1, 5), seed=st.randoms())
def test_shards_together_have_every_row_once_and_in_order(count, size, shards, seed, tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("parts"), images(count)
    order = list(range(shards))
    seed.shuffle(order)
    read = sum(parts.write(folder, paths, predict, CLASSES, {}, shard=(shard, shards), rows=size) for shard in order)
    assert rows(folder) == expected(paths)
    assert read == sum("error" not in row for row in expected(paths))
    assert len(list(folder.glob("part-*"))) == math.ceil(count / size)


@settings(max_examples=8, deadline=None)
@given(kills=st.lists(st.integers(0, 30), max_size=4))
def test_what_was_killed_goes_on_without_a_row_lost_or_twice(kills, tmp_path_factory):
    folder, paths = tmp_path_factory.mktemp("parts"), images(30)

    def killed_after(most: int, asked: list[str]):
        def run(some: Sequence[str]) -> Iterator[Prediction]:
            for prediction in predict(some):
                asked.append(prediction.path)
                if len(asked) > most:
                    raise KeyboardInterrupt
                yield prediction

        return run

    for most in kills:
        try:
            parts.write(folder, paths, killed_after(most, []), CLASSES, {}, rows=4)
        except KeyboardInterrupt:
            assert rows(folder) == expected(paths)[: len(rows(folder))] and len(rows(folder)) % 4 == 0
    there, asked = len(rows(folder)), []
    parts.write(folder, paths, killed_after(100, asked), CLASSES, {}, rows=4)
    assert rows(folder) == expected(paths)
    assert asked == paths[there:]  # what is there is not asked for again


def test_shards_that_begin_at_once_share_the_folder(tmp_path):
    paths = images(60)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        jobs = [
            pool.submit(parts.write, tmp_path / "a", paths, predict, CLASSES, {}, shard=(shard, 12), rows=5)
            for shard in range(12)
        ]
        assert sum(job.result() for job in jobs) == sum("error" not in row for row in expected(paths))
    assert rows(tmp_path / "a") == expected(paths) and len(list((tmp_path / "a").iterdir())) == 13


def test_parts_in_a_bucket(bucket):
    assert parts.write(bucket, images(3), predict, CLASSES, {}, rows=2) == 3
    assert parts.write(bucket, images(3), predict, CLASSES, {}, rows=2) == 3
    assert {file.name for file in bucket.iterdir()} == {parts.FILE, *(f"part-0000{i}-of-00002.parquet" for i in (0, 1))}


def test_half_a_file_of_a_killed_process_is_no_part(tmp_path):
    (tmp_path / ".part-00000-of-00001.parquet.part").write_bytes(b"half")
    assert parts.write(tmp_path, images(3), predict, CLASSES, {}) == 3
    assert rows(tmp_path) == expected(images(3))
    assert {file.name for file in tmp_path.iterdir()} == {parts.FILE, "part-00000-of-00001.parquet"}


def test_decisions_and_odd_names_are_columns(tmp_path):
    made = Prediction("a\udcff.png", [1], [0.5], None, Answer(0, 2.5), RolledUp(None, None, 0.5), True, [1, 0])
    parts.write(tmp_path, ["a\udcff.png"], lambda some: [made], CLASSES, {})
    (row,) = parquet.read_table(tmp_path / "part-00000-of-00001.parquet").to_pylist()
    assert row["path"] == "a\\udcff.png" and row["unknown"] is True
    assert row["answer"] == {"label": 0, "class": "cat", "expected_cost": 2.5}
    assert row["rollup"] == {"rank": None, "name": None, "probability": 0.5}
    assert row["set"] == [{"label": 1, "class": "dog"}, {"label": 0, "class": "cat"}]


@pytest.mark.parametrize(
    ("paths", "origin", "size", "key"),
    [
        (images(4), {"run": "a"}, 2, "images"),
        ([*images(2), "9.png"], {"run": "a"}, 2, "list"),
        (images(3), {"run": "b"}, 2, "run"),
        (images(3), {"run": "a"}, 3, "rows"),
    ],
)
def test_parts_of_something_else_are_left_alone(tmp_path, paths, origin, size, key):
    parts.write(tmp_path, images(3), predict, CLASSES, {"run": "a"}, rows=2)
    with pytest.raises(UserError, match=rf"has parts with another '{key}' in its parts\.json; name another folder"):
        parts.write(tmp_path, paths, predict, CLASSES, origin, rows=size)
    assert rows(tmp_path) == expected(images(3))
    assert parts.write(tmp_path, images(3), predict, CLASSES, {"run": "a"}, rows=2) == 3


def test_a_damaged_description_is_that_of_something_else(tmp_path):
    (tmp_path / parts.FILE).write_text("[1]")
    with pytest.raises(UserError, match="has parts with another 'images'"):
        parts.write(tmp_path, images(3), predict, CLASSES, {})
    assert json.loads((tmp_path / parts.FILE).read_text()) == [1]


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "1/0", "a/b", "1/2/3"])
def test_a_share_that_is_none_is_told(text):
    with pytest.raises(UserError, match=r"--shard is .*; write I/N"):
        parts.parse_shard(text)
    assert parts.parse_shard("0/1") == (0, 1) and parts.parse_shard("7/8") == (7, 8)
