r"""Predicts the classes of images with a trained run.

    python -m lift_jax.predict --workdir RUN PATH...

PATH is an image, a folder (all images below it), a quoted pattern such as 'photos/**/*.jpg', an archive, any of these
in a bucket (s3://BUCKET/photos), or - for a list of paths on standard input, one a line. For example:

    python -m lift_jax.predict --workdir runs/birds wren.jpg photos/
    find . -name '*.jpg' | python -m lift_jax.predict --workdir runs/birds --format csv - > birds.csv

With --unknown 0.05, images that are of none of the classes are called unknown; with --coverage 0.9, a set of classes
holds the true one with that probability. Both take a run that `python -m lift_jax.calibrate` has calibrated.

The classes can be those that occur at a place (--only), as frequent there as they are (--prior); the answer the one
whose mistakes cost least (--costs), or the genus where the species is not sure (--rollup). For example:

    python -m lift_jax.predict --workdir runs/birds --only garden.txt --prior estimate --rollup taxonomy.csv photos/

With --nearest 5, the five training images that are most like each image stand beside its answer, for whoever reviews
it. The training images must be where the run's config says. For example:

    python -m lift_jax.predict --workdir runs/birds --nearest 5 --format csv --output birds.csv photos/

For millions of images, --parts DIR writes Parquet files as it goes, and goes on where it was killed; several commands
share the work by --shard. For example, the third of eight:

    python -m lift_jax.predict --workdir runs/birds --parts answers --shard 2/8 - < paths.txt

Of a run whose images may be of several classes (config.task=multilabel), each image has all classes whose thresholds it
reaches; --top, --nearest and what decides between classes do not apply.

Files that cannot be read are named on standard error and left out (in JSON lines they have an "error"). The exit status
is 1 if there was no image that could be read.
"""

import argparse
import contextlib
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lift_jax.errors import UserError, exit_status, reason, severity
from lift_jax.errors.arguments import Parser
from lift_jax.files import check_file, expand, replacing
from lift_jax.inference import part_arguments
from lift_jax.inference.predictions import Prediction, write

if TYPE_CHECKING:
    from jaxtyping import Float

    from lift_jax.data.named_classes import SomeClasses
    from lift_jax.inference.conformal import Thresholds
    from lift_jax.inference.deciding import Rollup
    from lift_jax.inference.model import AnyPrior, Model
    from lift_jax.inference.nearest import Search, TrainingImages

FORMATS = ("table", "jsonl", "csv")
PRIORS = ("uniform", "training", "estimate")
THRESHOLD = 0.8
MOST_NEAREST = 50
"""Training images that can stand beside an image."""


def find_images(paths: Sequence[str], listed: IO[str] | None = None) -> list[str]:
    """Finds the files that PATH... stands for; see `lift_jax.data.named_images.find_images`."""
    from lift_jax.data import named_images  # It brings JAX, which `--help` does not need.

    return named_images.find_images(paths, listed)


def predict_files(
    model: "Model", paths: Sequence[str], *, top_k: int = 5, tte: bool | None = None,
    prior: "AnyPrior | None" = None, only: "SomeClasses | None" = None,
    costs: "Float[np.ndarray, 'classes classes'] | None" = None, rollup: "Rollup | None" = None,
    unknown: "Thresholds | None" = None, sets: "Thresholds | None" = None, nearest: "Search | None" = None,
    num_workers: int = 0,
) -> list[Prediction]:  # fmt: skip
    """Gives all that `stream_files` yields, which has the same arguments."""
    return list(
        stream_files(
            model, paths, top_k=top_k, tte=tte, prior=prior, only=only, costs=costs, rollup=rollup,
            unknown=unknown, sets=sets, nearest=nearest, num_workers=num_workers,
        )
    )  # fmt: skip


def stream_files(
    model: "Model", paths: Sequence[str], *, top_k: int = 5, tte: bool | None = None,
    prior: "AnyPrior | None" = None, only: "SomeClasses | None" = None,
    costs: "Float[np.ndarray, 'classes classes'] | None" = None, rollup: "Rollup | None" = None,
    unknown: "Thresholds | None" = None, sets: "Thresholds | None" = None, nearest: "Search | None" = None,
    num_workers: int = 0,
) -> Iterator[Prediction]:  # fmt: skip
    """Yields the `top_k` most probable classes of each file, in the order of `paths`; progress goes to standard error.

    Of a run whose images may be of several classes these are all that an image is said to be of, and the arguments that
    take one class an image have no effect.

    Args:
        model: the run's classifier; see `lift_jax.load`.
        paths: the image files.
        top_k: number of classes, at least 1; there are no more than can occur.
        tte, prior, only: see `lift_jax.inference.model.Model.predict`.
        costs: what each answer costs for each true class (see `lift_jax.inference.deciding.cheapest`).
        rollup: the taxonomy of the classes.
        unknown: thresholds of images that are of no known class (see `lift_jax.inference.calibration.Calibration`).
        sets: thresholds of the classes that an image may be of.
        nearest: finds the training images that are most like an image (see
            `lift_jax.inference.nearest.TrainingImages.search`), in the features that the answer is made of.
        num_workers: processes that decode images; 0 uses threads of this one.
    """
    from lift_jax.data import workers
    from lift_jax.data.dataset import FileSource
    from lift_jax.inference import answers
    from lift_jax.workdir.logs import Logs

    # Unreadable files are reported by the caller, with their reasons.
    with workers.silent(), Logs(None, to_stderr=True) as logs:
        loader = model.loader(model.dataset(FileSource("", paths), "the images"), tte=tte, num_workers=num_workers)
        best: dict[int, Prediction] = {}
        following = 0
        if model.has_label_sets:
            decide, batches = model.label_set_answers(tte), model.scores(loader, logs, "prediction")
        else:
            decide = answers.answers(
                model, top_k=top_k, prior=prior, only=only, costs=costs, rollup=rollup, unknown=unknown, sets=sets,
                nearest=nearest,
            )  # fmt: skip
            batches = decide.rows(model, loader, logs, prior=prior, only=only)
        rows: list[Any]  # logits; or probabilities, and energies and features where these are asked for
        for indices, *rows in batches:
            places = indices.tolist()
            best |= zip(places, decide([paths[int(place)] for place in places], *rows), strict=True)
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


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m lift_jax.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help="image, folder, pattern, or - for standard input")
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the run's folder")
    parser.add_argument("--checkpoint", metavar="DIR", help="a checkpoint's folder instead of the newest of the run")
    parser.add_argument("--backbone", metavar="NAME", help="where the backbone is now, if it has moved")
    parser.add_argument(
        "--top", "--top_k", type=int, default=5, dest="top_k", metavar="K", help="classes for each image (default 5)"
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="of the output (default table)")
    parser.add_argument("--output", metavar="FILE", help="instead of standard output")
    parser.add_argument(
        "--tte",
        action=argparse.BooleanOptionalAction,
        help="with or without test-time ensembling (default: as the run's evaluation)",
    )
    _add_decisions(parser)
    parser.add_argument(
        "--nearest",
        type=int,
        metavar="K",
        help=f"adds the K training images that are most like each image (1 to {MOST_NEAREST})",
    )
    part_arguments.add(parser)
    parser.add_argument("--num_workers", type=int, default=0, metavar="N", help="processes that decode images")
    return parser


def _add_decisions(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say how probabilities become answers."""
    parser.add_argument(
        "--raw", action="store_true", help="without the run's calibration (see python -m lift_jax.calibrate)"
    )
    parser.add_argument(
        "--prior",
        metavar="PRIOR",
        help="how frequent the classes are beforehand: uniform (all alike), training (as in the training set), "
        "estimate (as the images themselves suggest), or a FILE with a class and its weight in each line (default: as "
        "the run's calibration says, or uniform where there is none)",
    )
    parser.add_argument("--only", metavar="FILE", help="the classes that can occur, one a line")
    parser.add_argument(
        "--costs",
        metavar="FILE",
        help="lines of true class, answer and cost (1 for other mistakes); adds the cheapest answer",
    )
    parser.add_argument(
        "--rollup",
        metavar="TAXONOMY",
        help="lines of class, genus, family (or other ranks, named in the first line), or inaturalist for the taxonomy "
        "that the run's data have; adds the most specific rank that is sure enough",
    )
    parser.add_argument(
        "--threshold", type=float, metavar="P", help=f"the probability of a rank that is sure (default {THRESHOLD})"
    )
    parser.add_argument(
        "--unknown",
        type=float,
        metavar="SHARE",
        help="says which images are of no known class, such that this share of known images is called so (a calibrated "
        "run)",
    )
    parser.add_argument(
        "--coverage",
        type=float,
        metavar="P",
        help="adds a set of classes that holds the true one with this probability (a calibrated run)",
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    given = _parser().parse_args(arguments)
    return exit_status(lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    _check(given)
    output = None if given.output is None else Path(expand(given.output, "--output"))
    if output is not None and not _is_device(output):
        check_file(output, "name another file with --output")
    from lift_jax.workdir.logs import Logs  # It brings JAX, which `--help` does not need.

    with Logs(None, to_stderr=True):
        return _answer(given, output)


def _answer(given: argparse.Namespace, output: Path | None) -> int:
    """Predicts the images, and gives the exit status."""
    paths = find_images(given.paths or ["-"], sys.stdin)
    from lift_jax.cluster import processes
    from lift_jax.inference.load import load

    processes.start()
    model = load(given.workdir, checkpoint=given.checkpoint, backbone=given.backbone, raw=given.raw)
    _check_label_sets(given, model)
    options = {**_decision(given, model), **_thresholds(given, model)}
    images = _training_images(given, model)
    predict = functools.partial(
        stream_files, model, top_k=given.top_k, tte=given.tte, num_workers=given.num_workers,
        nearest=None if images is None else images.search(given.nearest), **options,
    )  # fmt: skip
    if given.parts is not None:
        beside = {} if images is None else {"training_images": images.digest}
        return int(part_arguments.write(given, model, paths, lambda some: _warned(predict(some)), beside) == 0)
    predictions = predict(paths)
    come: list[Prediction] = []
    if output is None:
        _print(_reported(predictions, come), model, given.format)
    else:
        _write_file(_reported(predictions, come), come, model, given.format, output)
    return 0 if any(prediction.problem is None for prediction in come) else 1


def _check(given: argparse.Namespace) -> None:
    """Checks what can be checked before anything is loaded."""
    if given.top_k < 1:
        raise UserError(f"--top is {given.top_k}; it is a whole number of at least 1.")
    if given.nearest is not None and not 1 <= given.nearest <= MOST_NEAREST:
        raise UserError(
            f"--nearest is {given.nearest}; it is a whole number from 1 to {MOST_NEAREST}, or is left out for none."
        )
    if given.threshold is not None and given.rollup is None:
        raise UserError(f"--threshold is {given.threshold}, but it belongs to --rollup; name the taxonomy, too.")
    if given.threshold is not None and not 0 < given.threshold <= 1:
        raise UserError(f"--threshold is {given.threshold}; it is a probability above 0 and at most 1, such as 0.8.")
    _check_thresholds(given)
    part_arguments.check(given)
    if given.prior not in (None, *PRIORS) and not Path(expand(given.prior, "--prior")).exists():
        raise UserError(
            f"--prior is {given.prior}, which is no file; write {', '.join(PRIORS)}, or the name of a file with a "
            "class and its weight in each line."
        )


def _check_thresholds(given: argparse.Namespace) -> None:
    """Checks that nothing changes the probabilities that --unknown and --coverage have thresholds of."""
    asked = [f"--{name} is {value}" for name in ("unknown", "coverage") if (value := getattr(given, name)) is not None]
    changing = [f"--{name}" for name in ("raw", "prior", "only") if getattr(given, name)]
    if asked and changing:
        raise UserError(
            f"{asked[0]}, whose thresholds are those of the calibrated probabilities of all classes; leave "
            f"{changing[0]} out."
        )


def _check_label_sets(given: argparse.Namespace, model: "Model") -> None:
    """Refuses what is decided of one class an image, where images may be of several."""
    for name in ("raw", "prior", "only", "costs", "rollup", "unknown", "coverage", "nearest", "parts"):
        if getattr(given, name) not in (None, False):
            model.require_one_label(f"--{name}", "leave it out")


def _decision(given: argparse.Namespace, model: "Model") -> dict[str, Any]:
    """Reads the tables of a decision: the arguments of `stream_files` that they give."""
    from lift_jax.inference import decision_files as files

    class_names = model.class_names
    only = None if given.only is None else files.read_only(given.only, class_names)
    prior = given.prior if given.prior in (None, *PRIORS) else files.read_prior(given.prior, class_names, only)
    costs = None if given.costs is None else files.read_costs(given.costs, class_names)
    return {"only": only, "prior": prior, "costs": costs, "rollup": _rollup(given, model)}


def _rollup(given: argparse.Namespace, model: "Model") -> "Rollup | None":
    """Gives the taxonomy: that of a file, or that of the run's data."""
    from lift_jax.inference import decision_files, taxonomies

    threshold = THRESHOLD if given.threshold is None else given.threshold
    if given.rollup == taxonomies.INATURALIST:
        return taxonomies.of_run(model.config, model.class_names, threshold)
    return None if given.rollup is None else decision_files.read_rollup(given.rollup, model.class_names, threshold)


def _thresholds(given: argparse.Namespace, model: "Model") -> dict[str, Any]:
    """Makes the thresholds of --unknown and --coverage: the arguments of `stream_files` that they give."""
    if given.unknown is None and given.coverage is None:
        return {}
    if model.calibration is None:
        raise UserError(
            f"{'--coverage' if given.unknown is None else '--unknown'} takes a calibrated run, and {given.workdir} has "
            "no calibration; make it with python -m lift_jax.calibrate."
        )
    return {
        "unknown": None if given.unknown is None else model.calibration.unknown(given.unknown),
        "sets": None if given.coverage is None else model.calibration.sets(given.coverage),
    }


def _training_images(given: argparse.Namespace, model: "Model") -> "TrainingImages | None":
    """Loads the training images of --nearest, with their features; None where they are not asked for.

    Raises:
        UserError: if they are not to be had.
    """
    if given.nearest is None:
        return None
    from lift_jax.inference import nearest

    try:
        return nearest.load(model, nearest.store_of(given.workdir))
    except UserError as error:
        raise UserError(f"--nearest takes the run's training images, which cannot be had: {error}") from error


def _reported(predictions: Iterable[Prediction], come: list[Prediction]) -> Iterator[Prediction]:
    """Passes predictions on, collects them in `come`, and names the files that could not be read."""
    for prediction in _warned(predictions):
        come.append(prediction)
        yield prediction


def _warned(predictions: Iterable[Prediction]) -> Iterator[Prediction]:
    """Passes predictions on, and names the files that could not be read."""
    for prediction in predictions:
        if prediction.problem is not None:
            print(f"{severity.prefix('warning', sys.stderr)}{prediction.problem}", file=sys.stderr)
        yield prediction


def _print(predictions: Iterable[Prediction], model: "Model", style: str) -> None:
    """Writes predictions to standard output."""
    try:
        write(predictions, model.class_names, style, sys.stdout, model.has_label_sets)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(
            f"Standard output cannot be written ({reason(error)}); make room, or name a file with --output."
        ) from error


def _write_file(
    predictions: Iterator[Prediction], come: list[Prediction], model: "Model", style: str, output: Path
) -> None:
    """Writes predictions into a file, or to standard output if the file cannot be written after all."""
    try:
        with _opened(output) as file:
            write(predictions, model.class_names, style, file, model.has_label_sets)
    except OSError as error:
        come += list(predictions)  # those that were still to come
        _print(come, model, style)
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
