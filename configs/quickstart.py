"""The paper's point on real handwriting: fifty letters, made long-tailed, and a small CLIP that never saw a pen.

python -m lift_jax.main --config configs/quickstart.py
"""

from lift_jax import config as lift_config


def get_config():
    config = lift_config.default()
    config.backbone = "quickstart"
    config.prompt = "a photo of the {}."
    config.data.name = "letters"
    config.data.format = "letters"
    config.data.imbalance = 15  # 15 images of the most frequent letter, 1 of the rarest
    config.data.permute_classes = 1  # so that Greek is not rarer than Latin
    config.class_groups = "thirds"
    config.crop = "square"  # mirrored letters are no letters
    config.tte.expand = 4
    config.batch_size = 32
    config.num_epochs = 20
    config.lr = 0.03
    config.sweep = "method=zero_shot,head_only,lift,full_tuning seed=0"
    return config
