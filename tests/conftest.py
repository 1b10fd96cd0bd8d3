"""A small CLIP with random weights, made anew for the tests."""

import dataclasses
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import fsspec
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tokenizers
from etils import epath
from etils.epath import backend
from flax import traverse_util
from fsspec.implementations.memory import MemoryFileSystem
from tokenizers import models, pre_tokenizers, processors

from lift_jax import tuners
from lift_jax.classifier.initialise import complete
from lift_jax.data import remote_copies
from lift_jax.models import partition
from lift_jax.models.clip import CLIP
from lift_jax.models.heads import Classifier, CosineHead, Head
from lift_jax.models.vit import VisionTransformer
from lift_jax.weights import huggingface
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.tokenizer import Tokenizer

_PROGRAMS = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Spends little on compilation, in the tests, their workers and the commands that they start.

    Programs are shared, anew for each session. They are optimised little: most run for a moment, on tiny models.
    What the user sets in the environment holds, and so does what the session set that a worker belongs to.
    """
    settings = {"jax_disable_most_optimizations": True}
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        config.stash[_PROGRAMS] = tempfile.mkdtemp(prefix="lift-programs-")
        settings |= {
            "jax_compilation_cache_dir": config.stash[_PROGRAMS],
            "jax_persistent_cache_min_compile_time_secs": 0.1,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }
    for key, value in settings.items():
        if key.upper() not in os.environ:
            os.environ[key.upper()] = str(value)
            jax.config.update(key, value)


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(_PROGRAMS, None):
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def optimised(monkeypatch):
    """Lets programs be compiled as for use, for a test of roundings that were those of such programs."""
    before = jax.config.read("jax_disable_most_optimizations")
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "False")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


WORDS = ["a", "photo", "of", "the", "bad", "drawing", "cat", "dog", "tench", "shark", "hen", "woods", "origami", "."]


def clip_config(**vision) -> dict:
    """A transformers CLIPConfig of tiny size; the arguments change its vision tower."""
    tower = dict(hidden_act="quick_gelu", layer_norm_eps=1e-5, num_attention_heads=2)
    ids = dict(bos_token_id=len(WORDS), eos_token_id=len(WORDS) + 1, pad_token_id=len(WORDS) + 1)
    image = dict(hidden_size=24, intermediate_size=48, num_hidden_layers=3, image_size=16, patch_size=4)
    text = dict(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, max_position_embeddings=12, vocab_size=len(WORDS) + 2
    )
    return {
        "model_type": "clip",
        "projection_dim": 12,
        "vision_config": {**tower, **image, **vision},
        "text_config": {**tower, **text, **ids, "max_position_embeddings": 12},
    }


def random_params(config: dict, seed: int = 0) -> dict:
    """Random parameters, none of which has a special value such as 0 or 1, so that every one matters."""
    vision, text = huggingface.networks(config)
    side = config["vision_config"]["image_size"]
    clip = CLIP(vision, text, config["projection_dim"])
    images, tokens = jnp.zeros((1, side, side, 3)), jnp.zeros((1, 2), jnp.int32)
    shapes = jax.eval_shape(lambda: clip.init(jax.random.key(0), images, tokens))["params"]
    generator = np.random.default_rng(seed)

    def draw(path, leaf):
        centre, spread = (1, 0.1) if path[-1].key == "scale" else (0, 0.2)
        return np.asarray(generator.normal(centre, spread, leaf.shape), np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def write_tokenizer(file) -> None:
    """A tokenizer.json that knows `WORDS` and adds a start and an end token, as CLIP's does."""
    vocabulary = {word: i for i, word in enumerate([*WORDS, "<start>", "<end>"])}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="photo"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
        single="<start> $A <end>", special_tokens=[(name, vocabulary[name]) for name in ("<start>", "<end>")]
    )
    tokenizer.save(str(file))


class Tuned(NamedTuple):
    """A tuned classifier with its parameters."""

    classifier: Classifier
    tuning: tuners.Tuning
    parts: partition.Parts

    def apply(self, params: partition.Tree, images: Any, method: str = "__call__") -> Any:
        return self.classifier.apply({"params": params}, images, method=method)

    def features(self, images: Any) -> Any:
        return jax.jit(lambda p, x: self.apply(p, x, "features"))(partition.merge(*self.parts), images)


def flatten(tree: partition.Tree) -> dict[partition.Path, Any]:
    """The tree's leaves by their paths."""
    return traverse_util.flatten_dict(dict(tree))  # pyright: ignore[reportReturnType]


def tune(
    backbone: Backbone, method: str, num_classes: int = 7, noise: float = 0.0, head: type[Head] = CosineHead, **options
) -> Tuned:
    """A classifier with the tuners of `method`, trained parameters moved by `noise` times a standard normal."""
    config = tuners.tuner_defaults()
    config.update(options)
    assert isinstance(backbone.vision, VisionTransformer)
    tuning = tuners.build(tuners.resolve(method, config), backbone.vision, num_classes)
    classifier = Classifier(backbone.vision.clone(tuners=tuning.tuners), head(num_classes))
    shape = (backbone.resolution, backbone.resolution, 3)
    params = complete(classifier, backbone.params["vision"], shape, jax.random.key(0))
    generator = np.random.default_rng(1)
    parts = partition.split(jax.tree.map(np.asarray, params), tuning.trains)
    moved = jax.tree.map(lambda x: (x + noise * generator.normal(size=x.shape)).astype(np.float32), parts.tuner)
    return Tuned(classifier, tuning, parts._replace(tuner=moved))


def make_clip(folder: Path, **vision) -> Backbone:
    """A random CLIP; the arguments are of `clip_config`."""
    config = clip_config(**vision)
    towers, params = huggingface.networks(config), random_params(config)
    write_tokenizer(folder / "tokenizer.json")
    tokenizer = Tokenizer(folder / "tokenizer.json", 12)
    mean, std, side = huggingface.CLIP_MEAN, huggingface.CLIP_STD, config["vision_config"]["image_size"]
    return Backbone("tiny", towers[0], params, side, mean, std, towers[1], tokenizer, content_hash(params))


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Backbone:
    """A CLIP of 3 blocks, width 24, 16 by 16 pixels; 12 dimensions shared with a text tower of 2 blocks."""
    return make_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def tiny_vit(tiny_clip: Backbone) -> Backbone:
    """The vision tower of `tiny_clip` alone."""
    params = {"vision": tiny_clip.params["vision"]}
    return dataclasses.replace(tiny_clip, name="tiny ViT", params=params, text=None, tokenizer=None)


@pytest.fixture(scope="session")
def tiny_folder(tiny_clip: Backbone, tmp_path_factory) -> str:
    """`tiny_clip` as a folder in the Hugging Face layout."""
    folder = tmp_path_factory.mktemp("backbone") / "tiny"
    huggingface.save(folder, clip_config(), tiny_clip.params)
    write_tokenizer(folder / "tokenizer.json")
    return str(folder)


class Bucket(MemoryFileSystem):
    """What epath asks for where a path begins with gs://: files in memory."""

    protocol = ("gcs", "gs")
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def __init__(self, finalize_on_close: bool = False, **options):
        super().__init__(**options)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.partition("://")[2] if "://" in path else path)


@pytest.fixture
def bucket(tmp_path_factory, monkeypatch) -> epath.Path:
    """A folder that is not there yet, in an empty bucket of which nothing was fetched."""
    monkeypatch.setenv("LIFT_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
    if importlib.util.find_spec("tensorflow") is not None:
        pytest.skip("With TensorFlow, epath reads gs:// by it.")
    for scheme in Bucket.protocol:
        fsspec.register_implementation(scheme, Bucket, clobber=True)
    backend.fsspec_backend._get_filesystem.cache_clear()
    remote_copies.fetch_archive.cache_clear()
    Bucket.store.clear()
    Bucket.pseudo_dirs[:] = [""]
    return epath.Path("gs://bucket/folder")
