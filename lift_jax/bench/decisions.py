r"""What calibration, prediction sets, unknown images and suspected labels are worth, on the images of a config.

    python -m lift_jax.bench.decisions --config configs/quickstart.py [--seeds 3] [--methods zero_shot,head_only,lift]
        [--unknown-classes 10] [--flipped 0.05] [--coverage 0.9] [--config.KEY=VALUE ...]

Each method is trained twice with each seed. The first training has all classes: its test images give accuracy,
calibration error and prediction sets, without and with `lift_jax.calibrate`, whose images are those that
config.validation holds out (balanced:2 where it is empty). The second training and its head do without the classes that
the seed draws, whose test images are then the unknown ones; they are told by the highest probability or the energy,
of which the calibration chooses one. At last labels of training images are flipped, and `lift_jax.review` ranks those
that it suspects. It judges by the backbone as it was, and is therefore the same for all methods.

What stands behind "±" is the standard error of the mean over the seeds.
"""

import functools
from collections.abc import Sequence

from absl import flags, logging
from ml_collections import config_flags

from lift_jax import command_line
from lift_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "The config file, such as configs/quickstart.py.")
_SEEDS = flags.DEFINE_integer("seeds", 3, "Trainings of each method and kind.", lower_bound=1)
_METHODS = flags.DEFINE_list("methods", ["zero_shot", "head_only", "lift"], "Methods with commas between.")
_UNKNOWN = flags.DEFINE_integer("unknown-classes", 10, "Classes that are left out of the training and the head.")
_FLIPPED = flags.DEFINE_float("flipped", 0.05, "The share of the training labels that are flipped.")
_COVERAGE = flags.DEFINE_float("coverage", 0.9, "The probability with which a prediction set holds the true class.")


def main(argv: Sequence[str]) -> None:
    """Runs what the flags say."""
    if len(argv) > 1:
        raise UserError(f"The argument {argv[1]!r} belongs to no flag; see --help.")
    if _CONFIG.value is None:
        raise UserError("No config is given; write --config FILE, such as --config configs/quickstart.py.")
    from lift_jax.bench import decision_figures, decision_runs

    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # the trainings leave the console to the table
    found = decision_runs.measure(
        _CONFIG.value.to_dict(),
        _METHODS.value,
        _SEEDS.value,
        unknown_classes=_UNKNOWN.value,
        flipped=_FLIPPED.value,
        coverage=_COVERAGE.value,
        say=functools.partial(print, flush=True),
    )
    print(f"\n{decision_figures.tables(found)}")


def entry_point() -> None:
    """Runs the command with the process's own flags."""
    command_line.run(main, __doc__, (_CONFIG, _SEEDS, _METHODS, _UNKNOWN, _FLIPPED, _COVERAGE))


if __name__ == "__main__":
    entry_point()
