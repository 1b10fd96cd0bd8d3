"""The command line of the exports; see `lift_jax.export`."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import lift_jax.export
from lift_jax.errors import UserError, exit_status
from lift_jax.errors.arguments import Parser
from lift_jax.files import check_file, expand, filling, place, writing

if TYPE_CHECKING:
    from lift_jax.inference.model import Model

FORMATS = ("stablehlo", "onnx", "safetensors", "merged", "peft", "reference")
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
"""How far the probabilities of the exported file may be from the run's, by config.dtype."""

_REMEDY = "name another folder with --output"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = Parser(
        prog="python -m lift_jax.export",
        description=lift_jax.export.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the run's folder")
    parser.add_argument("--format", required=True, choices=FORMATS, help="see above")
    parser.add_argument(
        "--squares", action="store_true", help="of stablehlo: for images that are resized and cropped already"
    )
    parser.add_argument("--output", metavar="DIR", help="the folder (default RUN/export, or in it merged or peft)")
    parser.add_argument("--checkpoint", metavar="DIR", help="a checkpoint's folder instead of the newest of the run")
    parser.add_argument("--backbone", metavar="NAME", help="where the backbone is now, if it has moved")
    parser.add_argument("--raw", action="store_true", help="without the run's calibration")
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run the file on images and compare its predictions with the run's",
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="to compare with (default: of the test split)")
    given = parser.parse_args(arguments)
    if given.squares and given.format != "stablehlo":
        parser.error("--squares is of --format stablehlo; onnx takes squares in any case, the others no images.")
    return exit_status(lambda: _run(given))


def _run(given: argparse.Namespace) -> None:
    """Exports a run as the command line asks for, and compares the export's predictions with the run's."""
    # Imported here: `--help` needs no JAX.
    from lift_jax.cluster import processes
    from lift_jax.export import weights
    from lift_jax.inference.load import load
    from lift_jax.workdir.logs import Logs

    folder = _folder(given)
    if given.format in ("merged", "peft"):
        weights.check_new(folder)
    check_file(folder / "model.json", _REMEDY)
    processes.start()
    with Logs(None, to_stderr=True):
        model = load(given.workdir, checkpoint=given.checkpoint, backbone=given.backbone, raw=given.raw)
        model.require_one_label("An export")
        file = _export(model, folder, given)
        print(f"{file}: {sum(each.stat().st_size for each in _parts(file)):,} bytes.")
        if given.check and given.format != "peft":  # peft itself would be needed
            _compare(model, file, folder, given)


def _takes_photographs(given: argparse.Namespace) -> bool:
    """Tells whether the exported file takes whole photographs, and not squares that were cropped already."""
    return given.format == "stablehlo" and not given.squares


def _export(model: "Model", folder: Path, given: argparse.Namespace) -> Path:
    """Writes the model in the format that was asked for, and returns the file, or the folder of several."""
    from lift_jax.export import classifier, onnx, stablehlo, weights
    from lift_jax.inference import compact

    write = {
        "stablehlo": lambda model, folder: stablehlo.write(model, folder, given.squares),
        "onnx": onnx.write,
        "safetensors": compact.write,
        "merged": weights.write_merged,
        "peft": weights.write_peft,
        "reference": weights.write_reference,
    }[given.format]
    with writing(folder, _REMEDY), filling(folder) as part:
        written = write(model, part)
        if given.format in ("stablehlo", "onnx"):
            description = classifier.description(model, _takes_photographs(given))
            text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
            (part / "model.json").write_text(text, encoding="utf-8", errors="backslashreplace")
    return folder / written.relative_to(part)


def _compare(model: "Model", file: Path, folder: Path, given: argparse.Namespace) -> None:
    """Compares the predictions of an export with the run's.

    Raises:
        UserError: if they differ by more than the tolerance of the run's dtype.
    """
    import jax

    from lift_jax.export import classifier, onnx, stablehlo, verify, weights
    from lift_jax.inference import compact

    photographs = _takes_photographs(given)
    # Of photographs each size is compiled anew.
    dataset = verify.images(model, given.images, most=8 if photographs else 32)
    if given.format in ("merged", "reference"):  # which have no place for a calibration
        model = dataclasses.replace(model, calibration=None)
    rounded = given.format == "onnx" and model.config.dtype != "float32"
    model = classifier.in_float32(model) if rounded else model
    if given.format in ("safetensors", "merged", "reference"):
        again = {
            "safetensors": lambda: compact.load(file, given.backbone),
            "merged": lambda: weights.read_merged(model, folder),
            "reference": lambda: weights.read_reference(model, folder),
        }[given.format]()
        exported = jax.jit(classifier.function(again))
    else:
        exported = {"stablehlo": stablehlo.read, "onnx": onnx.read}[given.format](file)
    difference, limit = verify.difference(model, exported, dataset, photographs), TOLERANCE[model.config.dtype]
    if not difference <= limit:  # it may be NaN
        raise UserError(
            f"The predictions of {file} differ from the run's by up to {difference:.1e}, more than {limit:.0e}; "
            "do not use it."
        )
    whose = "the run's in float32" if rounded else "the run's"
    print(f"Its predictions on {len(dataset)} images are {whose}: they differ by {difference:.1e} at most.")


def _folder(given: argparse.Namespace) -> Path:
    """Finds the folder that the export goes to."""
    if given.output is not None:
        return Path(expand(given.output, "--output"))
    workdir = place(given.workdir, "--workdir")
    if "://" in str(workdir):
        raise UserError(f"The run {workdir} is in a bucket; name a folder for the export with --output.")
    return Path(workdir) / "export" / (given.format if given.format in ("merged", "peft") else "")


def _parts(file: Path) -> list[Path]:
    return [file] if file.is_file() else sorted(file.iterdir())


if __name__ == "__main__":
    sys.exit(main())
