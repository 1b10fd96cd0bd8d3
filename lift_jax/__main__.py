"""Long-tailed fine-tuning of foundation models: train on your images, look at the result, use it.

Every command has a --help. For example:

  lift_jax train photos/ --workdir runs/photos
  lift_jax predict --workdir runs/photos holiday/*.jpg

lift_jax --config FILE is short for lift_jax train --config FILE, and lift_jax COMMAND is python -m lift_jax COMMAND.
With --quiet, a command prints results, warnings and errors alone.
The exit status is 0 if all was done, 1 for a mistake, which one sentence on standard error names, 2 for words that a
command other than train, eval, sweep and features does not know, 75 for a run that was told to stop and goes on when it
is started again, and 130 for Ctrl-C. lift_jax --version prints the version.
"""

import sys

from lift_jax.commands import COMMANDS
from lift_jax.dispatch import dispatch
from lift_jax.errors import exit_status, quiet
from lift_jax.version import __version__


def main() -> int:
    """Runs the command, and returns its exit status."""
    words = quiet.without_flag(sys.argv[1:])
    if words == ["--version"]:
        print(f"lift_jax {__version__}")
        return 0
    if words[:1] and words[0].startswith("-") and words[0] not in ("-h", "-help", "--help"):
        words = ["train", *words]
    return exit_status(lambda: dispatch("lift_jax", COMMANDS, __doc__ or "", words))


if __name__ == "__main__":
    sys.exit(main())
