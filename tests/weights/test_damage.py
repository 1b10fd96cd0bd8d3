"""Files whose content is anything: what loads has the right shape, and all else ends in one sentence."""

import copy
import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lift_jax import weights
from lift_jax.errors import UserError
from lift_jax.weights import cache, huggingface, open_clip

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

ANYTHING = st.sampled_from([None, "x", -1, 0, 3, 10**12, 1.5, float("nan"), True, [], [1, 2], {}, {"a": 1}])


def _load(place):
    """Loads, or fails in a sentence."""
    try:
        return weights.load(str(place))
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500
        return None


def _places(node):
    """Every value of a JSON object, as (the mapping or list that holds it, key)."""
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


@pytest.fixture(scope="module")
def folders(tiny_clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folders")
    huggingface.save_backbone(folder / "transformers", tiny_clip)
    open_clip.save_backbone(folder / "open_clip", tiny_clip)
    cache.save(folder / "orbax", tiny_clip)
    return folder


@pytest.mark.parametrize(
    "name", ["transformers/config.json", "transformers/preprocessor_config.json", "open_clip/open_clip_config.json"]
)
@quick
@given(data=st.data())
def test_configurations(folders, name, data):
    file = folders / name
    whole = file.read_text()
    content = copy.deepcopy(json.loads(whole))
    holder, key = data.draw(st.sampled_from(list(_places(content))), label="place")
    holder[key] = data.draw(ANYTHING, label="value")
    file.write_text(json.dumps(content))
    try:
        backbone = _load(file.parent)
    finally:
        file.write_text(whole)
    if backbone is not None:
        assert len(backbone.mean) == len(backbone.std) == 3 and min(backbone.std) > 0
        assert backbone.vision.width % backbone.vision.num_heads == 0


@pytest.mark.parametrize("value", [None, "x", {}])
@pytest.mark.parametrize("key", ["vision", "shapes", "mean", "hash"])
def test_the_description_of_an_orbax_checkpoint(folders, key, value):
    file = folders / "orbax" / cache.CONFIG
    whole = file.read_text()
    file.write_text(json.dumps(json.loads(whole) | {key: value}))
    try:
        assert _load(file.parent) is None
    finally:
        file.write_text(whole)


def _torchscript() -> bytes:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(3, 4)), buffer)
    return buffer.getvalue()


def _npz() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{"embedding/kernel": np.zeros((4, 4, 3, 8)), "cls": np.zeros((1, 1, 8))})
    return buffer.getvalue()


FILES = {"model.pt": _torchscript, "model.npz": _npz}


@pytest.mark.parametrize("name", [*FILES, "transformers/model.safetensors", "transformers/tokenizer.json"])
@quick
@given(data=st.data())
def test_bytes(folders, name, data):
    file = folders / name
    if not file.exists():
        file.write_bytes(FILES[name]())
    whole = file.read_bytes()
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)), label="length")])
    # Headers are at the beginning or, in zip files, at the end.
    near = st.integers(0, 2000).flatmap(lambda i: st.sampled_from([i, -i]))
    for place, byte in data.draw(st.lists(st.tuples(near, st.integers(0, 255)), max_size=3), label="bytes"):
        if -len(damaged) <= place < len(damaged):
            damaged[place] = byte
    file.write_bytes(damaged)
    try:
        _load(file if name in FILES else file.parent)
    finally:
        file.write_bytes(whole)


def test_a_zip_file_that_is_none_of_ours(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/code/__torch__.py", "")
    assert _load(tmp_path / "model.pt") is None
