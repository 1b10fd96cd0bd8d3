"""Folders of foundation models in which something is spoilt: settings, arrays, tokenizer, and the model's name."""

import copy
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import jax
import numpy as np
import tokenizers
from safetensors import numpy as safetensors

from lift_jax import weights
from lift_jax.bench.abuse.cases import Case, Grammar, Setting
from lift_jax.bench.abuse.setting import ANYTHING, total

Answer = tuple[Any, ...]

CONFIG, PROCESSOR, ARRAYS, TOKENIZER = "config.json", "preprocessor_config.json", "model.safetensors", "tokenizer.json"
_TEXTS = ("a photo of a zero.", "x")


def described(name: str) -> Answer:
    """Loads a backbone and gives what can be known of it: sizes, activations, normalisation, tokens and a sum."""
    backbone = weights.load(name)
    towers: list[Any] = [backbone.vision, backbone.text]
    sizes = tuple((t.width, t.depth, t.num_heads, t.mlp_dim, t.activation, t.epsilon) for t in towers)
    tokens = tuple(map(tuple, backbone.tokenizer(_TEXTS).tolist())) if backbone.tokenizer else ()
    normalisation = tuple(tuple(round(float(x), 6) for x in values) for values in (backbone.mean, backbone.std))
    return (backbone.resolution, *sizes, *normalisation, tokens, total(jax.tree.leaves(backbone.params)))


def _known(setting: Setting, mean: float = 0.5, std: float = 0.5) -> Answer:
    """Gives what `described` must find, from the files of the backbone as they are."""
    config = json.loads((setting.backbone / CONFIG).read_text())
    keys = (
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "hidden_act",
        "layer_norm_eps",
    )
    towers = tuple(tuple(config[tower][key] for key in keys) for tower in ("vision_config", "text_config"))
    own = tokenizers.Tokenizer.from_file(str(setting.backbone / TOKENIZER))
    own.no_padding()
    length = config["text_config"]["max_position_embeddings"]
    rows = tuple((*(ids := own.encode(text).ids), *[0] * (length - len(ids))) for text in _TEXTS)
    sides = ((round(mean, 6),) * 3, (round(std, 6),) * 3)
    return (config["vision_config"]["image_size"], *towers, *sides, rows, setting.known["total"])


def _case(
    setting: Setting,
    says: str,
    spoil: Callable[[Path], Any],
    names: tuple[str, ...],
    accepted: tuple[Answer, ...] | None = None,
) -> Case:
    """Spoils something in a copy of the backbone."""
    known = _known(setting)

    def attempt(change: Callable[[Path], Any]) -> Callable[[Path], Answer]:
        def given(place: Path) -> Answer:
            shutil.copytree(setting.backbone, place / "spoilt")
            change(place / "spoilt")
            return described(str(place / "spoilt"))

        return given

    valid = Case("a backbone", attempt(lambda folder: None), (known,))
    return Case(says, attempt(spoil), (known,) if accepted is None else accepted, names, valid=valid)


def _places(node: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


def _plausible(key: str, value: Any) -> bool:
    """Tells whether a value makes another model that is right as well, or may be taken for one."""
    same_patches = key == "image_size" and value == 33
    return (
        same_patches
        or (key == "layer_norm_eps" and value in (0, 1e-300))
        or (key == "num_attention_heads" and value in (1, 2, 3))
    )


def a_setting(random: Random, setting: Setting) -> Case:
    """Sets a setting of the model, or of its preprocessing, to anything."""
    file = random.choice([CONFIG, CONFIG, CONFIG, PROCESSOR])
    content = json.loads((setting.backbone / file).read_text())
    holder, key = random.choice(list(_places(content)))
    value = random.choice([*ANYTHING, 0, 33, 1e-300, "None"])
    if _plausible(str(key), value) or value is True:
        value = None
    before = holder[key]
    holder[key] = value
    section = next((name for name, inner in content.items() if inner is holder), "")
    # Where one of two files is wrong, either may be said; so may the size that the arrays have instead.
    names = (str(key), file) if isinstance(key, str) else (section, file)
    says = f"{file}: {section}.{key} is {value!r} instead of {before!r}"
    named = (*names, ARRAYS) if isinstance(before, int) else names
    return _case(setting, says, lambda folder: (folder / file).write_text(json.dumps(content)), named)


def a_setting_that_is_missing(random: Random, setting: Setting) -> Case:
    """Removes a setting without which the model is not known."""
    content = json.loads((setting.backbone / CONFIG).read_text())
    holder, key = random.choice([
        (content, "model_type"), (content["vision_config"], "hidden_size"), (content["vision_config"], "patch_size"),
        (content["vision_config"], "image_size"), (content["vision_config"], "num_hidden_layers"),
        (content["vision_config"], "intermediate_size"), (content["text_config"], "hidden_size"),
        (content["text_config"], "vocab_size"), (content["text_config"], "max_position_embeddings"),
        (content["text_config"], "num_hidden_layers"), (content["text_config"], "eos_token_id"),
        (content, "projection_dim"),
    ])  # fmt: skip
    del holder[key]
    change = json.dumps(content)
    return _case(
        setting, f"{CONFIG} without {key}", lambda folder: (folder / CONFIG).write_text(change), (key, CONFIG, ARRAYS)
    )


def a_preprocessing(random: Random, setting: Setting) -> Case:
    """Changes the preprocessing, which is to be obeyed or refused."""
    content = json.loads((setting.backbone / PROCESSOR).read_text())
    change, accepted = random.choice([
        ({"do_normalize": False}, [_known(setting, 0.0, 1.0)]),
        ({"rescale_factor": 1 / 127.5}, [_known(setting, 0.25, 0.25)]),
        ({"do_rescale": False}, [_known(setting, 0.5 / 255, 0.5 / 255)]),
        ({"image_mean": [123.675, 116.28, 103.53]}, []),
        ({"image_std": [58.395, 57.12, 57.375]}, []),
        ({"image_std": [0, 0, 0]}, []), ({"image_std": [1e-300] * 3}, []), ({"image_std": [-0.5] * 3}, []),
        ({"image_mean": [0.5, 0.5]}, []), ({"image_mean": 0.5}, [_known(setting)]), ({"image_std": "0.5"}, []),
        ({"image_mean": [float("nan")] * 3}, []), ({"image_std": [float("inf")] * 3}, []),
    ])  # fmt: skip
    (key,) = change
    text = json.dumps(content | change)
    says = f"{PROCESSOR}: {change}"
    return _case(setting, says, lambda folder: (folder / PROCESSOR).write_text(text), (key, PROCESSOR), tuple(accepted))


def a_json_file(random: Random, setting: Setting) -> Case:
    """Replaces one of the JSON files by something else, or removes it."""
    file = random.choice([CONFIG, PROCESSOR, TOKENIZER])
    whole = (setting.backbone / file).read_bytes()
    content = random.choice([
        b"", b"{", b"[]", b"null", b"5", b'"x"', b"[" * 200_000, b"\xff\xfe",
        b"\0" * 50, whole[: random.randrange(len(whole) - 2)],
        whole + b"}", whole.decode().encode("utf-16"), b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        b"{}",
    ])  # fmt: skip
    # Without its own preprocessing a model has that of its kind.
    accepted = None if file != PROCESSOR or content != b"{}" else (_known_with_defaults(setting),)
    says = f"{file} is {content[:30]!r}, {len(content)} of {len(whole)} bytes"
    return _case(setting, says, lambda folder: (folder / file).write_bytes(content), (file, "model_type"), accepted)


def _known_with_defaults(setting: Setting) -> Answer:
    known = list(_known(setting))
    known[3:5] = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # OpenAI's
    return tuple(tuple(round(x, 6) for x in part) if at in (3, 4) else part for at, part in enumerate(known))


def a_spoilt_file_of_arrays(random: Random, setting: Setting) -> Case:
    """Cuts model.safetensors, changes its header, or replaces it."""
    whole = (setting.backbone / ARRAYS).read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])

    def rebuilt(changed: Any) -> bytes:
        text = json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + whole[8 + length :]

    name = random.choice([key for key in header if key != "__metadata__"])
    changed = copy.deepcopy(header)
    changed[name] |= random.choice([
        {"dtype": "I32"}, {"dtype": "X9"}, {"shape": [1]}, {"shape": [-1]}, {"shape": [2**62, 4]},
        {"data_offsets": [0, 4]},
        {"data_offsets": [8, 4]}, {"data_offsets": [0, 2**62]}, {"shape": "x"}, {"shape": None}, {"dtype": None},
    ])  # fmt: skip
    content = random.choice([
        whole[: random.randrange(len(whole))], whole[: random.randrange(8 + length)], b"", bytes(100), rebuilt(changed),
        rebuilt(changed), rebuilt(changed), rebuilt([]), rebuilt(None), struct.pack("<Q", 2**63) + whole[8:],
        struct.pack("<Q", 10**9) + whole[8:], whole + bytes(10), b"version https://git-lfs.github.com/spec/v1\n",
        struct.pack("<Q", 400_000) + b"[" * 400_000,
    ])  # fmt: skip
    says = f"{ARRAYS} of {len(content)} bytes, or with another header of {name}"
    return _case(setting, says, lambda folder: (folder / ARRAYS).write_bytes(content), (ARRAYS, name), ())


def a_spoilt_array(random: Random, setting: Setting) -> Case:
    """Removes or adds an array, changes its shape or kind, or fills it with no numbers."""
    arrays = safetensors.load_file(setting.backbone / ARRAYS)
    name = random.choice(sorted(arrays))
    array = arrays[name]
    way = random.choice(
        ["missing", "more", "shape", "int32", "uint8", "NaN", "inf", "zeros", "bool", "double", "renamed", "longer"]
    )
    if way in ("missing", "renamed"):
        del arrays[name]
    if way in ("more", "renamed"):
        arrays["one_more.weight"] = array
    changes: dict[str, Callable[[], np.ndarray]] = {
        "shape": lambda: array[..., None], "int32": lambda: array.astype(np.int32),
        "uint8": lambda: array.astype(np.uint8),
        "NaN": lambda: np.full_like(array, np.nan), "inf": lambda: np.full_like(array, np.inf),
        "bool": lambda: array > 0,
        "double": lambda: array.astype(np.float64), "longer": lambda: np.concatenate([np.atleast_1d(array)] * 2),
        "zeros": lambda: array,
    }  # fmt: skip
    if way in changes:
        arrays[name] = changes[way]()
    if way == "zeros":  # one alone may be so in a good model
        arrays = {each: np.zeros_like(value) for each, value in arrays.items()}
    names = {"more": (name, "one_more"), "zeros": ("patch_embedding", ARRAYS)}.get(way, (name, ARRAYS))
    accepted = None if way == "double" else ()
    return _case(
        setting, f"{name}: {way}", lambda folder: safetensors.save_file(arrays, folder / ARRAYS), names, accepted
    )


def a_prefix(random: Random, setting: Setting) -> Case:
    """Puts a prefix before the names of the arrays, as wrappers do."""
    prefix = random.choice(
        ["_orig_mod.", "module.", "model.", "module._orig_mod.", "clip.", "nonsense.", "state_dict."]
    )
    arrays = {f"{prefix}{name}": array for name, array in safetensors.load_file(setting.backbone / ARRAYS).items()}
    names = (prefix.rstrip("."), ARRAYS)
    return _case(setting, f"the prefix {prefix}", lambda folder: safetensors.save_file(arrays, folder / ARRAYS), names)


def a_file_that_is_missing(random: Random, setting: Setting) -> Case:
    """Removes a file of the folder, or puts something else in its place."""
    file = random.choice([CONFIG, ARRAYS, TOKENIZER])

    def spoil(folder: Path) -> None:
        (folder / file).unlink()
        if way == "folder":
            (folder / file).mkdir()
        elif way == "link":
            (folder / file).symlink_to(file)

    way = random.choice(["missing", "folder", "link"])
    # Without a tokenizer a model still has features of images.
    accepted = tuple(() if at == 5 else part for at, part in enumerate(_known(setting)))
    return _case(setting, f"{file}: {way}", spoil, (file,), (accepted,) if file == TOKENIZER else ())


def a_tokenizer(random: Random, setting: Setting) -> Case:
    """Spoils a place of the tokenizer."""
    content = json.loads((setting.backbone / TOKENIZER).read_text())
    way = random.choice(["ids", "model", "section", "vocabulary"])
    if way == "ids":
        vocabulary = content["model"]["vocab"]
        content["model"]["vocab"] = {word: token + 10**6 for word, token in vocabulary.items()}
    elif way == "model":
        content["model"] = random.choice([None, [], {}, {"type": "BPE"}, {"type": "x"}, 5])
    elif way == "section":
        key = random.choice(["model", "pre_tokenizer", "post_processor", "added_tokens"])
        content[key] = random.choice(["x", 5, [5], {"type": "x"}])
    else:
        content["model"]["vocab"] = random.choice([[], 5, None, {"a": -1}, {"a": "b"}, {}])
    text = json.dumps(content)
    return _case(setting, f"{TOKENIZER}: {way}", lambda folder: (folder / TOKENIZER).write_text(text), (TOKENIZER,), ())


def a_name(random: Random, setting: Setting) -> Case:
    """Gives a model's name as other programs spell it, or what is no name."""
    name = random.choice([
        "ViT-B/16", "ViT-B-16", "CLIP-ViT-B/16", "hf-hub:timm/vit_base_patch16_clip_224.openai", "RN50", "clip",
        "https://huggingface.co/openai/clip-vit-base-patch16", "openai/clip-vit-base-patch16@", "http://x.org/model.pt",
        "foo://bar/model", "/nope/model", "./nope", "nobody/nothing-of-this-name", "x" * 3000, "model.pt",
        "model.npz", "a b c",
        "../..", "/dev/null", "/dev/zero",
    ])  # fmt: skip
    valid = Case("a backbone", lambda place: described(str(setting.backbone)), (_known(setting),))
    own_id = name.removeprefix("https://huggingface.co/").removeprefix("hf-hub:")  # which a page's address stands for
    return Case(f"the name {name[:60]}", lambda place: described(name), (), (name[:60], own_id[:60]), valid=valid)


GRAMMAR = Grammar(
    "weights",
    (
        a_setting,
        a_spoilt_array,
        a_spoilt_file_of_arrays,
        a_json_file,
        a_preprocessing,
        a_setting_that_is_missing,
        a_name,
        a_prefix,
        a_tokenizer,
        a_setting,
        a_file_that_is_missing,
    ),
)
