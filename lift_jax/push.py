r"""Puts a run on the Hugging Face hub: what it has trained, in one file, and a model card.

    python -m lift_jax.push RUN OWNER/NAME [--private]

The repository is made if it is not there. Whoever may see it loads the run with lift_jax.load("hf://OWNER/NAME"), and
`--workdir hf://OWNER/NAME` of `lift_jax predict` and `lift_jax serve` names it, too. The file's header has the run's
config and its command, with the paths in them; the images stay here.
"""

import argparse
import sys
from collections.abc import Sequence

from lift_jax.errors import exit_status
from lift_jax.errors.arguments import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = Parser(
        prog="python -m lift_jax.push", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workdir", metavar="RUN", help="the run's folder")
    parser.add_argument("repository", metavar="OWNER/NAME", help="the repository on the hub")
    parser.add_argument("--private", action="store_true", help="a repository that is made is seen by its owner alone")
    parser.add_argument("--checkpoint", metavar="DIR", help="a checkpoint's folder instead of the newest of the run")
    parser.add_argument("--backbone", metavar="NAME", help="where the backbone is now, if it has moved")
    parser.add_argument("--raw", action="store_true", help="without the run's calibration")
    given = parser.parse_args(arguments)

    def run() -> None:
        # Imported here: `--help` needs no JAX.
        from lift_jax.export.hub import push
        from lift_jax.workdir.logs import Logs

        with Logs(None, to_stderr=True):
            page = push(
                given.workdir, given.repository, private=given.private, checkpoint=given.checkpoint,
                backbone=given.backbone, raw=given.raw,
            )  # fmt: skip
        print(page)

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
