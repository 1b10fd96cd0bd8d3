r"""Calibrates a trained run by labelled images that it was not trained on.

    python -m lift_jax.calibrate --workdir RUN [--images FOLDER|LIST|CSV]

chooses how strongly the zero-shot classifier is mixed in, without the prior of its pre-training, and Gaussians of the
training images' features; the strength of the training prior; and the temperature. It keeps of these what gains more
than its standard error on images that chose nothing, and writes RUN/calibration.json, by which
`python -m lift_jax.predict` and `lift_jax.load` answer from then on (--raw leaves it out).

The images are those that config.validation has held out. --images names others: a folder with a folder for each class,
or a list or CSV file of paths and labels; paths start from the run's config.data.root or, where it has none, from the
file.
"""

import argparse
import sys
from collections.abc import Sequence

from lift_jax.errors import exit_status
from lift_jax.errors.arguments import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = Parser(
        prog="python -m lift_jax.calibrate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the run's folder")
    parser.add_argument(
        "--images", metavar="PATH", help="labelled images: a folder for each class, a list or a CSV file"
    )
    parser.add_argument(
        "--gaussians",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="whether Gaussians are tried, which takes the features of all training images (default: yes)",
    )
    parser.add_argument("--checkpoint", metavar="DIR", help="a checkpoint's folder instead of the newest of the run")
    parser.add_argument("--backbone", metavar="NAME", help="where the backbone is now, if it has moved")
    given = parser.parse_args(arguments)

    def run() -> None:
        # Imported here: `--help` needs no JAX.
        from lift_jax.cluster import processes
        from lift_jax.inference import calibrating, calibration_summary
        from lift_jax.workdir.logs import Logs

        processes.start()
        with Logs(None, to_stderr=True):
            calibrated = calibrating.calibrate(
                given.workdir, given.images, gaussians=given.gaussians, checkpoint=given.checkpoint,
                backbone=given.backbone,
            )  # fmt: skip
        print(f"{calibration_summary.describe(calibrated.calibration)}\n\n{calibrated.file}")

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
