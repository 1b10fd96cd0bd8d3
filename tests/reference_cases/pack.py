"""Packs a reference folder into the copy that lies beside the tests: python tests/reference_cases/pack.py FOLDER

To stay small it leaves out the transforms (they are in tests/data/reference) and the training runs of most tuners, and
sets to zero the token embeddings of all words that no case of the kind text uses.
"""

import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

TRAINED = ("adaptformer", "mask")
EMBEDDING = "text_model.embeddings.token_embedding.weight"


def main(source: Path, target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "reference"
        shutil.copytree(source, folder, copy_function=shutil.copyfile)
        for file in folder.rglob("*.json"):
            kind = json.loads(file.read_text()).get("kind")
            if kind == "transforms":
                file.unlink()
                file.with_suffix(".npz").unlink()
            elif kind == "tuner" and file.stem not in TRAINED:
                without_training(file.with_suffix(".npz"))
            elif kind == "text":
                zero_unused_tokens(folder, json.loads(file.read_text()))
        with tarfile.open(target, "w:xz", preset=9) as archive:
            for file in sorted(folder.rglob("*")):
                if file.suffix in (".json", ".npz", ".safetensors"):
                    archive.add(file, file.relative_to(folder), filter=anonymous)


def without_training(file: Path) -> None:
    arrays = {k: v for k, v in np.load(file).items() if not k.startswith("train_") and k != "final_logits"}
    np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def zero_unused_tokens(folder: Path, spec: dict) -> None:
    model = folder / spec["model"]
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    templates = [spec["template"], *spec["ensemble_templates"]]
    names = [name.replace("_", " ") for name in spec["class_names"]]
    used = {0, *(i for name in names for t in templates for i in tokenizer.encode(t.format(name)).ids)}
    arrays = load_file(model / "model.safetensors")
    unused = np.setdiff1d(np.arange(len(arrays[EMBEDDING])), list(used))
    arrays[EMBEDDING][unused] = 0
    save_file(arrays, model / "model.safetensors", metadata={"format": "pt"})


def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime = entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parents[1] / "reference" / "cases.tar.xz")
