"""Time and memory of loading a backbone.

    python -m lift_jax.bench.load [BACKBONE] [--runs 3]

Without a backbone, a CLIP ViT-L/14 with random weights is written to a temporary folder first (1.7 GB). Every run is a
process of its own; its memory is the peak resident set size, of which what the imports need is given apart.
"""

import argparse
import concurrent.futures
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tokenizers
from tokenizers import models, processors

from lift_jax import weights
from lift_jax.models import partition
from lift_jax.models.clip import CLIP
from lift_jax.weights import huggingface
from lift_jax.weights.source import find

VIT_L14 = {
    "model_type": "clip",
    "projection_dim": 768,
    "vision_config": dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
    | dict(patch_size=14, image_size=224),
    "text_config": dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    | dict(vocab_size=49408, eos_token_id=2),
}


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a process of its own."""
    # A process inherits its parent's peak on Linux, so this one must stay small as well.
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak() -> int:
    """Gives the largest resident set of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(name: str) -> dict[str, float]:
    """Loads `name` in a fresh process: gives the seconds, the peak bytes, and the peak before."""
    return apart(_load, name)


def _load(name: str) -> dict[str, float]:
    before = peak()
    start = time.perf_counter()
    backbone = weights.load(name)
    seconds = time.perf_counter() - start
    return dict(seconds=seconds, before=before, peak=peak(), parameters=partition.count(backbone.params))


def write(folder: str, config: dict[str, Any]) -> None:
    """Writes a CLIP of random weights in the Hugging Face layout; its tokenizer takes every text for one word."""
    vision, text = huggingface.networks(config)
    module, side = CLIP(vision, text, config["projection_dim"]), config["vision_config"]["image_size"]
    images, tokens = np.zeros((1, side, side, 3), np.float32), np.zeros((1, text.context_length), np.int32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images, tokens)["params"]
    generator = np.random.default_rng(0)
    params = jax.tree.map(lambda x: generator.standard_normal(x.shape, np.float32), shapes)
    huggingface.save(folder, config, params)
    end = text.vocab_size - 1
    tokenizer = tokenizers.Tokenizer(models.WordLevel({"a": 1, "<end>": end}, unk_token="a"))
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="$A <end>", special_tokens=[("<end>", end)]
    )
    tokenizer.save(str(Path(folder) / "tokenizer.json"))


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m lift_jax.bench.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("backbone", nargs="?", help="as config.backbone; by default a random ViT-L/14")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="processes (default 3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        name = arguments.backbone or temporary
        if not arguments.backbone:
            apart(write, temporary, VIT_L14)
        place = Path(find(name))
        files = [place] if place.is_file() else [*place.rglob("*.safetensors"), *place.rglob("*.bin")]
        size = sum(file.stat().st_size for file in files)
        print(f"{arguments.backbone or 'CLIP ViT-L/14, random'}: {size / 1e9:.2f} GB")
        for _ in range(arguments.runs):
            run = measure(name)
            most, before = run["peak"], run["before"]
            print(
                f"{run['seconds']:.2f} s, {run['parameters'] / 1e6:.0f} million parameters; peak {most / 1e9:.2f} GB = "
                f"{most / size:.2f} x the files; {(most - before) / size:.2f} x without the {before / 1e9:.2f} GB of "
                "the imports"
            )


if __name__ == "__main__":
    main()
