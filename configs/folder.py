"""Own images, in a folder per class or by list files; quickest on one GPU, and fine on a laptop for a few thousand.

python -m lift_jax.main --config configs/folder.py --config.data.root=DIR --config.backbone=DIR_OR_HUB_ID
"""

from lift_jax import config as lift_config


def get_config():
    config = lift_config.default()
    config.data.name = "own images"
    config.data.format = "folder"
    config.backbone = "openai/clip-vit-base-patch16"
    return config
