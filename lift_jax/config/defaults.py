"""Everything a run does, in one place: the defaults of every key, and what `None` stands for.

A config file starts from `default()` and changes what its benchmark needs:

    from lift_jax import config as lift_config

    def get_config():
        config = lift_config.default()
        config.data.root = "data/birds"
        return config

Configs are locked: a key that does not exist or a value of another type stops the run (see `lift_jax.main`).
"""

from typing import Any

import jax
import ml_collections
from ml_collections import config_dict

from lift_jax import tuners
from lift_jax.config import keys
from lift_jax.data import data_defaults
from lift_jax.errors import UserError
from lift_jax.tuners import mixing


def default() -> ml_collections.ConfigDict:
    """Returns the locked default config: LIFT as in the paper (Shi et al. 2024, section 6.1)."""
    config = ml_collections.ConfigDict()
    for section in (_trained_parts, _data_and_backbone, _optimization, _evaluation, _run):
        section(config)
    return config.lock()


def _trained_parts(config: ml_collections.ConfigDict) -> None:
    """Sets the keys of what is trained: the tuner and the head."""
    config.method = "lift"  # zero_shot, gda, head_only, lift, lift_plus, or tuners joined by "+": docs/methods.md
    config.tuner = tuners.tuner_defaults()
    config.head = "cosine"  # cosine, linear, l2_norm, layer_norm; methods that tune the text side have none of these
    config.head_scale = 25.0  # of the cosine head's logits, and of LDAM's
    config.head_init = "text"  # text, class_mean, 10_shot (means of 10 images a class), gda, linear_probe, random
    # The folder of a finished run of the same backbone and tuner, from which tuner and head start: the classes of the
    # same names; others start as head_init says
    config.init_from = ""
    config.head_alone = False  # with init_from: train the head alone, and leave that run's tuner as it is
    config.prompt = (
        "a photo of a {}."  # {} is the class name; or "name", "ensemble", FILE.json: see lift_jax.data.prompts
    )


def _data_and_backbone(config: ml_collections.ConfigDict) -> None:
    """Sets the keys of what it is trained on: the foundation model and the images."""
    # multiclass: each image is of one class. multilabel: of any number of them, or of none; see docs/multilabel.md
    config.task = "multiclass"
    config.backbone = "quickstart"  # a folder in the Hugging Face layout or a hub id; "quickstart" is in the package
    config.backbone_activation = ""  # quick_gelu, gelu: of a CLIP whose files do not tell it; "": what they tell
    config.resolution = 0  # pixels; 0 takes the backbone's own
    # Where features of images are kept that the backbone without tuners gives, for all runs that need them (a folder);
    # "": in $LIFT_JAX_CACHE/features if there is this variable, else only those that a head starts from, in the run
    config.features_dir = ""
    config.features_dtype = "float32"  # in which they are kept: float32, or float16 in half the room
    # Train on the kept features of so many fixed crops of each image, without running the backbone again, where the
    # image tower is not tuned; 0: on a new crop in each epoch. docs/methods.md
    config.cache_views = 0
    config.data = data_defaults()
    # How many, medium and few divide the classes by their training images. "" or paper: above 100, below 20; or thirds,
    # thresholds:HIGH,LOW, and imbalance_100, as published for CIFAR-LT
    config.class_groups = ""
    # Training images that are held out, by which the best checkpoint is chosen, one for each epoch: balanced:K (of each
    # class with more than K), fraction:F or fraction:F:K (the share F of each class, K images at most), a file that
    # names an image a line, or "" for none
    config.validation = ""
    config.patience = 0  # epochs without a gain on the held-out images after which the training ends; 0: never


def _optimization(config: ml_collections.ConfigDict) -> None:
    """Sets the keys of how it is trained."""
    # None takes the recipe's value (below): lift_plus's where it is part of config.method ("lift_plus+ln_tuning") or
    # config.tuner.rules, else lift's.
    config.lr = config_dict.placeholder(float)
    config.num_epochs = config_dict.placeholder(int)
    config.interpolation = config_dict.placeholder(str)  # bilinear, bicubic
    config.crop = config_dict.placeholder(str)  # random_resized (with flips), square (LIFT+'s, without)
    config.crop_schedule = "convex"  # of the smallest square over the epochs: min, linear, convex, concave, max
    config.batch_size = 128  # over all devices and hosts
    config.accumulate = 0  # micro-batches of one step; 0: one, but on a CPU as many as suit its cache
    config.momentum = 0.9
    config.weight_decay = 5e-4  # on every trainable parameter
    # The decay, such as 0.99, of the moving average of the trained parameters over the steps, which is then what is
    # evaluated and used; 0: no average, but the parameters after the last step. docs/averaging.md
    config.ema = 0.0
    config.schedule = "cosine_epoch"  # cosine_epoch: one learning rate an epoch, as in the paper; cosine_step
    config.loss = "LA"  # CE, Focal, LDAM, CB, GRW, BS, LA, LADE; of the task multilabel: LA, BCE, DB
    config.tau = 1.0  # of the logit adjustment
    config.seed = 0  # of the order, the crops and flips, and the initialisation
    config.dtype = "auto"  # of frozen weights and activations; auto: bfloat16 on TPU and GPU, float32 on CPU
    # Of the kernels of linear layers that are not trained; auto: dtype. bfloat16 only stores them so; int8 (for TPUs or
    # Ampere) and fp8 (Hopper) quantise them once, and multiply in eight bits: docs/performance.md
    config.frozen_dtype = "auto"
    # Of float32 matrix products: highest is float32; high and default round their factors on TPU and GPU (default: TF32
    # on a GPU, bfloat16 on a TPU); auto: highest where dtype is float32
    config.matmul_precision = "auto"
    # What the backward pass computes anew, so that larger batches fit (lift_jax.bench.aot --fit): none; minimal, all
    # but the linear layers of the transformer; full, all but the inputs of its blocks.
    config.remat = "none"
    config.recipes = ml_collections.ConfigDict(
        {
            "lift": {"lr": 0.01, "num_epochs": 10, "interpolation": "bilinear", "crop": "random_resized"},
            "lift_plus": {"lr": 0.02, "num_epochs": 5, "interpolation": "bicubic", "crop": "square"},
        }
    )


def _evaluation(config: ml_collections.ConfigDict) -> None:
    """Sets the keys of the evaluation."""
    config.eval_batch_size = 128  # images, each with its views, over the devices of one host
    # Before the training, evaluate the backbone's zero-shot classifier, beside which the results stand; where it has a
    # text tower
    config.zero_shot = True
    # From 0 to 1: how much of the tuner's effect the results have; 0 is the backbone as it was, with the trained head.
    # Of a run that is there it may be changed with --mode eval. docs/averaging.md
    config.tuner_strength = 1.0
    config.tte = ml_collections.ConfigDict()  # test-time ensembling
    config.tte.enabled = True
    config.tte.mode = "fivecrop"  # fivecrop, tencrop, random
    config.tte.expand = 24  # pixels: the short side is resized to resolution + expand
    config.tte.views = 10  # of mode random


def _run(config: ml_collections.ConfigDict) -> None:
    """Sets the keys of the run itself: its log, its checkpoints, its devices, its report."""
    config.log_every = 10  # steps
    # Where the run can be followed: tensorboard (in its folder), mlflow, wandb, several with commas between, or "" for
    # none. docs/sharing.md
    config.tracker = "tensorboard"
    config.checkpoint_every = 0  # steps; 0: at the end of every epoch
    config.checkpoint_minutes = 10.0  # since the last checkpoint, at the next log_every; 0: never
    config.keep = 2  # newest checkpoints that are kept, and the one of the lowest training loss
    config.fsdp = False  # keep the frozen weights in pieces over the devices; a training step gathers each for its use
    config.report = True  # draw report.html and report/*.png at the end; see lift_jax.report
    config.sweep = ""  # a grid of runs instead of one: "method=lift,lora seed=0,1,2"
    config.auto = False  # choose hyperparameters by held-out training images first: docs/choosing.md
    config.auto_minutes = 30.0  # for the choice and the last training


def resolve(config: ml_collections.ConfigDict) -> ml_collections.FrozenConfigDict:
    """Returns the config with every `None` and `auto` replaced by the value it stands for.

    Raises:
        UserError: if a value is none of those that its key has, or out of its range.
    """
    config = ml_collections.ConfigDict(config.to_dict())
    keys.check(flatten(config))
    method = tuners.resolve(config.method, config.tuner)
    mixing.check(method, config.tuner_strength)
    config.tuner.rules = method.recipe
    for key, value in config.recipes[method.recipe].items():
        if config[key] is None:
            config[key] = value
    if config.accumulate and config.batch_size % config.accumulate:
        raise UserError(
            f"config.batch_size is {config.batch_size}, which config.accumulate={config.accumulate} does not divide."
        )
    if config.dtype == "auto":
        config.dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    if config.matmul_precision == "auto":
        is_rounded = config.dtype == "float32" and jax.default_backend() != "cpu"
        config.matmul_precision = "highest" if is_rounded else "default"
    return ml_collections.FrozenConfigDict(config)


def flatten(config: ml_collections.ConfigDict | ml_collections.FrozenConfigDict) -> dict[str, Any]:
    """Returns every key with its path, as in {"data.root": value, ...}."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, ml_collections.ConfigDict | ml_collections.FrozenConfigDict):
            flat.update({f"{key}.{inner}": v for inner, v in flatten(value).items()})
        else:
            flat[key] = value
    return flat
