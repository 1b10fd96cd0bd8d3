"""The command that measures a GPU, at tiny sizes on a CPU."""

import re

import pytest

from lift_jax.bench import gpu


def test_a_stage_prints_its_row_below_what_it_ran_on(capsys):
    gpu.main(["--smoke", "--only", "peak"])
    said = capsys.readouterr().out
    assert re.match(r"(no NVIDIA card|NVIDIA .*), jax [\d.]+, .*commit \w+, .*\d cores", said)
    assert re.search(r"\| `peak` \| .* \| product [\d.e+-]+ TFLOP/s in bfloat16; copy [\d.e+]+ GB/s .* \|", said)


def test_what_does_not_fit_into_the_time_is_left_out_and_said(capsys):
    with pytest.raises(SystemExit, match="1"):
        gpu.main(["--only", "peak,quickstart", "--seconds", "5"])
    said = capsys.readouterr().out
    assert re.search(r"`peak` .* left out: it takes about 15 s, and 5 s were left", said)
    assert re.search(r"`quickstart` .* left out: it takes about 130 s, and 5 s were left", said)


def test_a_stage_that_does_not_exist_is_a_sentence(capsys):
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["--only", "peak,b32"])
    assert re.search("--only names 'b32', which is no stage; write some of peak,b16,", capsys.readouterr().err)


def test_a_stage_that_takes_too_long_is_ended_and_said():
    assert gpu.measure("peak", True, 0.1) == {"": "not done after 0 s"}


@pytest.mark.slow
def test_every_stage_runs_at_tiny_size(capsys):
    gpu.main(["--smoke"])
    rows = dict(re.findall(r"^\| `([\w-]+)` \| [^|]* \| (.*) \|$", capsys.readouterr().out, re.M))
    assert list(rows) == list(gpu.STAGES)
    for name, found in rows.items():
        assert not re.match(r"failed|not done", found), (name, found)
    assert "equal to the last bit with no flag" in rows["resume"]
    assert re.search(r"float32 features \d\.\de[-+]\d+, loss .*, cosine of the gradient 1\.000000", rows["parity"])
