"""The stages of `lift_jax.bench.gpu`: each is one call in a process of its own, and prints what it found as JSON."""

import argparse
import importlib
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from lift_jax.bench import ideal
from lift_jax.bench.workload import Workload
from lift_jax.cluster import processes
from lift_jax.models.vit import VisionTransformer

Found = dict[str, str]

_VISIONS = {
    "b16": VisionTransformer(patch_size=16, width=768, depth=12, num_heads=12, mlp_dim=3072),
    "l14": VisionTransformer(patch_size=14, width=1024, depth=24, num_heads=16, mlp_dim=4096),
}
_BATCHES = {"b16": 256, "l14": 128}
_KERNELS = 20
"""Rows of a profile."""
_TINY = VisionTransformer(patch_size=4, width=32, depth=2, num_heads=2, mlp_dim=64)


def workload(model: str, smoke: bool, batch: int = 0) -> Workload:
    """Makes AdaptFormer 256 and a cosine head of 8,142 classes on a ViT in bfloat16, or a tiny one of that kind."""
    if smoke:
        return Workload(_TINY.clone(dtype=jnp.bfloat16), 16, 8, 10, batch or 4)
    return Workload(_VISIONS[model].clone(dtype=jnp.bfloat16), 224, 256, 8142, batch or _BATCHES[model])


def seconds_of(call: Callable[[], Any], smoke: bool, lasting: float = 3.0) -> float:
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
    return 2 * side**3 / seconds_of(lambda: product(square).block_until_ready(), smoke, 1.0)


def peak(smoke: bool) -> Found:
    """Measures the matrix peak, and how fast an array is copied."""
    array = jnp.ones(2**20 if smoke else 2**30, jnp.bfloat16)
    copy = jax.jit(lambda x: -x)
    copy(array).block_until_ready()
    bandwidth = 2 * array.nbytes / seconds_of(lambda: copy(array).block_until_ready(), smoke, 1.0)
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
    evaluate = work.batch / seconds_of(side.evaluate, smoke)
    least = ideal.adaptformer(work.vision, work.resolution, work.dim, work.num_classes)
    return {
        "training": f"{train:.4g} images/s, {train * least.total / peak:.0%} of the peak",
        "evaluation": f"{evaluate:.5g} views/s, {evaluate * least.forward / peak:.0%}",
        "batch": str(work.batch),
        "first step": f"{first:.1f} s",
        "memory": side.memory(),
    }


def ours(smoke: bool, model: str, attention: str = "best", frozen_dtype: str = "auto") -> Found:
    """Measures the package's steps; `attention` is best, or plain for that without cuDNN."""
    from lift_jax.bench.jax_step import JaxStep

    work = workload(model, smoke)
    jax.config.update("jax_enable_compilation_cache", smoke)  # the first step's time is the compiler's
    side = JaxStep(work, attention == "best", frozen_dtype)
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
    rate = 2 * side**3 / seconds_of(lambda: float(torch.mm(square, square)[0, 0]), smoke, 1.0)
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
    alone = seconds_of(side.train, smoke)
    side.train_members(3)
    together = seconds_of(lambda: side.train_members(3), smoke)
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


def profile(smoke: bool) -> Found:
    """Says where the time of a training step goes, kernel by kernel."""
    from lift_jax.bench import kernels
    from lift_jax.bench.jax_step import JaxStep

    side = JaxStep(workload("b16", smoke))
    side.train()
    steps = 3
    spent = kernels.spent(side.train, steps)
    total = sum(seconds for seconds, _ in spent.values()) / steps
    found = {"kernels": f"{1e3 * total:.2f} ms a step"}
    for name, (seconds, count) in sorted(spent.items(), key=lambda item: -item[1][0])[:_KERNELS]:
        found[name] = f"{1e3 * seconds / steps:.2f} ms ({seconds / steps / total:.0%}) in {count / steps:.0f}"
    return found


_HERE, _PARITY, _RUNS = "lift_jax.bench.gpu_stages", "lift_jax.bench.gpu_parity", "lift_jax.bench.gpu_runs"
STAGES: Mapping[str, str] = {
    **dict.fromkeys(("peak", "ours", "peer", "profile", "members", "largest"), _HERE),
    "parity": _PARITY,
    **dict.fromkeys(("end_to_end", "quickstart", "resume"), _RUNS),
}
"""The module of each. Those of the last one leave the device to the processes that they start."""


def main() -> None:
    """Runs a stage."""
    parser = argparse.ArgumentParser(prog="python -m lift_jax.bench.gpu_stages", description=__doc__)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("stage", choices=sorted(STAGES))
    parser.add_argument("arguments", nargs="*")
    given = parser.parse_args()
    processes.start()
    if STAGES[given.stage] == _RUNS:
        jax.config.update("jax_platforms", "cpu")
    stage: Callable[..., Found] = getattr(importlib.import_module(STAGES[given.stage]), given.stage)
    print(json.dumps(stage(given.smoke, *given.arguments)))


if __name__ == "__main__":
    main()
