"""Features on a disk: what is known by its content, kept whole or not at all, and never taken for something else."""

import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_jax import config as lift_config
from lift_jax.bench.abuse.full_disk import full_disk
from lift_jax.data import Dataset, FeatureLoader, FeatureStore, contents
from lift_jax.data.dataset import ArraySource, FileSource
from lift_jax.data.feature_store import named_folder
from lift_jax.errors import UserError


def of_files(folder: Path, names: list[str]) -> Dataset:
    return Dataset("files", FileSource(str(folder), names), np.zeros(len(names), np.int32), ("class",))


def ids(*numbers: int) -> list[bytes | None]:
    return [bytes([number]) * contents.DIGEST for number in numbers]


def add(store: FeatureStore, images: list[bytes | None], rows: np.ndarray) -> np.ndarray:
    with store.adding(len(images), rows.shape[1]) as adding:
        return adding(images, rows)


def rows_of(count: int, width: int = 3) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, width)).astype(np.float32)


def test_an_image_is_known_by_its_content_alone(tmp_path):
    for name, content in ("a", b"one"), ("b", b"two"), ("c", b"one"):
        (tmp_path / name).write_bytes(content)
    a, b, c, missing = contents.digests(of_files(tmp_path, ["a", "b", "c", "d"]), epath.Path(tmp_path / "known"))
    assert a == c != b and a is not None and missing is None
    pixels = np.zeros((3, 2, 2, 3), np.uint8)
    pixels[1] = 7
    arrays = Dataset("arrays", ArraySource(pixels), np.zeros(3, np.int32), ("class",))
    first, second, third = contents.digests(arrays, epath.Path(tmp_path / "known"))
    assert first == third != second


def test_a_file_that_was_changed_is_read_again_and_one_that_was_not_is_not(tmp_path):
    file, known = tmp_path / "image", epath.Path(tmp_path / "store" / "known")
    file.write_bytes(b"one")
    os.utime(file, (1000, 1000))
    images = of_files(tmp_path, ["image"])
    before = contents.digests(images, known)
    file.write_bytes(b"two")  # of the same size, and with the time set back: it cannot be told from the first
    os.utime(file, (1000, 1000))
    assert contents.digests(images, known) == before
    os.utime(file, (2000, 2000))
    after = contents.digests(images, known)
    assert after != before
    file.write_bytes(b"six")  # just now: its time says nothing yet
    assert contents.digests(images, known) not in (before, after)
    known.write_bytes(b"damaged")
    os.utime(file, (1000, 1000))
    assert contents.digests(images, known) not in (before, after)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, unique=True), st.data())
def test_what_is_added_is_found_and_nothing_else(tmp_path_factory, numbers, data):
    store = FeatureStore(tmp_path_factory.mktemp("store"), {})
    rows = rows_of(len(numbers))
    cut = data.draw(st.integers(0, len(numbers)))
    for part in slice(0, cut), slice(cut, None):
        add(store, ids(*numbers[part]), rows[part])
    asked = data.draw(st.lists(st.integers(0, 255), min_size=1))
    found_rows, found = store.read([*ids(*asked), None])
    assert found.tolist() == [*(number in numbers for number in asked), False]
    for position in np.flatnonzero(found):
        assert found_rows is not None
        np.testing.assert_array_equal(found_rows[position], rows[numbers.index(asked[position])])


def test_other_settings_have_other_features_and_remain(tmp_path):
    first, second = (FeatureStore(tmp_path, {"backbone": name}) for name in "ab")
    half = FeatureStore(tmp_path, {"backbone": "a"}, "float16")
    add(first, ids(1), rows_of(1))
    assert not second.read(ids(1))[1].any() and not half.read(ids(1))[1].any()
    add(second, ids(1), rows_of(1, 5))
    np.testing.assert_array_equal(FeatureStore(tmp_path, {"backbone": "a"}).read(ids(1))[0], rows_of(1))


def test_float16_gives_at_once_what_it_gives_later(tmp_path):
    store = FeatureStore(tmp_path, {}, "float16")
    given_back = add(store, ids(1, 2), rows_of(2))
    np.testing.assert_array_equal(given_back, rows_of(2).astype(np.float16).astype(np.float32))
    np.testing.assert_array_equal(store.read(ids(1, 2))[0], given_back)
    with pytest.raises(UserError, match=r"A feature is 1e\+06, which config\.features_dtype=float16 cannot hold"):
        add(store, ids(3), np.full((1, 3), 1e6, np.float32))
    assert not store.read(ids(3))[1].any()


def test_what_was_computed_before_an_interruption_is_there(tmp_path):
    store = FeatureStore(tmp_path, {})
    with pytest.raises(KeyboardInterrupt), store.adding(4, 3) as adding:
        adding(ids(1, 2), rows_of(2))
        raise KeyboardInterrupt
    assert store.read(ids(1, 2, 3))[1].tolist() == [True, True, False]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x10\0\0\0\0\0\0\0not a header at all",
        safetensors.numpy.save({"features": np.zeros((1, 3), np.float32)}),
        safetensors.numpy.save({"content": np.zeros((2, 16), np.uint8), "features": np.zeros((1, 3), np.float32)}),
        safetensors.numpy.save({"content": np.zeros((1, 16), np.uint8), "features": np.zeros((1, 3), np.int32)}),
        safetensors.numpy.save({"content": np.zeros((1, 16), np.uint8), "features": np.zeros(1, np.float32)}),
    ],
)
def test_a_damaged_file_is_named_left_out_and_left_alone(tmp_path, caplog, content):
    store = FeatureStore(tmp_path, {})
    add(store, ids(1), rows_of(1))
    damaged = Path(store.folder) / "z.safetensors"
    damaged.write_bytes(content)
    rows, found = store.read([*ids(1), bytes(16)])
    assert found.tolist() == [True, False]
    np.testing.assert_array_equal(np.asarray(rows)[0], rows_of(1)[0])
    assert "z.safetensors cannot be read" in caplog.text and "remove it" in caplog.text
    assert damaged.read_bytes() == content


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path):
    store = FeatureStore(tmp_path, {})
    add(store, ids(1), rows_of(1))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    no_room = r"cannot be written \(No space left on device\); .*config\.features_dir"
    with pytest.raises(UserError, match=no_room), store.adding(1 << 60, 3):
        raise AssertionError("there is no room")
    with pytest.raises(UserError, match=r"cannot be written \(File too large\)"), full_disk(4096):
        add(store, ids(2), rows_of(1, 5000))
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_place_that_is_none_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written \(.*\); .*config\.features_dir or LIFT_JAX_CACHE"):
        add(FeatureStore(tmp_path / "file", {}), ids(1), rows_of(1))


def test_the_config_names_the_place_before_the_environment(tmp_path, monkeypatch):
    config = lift_config.default()
    monkeypatch.delenv("LIFT_JAX_CACHE", raising=False)
    assert named_folder(lift_config.resolve(config)) is None
    monkeypatch.setenv("LIFT_JAX_CACHE", str(tmp_path))
    assert named_folder(lift_config.resolve(config)) == epath.Path(tmp_path / "features")
    config.features_dir = str(tmp_path / "own")
    assert named_folder(lift_config.resolve(config)) == epath.Path(tmp_path / "own")
    config.features_dir = "https://example.org/features"
    with pytest.raises(UserError, match=r"config\.features_dir is https://example\.org/features, which is on the web"):
        named_folder(lift_config.resolve(config))


def test_a_loader_of_features_pads_its_last_batch():
    rows = rows_of(5)
    loader = FeatureLoader(rows, np.arange(5), np.array([0, 1, 3, 4, 6]), batch_size=2)
    batches = list(loader)
    assert [batch["features"].shape for batch in batches] == [(2, 1, 3)] * 3
    real = [batch["mask"] for batch in batches]
    index = np.concatenate([batch["index"][mask] for batch, mask in zip(batches, real, strict=True)])
    assert index.tolist() == [0, 1, 3, 4, 6] and batches[-1]["index"].tolist() == [6, -1]
    np.testing.assert_array_equal(
        np.concatenate([b["features"][m, 0] for b, m in zip(batches, real, strict=True)]), rows
    )
