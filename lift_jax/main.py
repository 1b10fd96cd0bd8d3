r"""Trains and evaluates (`lift_jax train`), or evaluates a run again (`lift_jax eval`).

    python -m lift_jax.main --config FILE [--workdir DIR] [--config.KEY=VALUE ...]
        [--mode train|eval] [--checkpoint DIR|FILE]

A folder of images instead of --config FILE takes configs/folder.py for it, and says what that chose; a run's folder
with --mode eval takes the run's own config.

For example:

    python -m lift_jax.main --config configs/quickstart.py
    python -m lift_jax.main --config configs/folder.py --config.data.root=photos --workdir runs/photos
    python -m lift_jax.main --config configs/folder.py --config.data.root=photos --workdir runs/photos --mode eval

Every key of the config can be set by --config.KEY=VALUE. This prints them all, with their values:

    python -m lift_jax.main --config configs/folder.py --print_config

With --config.sweep="method=lift,lora seed=0,1", which `lift_jax sweep` takes as its first word, every combination is
trained, in a folder of its own; a value with commas or spaces is put in quotes.

With --config.auto=True hyperparameters are chosen by held-out training images first, within --config.auto_minutes=30.

lift_jax/config/defaults.py says what each is. The configs of the project, configs/NAME.py, are found from any folder.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from lift_jax import command_line
from lift_jax import config as lift_config
from lift_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "The config file, such as configs/quickstart.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "The run's folder; by default runs/<config name>-<time>.")
_MODE = flags.DEFINE_enum(
    "mode", "train", ["train", "eval"], "train: train, then evaluate; eval: restore the newest checkpoint and evaluate."
)
_CHECKPOINT = flags.DEFINE_string(
    "checkpoint",
    None,
    "With --mode eval: a checkpoint's folder instead of the newest, or the authors' file checkpoint.pth.tar.",
)
_MEMBERS = flags.DEFINE_integer(
    "members",
    32,
    "With config.sweep or config.auto: at most how many runs of one program train at once; fewer if memory is short.",
    lower_bound=1,
)
_PRINT_CONFIG = flags.DEFINE_bool("print_config", False, "Print all keys of the config with their values, and stop.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Of several processes, where no TPU pod, SLURM or GKE tells: host:port of the first one."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many processes there are.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which this one is, from 0.")


def main(argv: Sequence[str]) -> None:
    """Runs what the flags say."""
    if len(argv) > 1:
        hint = f"write --config {argv[1]}" if argv[1].partition(":")[0].endswith(".py") else "see --help"
        raise UserError(f"The argument {argv[1]!r} belongs to no flag; {hint}.")
    if _MODE.value == "eval" and _WORKDIR.value is None:
        raise UserError("--mode eval needs the run's folder; write --workdir DIR.")
    if _CONFIG.value is None:
        raise UserError(
            "No config is given; write --config FILE, such as --config configs/quickstart.py, or the folder of your "
            "images as the first word."
        )
    if _PRINT_CONFIG.value:
        print("\n".join(f"--config.{key}={value!r}" for key, value in lift_config.flatten(_CONFIG.value).items()))
        return
    if _MODE.value == "train" and _CHECKPOINT.value is not None:
        raise UserError(
            f"--checkpoint is {_CHECKPOINT.value}, but --mode train goes on from the newest checkpoint in --workdir; "
            "write --mode eval to evaluate that one, or leave --checkpoint out."
        )
    # Imported here: `--help` and a mistyped flag do not wait for them.
    from lift_jax.cluster import garbage

    garbage.collect_rarely()
    import jax
    from etils import epath

    from lift_jax import sweep
    from lift_jax.cluster import processes
    from lift_jax.files import place
    from lift_jax.run import default_workdir, run
    from lift_jax.run.automatic import run_automatic
    from lift_jax.workdir import given_checkpoint
    from lift_jax.workdir.logs import process_start

    garbage.spare_present()
    config = _CONFIG.value
    processes.start(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    if jax.process_count() > 1 and _WORKDIR.value is None:
        raise UserError("Several processes write into one run's folder; write --workdir DIR, the same for all.")
    file = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = place(_WORKDIR.value, "--workdir") if _WORKDIR.value else epath.Path(default_workdir(file))
    by_hand = config_flags.get_override_values(flags.FLAGS["config"])
    mode: Any = _MODE.value  # absl keeps it to the two that there are
    checkpoint = None if _CHECKPOINT.value is None else given_checkpoint.find(_CHECKPOINT.value)
    if "auto_minutes" in by_hand and not config.auto:
        raise UserError("config.auto_minutes is given without config.auto=True; write that, too, or leave it out.")
    if config.auto:
        _refuse_with_auto(mode, by_hand)
        run_automatic(config, workdir, set(by_hand), _MEMBERS.value)
    elif config.sweep:
        sweep.run(config, workdir, by_hand=set(by_hand), mode=mode, checkpoint=checkpoint, members=_MEMBERS.value)
    else:
        run(config, workdir, mode, checkpoint, process_start())


def _refuse_with_auto(mode: str, by_hand: Mapping[str, Any]) -> None:
    """Refuses what config.auto cannot go together with."""
    if mode == "eval":
        raise UserError("config.auto chooses before a training; leave it out to evaluate the run that it has made.")
    if by_hand.get("sweep"):
        raise UserError("config.auto and config.sweep are both given; keep one of them.")


def entry_point() -> None:
    """Runs the program with the words of the command line."""
    own = _CONFIG, _WORKDIR, _MODE, _CHECKPOINT, _MEMBERS, _PRINT_CONFIG, _COORDINATOR, _NUM_PROCESSES, _PROCESS_ID
    command_line.run(main, __doc__, own)


if __name__ == "__main__":
    entry_point()
