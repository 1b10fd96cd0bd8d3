"""The arguments of `lift_jax predict` for lists of millions of images, and what they do."""

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lift_jax.errors import UserError
from lift_jax.files import place
from lift_jax.inference import parts
from lift_jax.inference.predictions import Prediction

if TYPE_CHECKING:
    from lift_jax.inference.model import Model

_OPTIONS = ("top_k", "tte", "raw", "prior", "only", "costs", "rollup", "threshold", "unknown", "coverage", "nearest")
"""The arguments that the answers follow from."""


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments."""
    parser.add_argument(
        "--parts",
        metavar="DIR",
        help="instead of one output Parquet files in DIR, each of which appears when it is whole; started again, the "
        "command goes on with those that are missing",
    )
    parser.add_argument("--shard", metavar="I/N", help="this command's share of the parts: 0/N, 1/N, to N-1/N")
    parser.add_argument("--part_rows", type=int, metavar="N", help=f"images of a part (default {parts.ROWS:,})")


def check(given: argparse.Namespace) -> None:
    """Checks that the arguments go together, and that Parquet can be written.

    Raises:
        UserError: if they do not, or it cannot.
    """
    if given.parts is None:
        for name in "shard", "part_rows":
            if getattr(given, name) is not None:
                raise UserError(
                    f"--{name} is {getattr(given, name)}, but it belongs to --parts; name their folder, too."
                )
        return
    if given.output is not None:
        raise UserError(f"--parts is {given.parts}, and --output is {given.output}; leave one of them out.")
    if given.prior == "estimate":
        raise UserError("--prior is estimate, which takes all images at once; leave --parts out, or name a prior.")
    if given.part_rows is not None and given.part_rows < 1:
        raise UserError(f"--part_rows is {given.part_rows}; it is a whole number of at least 1, such as {parts.ROWS}.")
    _shard(given)
    from lift_jax.data import arrow_files  # here, because --help does not wait for the data's packages

    arrow_files.require("--parts")


def write(
    given: argparse.Namespace,
    model: "Model",
    paths: Sequence[str],
    predict: Callable[[Sequence[str]], Iterable[Prediction]],
    beside: Mapping[str, Any],
) -> int:
    """Writes the parts of this command's shard (see `lift_jax.inference.parts.write`).

    Args:
        given: the arguments.
        model: the run's classifier.
        paths: all images.
        predict: yields the predictions of images, in their order.
        beside: what the predictions follow from besides the run and the arguments.

    Returns:
        How many of the shard's images could be read.
    """
    from lift_jax.inference import calibration

    shard = _shard(given)
    options = {name: value for name in _OPTIONS if (value := getattr(given, name)) is not None}
    own = calibration.owner(model.config, model.network, model.backbone)
    made = "" if model.calibration is None else model.calibration.model_dump_json()
    origin: dict[str, Any] = {
        "options": options,
        "run": own.model_dump(),
        "calibration": hashlib.sha256(made.encode()).hexdigest(),
        **beside,
    }
    folder = place(given.parts, "--parts")
    rows = parts.ROWS if given.part_rows is None else given.part_rows
    read = parts.write(folder, paths, predict, model.class_names, origin, shard=shard, rows=rows)
    print(f"{folder} has the parts of shard {shard[0]}/{shard[1]}, with {read:,} answers.", file=sys.stderr)
    return read


def _shard(given: argparse.Namespace) -> tuple[int, int]:
    return (0, 1) if given.shard is None else parts.parse_shard(given.shard)
