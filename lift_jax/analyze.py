r"""The LIFT paper's analysis of heavy and light fine-tuning, on your own data.

    python -m lift_jax.analyze --workdir RUN [--beside RUN...] [--sweep DIR]

draws, before and after the tuning (Shi et al. 2024, figures 3 and 4; the measures are those of
`lift_jax.evaluation.geometry`):

    how similar the mean features of different classes are, as a heat map;
    how far the training and the test images of the tail's classes are from the mean of their class;
    with --sweep, the accuracy against the share of tuned parameters over the runs in DIR.

--beside puts other runs of the same data next to it, such as full fine-tuning beside LIFT. The page is
RUN/analysis.html, its pictures are in RUN/analysis/. The data set must be there.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from etils import epath

from lift_jax.errors import UserError, exit_status
from lift_jax.errors.arguments import Parser

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Int

    from lift_jax.data import Dataset
    from lift_jax.evaluation.geometry import Geometry
    from lift_jax.inference.model import Model
    from lift_jax.workdir.logs import Logs


def analyze(
    workdir: epath.PathLike,
    beside: Sequence[epath.PathLike] = (),
    sweep: epath.PathLike | None = None,
    most: int = 1000,
) -> epath.Path:
    """Draws the analysis, and returns the page's file.

    Args:
        workdir: the run's folder.
        beside: the folders of other runs on the same data set.
        sweep: the folder of runs for the accuracy against the share of tuned parameters.
        most: how many classes are in the heat maps at most, spread from the most frequent to the rarest.

    Raises:
        UserError: if a folder is no run, the data set is not there, the runs have different classes, or the page cannot
            be written; the last is known before anything is computed.
    """
    from lift_jax.files import check_file, place
    from lift_jax.report import analysis, comparison, files

    folders = [place(workdir, "--workdir"), *(place(folder, "--beside") for folder in beside)]
    swept = [] if sweep is None else comparison.find_runs([place(sweep, "--sweep")])
    shares = [files.read(run) for run in swept]
    models = _load_models(folders)
    check_file(folders[0] / analysis.PAGE, analysis.REMEDY)
    images = _select_images(models[0], most)
    names = models[0].class_names
    return analysis.write(
        folders[0],
        _geometries(folders, models, images),
        [names[label] for label in images.classes],
        [names[label] for label in images.tail],
        shares,
    )


class _Images(NamedTuple):
    """The images that the analysis looks at, and the labels of the classes that it compares and of its tail."""

    train: "Dataset"
    test: "Dataset"
    classes: 'Int[np.ndarray, " classes"]'
    tail: 'Int[np.ndarray, " tail"]'


def _load_models(folders: Sequence[epath.Path]) -> list["Model"]:
    """Loads the models of the runs, which must have the same classes."""
    from lift_jax.inference import load

    models = [load.load(folder, raw=True) for folder in folders]
    for folder, model in zip(folders, models, strict=True):
        model.require_one_label("The analysis")
        if model.class_names != models[0].class_names:
            raise UserError(f"The run {folder} has other classes than {folders[0]}; compare runs of the same data set.")
    return models


def _select_images(model: "Model", most: int) -> _Images:
    """Loads a run's data set and keeps the images that the measures need; `most` limits the compared classes."""
    import numpy as np

    from lift_jax import data
    from lift_jax.data.groups import groups as groups_by_counts
    from lift_jax.evaluation import geometry

    train, test = data.load(model.config.data, model.config.seed)
    groups = groups_by_counts(train.class_counts) if model.record is None else np.asarray(model.record.class_groups)
    classes, tail = geometry.compared(train, test, most), geometry.tail(train, test, groups)
    if not tail.size:
        raise UserError(
            f"{train.name} has no class with two training images and a test image; there is nothing to see."
        )
    train = train.subset(np.flatnonzero(np.isin(train.labels, tail)).astype(np.int64))
    test = test.subset(np.flatnonzero(np.isin(test.labels, np.union1d(classes, tail))).astype(np.int64))
    return _Images(train, test, classes, tail)


def _geometries(folders: Sequence[epath.Path], models: Sequence["Model"], images: _Images) -> dict[str, "Geometry"]:
    """Measures every run before and after its tuning, under the names that the page gives them."""
    from lift_jax.workdir.logs import Logs

    one_backbone = len({model.backbone.hash for model in models}) == 1
    columns: dict[str, Geometry] = {}
    with Logs(None) as logs:
        for folder, model in zip(folders, models, strict=True):
            before = "before tuning" if one_backbone else f"{model.backbone.name}, before tuning"
            for name, tuned in ((before, False), (_name(folder, model, models), True)):
                if name not in columns:  # The same backbone need not be shown twice.
                    columns[name] = _geometry(model, images, tuned, logs)
    return columns


def _geometry(model: "Model", images: _Images, tuned: bool, logs: "Logs") -> "Geometry":
    """Measures how the features of a run lie, or those of its backbone as it was."""
    from lift_jax.evaluation import geometry

    kind = "tuned" if tuned else "untuned"
    train_rows, test_rows = (
        model.dataset_features(dataset, logs, f"{kind} features, {split} images", tuned=tuned)[:2]
        for dataset, split in ((images.train, "training"), (images.test, "test"))
    )
    return geometry.geometry(train_rows, test_rows, images.classes, images.tail)


def _name(folder: epath.Path, model: "Model", models: Sequence["Model"]) -> str:
    """Names a run by its method, and where several runs have it, by its folder too."""
    alone = sum(other.config.method == model.config.method for other in models) == 1
    return model.config.method if alone else f"{model.config.method} ({folder.name})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = Parser(
        prog="python -m lift_jax.analyze", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workdir", required=True, metavar="RUN", help="the run's folder")
    parser.add_argument("--beside", nargs="+", default=[], metavar="RUN", help="other runs, same data set")
    parser.add_argument("--sweep", metavar="DIR", help="folder of runs with different shares of parameters")
    parser.add_argument(
        "--classes", type=int, default=1000, metavar="N", help="at most so many in a heat map (default %(default)s)"
    )
    given = parser.parse_args(arguments)

    def run() -> None:
        if given.classes < 1:
            raise UserError(f"--classes is {given.classes}; it is a whole number of at least 1.")
        from lift_jax.cluster import processes
        from lift_jax.workdir.logs import Logs

        processes.start()
        with Logs(None):
            page = analyze(given.workdir, given.beside, given.sweep, given.classes)
        print(page)

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
