"""Measurements of the program on this machine, or for machines that need not be here."""

import sys

from lift_jax.dispatch import Command, dispatch
from lift_jax.errors import exit_status, quiet

COMMANDS = {
    "step": Command("lift_jax.bench.step", "time of a training and an evaluation step, beside PyTorch"),
    "data": Command("lift_jax.bench.data", "images a second of decoding and augmentation"),
    "feeding": Command("lift_jax.bench.feeding", "whether the batches keep up with the steps"),
    "load": Command("lift_jax.bench.load", "time until a backbone is on the devices"),
    "memory": Command("lift_jax.bench.memory", "memory of training and evaluation"),
    "gpu": Command("lift_jax.bench.gpu", "what one GPU makes of the program, in one table"),
    "quantised": Command(
        "lift_jax.bench.quantised", "how near a quantised backbone's gradients are to those in float32"
    ),
    "serve": Command("lift_jax.bench.serve", "how long a service takes to answer many at once"),
    "peers": Command("lift_jax.bench.peers", "accuracy, time and memory beside scikit-learn and PEFT"),
    "decisions": Command(
        "lift_jax.bench.decisions", "what calibration, sets, unknown images and suspected labels are worth"
    ),
    "aot": Command("lift_jax.bench.aot", "memory, operations and traffic on TPUs that need not be here"),
    "abuse": Command("lift_jax.bench.abuse", "a thousand bad inputs"),
    "kills": Command("lift_jax.bench.kills", "a hundred runs that are killed and go on"),
}


def main() -> int:
    """Runs a measurement, and returns its exit status."""
    words = quiet.without_flag(sys.argv[1:])
    return exit_status(lambda: dispatch("lift_jax bench", COMMANDS, __doc__ or "", words))


if __name__ == "__main__":
    sys.exit(main())
