"""Long-tailed fine-tuning of foundation models: train on your images, look at the result, use it.

Every command has a --help. For example:

  lift_jax train photos/ --workdir runs/photos
  lift_jax predict --workdir runs/photos holiday/*.jpg

lift_jax --config FILE is short for lift_jax train --config FILE, and lift_jax COMMAND is python -m lift_jax COMMAND.
With --quiet, a command prints results, warnings and errors alone.
The exit status is 0 if all was done, 1 for a mistake, which one sentence on standard error names, 2 for wrong arguments
of a command other than train and eval, 75 for a run that was told to stop and goes on when it is started again, and
130 for Ctrl-C.
"""

import sys

from lift_jax import quiet
from lift_jax.dispatch import Command, dispatch
from lift_jax.errors import exit_status

COMMANDS = {
    "train": Command("lift_jax.main", "train on a folder of images, or as a config says, and evaluate"),
    "eval": Command("lift_jax.main", "evaluate a run again", ("--mode=eval",)),
    "features": Command("lift_jax.features", "compute features of images once, for all runs that need them"),
    "predict": Command("lift_jax.predict", "the classes of new images"),
    "serve": Command("lift_jax.serve", "a page and a REST service that answer for new images"),
    "calibrate": Command("lift_jax.calibrate", "make a run's probabilities right, for predict"),
    "soup": Command("lift_jax.soup", "the average of several runs, as a run"),
    "review": Command("lift_jax.review", "labels that look wrong, copies, and uncertain images, to decide about"),
    "report": Command("lift_jax.report", "draw a run's report.html anew"),
    "compare": Command("lift_jax.report", "runs side by side, as a table and a page", ("compare",)),
    "analyze": Command("lift_jax.analyze", "the paper's figures of heavy and light fine-tuning, for your runs"),
    "export": Command("lift_jax.export", "a run as StableHLO, ONNX, safetensors, or for peft"),
    "push": Command("lift_jax.push", "a run on the Hugging Face hub, with a model card"),
    "prepare": Command("lift_jax.data.prepare", "a benchmark's records for training"),
    "convert": Command("lift_jax.weights.convert", "a backbone into another format"),
    "backbones": Command("lift_jax.backbones", "the backbones that are known by short names"),
    "doctor": Command("lift_jax.doctor", "whether this machine is ready, and what to mend"),
    "completion": Command("lift_jax.completion", "a script by which a shell completes commands and flags"),
    "bench": Command("lift_jax.bench", "measure speed and memory, and try bad inputs and kills"),
}


def main() -> int:
    """Runs the command, and returns its exit status."""
    words = quiet.without_flag(sys.argv[1:])
    if words[:1] and words[0].startswith("-") and words[0] not in ("-h", "-help", "--help"):
        words = ["train", *words]
    return exit_status(lambda: dispatch("lift_jax", COMMANDS, __doc__ or "", words))


if __name__ == "__main__":
    sys.exit(main())
