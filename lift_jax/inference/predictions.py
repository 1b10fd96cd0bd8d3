"""Predictions of files, and how they are written: as a table, as JSON lines, or as CSV."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from lift_jax.text import aligned, printable

if TYPE_CHECKING:  # it brings JAX, which `python -m lift_jax.predict --help` does not need
    from lift_jax.inference.deciding import RolledUp


class Answer(NamedTuple):
    """The class that is expected to cost least.

    Attributes:
        label: its label.
        expected_cost: what it is expected to cost.
    """

    label: int
    expected_cost: float


class Neighbour(NamedTuple):
    """A training image that is like an image.

    Attributes:
        index: its place among the training images.
        path: its file from the root of the data, or NAME[INDEX] if it has none.
        label: the label of its class.
        similarity: the cosine of the features of both, -1 to 1.
        picture: a small picture of it as a link with its JPEG in it, where that is asked for and it can be read.
    """

    index: int
    path: str
    label: int
    similarity: float
    picture: str | None = None


class Prediction(NamedTuple):
    """An image's most probable classes, in descending order.

    Attributes:
        path: the image's file.
        labels: the classes' labels.
        probabilities: the classes' probabilities, 0 to 1.
        problem: why the file could not be read; labels and probabilities are empty then.
        answer: the cheapest answer, where costs are given.
        rollup: the most specific rank that is sure enough, where a taxonomy is given.
        unknown: whether the image is of no known class, where that is asked.
        members: the labels of the set of classes that it may be of, the most probable first, where a coverage is given.
        nearest: the training images that are most like the image, the most similar first, where that is asked.
    """

    path: str
    labels: list[int]
    probabilities: list[float]
    problem: str | None = None
    answer: Answer | None = None
    rollup: "RolledUp | None" = None
    unknown: bool | None = None
    members: list[int] | None = None
    nearest: list[Neighbour] | None = None


def write(
    predictions: Iterable[Prediction], class_names: Sequence[str], style: str, file: IO[str], label_sets: bool = False
) -> None:
    """Writes predictions as a table, as JSON lines, or as CSV with a line for each image and rank.

    The last two are written as the predictions come. A table, whose columns are as wide as their content, has to wait
    for the last one.

    Args:
        predictions: one of each image.
        class_names: the names of the classes in label order.
        style: "table", "jsonl" or "csv".
        file: what is written into.
        label_sets: whether a prediction has all classes that an image is said to be of, none, one or several; then CSV
            has a line for each image.
    """
    if style == "csv" and label_sets:
        _write_label_sets(predictions, class_names, file)
    elif style == "csv":
        _write_csv(predictions, class_names, file)
    elif style == "jsonl":
        for prediction in predictions:
            file.write(_json_line(as_json(prediction, class_names), file))
    else:
        file.writelines(f"{line}\n" for line in _table(predictions, class_names))


def _write_csv(predictions: Iterable[Prediction], class_names: Sequence[str], file: IO[str]) -> None:
    """Writes a line for each image and rank; what was decided of the image stands in each of its lines."""
    writer = csv.writer(file, lineterminator="\n")
    header = ["path", "rank", "label", "class", "probability"]
    has_header = False
    for prediction in predictions:
        if prediction.problem is not None:
            continue
        decided = _decided(prediction, class_names)
        if not has_header:
            writer.writerow([*header, *decided])
            has_header = True
        ranked = zip(prediction.labels, prediction.probabilities, strict=True)
        for rank, (label, p) in enumerate(ranked, start=1):
            writer.writerow([prediction.path, rank, label, class_names[label], f"{p:.6g}", *decided.values()])
    if not has_header:
        writer.writerow(header)


def _write_label_sets(predictions: Iterable[Prediction], class_names: Sequence[str], file: IO[str]) -> None:
    """Writes a line for each image: its classes joined by |, as a table for training has them, and probabilities."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "labels", "probabilities"])
    for prediction in predictions:
        if prediction.problem is None:
            names = [class_names[label] for label in prediction.labels]
            joined = json.dumps(names, ensure_ascii=False) if any("|" in name for name in names) else "|".join(names)
            writer.writerow([prediction.path, joined, "|".join(f"{p:.6g}" for p in prediction.probabilities)])


def _decided(prediction: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    """Gives the columns that a decision adds to a CSV file."""
    columns: dict[str, Any] = {}
    if prediction.answer is not None:
        label, cost = prediction.answer
        columns |= {"answer_label": label, "answer": class_names[label], "expected_cost": f"{cost:.6g}"}
    if prediction.rollup is not None:
        rank, name, p = prediction.rollup
        columns |= {"rollup_rank": rank, "rollup": name, "rollup_probability": f"{p:.6g}"}
    if prediction.unknown is not None:
        columns["unknown"] = str(prediction.unknown).lower()
    if prediction.members is not None:
        columns["set_labels"] = " ".join(map(str, prediction.members))
    for place, each in enumerate(prediction.nearest or (), start=1):
        values = each.path, each.label, class_names[each.label], f"{each.similarity:.6g}"
        keys = (f"nearest{place}_{name}" for name in ("path", "label", "class", "similarity"))
        columns |= zip(keys, values, strict=True)
    return columns


def _json_line(content: dict, file: IO[str]) -> str:
    """Writes a line of JSON, whose characters are escaped as JSON does it where the file cannot have them."""
    line = json.dumps(content, ensure_ascii=False) + "\n"
    try:
        line.encode(getattr(file, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(content) + "\n"
    return line


def as_json(prediction: Prediction, class_names: Sequence[str]) -> dict[str, Any]:
    """Gives a prediction as a line of JSON has it."""
    if prediction.problem is not None:
        return {"path": prediction.path, "error": prediction.problem}
    ranked = zip(prediction.labels, prediction.probabilities, strict=True)
    classes = [{"label": label, "class": class_names[label], "probability": p} for label, p in ranked]
    content: dict[str, Any] = {"path": prediction.path, "predictions": classes}
    if prediction.answer is not None:
        label, cost = prediction.answer
        content["answer"] = {"label": label, "class": class_names[label], "expected_cost": cost}
    if prediction.rollup is not None:
        content["rollup"] = prediction.rollup._asdict()
    if prediction.unknown is not None:
        content["unknown"] = prediction.unknown
    if prediction.members is not None:
        content["set"] = [{"label": label, "class": class_names[label]} for label in prediction.members]
    if prediction.nearest is not None:
        content["nearest"] = [
            {"path": path, "label": label, "class": class_names[label], "similarity": similarity}
            | ({} if picture is None else {"picture": picture})
            for _, path, label, similarity, picture in prediction.nearest
        ]
    return content


def _table(predictions: Iterable[Prediction], class_names: Sequence[str]) -> Iterator[str]:
    rows = [
        [
            printable(p.path),
            *(f"{printable(class_names[c])} {100 * x:.1f} %" for c, x in zip(p.labels, p.probabilities, strict=True)),
            *_decided_cells(p, class_names),
        ]
        for p in predictions
        if p.problem is None
    ]
    most = max(map(len, rows), default=0)
    rows = [[*row, *[""] * (most - len(row))] for row in rows]
    yield from aligned(rows, right=False).splitlines() if rows else ()


def _decided_cells(prediction: Prediction, class_names: Sequence[str]) -> Iterator[str]:
    if not prediction.labels:
        yield "of no class"
    if prediction.answer is not None:
        label, cost = prediction.answer
        yield f"answer: {printable(class_names[label])} (expected cost {cost:.3g})"
    if prediction.rollup is not None:
        rank, name, p = prediction.rollup
        yield f"{printable(rank)}: {printable(name)} {100 * p:.1f} %" if rank else f"no rank is sure ({100 * p:.1f} %)"
    if prediction.unknown is not None:
        yield "unknown" if prediction.unknown else "known"
    if prediction.members is not None:
        yield f"one of: {', '.join(printable(class_names[label]) for label in prediction.members)}"
    if prediction.nearest is not None:
        found = ((printable(each.path), printable(class_names[each.label]), each) for each in prediction.nearest)
        yield f"nearest: {'; '.join(f'{path} ({name}, {each.similarity:.2f})' for path, name, each in found)}"
