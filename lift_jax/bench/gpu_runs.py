"""The stages of `lift_jax.bench.gpu` that start the program's own commands, to which they leave the device."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from lift_jax.bench import data, load
from lift_jax.bench.gpu_stages import Found
from lift_jax.cluster import preemption

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
    count, batch = (32, 16) if smoke else (2048, 256)
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
