r"""Predicts the classes of images with a trained run.

    python -m lift_jax.predict --workdir RUN PATH...

PATH is an image, a folder (all images below it), a quoted pattern such as 'photos/**/*.jpg', or - for a list of paths
on standard input, one a line. For example:

    python -m lift_jax.predict --workdir runs/birds wren.jpg photos/
    find . -name '*.jpg' | python -m lift_jax.predict --workdir runs/birds --format csv - > birds.csv

Files that cannot be read are named on standard error and left out (in JSON lines they have an "error"). The exit status
is 1 if there was no image that could be read.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from lift_jax.errors import UserError, exit_status
from lift_jax.text_table import aligned

if TYPE_CHECKING:
    from lift_jax.inference.model import Model, Prior

FORMATS = ("table", "jsonl", "csv")


class Prediction(NamedTuple):
    """An image's most probable classes, in descending order.

    Attributes:
        path: of the image's file.
        labels: of the classes.
        probabilities: of the classes, 0 to 1.
        problem: why the file could not be read; the others are empty then.
    """

    path: str
    labels: list[int]
    probabilities: list[float]
    problem: str | None = None


def find_images(paths: Sequence[str], listed: IO[str] | None = None) -> list[str]:
    """The files that PATH... stands for; see `lift_jax.data.image_files.find_images`."""
    from lift_jax.data import image_files  # It brings JAX, which `--help` does not need.

    return image_files.find_images(paths, listed)


def predict_files(
    model: "Model", paths: Sequence[str], *, top_k: int = 5, tte: bool | None = None, prior: "Prior" = "uniform",
    num_workers: int = 0,
) -> list[Prediction]:  # fmt: skip
    """The `top_k` most probable classes of each file, in the order of `paths`; progress goes to standard error.

    Args:
        model: see `lift_jax.load`.
        paths: of image files.
        top_k: number of classes, at least 1; there are no more than the model has.
        tte, prior: see `lift_jax.inference.model.Model.predict`.
        num_workers: processes that decode images; 0 uses threads of this one.
    """
    from absl import logging

    from lift_jax.data.dataset import FileSource
    from lift_jax.workdir.logs import Logs

    with Logs(None, to_stderr=True) as logs:
        logging.set_verbosity(logging.ERROR)  # unreadable files are reported by the caller, with their reasons
        loader = model.loader(model.dataset(FileSource("", paths), "the images"), tte=tte, num_workers=num_workers)
        best: dict[int, Prediction] = {}
        for indices, probabilities in model.stream(loader, logs, prior=prior):
            # A stable order, so that of equal probabilities the first class stands first, as in the evaluation.
            order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
            rows = np.take_along_axis(probabilities, order, axis=1)
            for index, labels, row in zip(indices, order, rows, strict=True):
                best[int(index)] = Prediction(paths[int(index)], labels.tolist(), row.tolist())
    for index, problem in loader.problems.items():
        best[index] = Prediction(str(paths[index]), [], [], problem)
    return [best[index] for index in range(len(paths))]


def write(predictions: Sequence[Prediction], class_names: Sequence[str], style: str, file: IO[str]) -> None:
    """Writes predictions as a table, as JSON lines, or as CSV with a line for each image and rank."""
    if style == "csv":
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "rank", "label", "class", "probability"])
        for path, labels, probabilities, _ in predictions:
            for rank, (label, probability) in enumerate(zip(labels, probabilities, strict=True), start=1):
                writer.writerow([path, rank, label, class_names[label], f"{probability:.6g}"])
    elif style == "jsonl":
        for prediction in predictions:
            file.write(json.dumps(_as_json(prediction, class_names), ensure_ascii=False) + "\n")
    else:
        file.writelines(f"{line}\n" for line in _table(predictions, class_names))


def _as_json(prediction: Prediction, class_names: Sequence[str]) -> dict:
    if prediction.problem is not None:
        return {"path": prediction.path, "error": prediction.problem}
    ranked = zip(prediction.labels, prediction.probabilities, strict=True)
    classes = [{"label": label, "class": class_names[label], "probability": p} for label, p in ranked]
    return {"path": prediction.path, "predictions": classes}


def _table(predictions: Sequence[Prediction], class_names: Sequence[str]) -> Iterator[str]:
    rows = [
        [p.path, *(f"{class_names[label]} {100 * x:.1f} %" for label, x in zip(p.labels, p.probabilities, strict=True))]
        for p in predictions
        if p.problem is None
    ]
    yield from aligned(rows, right=False).splitlines() if rows else ()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lift_jax.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="image, folder, pattern, or - for standard input")
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the run's folder")
    parser.add_argument("--checkpoint", metavar="DIR", help="a checkpoint's folder instead of the newest of the run")
    parser.add_argument("--backbone", metavar="NAME", help="where the backbone is now, if it has moved")
    parser.add_argument("--top_k", type=int, default=5, metavar="K", help="classes for each image (default 5)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="of the output (default table)")
    parser.add_argument("--output", metavar="FILE", help="instead of standard output")
    parser.add_argument(
        "--tte",
        action=argparse.BooleanOptionalAction,
        help="with or without test-time ensembling (default: as the run's evaluation)",
    )
    parser.add_argument(
        "--prior",
        choices=("uniform", "training"),
        default="uniform",
        help="how frequent the classes are beforehand: all alike (default), or as in the training set",
    )
    parser.add_argument("--num_workers", type=int, default=0, metavar="N", help="processes that decode images")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    given = _parser().parse_args(arguments)
    try:
        return exit_status(lambda: _run(given))
    except BrokenPipeError:  # of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(given: argparse.Namespace) -> int:
    if given.top_k < 1:
        raise UserError(f"--top_k is {given.top_k}; it is a whole number of at least 1.")
    paths = find_images(given.paths or ["-"], sys.stdin)
    # Imported here: `--help` needs no JAX.
    from lift_jax.cluster import processes
    from lift_jax.inference.load import load

    processes.start()
    model = load(given.workdir, checkpoint=given.checkpoint, backbone=given.backbone)
    predictions = predict_files(
        model, paths, top_k=given.top_k, tte=given.tte, prior=given.prior, num_workers=given.num_workers
    )
    for prediction in predictions:
        if prediction.problem is not None:
            print(f"warning: {prediction.problem}", file=sys.stderr)
    if given.output:
        with Path(given.output).open("w", encoding="utf-8", newline="") as file:
            write(predictions, model.class_names, given.format, file)
    else:
        write(predictions, model.class_names, given.format, sys.stdout)
    return 0 if any(prediction.problem is None for prediction in predictions) else 1


if __name__ == "__main__":
    sys.exit(main())
