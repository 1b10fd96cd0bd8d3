"""A backbone of every layout with something spoilt in it: it loads as what it is, or a sentence names what is wrong."""

import copy
import json
import shutil
from pathlib import Path

import layouts
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.models.resnet import ResNet

pytest.importorskip("torch", reason="PyTorch, which some layouts are written with, is not installed")

quick = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

NUMBERS = [
    -1,
    0,
    1,
    2,
    3,
    7,
    33,
    2**31,
    10**12,
    10**400,
    -0.0,
    1e-300,
    0.5,
    1.0,
    12.0,
    1e300,
    float("nan"),
    float("inf"),
]
WORDS = ["", "x", "12", "gelu", "relu", "\ud800", "a\nb", "x" * 5000]
ANYTHING = st.sampled_from([*NUMBERS, *WORDS, None, True, False, [], [1, 2, 3], [0.5] * 4, [None] * 3, {}, {"a": 1}])


@pytest.fixture(scope="module", params=layouts.LAYOUTS)
def place(request, tmp_path_factory) -> Path:
    return layouts.write(request.param, tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def whole(place) -> Path:
    """An untouched copy of `place`."""
    twin = place.with_name(f"whole_{place.name}")
    shutil.copytree(place, twin) if place.is_dir() else shutil.copy(place, twin)
    return twin


def _load(place: Path, key: str = ""):
    """The backbone; None if a sentence names the place, or `key`, which was spoilt in it."""
    try:
        backbone = weights.load(str(place))
    except UserError as error:
        message = str(error)
        assert "\n" not in message and len(message) < 1500 and message.endswith(".")
        assert str(place) in message or (key and key in message)
        return None
    assert min(backbone.std) > 0 and all(0 <= value <= 1.01 for value in backbone.mean)
    assert isinstance(backbone.vision, ResNet) or backbone.vision.width % backbone.vision.num_heads == 0
    return backbone


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_untouched(layout, tmp_path):
    backbone, expected = weights.load(str(layouts.write(layout, tmp_path))), layouts.LAYOUTS[layout][1]()
    assert (backbone.hash, backbone.vision) == (expected.hash, expected.vision)
    assert (backbone.text is None) == (expected.text is None)


def _places(node):
    """Every value of a JSON object, as (the mapping or list that holds it, key)."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


CONFIGURATIONS = [
    ("transformers' CLIP", "config.json"),
    ("transformers' CLIP", "preprocessor_config.json"),
    ("transformers' SigLIP", "config.json"),
    ("transformers' ViT", "config.json"),
    ("open_clip", "open_clip_config.json"),
    ("timm", "config.json"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("folders")
    for layout in dict(CONFIGURATIONS):
        layouts.write(layout, folder)
    return folder


@pytest.mark.parametrize("layout, name", CONFIGURATIONS)
@quick
@given(data=st.data())
def test_a_value_of_a_configuration(folders, layout, name, data):
    place = folders / layouts.LAYOUTS[layout][0]
    whole = (place / name).read_text()
    content = copy.deepcopy(json.loads(whole))
    holder, key = data.draw(st.sampled_from(list(_places(content))), label="place")
    if isinstance(holder, dict) and data.draw(st.booleans(), label="taken out"):
        del holder[key]
    else:
        holder[key] = data.draw(ANYTHING, label="value")
    try:
        (place / name).write_text(json.dumps(content))
        _load(place)
    finally:
        (place / name).write_text(whole)


JSON = [
    "[]",
    "5",
    "null",
    '"x"',
    "",
    "{",
    "\x00",
    "[" * 200_000 + "]" * 200_000,
    '{"a": ' * 50_000,
    "{}",
    "1" + "0" * 5000,
]


@pytest.mark.parametrize("text", JSON, ids=lambda text: text[:8])
@pytest.mark.parametrize("layout, name", CONFIGURATIONS)
def test_a_configuration_that_is_none(folders, layout, name, text):
    place = folders / layouts.LAYOUTS[layout][0]
    whole = (place / name).read_text()
    try:
        (place / name).write_text(text)
        loaded = _load(place)
    finally:
        (place / name).write_text(whole)
    # Without any settings the model's usual ones are taken.
    assert loaded is None or (text == "{}" and name == "preprocessor_config.json")


@quick
@given(data=st.data())
def test_bytes(place, whole, data):
    file = next(place.glob("*.safetensors")) if place.is_dir() else place
    content = bytearray((whole / file.name if place.is_dir() else whole).read_bytes())
    length = data.draw(st.just(len(content)) | st.integers(0, len(content)), label="length")
    damaged = content[:length]
    # The headers are at the beginning or, in zip files, at the end.
    anywhere = st.integers(0, 3000).flatmap(lambda i: st.sampled_from([i, -i])) | st.integers(0, len(content))
    for at, byte in data.draw(st.lists(st.tuples(anywhere, st.integers(0, 255)), max_size=4), label="bytes"):
        if -len(damaged) <= at < len(damaged):
            damaged[at] = byte
    file.write_bytes(damaged)
    loaded = _load(place)
    if loaded is not None:
        assert all(np.isfinite(array).all() for array in (loaded.params["vision"]["patch_embedding"],))
    file.write_bytes(content)
