"""Exported files against the run they are made of."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import lift_jax
from lift_jax import config as lift_config
from lift_jax import tuners
from lift_jax.bench.abuse.full_disk import full_disk
from lift_jax.data.dataset import ArraySource
from lift_jax.data.digits import load_digits
from lift_jax.errors import UserError
from lift_jax.export import __main__ as command
from lift_jax.export import classifier, onnx, stablehlo, verify
from lift_jax.inference import compact
from lift_jax.inference.assembling import assemble
from lift_jax.inference.model import Model
from lift_jax.models import partition
from lift_jax.models.heads import Classifier, CosineHead
from lift_jax.run import run
from lift_jax.weights.transformers_clip import networks


@pytest.fixture(scope="module")
def workdir(tiny_folder, tmp_path_factory) -> Path:
    config = lift_config.default()
    config.update(backbone=tiny_folder, num_epochs=1, batch_size=128, lr=0.05, report=False, zero_shot=False)
    config.data.imbalance = 50
    config.tte.enabled = False
    workdir = tmp_path_factory.mktemp("exporting") / "run"
    run(config, workdir)
    return workdir


def test_stablehlo_runs_without_the_project_and_says_the_same(workdir, tmp_path, capsys):
    assert command.main(["--workdir", str(workdir), "--format=stablehlo", f"--output={tmp_path}"]) == 0
    assert "are the run's" in capsys.readouterr().out
    about = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert about["input"]["shape"] == ["batch", "height", "width", 3] and about["class_names"][0] == "zero"
    images = np.random.default_rng(0).integers(0, 256, (3, 30, 23, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np; from jax import export;"
        "model = export.deserialize(bytearray(open('model.stablehlo', 'rb').read()));"
        "np.save('logits.npy', model.call(np.load('images.npy'))); assert 'lift_jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    ours = stablehlo.read(tmp_path / "model.stablehlo")(np.concatenate([images, images]))  # any number of images
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), ours[:3], atol=1e-5)


def _run_example(name, folder, monkeypatch, capsys):
    """What the Python example for the file `name` in docs/backbones.md prints in `folder`."""
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
    (example,) = (text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if name in text)
    monkeypatch.chdir(folder)
    capsys.readouterr()
    exec(example, {})
    return capsys.readouterr().out.strip()


@pytest.mark.parametrize("form", ["stablehlo", "onnx"])
def test_the_examples_of_the_documentation(workdir, tmp_path, monkeypatch, capsys, form):
    if form == "onnx":
        pytest.importorskip("jax2onnx", reason="needs jax2onnx and onnxruntime")
    options = [f"--workdir={workdir}", f"--format={form}", f"--output={tmp_path}", "--no-check"]
    assert command.main(options) == 0
    pixels = np.random.default_rng(0).integers(0, 256, (41, 26, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photograph.jpg", quality=95)
    model = lift_jax.load(workdir)
    expected = model.class_names[model.predict(tmp_path / "photograph.jpg", prior=model.logit_prior.known).argmax()]
    assert _run_example(f"model.{form}", tmp_path, monkeypatch, capsys) == expected


def test_stablehlo_for_squares(workdir, tmp_path, capsys):
    assert command.main(["--workdir", str(workdir), "--format=stablehlo", "--squares", f"--output={tmp_path}"]) == 0
    assert "are the run's" in capsys.readouterr().out
    about = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert about["input"]["shape"] == ["batch", 16, 16, 3]
    assert about["preprocessing"]["resizing_and_cropping"] == "before the model"
    with pytest.raises(SystemExit):
        command.main(["--workdir", str(workdir), "--format=safetensors", "--squares"])
    assert "--squares is of --format stablehlo" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["vpt_deep", "lora+ssf_attn", "clip_adapter"])
def test_batches_of_any_size_with_other_tuners(tiny_folder, tmp_path, method):
    config = lift_config.default()
    config.update(backbone=tiny_folder, method=method)
    names = ("cat", "dog", "hen")
    model = assemble(lift_config.resolve(config), names, None, lambda backbone, network: network)
    run = stablehlo.read(stablehlo.write(model, tmp_path, squares=True))
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    assert verify.difference(model, run, model.dataset(ArraySource(images), "images")) < 1e-5
    np.testing.assert_allclose(run(images)[:1], run(images[:1]), atol=1e-4)


@pytest.fixture
def rounded(tiny_folder) -> Model:
    """A model in bfloat16, as runs on a GPU and a TPU are."""
    config = lift_config.default()
    config.update(backbone=tiny_folder, method="lora+ssf_attn", dtype="bfloat16")
    return assemble(lift_config.resolve(config), ("cat", "dog", "hen"), None, lambda backbone, network: network)


def squares() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), dtype=np.uint8)


def test_a_model_in_bfloat16_says_nearly_the_same_in_float32(rounded):
    whole = classifier.in_float32(rounded)
    dtypes = {array.dtype for array in jax.tree.leaves(whole.params)}
    assert dtypes == {jax.numpy.dtype("float32")} and jax.tree.leaves(rounded.params)[0].dtype == jax.numpy.bfloat16
    images = rounded.dataset(ArraySource(squares()), "images")
    run = jax.jit(classifier.function(whole))
    assert run(squares()).dtype == jax.numpy.float32
    assert verify.difference(whole, run, images) < 1e-5
    assert 1e-5 < verify.difference(rounded, run, images) < command.TOLERANCE["bfloat16"]
    assert classifier.in_float32(whole) is whole


@pytest.mark.skipif(importlib.util.find_spec("jax2onnx") is None, reason="needs jax2onnx and onnxruntime")
def test_onnx_of_a_model_in_bfloat16_computes_in_float32(rounded, tmp_path):
    run = onnx.read(onnx.write(rounded, tmp_path))
    images = rounded.dataset(ArraySource(squares()), "images")
    assert verify.difference(classifier.in_float32(rounded), run, images) < 1e-5


@pytest.mark.skipif(importlib.util.find_spec("jax2onnx") is None, reason="needs jax2onnx and onnxruntime")
def test_onnx_says_the_same(workdir, tmp_path, capsys):
    assert command.main(["--workdir", str(workdir), "--format=onnx", f"--output={tmp_path}"]) == 0
    assert "are the run's" in capsys.readouterr().out


@pytest.mark.skipif(importlib.util.find_spec("jax2onnx") is not None, reason="jax2onnx is installed")
def test_a_missing_package_is_one_sentence(workdir, tmp_path, capsys):
    assert command.main(["--workdir", str(workdir), "--format=onnx", f"--output={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "pip install jax2onnx" in said and said.count("\n") == 1


def test_the_compact_file_is_the_run(workdir, tmp_path, capsys):
    assert command.main(["--workdir", str(workdir), "--format=safetensors", f"--output={tmp_path}"]) == 0
    assert "are the run's" in capsys.readouterr().out
    model, again = lift_jax.load(workdir), lift_jax.load(tmp_path / compact.FILE)
    _, test = load_digits(50)
    images = np.stack([test.source[i] for i in range(0, 600, 20)])
    assert again.class_names == model.class_names
    for prior in "uniform", "training":
        np.testing.assert_array_equal(again.predict(images, prior=prior), model.predict(images, prior=prior))


def test_no_frozen_weight_is_in_the_compact_file(workdir, tmp_path):
    model = lift_jax.load(workdir)
    arrays = load_file(compact.write(model, tmp_path))
    assert sum(array.size for array in arrays.values()) == partition.count(
        partition.merge(*model.network.parts.trainable.values())
    )
    assert all("tuner_adaptformer" in name or name.startswith("head/") for name in arrays)


def test_adaptformer_on_vit_b_16_with_100_classes_is_under_a_megabyte():
    tower = dict(hidden_act="quick_gelu", layer_norm_eps=1e-5)
    image = dict(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=224,
        patch_size=16,
    )
    text = dict(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=8,
        max_position_embeddings=8, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    vision, _ = networks({"projection_dim": 512, "vision_config": tower | image, "text_config": tower | text})
    tuning = tuners.build(tuners.resolve("lift", tuners.tuner_defaults()), vision, 100)
    classifier = Classifier(vision.clone(tuners=tuning.tuners), CosineHead(100))
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), np.float32)
    params = jax.eval_shape(lambda x: classifier.init(jax.random.key(0), x), images)["params"]
    parts = partition.split(params, tuning.trains)
    assert (
        50_000 < partition.count(partition.merge(parts.tuner, parts.head)) < 1e6 / 4 - 10_000
    )  # float32, and the header


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda file: file.write_bytes(b"nothing"), "cannot be read"),
        (lambda file: file.unlink(), "cannot be read"),
        (lambda file: save_file({"a": np.zeros(2)}, file), "no exported run"),
        (lambda file: change(file, backbone_hash="0" * 64), "other weights"),
    ],
)
def test_a_file_that_is_none(workdir, tmp_path, make, words):
    file = compact.write(lift_jax.load(workdir), tmp_path)
    make(file)
    with pytest.raises(UserError, match=words) as raised:
        lift_jax.load(file)
    assert "\n" not in str(raised.value)


def change(file: Path, **values: str) -> None:
    """Rewrites the file with another header."""
    with safe_open(file, framework="numpy") as opened:
        header = opened.metadata()
    save_file(load_file(file), file, metadata={**header, **values})


def test_mistakes_are_one_sentence(workdir, tmp_path, capsys):
    (tmp_path / "file").touch()
    no_data = tmp_path / "run"
    shutil.copytree(workdir, no_data)
    config = json.loads((no_data / "config.json").read_text())
    config["data"] |= {"format": "folder", "root": str(tmp_path / "gone")}
    (no_data / "config.json").write_text(json.dumps(config))
    for arguments, words in (
        (["--workdir", tmp_path, "--format=safetensors"], "config.json"),
        (["--workdir", workdir, "--format=safetensors", "--output", tmp_path / "file" / "x"], "--output"),
        (["--workdir", no_data, "--format=safetensors"], "test images are not there"),
    ):
        assert command.main([str(argument) for argument in arguments]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and words in said


HEADERS = {
    "no names": (lambda h: h.pop("class_names"), "class_names"),
    "names that are no list": (lambda h: h.update(class_names='"cat"'), "class_names"),
    "names that are no JSON": (lambda h: h.update(class_names="["), "header"),
    "no hash": (lambda h: h.pop("backbone_hash"), "backbone_hash"),
    "an unknown key of the config": (lambda h: h.update(config='{"rot": 1}'), "rot"),
    "an unknown loss": (lambda h: h.update(config=json.dumps(json.loads(h["config"]) | {"loss": "no"})), "config.loss"),
    "a run that is none": (lambda h: h.update(run="{}"), "format"),
    "names that are not those of the run": (lambda h: h.update(class_names=json.dumps(["x"] * 10)), "class_names"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_was_edited_is_named(workdir, tmp_path, case):
    change, word = HEADERS[case]
    file = compact.write(lift_jax.load(workdir), tmp_path)
    with safe_open(file, framework="numpy") as opened:
        header = dict(opened.metadata())
    change(header)
    save_file(load_file(file), file, metadata=header)
    with pytest.raises(UserError, match=re.escape(str(file))) as raised:
        lift_jax.load(file)
    assert word in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [np.float16(0), np.float32("nan")])
def test_arrays_that_were_edited_are_named(workdir, tmp_path, value):
    file = compact.write(lift_jax.load(workdir), tmp_path)
    with safe_open(file, framework="numpy") as opened:
        header = dict(opened.metadata())
    arrays = load_file(file)
    name = next(iter(arrays))
    save_file(arrays | {name: np.full(arrays[name].shape, value)}, file, metadata=header)
    with pytest.raises(UserError, match=f"{re.escape(str(file))} .*{re.escape(name)}"):
        lift_jax.load(file)


@pytest.mark.parametrize("form", ["safetensors", "stablehlo", "reference"])
def test_on_a_full_disk_nothing_stays(workdir, tmp_path, capsys, form):
    if form == "reference":
        pytest.importorskip("torch")
    options = ["--workdir", str(workdir), f"--format={form}", f"--output={tmp_path / 'export'}", "--no-check"]
    with full_disk(500):
        status = command.main(options)
    said = capsys.readouterr().err
    assert "export" in said and "--output" in said
    assert status == 1 and said.startswith("error: ") and said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
