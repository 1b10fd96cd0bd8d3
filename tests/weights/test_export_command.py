"""Runs to other programs and back: the reference implementation's checkpoints, plain backbones, adapters of peft."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from comparison import assert_close, random_images, t
from conftest import flatten, tune
from safetensors.numpy import load_file

import lift_jax
from lift_jax import config as lift_config
from lift_jax import tuners, weights
from lift_jax.errors import UserError
from lift_jax.export import weights as exports
from lift_jax.export.__main__ import main as export
from lift_jax.models.heads import Classifier, CosineHead
from lift_jax.run import run
from lift_jax.weights import reference

METHODS = ("lift", "lora")


def config_of(folder, method, **changes):
    config = lift_config.default()
    config.update(
        backbone=folder,
        method=method,
        num_epochs=1,
        batch_size=128,
        lr=0.05,
        report=False,
        zero_shot=False,
        head_init="random",
        **changes,
    )
    config.data.imbalance = 50
    config.tte.enabled = False
    return config


@pytest.fixture(scope="module")
def runs(tiny_folder, tmp_path_factory):
    """A run of each of `METHODS`."""
    folder = tmp_path_factory.mktemp("runs")
    for method in METHODS:
        run(config_of(tiny_folder, method), folder / method)
    return folder


def _export(run_folder, form, output, *more):
    return export([f"--workdir={run_folder}", f"--format={form}", f"--output={output}", *more])


def _results(workdir):
    return json.loads((workdir / "eval.json").read_text(encoding="utf-8"))


class TestReference:
    """checkpoint.pth.tar, written from a run and evaluated in a new folder."""

    @pytest.fixture(scope="class")
    def files(self, runs, tmp_path_factory):
        pytest.importorskip("torch", reason="the reference's checkpoints are PyTorch's")
        folder = tmp_path_factory.mktemp("reference")
        assert _export(runs / "lift", "reference", folder / "lift") == 0
        assert _export(runs / "lora", "reference", folder / "lora", "--no-check") == 0
        return {method: folder / method / "checkpoint.pth.tar" for method in METHODS}

    @pytest.mark.parametrize("method", METHODS)
    def test_there_and_back(self, runs, files, tiny_folder, tmp_path, method):
        # With another seed, so that nothing is right because the run starts there.
        run(config_of(tiny_folder, method, seed=3), tmp_path / "new", "eval", files[method])
        assert _results(tmp_path / "new") == _results(runs / method)
        images = list(np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8))
        theirs = lift_jax.load(tmp_path / "new", checkpoint=files[method]).predict(images)
        np.testing.assert_array_equal(lift_jax.load(runs / method).predict(images), theirs)

    def test_another_method_is_named(self, files, tiny_folder, tmp_path):
        with pytest.raises(UserError, match=r"tuner\.adaptformer_list.*set config\.method"):
            run(config_of(tiny_folder, "lora"), tmp_path / "new", "eval", files["lift"])
        assert not (tmp_path / "new").exists()

    def test_another_file_is_none(self, tiny_folder, tmp_path):
        torch = pytest.importorskip("torch", reason="the reference's checkpoints are PyTorch's")
        torch.save({"state_dict": {"weight": torch.zeros(2)}}, tmp_path / "model.pth")
        with pytest.raises(UserError, match="no checkpoint of the reference"):
            run(config_of(tiny_folder, "lora"), tmp_path / "new", "eval", tmp_path / "model.pth")


class TestSparseMask:
    """The choice of entries, which the reference's own files lack."""

    @pytest.fixture
    def file(self, tiny_clip, tmp_path):
        pytest.importorskip("torch", reason="the reference's checkpoints are PyTorch's")
        self.tuned = tune(tiny_clip, "mask", noise=0.1, mask_ratio=0.2)
        reference.save(tmp_path / "checkpoint.pth.tar", self.tuned.tuning, self.tuned.parts)
        return tmp_path / "checkpoint.pth.tar"

    def test_it_is_the_files(self, tiny_clip, file):
        other = tune(tiny_clip, "mask", mask_ratio=0.1, mask_seed=5)
        parts = reference.load(file, other.tuning, other.parts)
        images = random_images(2, tiny_clip.resolution)
        np.testing.assert_array_equal(other._replace(parts=parts).features(images), self.tuned.features(images))

    def test_without_it_a_sentence_says_what_is_needed(self, tiny_clip, file):
        import torch

        content = torch.load(file, weights_only=True)
        del content["mask"]
        torch.save(content, file)
        with pytest.raises(UserError, match=r"add a mapping `mask` .*masked_linear_list\.0\.\w+\.weight"):
            reference.load(file, self.tuned.tuning, self.tuned.parts)


def test_a_merged_run_is_a_plain_backbone_and_a_head(runs, tmp_path, capsys):
    assert _export(runs / "lora", "merged", tmp_path / "merged") == 0
    assert "are the run's" in capsys.readouterr().out
    model, backbone = lift_jax.load(runs / "lora"), weights.load(str(tmp_path / "merged"))
    head = {"head": load_file(tmp_path / "merged" / "head.safetensors")}
    images = jnp.asarray(random_images(4, backbone.resolution))
    plain = Classifier(backbone.vision, CosineHead(10, model.config.head_scale))
    assert not any("tuner" in part for path in flatten(backbone.params) for part in path)
    assert backbone.hash != model.backbone.hash
    theirs = jax.jit(plain.apply)({"params": {"backbone": backbone.params["vision"], **head}}, images)
    ours = jax.jit(model.network.classifier.apply)({"params": model.params}, images)
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5 * np.abs(ours).max())


def test_refusals_of_the_command(runs, tmp_path, capsys):
    assert _export(runs / "lift", "merged", tmp_path / "a") == 1
    assert "adaptformer is no linear change of the weights" in capsys.readouterr().err
    assert _export(runs / "lift", "peft", tmp_path / "b") == 1
    assert "is not LoRA" in capsys.readouterr().err
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "model.safetensors").write_bytes(b"precious")
    assert _export(runs / "lora", "merged", tmp_path / "c") == 1
    assert "not empty" in capsys.readouterr().err
    assert (tmp_path / "c" / "model.safetensors").read_bytes() == b"precious"


def test_what_has_no_place_is_named(runs, tmp_path):
    pytest.importorskip("torch", reason="the reference's checkpoints are PyTorch's")
    model = lift_jax.load(runs / "lora")
    method = tuners.resolve("lora+projection_tuning", tuners.tuner_defaults())
    texts = {"text": {"visual_projection": np.zeros((24, 12), np.float32)}}
    network = dataclasses.replace(model.network, parts=model.network.parts._replace(tuner=texts))
    tunes_text = dataclasses.replace(model, network=dataclasses.replace(model.network, method=method))
    for write in exports.write_merged, exports.write_peft:
        with pytest.raises(UserError, match="trains the text side"):
            write(tunes_text, tmp_path)
    with pytest.raises(UserError, match="text/visual_projection"):
        exports.write_reference(dataclasses.replace(model, network=network), tmp_path)
    parts = model.network.parts._replace(head={"head": {"projection": np.zeros((24, 12)), "text": np.zeros((12, 10))}})
    with pytest.raises(UserError, match="head/projection"):
        network = dataclasses.replace(model.network, parts=parts)
        exports.write_reference(dataclasses.replace(model, network=network), tmp_path)


@pytest.mark.parity
def test_peft_reads_the_adapter_of_a_run(runs, tiny_folder, tmp_path):
    library = pytest.importorskip("peft", reason="peft is not installed (tests/requirements-parity-light.txt)")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    import torch

    assert _export(runs / "lora", "peft", tmp_path / "adapter") == 0
    model = lift_jax.load(runs / "lora")
    images = random_images(2, model.backbone.resolution)
    ours = jax.jit(model.network.classifier.apply)({"params": model.params}, jnp.asarray(images))
    base = transformers.CLIPModel.from_pretrained(tiny_folder)
    adapted = library.PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    kernel = torch.from_numpy(load_file(tmp_path / "adapter" / "head.safetensors")["kernel"])
    with torch.no_grad():
        features = adapted.base_model.model.vision_model(t(images)).pooler_output
        cosine = torch.nn.functional.normalize(features) @ torch.nn.functional.normalize(kernel, dim=0)
    assert_close(ours, model.config.head_scale * cosine)
