"""Runs on the hub: put there through huggingface_hub itself, and loaded from there, on a hub on this machine."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hub_server import BROKEN, TOKEN, serve

import lift_jax
from lift_jax import config as lift_config
from lift_jax.errors import UserError
from lift_jax.inference import hub
from lift_jax.report import files, model_card
from lift_jax.run import run
from lift_jax.weights import safetensors_files

SCRIPT = """
import json, os, sys
from pathlib import Path
from typing import Any
import numpy as np
import lift_jax
from lift_jax.errors import UserError
from lift_jax.export.hub import push

def said(function, *arguments):
    try:
        return function(*arguments)
    except UserError as error:
        return str(error)

workdir, broken, objects, token = sys.argv[1:]
answers = {"without a token": said(push, workdir, "someone/run")}
os.environ["HF_TOKEN"] = token
answers["failed"] = said(push, workdir, "someone/run")
answers["files after it"] = [each.name for each in Path(broken).parent.iterdir()]
Path(broken).unlink()
(large,) = Path(objects).iterdir()
written = large.stat().st_mtime_ns
answers["again"] = said(push, workdir, "someone/run")
answers["uploads of the large file"] = 1 + sum(each.stat().st_mtime_ns != written for each in Path(objects).iterdir())
for name in "hf://someone/run", "hf://someone/nothing", "hf://someone/other", "hf://someone/run@v2":
    loaded = said(lift_jax.load, name)
    image = np.arange(3 * 256, dtype=np.uint8).reshape(16, 16, 3)
    answers[name] = loaded if isinstance(loaded, str) else loaded.predict(image).tolist()
os.environ["HF_TOKEN"] = "hf_another"
answers["with another token"] = said(push, workdir, "someone/run")
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def workdir(tiny_folder, tmp_path_factory) -> Path:
    config = lift_config.default()
    config.update(backbone=tiny_folder, method="zero_shot", report=False)
    config.tte.enabled = False
    workdir = tmp_path_factory.mktemp("pushed") / "run"
    run(config, workdir)
    return workdir


@pytest.fixture(scope="module")
def repositories(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    for name in "run", "other":
        (root / "someone" / name).mkdir(parents=True)
    (root / "someone/run" / BROKEN).touch()
    return root


@pytest.fixture(scope="module")
def said(workdir, repositories, tmp_path_factory) -> dict[str, Any]:
    """What pushing and loading say, in a process that knows the hub on this machine alone."""
    environment = {key: value for key, value in os.environ.items() if key != "HF_TOKEN"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "JAX_PLATFORMS": "cpu", "HF_HOME": str(tmp_path_factory.mktemp("home"))}
    words = [workdir, repositories / "someone/run" / BROKEN, repositories / "objects", TOKEN]
    with serve(repositories) as address:
        child = subprocess.run(
            [sys.executable, "-c", SCRIPT, *words], env={**environment, "HF_ENDPOINT": address},
            cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
        )  # fmt: skip
    assert child.returncode == 0, child.stderr
    return json.loads(child.stdout.replace(address, "ADDRESS"))


def test_what_is_pushed_is_loaded_again(workdir, said):
    assert said["again"] == "ADDRESS/someone/run"
    image = np.arange(3 * 256, dtype=np.uint8).reshape(16, 16, 3)
    np.testing.assert_allclose(said["hf://someone/run"], lift_jax.load(workdir).predict(image), atol=1e-6)


def test_an_upload_that_failed_goes_on(said):
    assert re.search(r"was not uploaded to someone/run \(.*\); started again, it goes on", said["failed"])
    assert said["files after it"] == [BROKEN] and said["uploads of the large file"] == 1


def test_a_token_that_is_missing_or_may_not_write_is_told(said):
    assert "there is no token on this machine; write `hf auth login`" in said["without a token"]
    assert "the token may not write there" in said["with another token"]


def test_what_is_no_run_on_the_hub_is_told(said):
    assert "there is no such repository, or it is private" in said["hf://someone/nothing"]
    assert "it has no run.safetensors" in said["hf://someone/other"]
    assert "has no revision v2" in said["hf://someone/run@v2"]


def test_the_card_lies_beside_the_run(said, repositories):
    card = (repositories / "someone/run/README.md").read_text()
    assert 'lift_jax.load("hf://someone/run", backbone="FOLDER")' in card  # its backbone was a folder


@pytest.mark.parametrize("name", ["run", "a/b/c", "a b/c", "hf://a", "https://huggingface.co/a/b"])
def test_a_name_that_is_none_is_told(name):
    with pytest.raises(UserError, match=r"The repository is '.*'; write OWNER/NAME"):
        hub.check_repository(name)
    assert hub.check_repository("hf://a/b-c.d") == hub.check_repository("a/b-c.d") == "a/b-c.d"


@pytest.mark.parametrize("name", ["hf://run", "hf://a/b/c", "hf://a/b@"])
def test_the_name_of_a_run_on_the_hub_that_is_none_is_told(name):
    with pytest.raises(UserError, match=re.escape(f"The run is {name}; write hf://OWNER/NAME.")):
        lift_jax.load(name)


def test_what_is_equal_gives_equal_files(tmp_path):
    array = np.arange(6, dtype=np.float32)
    metadata = {key: f"{key}{value}" for key in "abcdef" for value in ['"', "\\", "\n\x01", "ö"]}
    for name in "one", "two":
        safetensors_files.write(tmp_path / name, {"x": array, "y": array}, metadata)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    with safetensors.safe_open(tmp_path / "one", framework="np") as opened:
        assert opened.metadata() == metadata
        np.testing.assert_array_equal(opened.get_tensor("y"), array)


class TestModelCard:
    def test_it_says_what_the_run_is(self, workdir):
        origin = model_card.Origin("openai/clip-vit-base-patch16@main", None, False)
        card = model_card.make(files.read(workdir), "someone/run", origin, "temperature 1.5")
        assert card.startswith("---\nlibrary_name: ") and 'base_model: "openai/clip-vit-base-patch16"\n' in card
        accuracy = json.loads((workdir / "eval.json").read_text())["plain"]
        assert f"| overall | {accuracy['accuracy']:.1f} |" in card and "temperature 1.5" in card
        assert re.search(r"\| few, \d classes \| ", card) and "nothing was trained" in card
        assert 'lift_jax.load("hf://someone/run")\n' in card and "The classes: zero, one, two" in card

    @pytest.mark.parametrize(
        ("origin", "words"),
        [
            (model_card.Origin("laion/a", "mit", False), r"\(https://huggingface.co/laion/a\): .* the licence mit\."),
            (model_card.Origin(None, None, True), r"part of lift_jax"),
            (model_card.Origin(None, None, False), r"content hash begins with [0-9a-f]{12}"),
        ],
    )
    def test_it_says_where_the_backbone_is_from(self, workdir, origin, words):
        card = model_card.make(files.read(workdir), "someone/run", origin, None)
        assert re.search(words, card) and "not calibrated" in card
        assert ("FOLDER" in card) == (origin.base_model is None and not origin.is_packaged)

    def test_names_show_as_they_are_written(self, workdir):
        found = files.read(workdir)
        found.record.class_names[0] = "<script>_x_|y"
        card = model_card.make(found, "someone/run", model_card.Origin(None, None, True), None)
        assert r"\<script\>\_x\_\|y" in card
