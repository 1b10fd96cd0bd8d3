"""Converts a foundation model: `python -m lift_jax.weights.convert SOURCE DEST`.

SOURCE is whatever `config.backbone` may be. DEST becomes a folder in the layout of transformers, or of open_clip for
CLIP's ResNets, which transformers does not have; or an orbax checkpoint if DEST is in a bucket or --format says so.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from lift_jax import weights
from lift_jax.errors import UserError, exit_status, reason
from lift_jax.errors.arguments import Parser
from lift_jax.files import check_file, expand, filling
from lift_jax.models import partition
from lift_jax.models.resnet import ResNet
from lift_jax.weights import cache, huggingface, open_clip

FORMATS = ("transformers", "open_clip", "orbax")


def convert(
    source: str, destination: str, form: str | None = None, dtype: str = "float32", activation: str = ""
) -> str:
    """Reads a backbone and writes it in another format.

    Args:
        source: as `config.backbone`.
        destination: a new or empty folder, or one in a bucket.
        form: one of `FORMATS`; None for what suits the destination and the model.
        dtype: the type of the stored arrays.
        activation: as `config.backbone_activation`.

    Returns:
        The format that was written.

    Raises:
        UserError: if the source cannot be read, the destination is not empty, or the format has no such model.
    """
    destination = expand(destination, "DEST")
    remote = "://" in destination
    if remote and form not in (None, "orbax"):
        raise UserError(f"{destination} is in a bucket, where only orbax checkpoints are written; leave --format out.")
    if not remote and Path(destination).exists() and (Path(destination).is_file() or any(Path(destination).iterdir())):
        raise UserError(f"{destination} is not empty; name a new folder.")
    if not remote:
        check_file(Path(destination) / "config.json", "name another place")
    backbone = weights.load(source, activation=activation)
    if form is None:
        form = "orbax" if remote else "open_clip" if isinstance(backbone.vision, ResNet) else "transformers"
    save = {"transformers": huggingface.save_backbone, "open_clip": open_clip.save_backbone, "orbax": cache.save}[form]
    with _filling(destination) as folder:
        save(folder, backbone, jnp.dtype(dtype))
        again = weights.load(str(folder))
        if np.dtype(dtype) == np.float32 and again.hash != backbone.hash:
            raise UserError(f"What was written to {destination} is not what was read; the disk may be damaged.")
    print(
        f"{source}: {partition.count(backbone.params):,} parameters, {backbone.resolution} x {backbone.resolution} "
        f"pixels, written to {destination} in the format of {form}; content hash {again.hash[:16]}."
    )
    return form


@contextlib.contextmanager
def _filling(destination: str) -> Iterator[str | Path]:
    """Gives the place to write to, which on a disk becomes the destination when all is written and read again.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        if "://" in destination:
            yield destination
        else:
            with filling(Path(destination).absolute()) as part:
                yield part
    except UserError:
        raise
    except Exception as error:  # disks and buckets have no common base
        raise UserError(f"{destination} cannot be written ({reason(error)}); name another place.") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: the words after the program's name; None for those of the process.

    Returns:
        The exit status.
    """
    parser = Parser(
        prog="python -m lift_jax.weights.convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="SOURCE", help="a folder, .pt or .npz file, hub id or bucket")
    parser.add_argument("destination", metavar="DEST", help="a new folder, or a bucket's")
    parser.add_argument("--format", choices=FORMATS, help="by default what suits DEST and the model")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of the arrays")
    parser.add_argument("--activation", default="", help="of a CLIP whose files do not tell it: quick_gelu or gelu")
    arguments = parser.parse_args(argv)

    def run() -> None:
        from lift_jax.workdir.logs import Logs  # `--help` does without

        with Logs(None, to_stderr=True):
            convert(arguments.source, arguments.destination, arguments.format, arguments.dtype, arguments.activation)

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
