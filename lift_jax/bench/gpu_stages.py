"""The stages of `lift_jax.bench.gpu`: each is one call in a process of its own, and prints what it found as JSON."""

import argparse
import dataclasses
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lift_jax.bench import ideal
from lift_jax.bench.workload import Workload
from lift_jax.cluster import preemption, processes
from lift_jax.models.vit import VisionTransformer

Found = dict[str, str]

_VISIONS = {
    "b16": VisionTransformer(patch_size=16, width=768, depth=12, num_heads=12, mlp_dim=3072),
    "l14": VisionTransformer(patch_size=14, width=1024, depth=24, num_heads=16, mlp_dim=4096),
}
_BATCHES = {"b16": 256, "l14": 128}
_TINY = VisionTransformer(patch_size=4, width=32, depth=2, num_heads=2, mlp_dim=64)
_CLIP_B16 = {
    "model_type": "clip",
    "projection_dim": 512,
    "vision_config": dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    | dict(patch_size=16, image_size=224),
    "text_config": dict(hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8)
    | dict(vocab_size=49408, eos_token_id=2),
}
_CLIP_TINY = {
    "model_type": "clip",
    "projection_dim": 16,
    "vision_config": dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    | dict(patch_size=8, image_size=32),
    "text_config": dict(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    | dict(vocab_size=49408, eos_token_id=2),
}


def workload(model: str, smoke: bool, batch: int = 0) -> Workload:
    """Makes AdaptFormer 256 and a cosine head of 8,142 classes on a ViT in bfloat16, or a tiny one of that kind."""
    if smoke:
        return Workload(_TINY.clone(dtype=jnp.bfloat16), 16, 8, 10, batch or 4)
    return Workload(_VISIONS[model].clone(dtype=jnp.bfloat16), 224, 256, 8142, batch or _BATCHES[model])


def seconds_of(call: Callable[[], Any], smoke: bool, lasting: float = 6.0) -> float:
    """Measures the median seconds of a call, over ten calls at least and so many seconds."""
    took, start = [], time.perf_counter()
    while len(took) < (2 if smoke else 10) or (not smoke and time.perf_counter() - start < lasting):
        begin = time.perf_counter()
        call()
        took.append(time.perf_counter() - begin)
    return statistics.median(took)


def matrix_peak(smoke: bool) -> float:
    """Measures the fastest bfloat16 product of two square matrices, operations a second."""
    side = 256 if smoke else 8192
    square = jnp.ones((side, side), jnp.bfloat16)
    product = jax.jit(lambda x: x @ x)
    product(square).block_until_ready()
    return 2 * side**3 / seconds_of(lambda: product(square).block_until_ready(), smoke, 2.0)


def peak(smoke: bool) -> Found:
    """Measures the matrix peak, and how fast an array is copied."""
    array = jnp.ones(2**20 if smoke else 2**30, jnp.bfloat16)
    copy = jax.jit(lambda x: -x)
    copy(array).block_until_ready()
    bandwidth = 2 * array.nbytes / seconds_of(lambda: copy(array).block_until_ready(), smoke, 2.0)
    return {
        "product": f"{matrix_peak(smoke) / 1e12:.3g} TFLOP/s in bfloat16",
        "copy": f"{bandwidth / 1e9:.4g} GB/s read and written",
    }


def _rates(side: Any, work: Workload, peak: float, smoke: bool) -> Found:
    """Measures the training and evaluation step of one of the two programs."""
    start = time.perf_counter()
    side.train()
    first = time.perf_counter() - start
    train = work.batch / seconds_of(side.train, smoke)
    side.evaluate()
    evaluate = work.batch / seconds_of(side.evaluate, smoke, 3.0)
    least = ideal.adaptformer(work.vision, work.resolution, work.dim, work.num_classes)
    return {
        "training": f"{train:.4g} images/s, {train * least.total / peak:.0%} of the peak",
        "evaluation": f"{evaluate:.5g} views/s, {evaluate * least.forward / peak:.0%}",
        "batch": str(work.batch),
        "first step": f"{first:.1f} s",
        "memory": side.memory(),
    }


def ours(smoke: bool, model: str, attention: str = "best") -> Found:
    """Measures the package's steps; `attention` is best, or plain for that without cuDNN."""
    from lift_jax.bench.jax_step import JaxStep

    work = workload(model, smoke)
    jax.config.update("jax_enable_compilation_cache", smoke)  # the first step's time is the compiler's
    side = JaxStep(work, suited=attention == "best")
    return _rates(side, work, matrix_peak(smoke), smoke) | {"attention": side.attention}


def peer(smoke: bool, model: str, form: str) -> Found:
    """Measures PyTorch's steps; `form` is eager or compile."""
    import torch  # pyright: ignore[reportMissingImports]

    from lift_jax.bench.torch_step import TorchStep

    jax.config.update("jax_platforms", "cpu")  # JAX makes the weights, and is to take no memory of the GPU
    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = 256 if smoke else 8192
    square = torch.ones(side, side, dtype=torch.bfloat16, device=device)
    float(torch.mm(square, square)[0, 0])
    rate = 2 * side**3 / seconds_of(lambda: float(torch.mm(square, square)[0, 0]), smoke, 2.0)
    work = workload(model, smoke)
    # At tiny size the steps before code is generated do, for a C++ compiler takes a minute for nothing.
    backend = None if form == "eager" else "aot_eager" if smoke else "inductor"
    return _rates(TorchStep(work, device, backend), work, rate, smoke)


def members(smoke: bool) -> Found:
    """Measures a step of three trainings on one frozen backbone, beside one alone."""
    from lift_jax.bench.jax_step import JaxStep

    work = workload("b16", smoke, 4 if smoke else 128)
    side = JaxStep(work)
    side.train()
    alone = seconds_of(side.train, smoke, 3.0)
    side.train_members(3)
    together = seconds_of(lambda: side.train_members(3), smoke, 3.0)
    return {
        "one": f"{work.batch / alone:.4g} images/s",
        "three": f"{3 * work.batch / together:.4g} images/s",
        "batch": str(work.batch),
        "attention": side.attention,
    }


def largest(smoke: bool) -> Found:
    """Doubles the batch of a training step until it no longer fits."""
    from lift_jax.bench.jax_step import JaxStep

    batch, found = (4, 0) if smoke else (512, 0)
    while batch <= (8 if smoke else 2**14):
        try:
            JaxStep(workload("b16", smoke, batch)).train()
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return {"fits": str(found or "less than 512"), "does not fit": str(batch)}
        found, batch = batch, 2 * batch
    return {"fits": str(found)}


def parity(smoke: bool) -> Found:
    """Compares features, loss and gradient of the small CLIP with those of the CPU in float32."""
    from lift_jax import weights

    backbone = weights.load("quickstart")
    vision: Any = backbone.vision
    work = Workload(vision, backbone.resolution, 8, 10, 8 if smoke else 64)
    given = backbone.params["vision"]
    expected = _outcome(work, given, "float32", "highest", jax.devices("cpu")[0])
    here = jax.devices()[0]
    cases = {"float32": ("float32", "highest"), "float32 by TF32": ("float32", "default")}
    cases["bfloat16"] = "bfloat16", "default"
    found: Found = {}
    for name, (dtype, precision) in cases.items():
        features, loss, gradient = _outcome(work, given, dtype, precision, here)
        apart = np.linalg.norm(features - expected[0]) / np.linalg.norm(expected[0])
        cosine = gradient @ expected[2] / (np.linalg.norm(gradient) * np.linalg.norm(expected[2]))
        found[name] = f"features {apart:.1e}, loss {abs(loss - expected[1]):.1e}, cosine of the gradient {cosine:.6f}"
    return found


def _outcome(
    work: Workload, backbone: Any, dtype: str, precision: str, device: Any
) -> tuple[np.ndarray, float, np.ndarray]:
    """Gives features, loss and gradient of a workload's batch with a backbone's own weights on a device."""
    from jax.flatten_util import ravel_pytree

    from lift_jax.models import image_input, partition
    from lift_jax.models.device import suited_to

    vision = work.vision.clone(dtype=jnp.dtype(dtype))
    classifier = suited_to(device, dataclasses.replace(work, vision=vision).classifier)
    rows, parts = work.rows(), work.parts()
    frozen = jax.tree.map(lambda x: np.asarray(x).astype(dtype), {"backbone": backbone})

    def loss(trainable: Any) -> tuple[Any, Any]:
        params = partition.merge(frozen, *trainable.values())
        images = image_input.normalize(jnp.asarray(rows["image"]), 0.5, 0.5, jnp.dtype(dtype))
        features: Any = classifier.apply({"params": params}, images, method="features")
        logits: Any = classifier.apply({"params": params}, features, method="logits")
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.asarray(rows["label"])[:, None], axis=1)
        return -chosen.mean(), features

    with jax.default_device(device), jax.default_matmul_precision(precision):
        (value, features), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(parts.trainable)
    return np.asarray(features, np.float64), float(value), np.asarray(ravel_pytree(gradient)[0], np.float64)


def _train(workdir: Path, *flags: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Starts the program's own command in a run's folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "lift_jax.main", *flags, f"--workdir={workdir}", "--config.report=False"],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: subprocess.Popen[str], expected: int = 0) -> str:
    """Waits for a command; gives what it printed.

    Raises:
        RuntimeError: if it ends with another status than the expected one.
    """
    printed, _ = process.communicate()
    if process.returncode != expected:
        raise RuntimeError(printed.strip().splitlines()[-1] if printed.strip() else f"status {process.returncode}")
    return printed


def end_to_end(smoke: bool) -> Found:
    """Trains on JPEG files of 500 x 375 pixels that it makes, by the program's own command."""
    from lift_jax.bench import data, load

    count, batch = (32, 16) if smoke else (4096, 256)
    with tempfile.TemporaryDirectory() as temporary:
        folder, model = Path(temporary) / "photos", Path(temporary) / "model"
        files = data.photographs()
        for split, images in ("train", count), ("test", count // 8):
            for index in range(images):
                file = folder / split / f"class {index % 4}" / f"{index}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(files[index % len(files)])
        load.apart(load.write, str(model), _CLIP_TINY if smoke else _CLIP_B16)
        workers = 0 if smoke else max(1, (os.cpu_count() or 1) - 2)
        flags = [
            f"--config.{key}={value}"
            for key, value in {
                "data.root": folder, "backbone": model, "batch_size": batch, "num_epochs": 2 if smoke else 4,
                "data.num_workers": workers, "tte.enabled": False, "head_init": "random", "log_every": 4,
                "backbone_activation": "quick_gelu",
            }.items()
        ]  # fmt: skip
        printed = _finish(_train(Path(temporary) / "run", "--config=configs/folder.py", *flags))
        size = sum(map(len, files)) / len(files)
    rates = re.findall(r"epoch \d+/\d+: \d+/\d+ .* ([\d.]+) images/s", printed)
    first = re.search(r"The first step was done ([\d.]+ s)", printed)
    return {
        "training": f"{rates[-1]} images/s" if rates else "no rate",
        "first step": f"{first[1]} after the launch" if first else "unknown",
        "files": f"{size / 1e3:.0f} kB, fidelity {data.data_defaults().fidelity}, {workers} workers",
    }


def quickstart(smoke: bool) -> Found:
    """Runs the quickstart; at tiny size one of its runs, for an epoch."""
    short = ["--config.sweep=", "--config.num_epochs=1", "--config.method=lift"] if smoke else []
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        _finish(_train(Path(temporary) / "run", "--config=configs/quickstart.py", *short))
    return {"took": f"{time.perf_counter() - start:.0f} s"}


def resume(smoke: bool) -> Found:
    """Stops a training, starts it again, and compares with one that nobody stopped, to the last bit."""
    flags = ["--config=configs/quickstart.py", "--config.sweep=", "--config.method=lift", "--config.log_every=1"]
    flags.append(f"--config.num_epochs={4 if smoke else 40}")
    for name, given in ("no flag", ""), ("--xla_gpu_deterministic_ops=true", "--xla_gpu_deterministic_ops=true"):
        environment = {"XLA_FLAGS": " ".join(filter(None, [os.environ.get("XLA_FLAGS", ""), given]))}
        with tempfile.TemporaryDirectory() as temporary:
            whole, stopped = Path(temporary) / "whole", Path(temporary) / "stopped"
            _finish(_train(whole, *flags, environment=environment))
            lines = stopped / "metrics.jsonl"
            process = _train(stopped, *flags, environment=environment)
            while process.poll() is None and not (lines.exists() and lines.read_bytes().count(b"\n") > 3):
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            _finish(process, preemption.EXIT_CODE)
            _finish(_train(stopped, *flags, environment=environment))
            files = "metrics.jsonl", "eval.json"
            if all((whole / file).read_bytes() == (stopped / file).read_bytes() for file in files):
                return {"equal to the last bit": f"with {name}"}
    return {"not equal": "with no flag nor with --xla_gpu_deterministic_ops=true"}


STAGES: Mapping[str, Callable[..., Found]] = {
    each.__name__: each for each in (peak, ours, peer, members, largest, parity, end_to_end, quickstart, resume)
}
_STARTS_OTHERS = ("end_to_end", "quickstart", "resume")
"""Stages that leave the device to the processes that they start."""


def main() -> None:
    """Runs a stage."""
    parser = argparse.ArgumentParser(prog="python -m lift_jax.bench.gpu_stages", description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("stage", choices=sorted(STAGES))
    parser.add_argument("arguments", nargs="*")
    given = parser.parse_args()
    processes.start()
    if given.stage in _STARTS_OTHERS:
        jax.config.update("jax_platforms", "cpu")
    print(json.dumps(STAGES[given.stage](given.smoke, *given.arguments)))


if __name__ == "__main__":
    main()
