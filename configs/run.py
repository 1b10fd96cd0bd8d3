r"""The config of a run that is there, to evaluate it or to train one like it.

    python -m lift_jax.main --config configs/run.py:runs/photos --config.lr=0.003 --workdir runs/slower

Hardware: as of the run. No number of the paper.
"""

from lift_jax import config as lift_config
from lift_jax.errors import UserError
from lift_jax.files import place
from lift_jax.workdir import config_file


def get_config(run: str = ""):
    if not run:
        raise UserError("configs/run.py takes the config of a run; write --config configs/run.py:RUN.")
    config = lift_config.default()
    config.update(config_file.read(place(run, "RUN")).to_dict())
    return config
