"""Batches that are put on the devices ahead of their steps: the same, in the same order, and only then counted."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from lift_jax.bench import feeding as bench
from lift_jax.cluster import placement
from lift_jax.data import TrainLoader, train_loader
from lift_jax.data.dataset import Dataset
from lift_jax.errors import UserError
from lift_jax.training.feeding import Feed

EXAMPLES, BATCH = 20, 8


def loader(broken: int = -1, **changes) -> TrainLoader:
    """Three batches an epoch, of which the last is padded."""
    files = []
    for shade in range(EXAMPLES):
        buffer = io.BytesIO()
        Image.new("RGB", (24, 20), (shade, 10 * shade, 255 - shade)).save(buffer, "PNG")
        files.append(buffer.getvalue() if shade != broken else b"no image")
    data = Dataset("shades", files, np.arange(EXAMPLES, dtype=np.int32) % 3, ("a", "b", "c"))
    return train_loader(data, **{**dict(batch_size=BATCH, seed=3, resolution=16, num_epochs=2), **changes})


def test_batches_that_were_prepared_are_those_of_the_loader_in_its_order():
    plain, fed = loader(), loader()
    feed = Feed(fed, placement.make_mesh())
    feed.prepare()
    for step, batch in enumerate(plain):
        found, examples = feed.take()
        for name in "image", "label", "mask":
            np.testing.assert_array_equal(found[name], batch[name])
        assert examples == batch["mask"].sum()
        assert fed.step == step + 1
        for _ in range(step % 3):  # as often as one likes
            feed.prepare()
    with pytest.raises(StopIteration):
        feed.take()


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_state_of_a_loader_is_that_of_the_batches_that_were_taken(workers):
    whole = [batch["index"].tolist() for batch in loader()]
    first = loader(num_workers=workers)
    feed = Feed(first, placement.make_mesh())
    for _ in range(2):
        feed.take()
        feed.prepare()
    state = first.get_state()
    first.close()
    assert state["step"] == 2
    second = loader()
    second.set_state(state)
    assert [batch["index"].tolist() for batch in second] == whole[2:]


def test_a_loader_that_is_moved_forgets_what_was_prepared():
    expected = list(loader())
    moved = loader()
    moved.fetch()
    moved.seek(4)
    fetched = moved.fetch()
    assert fetched is not None
    np.testing.assert_array_equal(fetched["index"], expected[4]["index"])
    np.testing.assert_array_equal(next(moved)["image"], expected[4]["image"])


def test_what_is_wrong_with_a_batch_is_raised_where_it_is_taken():
    order = [batch["index"].tolist() for batch in loader()]
    last = order[1][0]  # an example of the second batch
    feed = Feed(loader(broken=last), placement.make_mesh())
    feed.take()
    feed.prepare()
    feed.prepare()
    with pytest.raises(UserError, match=r"config\.data\.skip_bad_images=True"):
        feed.take()


def test_the_command_says_what_it_fed_and_how_near_the_rate_is_to_the_steps_own(capsys):
    bench.main(["--rate", "200", "--batch", "8", "--steps", "3", "--workers", "0", "--fidelity", "scaled"])
    said = capsys.readouterr().out
    assert re.match(r"500 x 375 pixels, \d+ kB a file, fidelity scaled, 0 workers: \d+ images a second", said)
    assert re.search(r", [01]\.\d{3} of the steps' own \d+$", said.strip())


@pytest.mark.parametrize(
    "name, value, least", [("rate", "0", 1), ("rate", "nan", 1), ("steps", "-2", 1), ("workers", "-1", 0)]
)
def test_numbers_that_make_no_sense_are_refused(capsys, name, value, least):
    with pytest.raises(SystemExit, match="2"):
        bench.main([f"--{name}", value])
    assert re.search(rf"--{name} is (?i:{value})\S*; write {least} or more\.", capsys.readouterr().err)
