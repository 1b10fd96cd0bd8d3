"""Progress: lines where there is no terminal, a bar where there is one."""

import pytest

from lift_jax.workdir.logs import Logs
from lift_jax.workdir.progress import Progress


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines(capsys):
    """What standard output got, line by line, with the logger of lift_jax open."""
    with Logs(None):
        yield lambda: capsys.readouterr().out.splitlines()


def test_lines_come_at_intervals_and_at_the_end(lines, clock):
    with Progress(100, "epoch 1/2", line_every=10, terminal=False, clock=clock) as bar:
        for step in range(100):
            clock.now += 0.5
            loss, accuracy = (2.0 - step / 100, step / 2) if step % 5 == 0 else (None, None)
            bar.update(1, images=16, loss=loss, accuracy=accuracy)
    assert lines() == [
        "epoch 1/2: 20/100 steps, loss 1.8500, accuracy 7.5%, 32 images/s, 0:40 left",
        "epoch 1/2: 40/100 steps, loss 1.6500, accuracy 17.5%, 32 images/s, 0:30 left",
        "epoch 1/2: 60/100 steps, loss 1.4500, accuracy 27.5%, 32 images/s, 0:20 left",
        "epoch 1/2: 80/100 steps, loss 1.2500, accuracy 37.5%, 32 images/s, 0:10 left",
        "epoch 1/2: 100/100 steps in 0:50, loss 1.0500, accuracy 47.5%, 32 images/s",
    ]


def test_the_speed_leaves_out_the_step_that_compiles_and_follows_changes(clock):
    bar = Progress(1000, "", terminal=False, enabled=False, clock=clock)
    clock.now += 60
    bar.update(images=8)
    assert bar.images_per_second is None
    for _ in range(100):
        clock.now += 1
        bar.update(images=8)
    assert bar.images_per_second == pytest.approx(8)
    for _ in range(100):
        clock.now += 0.5
        bar.update(images=8)
    assert bar.images_per_second == pytest.approx(16)


def test_steps_that_are_only_begun_count_once_a_later_one_has_ended(clock):
    bar = Progress(1000, "", terminal=False, enabled=False, clock=clock)
    clock.now += 60
    bar.update(images=16)
    for _ in range(3):
        for _ in range(9):
            clock.now += 0.1
            bar.update(images=16, running=True)
        clock.now += 49.1  # until all ten are done
        bar.update(images=16, loss=1.0)
        assert bar.images_per_second == pytest.approx(16 * 10 / 50)


def test_a_resumed_epoch_counts_from_where_it_was(lines, clock):
    with Progress(10, "epoch 3/3", initial=8, terminal=False, clock=clock) as bar:
        for _ in range(2):
            clock.now += 3600
            bar.update()
    assert lines() == ["epoch 3/3: 9/10 steps", "epoch 3/3: 10/10 steps in 2:00:00"]


def test_the_closing_line_gives_the_mean_speed_over_the_time_that_it_tells(lines, clock):
    with Progress(20, "test", unit="images", terminal=False, clock=clock) as bar:
        for n in (16, 4):
            clock.now += 2
            bar.update(n, images=n)
    assert lines() == ["test: 20/20 images in 0:04, 5.0 images/s"]


def test_an_interrupted_epoch_says_how_far_it_came(lines, clock):
    with pytest.raises(KeyboardInterrupt), Progress(10, "epoch 1/1", terminal=False, clock=clock) as bar:
        bar.update()
        raise KeyboardInterrupt
    assert lines() == ["epoch 1/1: 1/10 steps in 0:00"]


def test_on_a_terminal_there_is_a_bar_and_one_closing_line(capsys):
    with Logs(None), Progress(4, "epoch 1/1", terminal=True) as bar:
        for _ in range(4):
            bar.update(images=4, loss=0.5, accuracy=50.0)
    captured = capsys.readouterr()
    assert "epoch 1/1:   0%|" in captured.err
    assert captured.out.count("epoch 1/1: 4/4 steps in") == 1
