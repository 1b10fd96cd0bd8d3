"""Prepare a benchmark: `python -m lift_jax.data.prepare NAME --data_dir DIR`.

Writes random-access records (TFDS array_record) below DIR, which config.data.root then names, with
config.data.format=tfds. The original files are downloaded by TFDS, or taken from --raw_dir if they are there, and
their sums are checked; ImageNet's have to be fetched by hand. places_lt, and any other data set of list files, is made
from --image_root and the two lists. For a DIR in a bucket the records are made in --local_dir and then copied.

This is the one program that needs TensorFlow (pip install tensorflow-cpu), for the builders of TFDS; places_lt does
without. What was downloaded, finished or copied is not done again, and what a killed run had begun is removed, so the
same command can simply be repeated.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from etils import epath
from tqdm import tqdm

from lift_jax.cluster.locking import alone
from lift_jax.data import longtail
from lift_jax.data.dataset import Dataset
from lift_jax.data.lists import load_lists
from lift_jax.data.records import FINISHED, open_builder, read_index
from lift_jax.errors import NO_ROOM, UserError, exit_status
from lift_jax.errors.arguments import Parser
from lift_jax.files import expand, place

# (training images, classes, largest, smallest) as published: Krizhevsky 2009 for CIFAR; Liu et al. 2019 for ImageNet-LT
# and Places-LT; the competition's page for iNaturalist 2018, and for its largest and smallest class the table of data
# sets in the repository jayanthkoushik/alphanet, which has those of the other two too; Zhou et al. 2017 for Places365.
PUBLISHED = {
    "cifar10": (50_000, 10, 5_000, 5_000),
    "cifar100": (50_000, 100, 500, 500),
    "imagenet_lt": (115_846, 1_000, 1_280, 5),
    "i_naturalist2018": (437_513, 8_142, 1_000, 2),
    "places_lt": (62_500, 365, 4_980, 5),
    "places365_small": (1_803_460, 365, 5_000, 3_068),
}

# Training images of the long-tailed subsets at each imbalance: the sums of Cao et al.'s formula.
LONG_TAILED = {
    "cifar10": {10: 20_431, 50: 13_996, 100: 12_406},
    "cifar100": {10: 19_573, 50: 12_608, 100: 10_847},
}

_FULL = tuple(os.strerror(code) for code in NO_ROOM)


def prepare(
    name: str,
    data_dir: str,
    raw_dir: str = "",
    local_dir: str = "",
    image_root: str = "",
    train_list: str = "",
    test_list: str = "",
    class_names: str = "",
) -> None:
    """Prepares a data set unless it is there, indexes its records, and prints its counts beside the published ones.

    Args:
        name: one of `PUBLISHED`, or any name for list files.
        data_dir: where the records go, local or remote.
        raw_dir: folder of original files that are not to be downloaded, or "".
        local_dir: where records for a remote data_dir are made before they are copied.
        image_root, train_list, test_list, class_names: list files and their class names, see `lists.load_lists`; empty
            for the data sets that TFDS builds.

    Raises:
        UserError: files are missing or have other sums, TensorFlow is not installed, the disk is full, or another run
            prepares something in the same folder.
    """
    made_in = local_dir if "://" in data_dir else data_dir
    try:
        os.makedirs(made_in, exist_ok=True)
        # Another one would remove what this one has begun.
        with alone(made_in, f"Another run is preparing a data set in {made_in}; wait until it has ended."):
            builder = (
                _list_builder(name, made_in, image_root, train_list, test_list, class_names)
                if train_list
                else _tfds_builder(name, made_in)
            )
            folder = place(data_dir, "--data_dir") / builder.data_path.relative_to(builder.data_dir_root)
            if not (folder / FINISHED).exists():
                _remove_begun(builder)
                builder.download_and_prepare(download_config=_download_config(raw_dir))
                _copy(builder, folder)
    except UserError:
        raise
    except AssertionError as error:  # What TFDS raises when files that have to be fetched by hand are not there.
        raise UserError(f"{name} cannot be prepared: {' '.join(str(error).split())}") from error
    except Exception as error:  # TFDS, array_record and what reads from the network have no common class of errors.
        if full := next((each for each in _FULL if each in str(error)), None):
            raise UserError(
                f"There is no room in {made_in} ({full}); make room and run the same command again."
            ) from error
        raise UserError(f"{name} cannot be prepared in {data_dir}: {' '.join(str(error).split())}") from error
    report(name, data_dir)


def _remove_begun(builder: Any) -> None:
    """Removes what a killed run had begun to download, extract and write; TFDS begins anew, and would leave it."""
    downloads = builder.data_dir_root / "downloads"
    for folder in (
        *downloads.glob(f"{builder.name}/*.tmp.*"),
        *downloads.glob("extracted/incomplete.*"),
        *builder.data_path.parent.glob(f"incomplete.*_{builder.data_path.name}"),
    ):
        folder.rmtree()


def _copy(builder: Any, target: epath.Path) -> None:
    """Copies a finished data set and the index of its records to where it belongs, if that is elsewhere.

    What is there already is not copied again, and the file that says that all is there is the last.
    """
    if target == builder.data_path:
        return
    for split in builder.info.splits:
        read_index(builder, split)
    files = sorted(builder.data_path.iterdir(), key=lambda file: (file.name == FINISHED, file.name))
    target.mkdir(parents=True, exist_ok=True)
    for file in tqdm(files, desc=f"copied to {target}", unit="file"):
        there = target / file.name
        if not there.exists() or there.stat().length != file.stat().length:
            file.copy(there, overwrite=True)


def report(name: str, data_dir: str) -> None:
    """Prints the counts of each split, and whether the training split's are the published ones."""
    builder = open_builder(name, data_dir)
    print(f"{name} {builder.info.version} in {builder.data_dir}")
    for split in builder.info.splits:
        labels, _ = read_index(builder, split)
        classes = builder.info.features["label"].num_classes
        line = f"  {split}: {_counts(labels, classes)}"
        if split == "train" and name in PUBLISHED:
            sizes = np.bincount(labels, minlength=classes)
            same = PUBLISHED[name] == (len(labels), classes, sizes.max(), sizes.min())
            published = "{:,} images of {:,} classes, largest {:,}, smallest {:,}".format(*PUBLISHED[name])
            line += " (as published)" if same else f" (published: {published})"
        print(line)
        for imbalance, total in LONG_TAILED.get(name, {}).items() if split == "train" else ():
            try:
                kept = labels[longtail.subset(labels, classes, imbalance)]
            except UserError as error:
                print(f"  train at imbalance {imbalance}: {error}")
                continue
            note = " (as published)" if len(kept) == total else f" (published: {total:,} images)"
            print(f"  train at imbalance {imbalance}: {_counts(kept, classes)}{note}")


def _counts(labels: np.ndarray, classes: int) -> str:
    if (labels < 0).any():  # The test split of i_naturalist2018.
        return f"{len(labels):,} images without labels"
    sizes = np.bincount(labels, minlength=classes)
    return f"{len(labels):,} images of {classes:,} classes, largest {sizes.max():,}, smallest {sizes.min():,}"


def _tfds_builder(name: str, data_dir: str) -> Any:
    import tensorflow_datasets as tfds

    if name not in PUBLISHED or name == "places_lt":
        raise UserError(
            f"{name} is prepared from list files: give --image_root, --train_list and --test_list. "
            f"TFDS builds {', '.join(each for each in PUBLISHED if each != 'places_lt')}."
        )
    try:
        import tensorflow  # noqa: F401  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"Preparing {name} needs TensorFlow, for the builder of TFDS; pip install tensorflow-cpu, here or in "
            f"another environment (training does not need it)."
        ) from error
    return tfds.builder(name, data_dir=data_dir, file_format="array_record")


def _download_config(raw_dir: str) -> Any:
    import tensorflow_datasets as tfds

    return tfds.download.DownloadConfig(manual_dir=raw_dir or None)


def _list_builder(name: str, data_dir: str, image_root: str, train_list: str, test_list: str, class_names: str) -> Any:
    """Makes a TFDS builder of list files; the images stay as they are, so it needs no TensorFlow."""
    import tensorflow_datasets as tfds

    train, test = load_lists(image_root, train_list, test_list, class_names, name)

    class ListFiles(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """Images of list files, as they are."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self) -> Any:
            features = tfds.features.FeaturesDict({
                "image": tfds.features.Image(),
                "label": tfds.features.ClassLabel(names=train.class_names),
                "file_name": tfds.features.Text(),
            })  # fmt: skip
            expected = [  # For the time that is left, which is shown.
                tfds.core.SplitInfo(name=split, shard_lengths=[len(dataset)], num_bytes=0)
                for split, dataset in (("train", train), ("test", test))
            ]
            return tfds.core.DatasetInfo(builder=self, features=features, split_dict=tfds.core.SplitDict(expected))

        def _split_generators(self, dl_manager: Any) -> Any:
            return {"train": self._generate_examples(train), "test": self._generate_examples(test)}

        def _generate_examples(self, dataset: Dataset) -> Iterator[tuple[str, dict[str, Any]]]:
            for index, label in enumerate(dataset.labels.tolist()):
                path = dataset.path(index)
                key = path.removeprefix(image_root).lstrip("/")
                yield key, {"image": epath.Path(path), "label": label, "file_name": key}

    ListFiles.name = name
    return ListFiles(data_dir=data_dir, file_format="array_record")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = Parser(
        prog="python -m lift_jax.data.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(PUBLISHED)}, or any name for list files")
    parser.add_argument("--data_dir", metavar="DIR", required=True, help="where the records go (local or gs://)")
    parser.add_argument("--raw_dir", metavar="DIR", default="", help="folder of original files, under their own names")
    parser.add_argument(
        "--local_dir",
        metavar="DIR",
        default="~/tensorflow_datasets",
        help="where records for gs:// are made (%(default)s)",
    )
    parser.add_argument("--image_root", metavar="DIR", default="", help="folder that the list files' paths start from")
    parser.add_argument("--train_list", metavar="FILE", default="", help="list file (path label) of the training split")
    parser.add_argument("--test_list", metavar="FILE", default="", help="list file of the test split")
    parser.add_argument("--class_names", metavar="FILE", default="", help="file of class names for the list files")
    given = parser.parse_args(arguments)
    return exit_status(lambda: _run(**vars(given)))


def _run(name: str, **paths: str) -> None:
    prepare(name, **{flag: expand(path, f"--{flag}") for flag, path in paths.items()})


if __name__ == "__main__":
    sys.exit(main())
