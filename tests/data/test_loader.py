import io
import itertools
import json
import logging
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pictures import array_dataset, bytes_dataset, encoded, picture
from PIL import Image
from sklearn.datasets import load_sample_image

from lift_jax.data import RandomResizedCrop, SquareCrop, train_loader
from lift_jax.data.loader import TrainLoader
from lift_jax.errors import UserError

KEYS = ("image", "label", "mask", "index")


def loader(dataset, **changes) -> TrainLoader:
    settings = dict(batch_size=8, seed=3, resolution=8, num_epochs=3)
    return train_loader(dataset, **{**settings, **changes})


def assert_same(batches, others):
    for batch, other in itertools.zip_longest(batches, others):
        assert set(batch) == set(other) == set(KEYS)
        for key in KEYS:
            np.testing.assert_array_equal(batch[key], other[key])


def test_every_epoch_has_every_example_once_and_pads_the_last_batch():
    dataset = array_dataset(21)
    batches = list(loader(dataset))
    assert len(batches) == 9 and loader(dataset).steps_per_epoch == 3 and loader(dataset).num_steps == 9
    orders = []
    for epoch in range(3):
        part = batches[3 * epoch : 3 * epoch + 3]
        assert [batch["mask"].sum() for batch in part] == [8, 8, 5]
        index = np.concatenate([batch["index"] for batch in part])
        mask = np.concatenate([batch["mask"] for batch in part])
        assert (index[~mask] == -1).all()
        assert sorted(index[mask].tolist()) == list(range(21))
        np.testing.assert_array_equal(
            np.concatenate([batch["label"] for batch in part])[mask], dataset.labels[index[mask]]
        )
        orders.append(tuple(index[mask].tolist()))
    assert len(set(orders)) == 3
    assert batches[0]["image"].shape == (8, 8, 8, 3) and batches[0]["image"].dtype == np.uint8


def test_order_and_crops_depend_on_the_seed():
    dataset = array_dataset(20)
    first, again, other = (next(loader(dataset, seed=seed)) for seed in (1, 1, 2))
    assert_same([first], [again])
    assert (first["index"] != other["index"]).any()


@pytest.mark.parametrize("hosts", [2, 4, 8])
def test_hosts_together_see_the_single_host_batches(hosts):
    dataset = array_dataset(21)
    parts = [loader(dataset, process_index=host, process_count=hosts) for host in range(hosts)]
    union = (
        {key: np.concatenate([batch[key] for batch in group]) for key in KEYS} for group in zip(*parts, strict=True)
    )
    assert_same(loader(dataset), union)


@pytest.mark.parametrize("stop", [0, 1, 4, 9])
def test_restored_iterator_continues_identically(stop):
    dataset = array_dataset(21)
    whole = list(loader(dataset, crop=SquareCrop()))
    first = loader(dataset, crop=SquareCrop())
    for _ in range(stop):
        next(first)
    state = json.loads(json.dumps(first.get_state()))
    second = loader(dataset, crop=SquareCrop(), num_epochs=3)
    next(second)
    second.set_state(state)
    assert second.step == stop
    assert_same(second, whole[stop:])
    assert_same(first, whole[stop:])


def test_worker_processes_change_nothing_and_their_state_is_exact():
    dataset = array_dataset(21)
    whole = list(loader(dataset))
    parallel = loader(dataset, num_workers=2)
    assert_same(itertools.islice(parallel, 4), whole[:4])
    restored = loader(dataset)
    restored.set_state(parallel.get_state())
    assert_same(restored, whole[4:])
    assert_same(parallel, whole[4:])


def test_closing_before_the_end_leaves_no_shared_memory():
    code = (
        "import time; from test_loader import array_dataset, loader; "
        "batches = loader(array_dataset(16, 160), batch_size=1, resolution=160, num_epochs=1, num_workers=2); "
        "taken = [next(batches) for _ in range(14)]; "
        "time.sleep(0.5); "  # The workers come to the end, and two batches wait.
        "batches.close(); time.sleep(0.5)"  # Grain frees memory in a thread.
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "leaked" not in result.stderr


def test_state_of_another_run_is_refused():
    state = loader(array_dataset(21)).get_state()
    with pytest.raises(UserError, match="made with batch_size=8, this run has batch_size=4"):
        loader(array_dataset(21), batch_size=4).set_state(state)


def test_the_crop_sees_the_progress_of_training():
    sides: list[float] = []

    class Recorder:
        def box(self, rng, height, width, progress):
            sides.append(progress)
            return 0, 0, height, width

    list(loader(array_dataset(8), crop=Recorder()))
    assert sorted(set(sides)) == [0.0, 0.5, 1.0]


def test_hosts_must_divide_the_batch():
    with pytest.raises(UserError, match="batch_size is 8, which 3 hosts do not divide"):
        loader(array_dataset(8), process_count=3)


def test_scaled_decoding_changes_little():
    photograph = Image.open(io.BytesIO(encoded(load_sample_image("china.jpg")))).resize((1280, 854))
    dataset = bytes_dataset([encoded(np.asarray(photograph), quality=95)] * 8)
    settings: Any = dict(
        resolution=48, num_epochs=1, crop=RandomResizedCrop(scale=(0.5, 1))
    )  # so decoded at 1/4 or 1/8
    exact, close, scaled = (
        next(loader(dataset, fidelity=fidelity, **settings))["image"].astype(int)
        for fidelity in ("exact", "close", "scaled")
    )
    assert np.abs(exact - close).max() <= 2
    assert (exact != scaled).any() and np.abs(exact - scaled).mean() < 4
    # Images that are small already are decoded as they are.
    small = bytes_dataset([encoded(picture(40, 40, seed)) for seed in range(8)])
    assert_same(loader(small, resolution=32, fidelity="scaled"), loader(small, resolution=32, fidelity="close"))
    with pytest.raises(UserError, match="write one of exact, close, scaled"):
        loader(dataset, fidelity="fast")


def broken_dataset():
    contents = [encoded(picture(16, 16, seed)) for seed in range(10)]
    contents[3] = contents[3][:100]
    contents[7] = b""
    return bytes_dataset(contents)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_decoded_stops_the_run_and_is_named(workers):
    with pytest.raises(UserError, match=r"pictures/[37]\.jpg is .*skip_bad_images"):
        list(loader(broken_dataset(), num_workers=workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_images_are_left_out_on_request_and_reported_once(caplog, workers):
    batches = loader(broken_dataset(), skip_bad_images=True, num_workers=workers)
    with caplog.at_level(logging.WARNING, "lift_jax"):
        seen = [batch["index"][batch["mask"]] for batch in itertools.islice(batches, batches.num_steps)]
    assert sorted(np.concatenate(seen).tolist()) == sorted([0, 1, 2, 4, 5, 6, 8, 9] * 3)
    assert sorted(batches.skipped) == ["pictures/3.jpg", "pictures/7.jpg"]
    assert caplog.text.count("Epoch 1: 2 images of pictures could not be decoded and were skipped: ") == 1
    assert "pictures/3.jpg is damaged or truncated: it begins as a JPEG image" in caplog.text
    assert "pictures/7.jpg is an empty file." in caplog.text
    for epoch in (2, 3):
        assert f"Epoch {epoch}: skipped again: 2 images of pictures, named above." in caplog.text
    batches.close()


def test_good_images_are_not_reported(caplog):
    list(loader(array_dataset(8), skip_bad_images=True))
    assert not caplog.text


def test_without_a_readable_image_there_is_no_batch():
    dataset = bytes_dataset([b"", b"no image"] * 5)
    for hosts in (1, 4):  # All of them stop, at their first step.
        for host in range(hosts):
            with pytest.raises(UserError, match=r"Not one of the 10 images of pictures .* pictures/0\.jpg is an empty"):
                next(loader(dataset, skip_bad_images=True, process_index=host, process_count=hosts))


def test_a_host_without_a_readable_image_goes_on():
    dataset = bytes_dataset([b"bad"] * 7 + [encoded(picture(16, 16))])
    parts = [loader(dataset, skip_bad_images=True, process_index=host, process_count=8) for host in range(8)]
    masks = np.array([[batch["mask"][0] for batch in part] for part in parts])
    assert masks.sum(axis=0).tolist() == [1, 1, 1]  # One host in each epoch has the image.
