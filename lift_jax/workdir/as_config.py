"""The config of a run as a config file, for `--config`: `lift_jax eval RUN` takes it.

It may be named by a person, too: --config lift_jax/workdir/as_config.py:RUN takes the config of the run RUN.
"""

import ml_collections

from lift_jax import config as lift_config
from lift_jax.errors import UserError
from lift_jax.files import place
from lift_jax.workdir import config_file


def get_config(run: str = "") -> ml_collections.ConfigDict:
    """Gives the config of a run, locked as that of any config file.

    Args:
        run: the run's folder.

    Raises:
        UserError: if there is no run in the folder, or its config cannot be read.
    """
    if not run:
        raise UserError("The config of a run needs the run's folder; write it after a colon, FILE:RUN.")
    config = lift_config.default()
    config.update(config_file.read(place(run, "RUN")).to_dict())
    return config
