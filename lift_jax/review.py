r"""Finds images of a run's data that a person should look at, and makes a page on which to decide about them.

    python -m lift_jax.review --workdir RUN [--images PATH ...] [--top N] [--output DIR]

The page has the training images whose labels look wrong, those that are nearly the same as another training or test
image, and, with --images, the new images of which the run is the least certain. It is one file, review.html in the
run's folder, and needs no network; review.csv beside it has all findings. The decisions that are made on the page are
saved as a table, which the next training applies with --config.data.corrections=FILE.
"""

import argparse
import sys
from collections.abc import Sequence

from lift_jax.errors import exit_status
from lift_jax.errors.arguments import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = Parser(
        prog="python -m lift_jax.review", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the run's folder")
    parser.add_argument("--images", nargs="+", default=[], metavar="PATH", help="new images, or folders of them")
    parser.add_argument("--top", type=int, default=100, metavar="N", help="how many of each kind (default %(default)s)")
    parser.add_argument("--output", metavar="DIR", help="the folder of the page (default: the run's)")
    parser.add_argument("--checkpoint", metavar="DIR", help="a checkpoint's folder instead of the newest of the run")
    parser.add_argument("--backbone", metavar="NAME", help="where the backbone is now, if it has moved")
    given = parser.parse_args(arguments)
    if given.top < 1:
        parser.error(f"--top is {given.top}; write a whole number from 1 on.")

    def run() -> None:
        # Imported here: `--help` needs no JAX.
        from lift_jax.cluster import processes
        from lift_jax.files import place
        from lift_jax.inference import reviewing
        from lift_jax.report import review_page
        from lift_jax.workdir.logs import Logs

        processes.start()
        folder = place(given.workdir if given.output is None else given.output, "--output")
        with Logs(None, to_stderr=True):
            found = reviewing.review(
                given.workdir, given.images, top=given.top, checkpoint=given.checkpoint, backbone=given.backbone
            )
        print(f"{len(found.suspected):,} labels that look wrong, {len(found.copies):,} that look like copies.")
        print(review_page.write(found, folder, given.top))

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
