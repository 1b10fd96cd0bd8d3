"""Scikit-learn's handwritten digits, made long-tailed, and a small CLIP that never saw handwriting.

    python -m lift_jax.main --config configs/digits.py

It needs no download: the digits come with scikit-learn, the CLIP with this package. Four methods are run over
three seeds each and printed side by side.
Hardware: two cores of a laptop. No number of the paper: docs/datasets.md has what this command prints.
"""

from lift_jax import config as lift_config


def get_config():
    config = lift_config.default()
    config.backbone = "quickstart"
    config.prompt = "a photo of the digit {}."
    config.data.name = "digits"
    config.data.format = "digits"
    config.data.imbalance = 50
    config.crop = "square"  # mirrored digits are no digits
    config.tte.expand = 4
    config.batch_size = 32  # of 314 images; the paper's 128 and 0.01 are for much larger sets
    config.num_epochs = 15
    config.checkpoint_every = 50  # steps; an epoch has ten of them, and takes less time than a checkpoint
    config.lr = 0.03
    config.sweep = "method=zero_shot,head_only,lift,full_tuning seed=0,1,2"
    return config
