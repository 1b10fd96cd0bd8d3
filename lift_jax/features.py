r"""Computes the features of images once, for all runs that need them.

    python -m lift_jax.features --config FILE [--config.KEY=VALUE ...]
    python -m lift_jax.features --workdir RUN

computes the features that the backbone without tuners gives for the training, held-out and test images of a config, or
of a run, and keeps them in config.features_dir, or without it in $LIFT_JAX_CACHE/features. Runs that name the same
place do not compute them again. What is there already is left as it is, and a command that was stopped goes on.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from lift_jax import command_line
from lift_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "The config file, such as configs/quickstart.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "A run's folder, whose config is taken.")


def main(argv: Sequence[str]) -> None:
    """Runs what the flags say."""
    if len(argv) > 1:
        raise UserError(f"The argument {argv[1]!r} belongs to no flag; see --help.")
    if (_CONFIG.value is None) == (_WORKDIR.value is None):
        raise UserError("Write either --config FILE or --workdir RUN, which say what the images and the backbone are.")
    # Imported here: `--help` and a mistyped flag do not wait for them.
    from lift_jax.cluster import processes
    from lift_jax.run.store import fill
    from lift_jax.workdir import as_config

    config = _CONFIG.value or as_config.get_config(_WORKDIR.value or "")
    processes.start()
    print(fill(config))


def entry_point() -> None:
    """Runs the command with the process's own flags."""
    command_line.run(main, __doc__, (_CONFIG, _WORKDIR))


if __name__ == "__main__":
    entry_point()
