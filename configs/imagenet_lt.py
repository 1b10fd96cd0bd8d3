r"""ImageNet-LT: 115,846 training images of 1,000 classes, 1,280 down to 5 a class (Liu et al. 2019).

    python -m lift_jax.main --config configs/imagenet_lt.py --config.data.root=IMAGENET \
        --config.data.train_list=ImageNet_LT_train.txt --config.data.test_list=ImageNet_LT_test.txt \
        --config.data.class_names=classnames.txt

IMAGENET has the folders train/ and val/; the lists are those of the benchmark's authors, and class names come from
a file with a line `wnid name` a class, in label order.
Hardware: one GPU, or a TPU VM.
The paper's overall accuracy with CLIP ViT-B/16 (Shi et al. 2024, table 1): 77.0, with test-time ensembling 78.3.
"""

from lift_jax import config as lift_config


def get_config():
    config = lift_config.default()
    config.data.name = "imagenet_lt"
    config.data.format = "lists"
    config.data.num_workers = 8
    config.backbone = "openai/clip-vit-base-patch16"
    return config
