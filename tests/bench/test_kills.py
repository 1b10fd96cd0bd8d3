"""Runs and exports that are killed and started again end as those that were not."""

import pytest

from lift_jax.bench import kills


@pytest.mark.slow
def test_three_kills(capsys):
    assert kills.main(["--count", "3"]) == 0, capsys.readouterr().out
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split()[1:] == ["2", "1", "3", "0"]


@pytest.mark.slow
def test_twenty_kills(capsys):
    assert kills.main(["--count", "20", "--seed", "1"]) == 0, capsys.readouterr().out


def test_a_difference_is_seen(tmp_path):
    """The comparison can fail: every file of a run counts."""
    whole = kills.Command(tmp_path, tmp_path / "run", export=True)
    (tmp_path / "run" / "export").mkdir(parents=True)
    file = tmp_path / "run" / "export" / "run.safetensors"
    file.write_bytes(b"1")
    before = kills.content(whole)
    file.write_bytes(b"2")
    after = kills.content(whole)
    (file.parent / "half").touch()
    assert before != after != kills.content(whole)
