"""CIFAR-10-LT: 10 classes, 5,000 down to 50 training images a class at imbalance 100.

    python -m lift_jax.data.prepare cifar10 --data_dir DATA
    python -m lift_jax.main --config configs/cifar10_lt.py --config.data.root=DATA
    python -m lift_jax.main --config configs/cifar10_lt.py --config.data.root=DATA --config.data.imbalance=50

Hardware: one GPU.
The paper has no number for it: no benchmark of its tables. All classes but the smallest count as many.
"""

from lift_jax import config as lift_config


def get_config():
    config = lift_config.default()
    config.data.name = "cifar10"
    config.data.format = "tfds"
    config.data.train_list = "train"
    config.data.test_list = "test"
    config.data.imbalance = 100
    config.backbone = "openai/clip-vit-base-patch16"
    return config
