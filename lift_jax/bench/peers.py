r"""LIFT beside what people would use instead, on the same images: accuracy, time and memory.

    python -m lift_jax.bench.peers --config configs/quickstart.py [--seeds 5] [--only NAME,...] [--config.KEY=VALUE ...]

zero_shot, head_only, lift and full_tuning are this program's methods, as the config has them. logistic_regression is
scikit-learn's, with balanced class weights, on standardised features of the frozen backbone. peft_lora is LoRA of rank
16 by PEFT, trained by the Trainer of transformers with a learning rate of 0.005 and PEFT's other settings for the
classification of images, on the same random crops, for as many epochs of as large batches.

The backbone is one that transformers reads as well. All are tested on one view of each image. Each training is a
process of its own: its seconds are those of loading, training, compiling and testing together, without the imports;
its memory is the largest resident set. What stands behind "±" is the standard error of the mean over the seeds. PEFT
and PyTorch are needed for peft_lora alone, which is left out, and said so, where they are not installed.
"""

import importlib.util
from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from lift_jax import command_line
from lift_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "The config file, such as configs/quickstart.py.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Trainings of each method.", lower_bound=1)
_ONLY = flags.DEFINE_list("only", [], "Names of methods with commas between; all if absent.")

_NEEDS = {"logistic_regression": ("sklearn",), "peft_lora": ("torch", "transformers", "peft", "accelerate")}
"""Packages of the methods that are not this program's own."""


def main(argv: Sequence[str]) -> None:
    """Runs what the flags say."""
    if len(argv) > 1:
        raise UserError(f"The argument {argv[1]!r} belongs to no flag; see --help.")
    if _CONFIG.value is None:
        raise UserError("No config is given; write --config FILE, such as --config configs/quickstart.py.")
    from lift_jax.bench import peer_methods
    from lift_jax.bench.load import apart

    names = _ONLY.value or list(peer_methods.METHODS)
    for name in names:
        if name not in peer_methods.METHODS:
            raise UserError(f"--only names {name!r}; the methods are {', '.join(peer_methods.METHODS)}.")
    found: dict[str, list[peer_methods.Outcome]] = {}
    for name in names:
        if missing := [package for package in _NEEDS.get(name, ()) if importlib.util.find_spec(package) is None]:
            print(f"{name} is left out: {', '.join(missing)} is not installed.", flush=True)
            continue
        for seed in range(_SEEDS.value):
            outcome = apart(peer_methods.measure, name, _CONFIG.value.to_dict(), seed)
            found.setdefault(name, []).append(outcome)
            print(f"{name}, seed {seed}: {outcome.metrics['accuracy']:.1f} %, {outcome.seconds:.0f} s", flush=True)
    print(peer_methods.table(found))


def entry_point() -> None:
    """Runs the command with the process's own flags."""
    command_line.run(main, __doc__, (_CONFIG, _SEEDS, _ONLY))


if __name__ == "__main__":
    entry_point()
