r"""Serves a trained run: a page on which images are dropped, and a REST service.

    python -m lift_jax.serve --workdir RUN [--host 127.0.0.1] [--port 8000]

POST /predict takes the files of a form or the bytes of one image, and answers with what `lift_jax predict --format
jsonl` says of them; GET /health says whether the service is there; /openapi.json describes both. For example:

    curl -F images=@wren.jpg -F images=@robin.jpg http://127.0.0.1:8000/predict
    curl --data-binary @wren.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8000/predict

A run that `python -m lift_jax.calibrate` has calibrated also says which images are of no known class, and which classes
each may be of. --nearest 5 shows the five training images that are most like each image, where the training images are
still there; their features are computed at the first start, which takes a while, and kept. There is no password: other
machines are let in by --host alone.
"""

import argparse
import sys
from collections.abc import Sequence

from lift_jax.errors import UserError, exit_status
from lift_jax.errors.arguments import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = Parser(
        prog="python -m lift_jax.serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the run's folder")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen at (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="the port, 0 for a free one (default 8000)")
    parser.add_argument("--checkpoint", metavar="DIR", help="a checkpoint's folder instead of the newest of the run")
    parser.add_argument("--backbone", metavar="NAME", help="where the backbone is now, if it has moved")
    parser.add_argument("--raw", action="store_true", help="without the run's calibration")
    parser.add_argument("--tte", action=argparse.BooleanOptionalAction, help="with or without test-time ensembling")
    parser.add_argument("--top", type=int, default=5, metavar="K", help="classes for each image (default 5)")
    parser.add_argument("--unknown", type=float, metavar="SHARE", help="see predict (default 0.05 if calibrated)")
    parser.add_argument("--coverage", type=float, metavar="P", help="see predict (default 0.9 if calibrated)")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="images that the model gets at a time")
    parser.add_argument(
        "--nearest", type=int, default=0, metavar="K", help="training images most like each image (default 0: none)"
    )
    given = parser.parse_args(arguments)
    return exit_status(lambda: _run(given))


def _run(given: argparse.Namespace) -> None:
    for name in "top", "batch":
        if not 1 <= getattr(given, name) <= 1024:
            raise UserError(f"--{name} is {getattr(given, name)}; it is a whole number from 1 to 1024.")
    if not 0 <= given.nearest <= 50:
        raise UserError(f"--nearest is {given.nearest}; it is a whole number from 0 to 50.")
    from lift_jax.inference.serving import packages

    packages.require()
    # Imported here: `--help` needs no JAX.
    from lift_jax.inference.serving.server import serve
    from lift_jax.workdir.logs import Logs

    with Logs(None, to_stderr=True):
        serve(
            given.workdir, host=given.host, port=given.port, checkpoint=given.checkpoint, backbone=given.backbone,
            raw=given.raw, tte=given.tte, top_k=given.top, unknown=given.unknown, coverage=given.coverage,
            batch_size=given.batch, nearest=given.nearest,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
