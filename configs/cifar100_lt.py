"""CIFAR-100-LT: 100 classes, 500 down to 5, 10 or 50 training images a class (imbalance 100, 50, 10).

    python -m lift_jax.data.prepare cifar100 --data_dir DATA
    python -m lift_jax.main --config configs/cifar100_lt.py --config.data.root=DATA
    python -m lift_jax.main --config configs/cifar100_lt.py:50 --config.data.root=DATA

What follows the colon is the imbalance: 100 (the default), 50 or 10. The many, medium and few classes are those of
imbalance 100 in all three, as published.
Hardware: one GPU.
The paper's overall accuracy with CLIP ViT-B/16 and test-time ensembling (Shi et al. 2024, table 4), imbalance 100, 50,
10: 81.7, 83.1, 84.9; with the ViT-B/16 of ImageNet-21K: 89.1, 90.2, 91.3.
"""

from lift_jax import config as lift_config
from lift_jax.errors import UserError


def get_config(imbalance="100"):
    if imbalance not in ("100", "50", "10"):
        raise UserError(f"configs/cifar100_lt.py:{imbalance} is no published benchmark; write 100, 50 or 10.")
    config = lift_config.default()
    config.data.name = "cifar100"
    config.data.format = "tfds"
    config.data.train_list = "train"
    config.data.test_list = "test"
    config.data.imbalance = int(imbalance)
    config.class_groups = "imbalance_100"
    config.backbone = "openai/clip-vit-base-patch16"
    return config
