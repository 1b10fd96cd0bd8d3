"""iNaturalist 2018: 437,513 training images of 8,142 species, 1,000 down to 2 a class.

    python -m lift_jax.data.prepare i_naturalist2018 --data_dir DATA
    python -m lift_jax.main --config configs/inat.py --config.data.root=DATA --workdir RUN

Hardware: a TPU pod slice (launch/tpu.sh) or one node of GPUs (launch/gpu.sh); one GPU takes hours.
The paper's overall accuracy with CLIP ViT-B/16 (Shi et al. 2024, table 3): 79.1, with test-time ensembling 80.4.
"""

from lift_jax import config as lift_config


def get_config():
    config = lift_config.default()
    config.data.name = "i_naturalist2018"
    config.data.format = "tfds"
    config.data.train_list = "train"
    config.data.test_list = "validation"
    config.data.num_workers = 8
    config.backbone = "openai/clip-vit-base-patch16"
    config.recipes.lift.num_epochs = 20
    config.recipes.lift_plus.num_epochs = 15
    return config
