"""Names and layout of the reference implementation's checkpoints: those in its own cases, there and back."""

import json
import re

import jax
import numpy as np
import pytest
from conftest import flatten, tune
from reference_cases import folder, models
from reference_cases.case import Case, find
from reference_cases.case import read as read_case
from reference_cases.tuner import FLAGS, HEADS, configuration

from lift_jax.errors import UserError
from lift_jax.models.heads import LinearHead
from lift_jax.weights import reference

OWN = {"bias_tuning", "ln_tuning", "full_tuning"}  # what these train is the model's, and not in the case


def _cases():
    for name, kind in find(folder.root()).items():
        options = json.loads((folder.root() / name).read_text()).get("options", {})
        if kind == "tuner" and any(options.get(flag) for flag in FLAGS) and not OWN & options.keys():
            yield name


def masks_of(case: Case, kernels: dict[str, tuple[int, int]]) -> dict[str, np.ndarray]:
    """The case's bit-packed masks, (outputs, inputs) or (outputs,); `kernels` are the (inputs, outputs) of layers."""
    unpacked = {key: np.unpackbits(packed).astype(bool) for key, packed in case.group("mask").items()}
    shapes = {key: kernels[key.split(".")[3]][::-1] if key.endswith("weight") else -1 for key in unpacked}
    return {key: mask.reshape(shapes[key]) for key, mask in unpacked.items()}


@pytest.mark.parametrize("name", _cases())
def test_arrays_of_the_reference_there_and_back(name):
    case = read_case(folder.root(), name)
    arrays = case.group("param")
    method, options = configuration(case.option("options"))
    backbone = models.load(case.root / case.option("model"))
    tuned = tune(
        backbone, method, case.option("num_classes"), head=HEADS[case.option("classifier")], **options.to_dict()
    )
    parts = tuned.parts
    if masks := masks_of(case, {k[2]: v.shape for k, v in flatten(parts.frozen).items() if k[-1] == "kernel"}):
        parts = reference.set_masks(parts, masks)
        assert all(np.array_equal(mask, masks[key]) for key, mask in reference.masks(parts).items())
        assert_masked_entries_are_the_models(reference.write(tuned.tuning, parts), masks, parts)
    filled = reference.read(arrays, tuned.tuning, parts, name)
    written = reference.write(tuned.tuning, filled)
    assert written.keys() == arrays.keys()
    for key, array in arrays.items():
        np.testing.assert_array_equal(written[key], array)


def assert_masked_entries_are_the_models(written: dict[str, np.ndarray], masks, parts) -> None:
    """The entries under a mask start at the loaded values, in the order of the reference's (outputs, inputs) array."""
    own = flatten({**parts.frozen})
    for key, mask in masks.items():
        block, layer, leaf = re.fullmatch(r"tuner\.masked_linear_list\.(\d+)\.(\w+)\.(weight|bias)", key).groups()  # pyright: ignore[reportOptionalMemberAccess]
        values = np.asarray(own["backbone", f"block_{block}", layer, "kernel" if leaf == "weight" else leaf]).T[mask]
        name = f"tuner.masked_linear_list.{block}.{layer}.optimized_{leaf}"
        np.testing.assert_array_equal(written[name], values.astype(np.float32))


def test_a_head_with_a_bias_there_and_back(tiny_clip):
    tuned = tune(tiny_clip, "lora", noise=0.1, head=LinearHead)
    head = {**tuned.parts.head["head"], "bias": np.arange(7, dtype=np.float32)}
    tuned = tuned._replace(parts=tuned.parts._replace(head={"head": head}))
    written = reference.write(tuned.tuning, tuned.parts)
    np.testing.assert_array_equal(written["head.bias"], np.arange(7, dtype=np.float32))
    filled = reference.read(written, tuned.tuning, tune(tiny_clip, "lora", head=LinearHead).parts, "checkpoint.pth.tar")
    np.testing.assert_array_equal(filled.head["head"]["bias"], np.arange(7))
    np.testing.assert_array_equal(filled.head["head"]["kernel"], tuned.parts.head["head"]["kernel"])


METHODS = [
    ("lora+lora_mlp+vpt_shallow+ssf+ssf_ln+adapter", {"partial": "1:3"}),
    ("mask+adaptformer+bias_tuning+ln_tuning", {"mask_ratio": 0.02}),
    ("full_tuning+vpt_deep", {"partial": "2"}),
]


@pytest.mark.parametrize("method, options", METHODS)
def test_a_checkpoint_file_there_and_back(tiny_clip, tmp_path, method, options):
    pytest.importorskip("torch", reason="the reference's checkpoints are PyTorch's")
    tuned = tune(tiny_clip, method, noise=0.1, **options)
    file = tmp_path / "checkpoint.pth.tar"
    reference.save(file, tuned.tuning, tuned.parts)
    fresh = tuned.parts._replace(
        tuner=jax.tree.map(np.zeros_like, tuned.parts.tuner), head=jax.tree.map(np.zeros_like, tuned.parts.head)
    )
    parts = reference.load(file, tuned.tuning, fresh)
    for ours, theirs in zip(parts, tuned.parts, strict=True):
        ours, theirs = flatten(ours), flatten(theirs)
        assert ours.keys() == theirs.keys()
        for path, array in ours.items():
            np.testing.assert_array_equal(array, theirs[path])


def test_own_arrays_have_the_names_of_openais_model(tiny_clip):
    full = tune(tiny_clip, "full_tuning", partial="1")
    written, block = reference.write(full.tuning, full.parts), tiny_clip.params["vision"]["block_2"]
    np.testing.assert_array_equal(written["tuner.block_tuned.2.attn.in_proj_weight"], block["attn_in"]["kernel"].T)
    np.testing.assert_array_equal(written["tuner.block_tuned.2.mlp.c_proj.bias"], block["mlp_out"]["bias"])
    np.testing.assert_array_equal(written["tuner.block_tuned.2.ln_2.weight"], block["ln_2"]["scale"])
    assert len(written) == 12 + 1
    bias = tune(tiny_clip, "bias_tuning")
    written = reference.write(bias.tuning, bias.parts)
    for number, layer in enumerate(("attn_in", "attn_out", "ln_1", "mlp_in", "mlp_out", "ln_2")):
        np.testing.assert_array_equal(written[f"tuner.bias_tuned.{12 + number}"], block[layer]["bias"])


def test_what_does_not_fit_is_named(tiny_clip):
    lora, adapter = tune(tiny_clip, "lora", dim=2), tune(tiny_clip, "adapter", dim=2)
    with pytest.raises(UserError, match=r"tuner.adapter_list.0.down_proj.bias.*set config.method"):
        reference.read(reference.write(lora.tuning, lora.parts), adapter.tuning, adapter.parts, "checkpoint.pth.tar")
    wide = tune(tiny_clip, "lora", dim=4)
    with pytest.raises(UserError, match=r"tuner.lora_list.0.q.lora_A, .*another shape"):
        reference.read(reference.write(lora.tuning, lora.parts), wide.tuning, wide.parts, "checkpoint.pth.tar")
