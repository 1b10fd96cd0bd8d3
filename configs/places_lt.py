r"""Places-LT: 62,500 training images of 365 scenes, 4,980 down to 5 a class (Liu et al. 2019).

    python -m lift_jax.main --config configs/places_lt.py --config.data.root=PLACES \
        --config.data.train_list=Places_LT_train.txt --config.data.test_list=Places_LT_test.txt

PLACES has the folders train/ and val/ with one folder a scene; the lists are those of the benchmark's authors. Without
a file of class names (config.data.class_names) they are the folders' names, as in the paper's code.
Hardware: one GPU, or a TPU VM.
The paper's overall accuracy with CLIP ViT-B/16 (Shi et al. 2024, table 2): 51.5, with test-time ensembling 52.2.
"""

from lift_jax import config as lift_config


def get_config():
    config = lift_config.default()
    config.data.name = "places_lt"
    config.data.format = "lists"
    config.data.num_workers = 8
    config.backbone = "openai/clip-vit-base-patch16"
    return config
