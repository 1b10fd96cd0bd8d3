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
import contextlib
import csv
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lift_jax.errors import UserError, exit_status, reason
from lift_jax.files import check_file, expand, replacing
from lift_jax.text import aligned, printable

if TYPE_CHECKING:
    from lift_jax.inference.model import Model, Prior

FORMATS = ("table", "jsonl", "csv")


class Prediction(NamedTuple):
    """An image's most probable classes, in descending order.

    Attributes:
        path: the image's file.
        labels: the classes' labels.
        probabilities: the classes' probabilities, 0 to 1.
        problem: why the file could not be read; labels and probabilities are empty then.
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
    """Gives all that `stream_files` yields, which has the same arguments."""
    return list(stream_files(model, paths, top_k=top_k, tte=tte, prior=prior, num_workers=num_workers))


def stream_files(
    model: "Model", paths: Sequence[str], *, top_k: int = 5, tte: bool | None = None, prior: "Prior" = "uniform",
    num_workers: int = 0,
) -> Iterator[Prediction]:  # fmt: skip
    """Yields the `top_k` most probable classes of each file, in the order of `paths`; progress goes to standard error.

    Args:
        model: the run's classifier; see `lift_jax.load`.
        paths: the image files.
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
        following = 0
        for indices, probabilities in model.stream(loader, logs, prior=prior):
            # A stable order, so that of equal probabilities the first class stands first, as in the evaluation.
            order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
            rows = np.take_along_axis(probabilities, order, axis=1)
            for index, labels, row in zip(indices, order, rows, strict=True):
                best[int(index)] = Prediction(paths[int(index)], labels.tolist(), row.tolist())
            while following in best or following in loader.problems:
                yield _known(following, paths, best, loader.problems)
                following += 1
    for index in range(following, len(paths)):
        yield _known(index, paths, best, loader.problems)


def _known(index: int, paths: Sequence[str], best: dict[int, Prediction], problems: Mapping[int, str]) -> Prediction:
    """Gives what is known of a file: its classes, which are then taken out of `best`, or its problem."""
    if index in problems:
        return Prediction(paths[index], [], [], problems[index])
    return best.pop(index)


def write(predictions: Iterable[Prediction], class_names: Sequence[str], style: str, file: IO[str]) -> None:
    """Writes predictions as a table, as JSON lines, or as CSV with a line for each image and rank.

    The last two are written as the predictions come. A table, whose columns are as wide as their content, has to wait
    for the last one.
    """
    if style == "csv":
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "rank", "label", "class", "probability"])
        for path, labels, probabilities, _ in predictions:
            for rank, (label, probability) in enumerate(zip(labels, probabilities, strict=True), start=1):
                writer.writerow([path, rank, label, class_names[label], f"{probability:.6g}"])
    elif style == "jsonl":
        for prediction in predictions:
            file.write(_json_line(_as_json(prediction, class_names), file))
    else:
        file.writelines(f"{line}\n" for line in _table(predictions, class_names))


def _json_line(content: dict, file: IO[str]) -> str:
    """Writes a line of JSON, whose characters are escaped as JSON does it where the file cannot have them."""
    line = json.dumps(content, ensure_ascii=False) + "\n"
    try:
        line.encode(getattr(file, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(content) + "\n"
    return line


def _as_json(prediction: Prediction, class_names: Sequence[str]) -> dict:
    if prediction.problem is not None:
        return {"path": prediction.path, "error": prediction.problem}
    ranked = zip(prediction.labels, prediction.probabilities, strict=True)
    classes = [{"label": label, "class": class_names[label], "probability": p} for label, p in ranked]
    return {"path": prediction.path, "predictions": classes}


def _table(predictions: Iterable[Prediction], class_names: Sequence[str]) -> Iterator[str]:
    rows = [
        [
            printable(p.path),
            *(f"{printable(class_names[c])} {100 * x:.1f} %" for c, x in zip(p.labels, p.probabilities, strict=True)),
        ]
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
    """Runs the command, and returns its exit status."""
    given = _parser().parse_args(arguments)
    try:
        return exit_status(lambda: _run(given))
    except BrokenPipeError:  # of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(given: argparse.Namespace) -> int:
    if given.top_k < 1:
        raise UserError(f"--top_k is {given.top_k}; it is a whole number of at least 1.")
    output = None if given.output is None else Path(expand(given.output, "--output"))
    if output is not None and not _is_device(output):
        check_file(output, "name another file with --output")
    paths = find_images(given.paths or ["-"], sys.stdin)
    # Imported here: `--help` needs no JAX.
    from lift_jax.cluster import processes
    from lift_jax.inference.load import load

    processes.start()
    model = load(given.workdir, checkpoint=given.checkpoint, backbone=given.backbone)
    predictions = stream_files(
        model, paths, top_k=given.top_k, tte=given.tte, prior=given.prior, num_workers=given.num_workers
    )
    come: list[Prediction] = []
    if output is None:
        _print(_reported(predictions, come), model.class_names, given.format)
    else:
        _write_file(_reported(predictions, come), come, model.class_names, given.format, output)
    return 0 if any(prediction.problem is None for prediction in come) else 1


def _reported(predictions: Iterable[Prediction], come: list[Prediction]) -> Iterator[Prediction]:
    """Passes predictions on, collects them in `come`, and names the files that could not be read."""
    for prediction in predictions:
        if prediction.problem is not None:
            print(f"warning: {prediction.problem}", file=sys.stderr)
        come.append(prediction)
        yield prediction


def _print(predictions: Iterable[Prediction], class_names: Sequence[str], style: str) -> None:
    """Writes predictions to standard output."""
    try:
        write(predictions, class_names, style, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"Standard output cannot be written ({reason(error)}); make room, or name a file with --output."
        ) from error


def _write_file(
    predictions: Iterator[Prediction], come: list[Prediction], class_names: Sequence[str], style: str, output: Path
) -> None:
    """Writes predictions into a file, or to standard output if the file cannot be written after all."""
    try:
        with _opened(output) as file:
            write(predictions, class_names, style, file)
    except OSError as error:
        come += list(predictions)  # those that were still to come
        _print(come, class_names, style)
        raise UserError(
            f"{output} cannot be written ({reason(error)}), so that the predictions are on standard output; make room "
            "or get permission, or name another file with --output."
        ) from error


@contextlib.contextmanager
def _opened(output: Path) -> Iterator[IO[str]]:
    """Opens a file for writing, which appears when all is written; or a device or pipe, which cannot be replaced."""
    output.parent.mkdir(parents=True, exist_ok=True)
    form: Any = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}
    if _is_device(output):
        with output.open("w", **form) as file:
            yield file
        return
    with replacing(output.resolve()) as part, Path(part).open("w", **form) as file:
        yield file


def _is_device(output: Path) -> bool:
    return output.exists() and not output.is_file() and not output.is_dir()


if __name__ == "__main__":
    sys.exit(main())
