"""The quickstart's data: handwritten letters of Omniglot, made long-tailed."""

import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lift_jax.data.dataset import Dataset
from lift_jax.data.longtail import check_imbalance, class_ranks, class_sizes

PACKED = Path(__file__).parent.parent / "quickstart" / "letters" / "letters.zip"
"""The images as `CLASS/DRAWER.png`, and their licence; the README beside it says where they come from."""

TRAIN_DRAWERS = 15
"""The first 15 of the 20 people drew the training images, the other five the test images."""

_SPLIT_SEED = 0


@dataclasses.dataclass(frozen=True)
class _EncodedSource:
    """Image files that are held in memory, a few hundred bytes each.

    Args:
        files: the bytes of each.
        paths: their names in the archive.
    """

    files: Sequence[bytes]
    paths: Sequence[str]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> bytes:
        return self.files[index]

    def path(self, index: int) -> str:
        """Gives the name of the image's file in the archive."""
        return self.paths[index]


def load_letters(imbalance: float, permute_classes: int = 0) -> tuple[Dataset, Dataset]:
    """Loads the package's 50 letters (Latin a to z, then Greek) as a long-tailed training and a balanced test split.

    The images are the original files, black on white, 105 x 105 pixels. The two splits have no person in common: 15
    people drew the training images, and five others the test images, one of each letter. Of its 15 training images
    each class keeps a number by the CIFAR-LT formula, from 15 down to 15 over `imbalance`. Neither the split nor which
    images are kept depends on the run's seed.

    Args:
        imbalance: largest over smallest training class, at least 1; 0 or 1 keeps the training split balanced.
        permute_classes: 0 makes the classes rarer in label order; any other number is the seed of another order.

    Raises:
        UserError: if one of them is out of its range.
    """
    if imbalance:
        check_imbalance(imbalance)
    with zipfile.ZipFile(PACKED) as archive:
        drawings = {name: archive.read(name) for name in archive.namelist() if name.endswith(".png")}
    class_names = tuple(dict.fromkeys(name.partition("/")[0] for name in drawings))
    ranks = class_ranks(len(class_names), permute_classes)
    sizes = class_sizes(TRAIN_DRAWERS, len(class_names), max(imbalance, 1))
    generator = np.random.RandomState(_SPLIT_SEED)
    train: list[str] = []
    test: list[str] = []
    for class_name, rank in zip(class_names, ranks, strict=True):
        of_class = [name for name in drawings if name.startswith(f"{class_name}/")]
        kept = generator.permutation(TRAIN_DRAWERS)[: sizes[rank]]
        train += [of_class[drawer] for drawer in sorted(kept)]
        test += of_class[TRAIN_DRAWERS:]

    def split(name: str, chosen: Sequence[str]) -> Dataset:
        source = _EncodedSource([drawings[path] for path in chosen], chosen)
        labels = np.array([class_names.index(path.partition("/")[0]) for path in chosen], np.int32)
        return Dataset(name, source, labels, class_names)

    return split("letters train", train), split("letters test", test)
