"""Backbones by hub id, through huggingface_hub itself: from a hub on this machine, from the cache, and from neither."""

import json
import os
import shutil
import subprocess
import sys

import layouts
import pytest
from hub_server import COMMIT, GATED, serve

from lift_jax import weights
from lift_jax.weights import open_clip

SCRIPT = """
import json, logging, sys
from lift_jax import weights
from lift_jax.errors import UserError
logging.basicConfig(level=logging.INFO, format="%(message)s", force=True)
for name in sys.argv[1:]:
    try:
        backbone = weights.load(name)
        print(json.dumps([name, backbone.hash]))
        logging.info("%s: %s", backbone.name, getattr(backbone.text, "activation", None))
    except UserError as error:
        print(json.dumps([name, str(error)]))
"""


@pytest.fixture(scope="module")
def repositories(tiny_folder, tmp_path_factory):
    root = tmp_path_factory.mktemp("repositories")
    for name in "someone/clip", GATED:
        shutil.copytree(tiny_folder, root / name)
    (root / "someone/clip/pytorch_model.bin").write_bytes(b"not needed, and so not fetched")
    # As timm's repositories of CLIPs are: the image tower in timm's layout and the whole model in open_clip's.
    layouts.write_timm(root / "someone/dfn5b", layouts.vit(), architecture="vit_base_patch16_clip_224")
    open_clip.save_backbone(root / "someone/dfn5b", layouts.clip("gelu"))
    config = json.loads((root / "someone/dfn5b" / open_clip.CONFIG).read_text())
    del config["model_cfg"]["quick_gelu"]
    (root / "someone/dfn5b" / open_clip.CONFIG).write_text(json.dumps(config))
    return root


def _load(names, home, address, **environment):
    """What loading each name gives, its hash or a sentence, and what the program says meanwhile."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": address, "JAX_PLATFORMS": "cpu", **environment}
    child = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return dict(map(json.loads, child.stdout.splitlines())), child.stderr


def test_hub(repositories, tiny_folder, tmp_path):
    pinned, expected = f"someone/clip@{COMMIT}", weights.load(tiny_folder).hash
    with serve(repositories) as address:
        page = "https://huggingface.co/someone/clip/tree/main"
        names = ["someone/clip", pinned, "someone/clip@v2", "someone/nothing", GATED, "someone/dfn5b"]
        names += ["hf-hub:someone/clip", page, "openai/clip-vit-base-16", "clip-b32"]
        found, said = _load(names, tmp_path, address)
    assert found["someone/clip"] == found[pinned] == expected
    assert found["hf-hub:someone/clip"] == found[page] == expected
    assert found["someone/dfn5b"] == layouts.clip().hash and "someone/dfn5b: quick_gelu" in said
    assert "another hub id, such as openai/clip-vit-base-patch16 (CLIP ViT-B/16)" in found["openai/clip-vit-base-16"]
    assert found["clip-b32"].endswith("; try again, or give the folder of a downloaded model.")
    assert "has no revision v2" in found["someone/clip@v2"]
    assert "no such repository, or it is private" in found["someone/nothing"]
    assert f"consent: give it at https://huggingface.co/{GATED}" in found[GATED]
    assert f"write {pinned} to pin it" in said and "Fetching 3 files: 100%" in said
    assert not list(tmp_path.rglob("pytorch_model.bin"))

    # The server is gone now.
    for offline in {}, {"HF_HUB_OFFLINE": "1"}:
        found, _ = _load(["someone/clip", pinned, "someone/else"], tmp_path, address, **offline)
        assert found["someone/clip"] == found[pinned] == expected
        assert "cannot be reached" in found["someone/else"]
    large = next(tmp_path.glob("**/models--someone--clip/**/model.safetensors")).resolve()
    content = bytearray(large.read_bytes())
    content[-1] ^= 1
    large.write_bytes(content)
    found, _ = _load(["someone/clip"], tmp_path, address)
    assert f"delete {large} and start again" in found["someone/clip"]
    shutil.rmtree(large.parent)
    found, _ = _load(["someone/clip"], tmp_path, address)
    assert "lacks it or a part" in found["someone/clip"]
