"""Data sets by their address on the hub, through huggingface_hub itself, from a hub on this machine."""

import json
import os
import subprocess
import sys

import pyarrow as pa
import pytest
from hub_server import COMMIT, serve
from pyarrow import parquet

from lift_jax.data.hub_datasets import located
from lift_jax.errors import UserError

SCRIPT = """
import json, logging, sys
from lift_jax.data import data_defaults, load
from lift_jax.errors import UserError
logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
for root in sys.argv[1:]:
    config = data_defaults()
    config.update(format="folder", root=root, val_fraction=0.5)
    try:
        train, test = load(config)
        print(json.dumps([root, [train.class_names, len(train), len(test), train.source[0].decode("latin1")]]))
    except UserError as error:
        print(json.dumps([root, str(error)]))
"""


@pytest.fixture
def repositories(tmp_path):
    folder = tmp_path / "hub" / "datasets" / "someone" / "birds"
    for part, content in ("data", b"jpeg"), ("other", b"png"):
        (folder / part).mkdir(parents=True)
        rows = {"image": [content] * 4, "label": pa.array(["hen", "hen", "tit", "tit"])}
        parquet.write_table(pa.table(rows), folder / part / "train-00000-of-00001.parquet")
    (folder / "model.safetensors").write_bytes(bytes(1000))
    (folder / "README.md").write_text("# Birds")
    return tmp_path / "hub"


def load(roots, home, address, **environment):
    """What loading each data set gives, or a sentence, and what the program says meanwhile."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": address, "JAX_PLATFORMS": "cpu", **environment}
    environment["LIFT_JAX_CACHE"] = str(home / "copies")
    child = subprocess.run(
        [sys.executable, "-c", SCRIPT, *roots], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return dict(map(json.loads, child.stdout.splitlines())), child.stderr


def test_a_data_set_of_the_hub(repositories, tmp_path):
    whole, home = "hf://datasets/someone/birds", tmp_path / "home"
    with serve(repositories) as address:
        found, said = load(
            [f"{whole}/data", f"{whole}@{COMMIT}/other", whole, f"{whole}@v2", f"{whole}s", f"{whole}/none"],
            home,
            address,
        )
    assert found[f"{whole}/data"] == [["hen", "tit"], 2, 2, "jpeg"]
    assert found[f"{whole}@{COMMIT}/other"] == [["hen", "tit"], 2, 2, "png"]
    assert "several folders (data, other); name one" in found[whole]
    assert "has no revision v2" in found[f"{whole}@v2"] and "has no none; write" in found[f"{whole}/none"]
    assert "is not to be had from the Hugging Face hub (there is no such repository" in found[f"{whole}s"]
    assert f"write someone/birds@{COMMIT} to pin it" in said
    assert not list(home.rglob("model.safetensors")) and list(home.rglob("README.md"))

    # The server is gone now.
    found, _ = load([f"{whole}/data", "hf://datasets/someone/else"], home, address, HF_HUB_OFFLINE="1")
    assert found[f"{whole}/data"][3] == "jpeg"
    assert "cannot be reached" in found["hf://datasets/someone/else"]


FIND = "import sys; from lift_jax.data.named_images import find_images; print(find_images(sys.argv[1:]))"


def test_images_of_a_repository_are_predicted_on(repositories, tmp_path):
    photos = repositories / "datasets" / "someone" / "birds" / "photos"
    photos.mkdir()
    (photos / "hen.jpg").write_bytes(b"jpeg")
    with serve(repositories) as address:
        environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": address, "JAX_PLATFORMS": "cpu"}
        words = [f"hf://datasets/someone/birds/{name}" for name in ("photos", "photos/hen.jpg")]
        child = subprocess.run([sys.executable, "-c", FIND, *words], env=environment, capture_output=True, text=True)
    assert child.stdout.count("/photos/hen.jpg'") == 2, child.stderr


@pytest.mark.parametrize("address", ["hf://someone/birds", "hf://datasets/birds", "hf://datasets/a/b/../c", "HF://x"])
def test_what_is_no_address_of_a_data_set_says_what_to_write(address):
    with pytest.raises(UserError, match=r"config\.data\.root is .*, which is no data set .* hf://datasets/OWNER/NAME"):
        located(address, "config.data.root")
