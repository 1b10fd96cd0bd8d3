r"""Own images: a folder per class, or list files.

    python -m lift_jax.main --config configs/folder.py --config.data.root=DIR --config.data.val_fraction=0.2

with DIR/CLASS/IMAGE; or DIR/train/CLASS/IMAGE and DIR/test/CLASS/IMAGE, and no val_fraction; or lists of lines
`relative/path label`:

    python -m lift_jax.main --config configs/folder.py --config.data.format=lists --config.data.root=DIR \
        --config.data.train_list=train.txt --config.data.test_list=test.txt --config.data.class_names=names.txt

Hardware: a laptop for a few thousand small images, one GPU for more. No number of the paper: the data are yours.
"""

from lift_jax import config as lift_config


def get_config():
    config = lift_config.default()
    config.data.name = "own images"
    config.data.format = "folder"
    config.backbone = "openai/clip-vit-base-patch16"
    return config
