"""The commands of docs/datasets.md, on miniatures of the files that they name."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
from pictures import write_images

from lift_jax.data import data_defaults, load, prepare

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8").replace("\\\n", "")
COMMANDS = re.findall(r"^    python -m lift_jax\.main (.*)$", PAGE, re.MULTILINE)
LABELS = [0, 0, 0, 0, 1, 1, 1, 1]


def data_config(config_file: str, settings: list[str]):
    """`config.data` of a config file with `key=value` settings."""
    spec = importlib.util.spec_from_file_location("config_file", ROOT / config_file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    for setting in settings:
        key, value = setting.split("=", 1)
        config.update_from_flattened_dict({key: type(config.data[key.split(".")[1]])(value)})
    return config.data


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The folders and files that the page's commands name, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for benchmark, folder, train, test in [
        ("ImageNet_LT", "IMAGENET", "train/n{label:08d}/{i}.JPEG", "val/n{label:08d}/v{i}.JPEG"),
        ("Places_LT", "PLACES", "train/{label}/{i}.jpg", "val/{label}/v{i}.jpg"),
        ("inat", "INAT", "train_val2018/{label}/{i}.jpg", "train_val2018/{label}/v{i}.jpg"),
    ]:
        for split, pattern in ("train", train), ("test", test):
            paths = [pattern.format(label=label, i=i) for i, label in enumerate(LABELS)]
            write_images(tmp_path / folder, paths, (8, 8))
            lines = [f"{path} {label}\n" for path, label in zip(paths, LABELS, strict=True)]
            Path(f"{benchmark}_{split}.txt").write_text("".join(lines))
            annotations = {
                "images": [{"id": i, "file_name": path} for i, path in enumerate(paths)],
                "annotations": [{"image_id": i, "category_id": label} for i, label in enumerate(LABELS)],
            }
            year = {"train": "train2018.json", "test": "val2018.json"}[split]
            Path(folder, year).write_text(json.dumps(annotations))
    Path("INAT/categories.json").write_text(json.dumps([{"id": i, "name": f"species {i}"} for i in range(2)]))
    for name in "cifar100", "imagenet_lt", "places_lt", "places365_small":
        lists = ["--image_root=PLACES", "--train_list=Places_LT_train.txt", "--test_list=Places_LT_test.txt"]
        assert prepare.main([name, "--data_dir=DATA", *lists]) == 0
    return tmp_path


def test_the_commands_of_the_benchmarks_find_their_data(files):
    assert len(COMMANDS) == 8
    for command in COMMANDS:
        words = shlex.split(command)
        if "configs/inat.py" in words and "--config.data.root=DATA" in words:
            continue  # TFDS's builder alone makes its split `validation`: see test_prepare.
        settings = [word.removeprefix("--config.") for word in words if word.startswith("--config.")]
        train, test = load(data_config(words[words.index("--config") + 1], settings))
        assert len(test) == 8 and len(train) == (5 if "configs/cifar100_lt.py" in words else 8), command


def test_the_keys_that_the_page_names_exist():
    written = re.findall(r"`([a-z_]+)=[^`]*`", PAGE) + re.findall(r"config\.data\.([a-z_]+)", PAGE)
    assert len(written) > 20 and set(written) <= set(data_defaults())
