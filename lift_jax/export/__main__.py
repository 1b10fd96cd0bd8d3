"""The command line of the exports; see `lift_jax.export`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import lift_jax.export
from lift_jax.errors import UserError

FORMATS = ("stablehlo", "onnx", "safetensors")
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
"""How far the probabilities of the exported file may be from the run's, by config.dtype."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lift_jax.export",
        description=lift_jax.export.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the run's folder")
    parser.add_argument("--format", required=True, choices=FORMATS, help="of the file")
    parser.add_argument("--output", type=Path, metavar="DIR", help="the file's folder (default RUN/export)")
    parser.add_argument("--checkpoint", metavar="DIR", help="a checkpoint's folder instead of the newest of the run")
    parser.add_argument("--backbone", metavar="NAME", help="where the backbone is now, if it has moved")
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run the file on images and compare its predictions with the run's",
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="to compare with (default: of the test split)")
    given = parser.parse_args(arguments)
    try:
        _run(given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace) -> None:
    # Imported here: `--help` needs no JAX.
    import jax

    from lift_jax import devices
    from lift_jax.export import classifier, compact, onnx, stablehlo, verify
    from lift_jax.inference import load

    devices.start()
    model = load(given.workdir, checkpoint=given.checkpoint, backbone=given.backbone)
    folder = given.output or Path(given.workdir) / "export"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be made ({error.strerror}); name another with --output."
        ) from error
    write = {"stablehlo": stablehlo.write, "onnx": onnx.write, "safetensors": compact.write}[given.format]
    file = write(model, folder)
    print(f"{file}: {file.stat().st_size:,} bytes.")
    if given.format != "safetensors":
        text = json.dumps(classifier.description(model), indent=2, ensure_ascii=False)
        (folder / "model.json").write_text(text + "\n", encoding="utf-8")
    if not given.check:
        return
    dataset = verify.images(model, given.images)
    if given.format == "safetensors":
        exported = jax.jit(classifier.function(compact.load(file, given.backbone)))
    else:
        exported = {"stablehlo": stablehlo.read, "onnx": onnx.read}[given.format](file)
    difference, limit = verify.difference(model, exported, dataset), TOLERANCE[model.config.dtype]
    if difference > limit:
        raise UserError(
            f"The predictions of {file} differ from the run's by up to {difference:.1e}, more than {limit:.0e}; "
            "do not use it."
        )
    print(f"Its predictions on {len(dataset)} images are the run's: they differ by {difference:.1e} at most.")


if __name__ == "__main__":
    sys.exit(main())
