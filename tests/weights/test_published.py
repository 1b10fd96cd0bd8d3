"""The key maps against the names and shapes of published checkpoints' arrays, recorded at their real sizes."""

import json
import re

import jax
import jax.numpy as jnp
import pytest
import record_published
from flax import traverse_util

from lift_jax.errors import UserError
from lift_jax.models.clip import CLIP
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import arrays, huggingface, known, open_clip, open_clip_trunk, openai, timm
from lift_jax.weights.arrays import Stored
from lift_jax.weights.layout import Layout

PUBLISHED = json.loads(record_published.FILE.read_text())
MODELS = [name for name in PUBLISHED if name != "about"]

LEFT_OUT = {"position_ids", "mask_token"}
"""What may be in a file and is no weight: constants, and what only pre-training needs."""


def _unread():
    raise AssertionError("Shapes alone tell whether a file fits.")


def _foreign(name):
    shapes = record_published.expand(PUBLISHED[name]["arrays"])
    return {key: Stored(shape, _unread) for key, shape in shapes.items()}


def _read(folder, name, foreign) -> tuple[Layout, arrays.Foreign]:
    """The layout of a model by its configuration, and its arrays by the names of its format."""
    for file, content in PUBLISHED[name]["files"].items():
        (folder / file).write_text(json.dumps(content))
    if not (folder / open_clip.CONFIG).exists():
        module = huggingface if "model_type" in PUBLISHED[name]["files"]["config.json"] else timm
        named = module.aligned(foreign, name)
        assert named is not None
        return module.layout(folder, named, name), named
    trunk = open_clip_trunk.describes(folder)
    named = (open_clip_trunk if trunk else openai).aligned(foreign, name)
    assert named is not None
    found = open_clip_trunk.layout(folder, named, name) if trunk else open_clip.layout(folder, named, name, folder)
    return found, named


def _paths(layout):
    """The places of our own networks, those of the first block for all."""
    vision, text = layout.vision, layout.text
    side = layout.resolution
    images, tokens = jnp.zeros((1, side, side, 3)), jnp.zeros((1, 2), jnp.int32)
    if isinstance(vision, VisionTransformer):
        vision = vision.clone(depth=1)
    if text is None:
        tree = {"vision": jax.eval_shape(vision.init, jax.random.key(0), images)["params"]}
    else:
        mapped = {entry.path for entry in layout.table}
        options = ("visual_projection", "logit_bias", "visual_projection_bias")
        embed = 8 if "visual_projection" in mapped else vision.width
        clip = CLIP(vision, text.clone(depth=1), embed, *(option in mapped for option in options))
        tree = jax.eval_shape(clip.init, jax.random.key(0), images, tokens)["params"]
    return {_first(path) for path in traverse_util.flatten_dict(tree, sep="/")}


def _first(path):
    return re.sub(r"block_\d+", "block_0", path)


@pytest.mark.parametrize("name", MODELS)
def test_every_array_has_its_place_and_every_place_its_array(tmp_path, name):
    layout, named = _read(tmp_path, name, _foreign(name))
    arrays.check(layout.table, named, name)
    left_out = {
        key.rpartition(".")[2] for entry in layout.table if not entry.path for key in entry.names if key in named
    }
    assert left_out <= LEFT_OUT
    assert {_first(entry.path) for entry in layout.table if entry.path} == _paths(layout)


@pytest.mark.parametrize("name", ["laion-h14", "dinov3-h-plus", "eva02-b16", "timm-dinov2-g-reg", "convnext-l"])
def test_an_array_less_or_more_is_named(tmp_path, name):
    foreign = _foreign(name)
    missing = next(key for key in reversed(foreign) if "mlp" in key and key.endswith("weight"))
    strange = {missing.replace("mlp", "expert"): foreign.pop(missing)}
    layout, named = _read(tmp_path, name, foreign | strange)
    with pytest.raises(UserError, match=rf"{re.escape(missing)} is missing.* {re.escape(next(iter(strange)))} is not"):
        arrays.check(layout.table, named, name)


def test_what_is_recorded_is_known_by_its_short_name():
    short = {name for name in MODELS if not name.startswith(("timm-", "open-clip-"))}
    assert short <= known.SHORT.keys()


@pytest.mark.parity
@pytest.mark.parametrize("name", MODELS)
def test_the_libraries_still_have_these_arrays(name):
    for library in ("torch", "transformers", "timm", "open_clip"):
        pytest.importorskip(library, reason=f"{library} is not installed (tests/requirements-parity.txt)")
    assert json.loads(json.dumps(record_published.record(name))) == PUBLISHED[name]
