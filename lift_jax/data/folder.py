"""A folder per class."""

import os
from collections.abc import Iterator

from lift_jax.data.dataset import Dataset, is_folder, list_folder
from lift_jax.data.lists import from_paths
from lift_jax.data.splits import hold_out
from lift_jax.errors import UserError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""Files with another ending are no images, in any case of letters."""

_TRAIN, _TEST = ("train", "training"), ("test", "val", "validation", "valid")


def load_folder(
    root: str, train_folder: str, test_folder: str, class_names: str, name: str, val_fraction: float, seed: int
) -> tuple[Dataset, Dataset]:
    """Training and test split from folders with one sub-folder a class, in the order of the sub-folders' names.

    Arguments:
        root: the folder of both.
        train_folder, test_folder: the splits' folders under root. "" finds `train` and one of `test`, `val`,
            `validation`; where root has no `train`, its own sub-folders are the classes.
        class_names: file of names, see `classnames.of_labels`; "" takes the names of the folders.
        name: name of the data set.
        val_fraction: share of each class that becomes the test split where there is no folder for it.
        seed: chooses that share.

    Raises:
        UserError: a folder is missing, cannot be read, or holds no images; or the test split has a class of its own.
    """
    if not root:
        raise UserError("config.data.root is empty; config.data.format=folder needs the folder of the images.")
    present = list_folder(root)
    train_folder = train_folder or next((each for each in _TRAIN if each in present), "")
    test_folder = test_folder or (next((each for each in _TEST if each in present), "") if train_folder else "")
    paths, folders = scan(root, train_folder)
    train_where = os.path.join(root, train_folder)
    if not test_folder:
        whole = (train_where, paths, folders)
        train, _ = from_paths(root, whole, whole, class_names, name, check=False, thing="class folder")
        kept, held_out = hold_out(train.labels, val_fraction, seed)
        return train.subset(kept, f"{name} train"), train.subset(held_out, f"{name} test")
    test_paths, test_folders = scan(root, test_folder)
    test_where = os.path.join(root, test_folder)
    return from_paths(
        root, (train_where, paths, folders), (test_where, test_paths, test_folders), class_names, name, check=False,
        thing="class folder",
    )  # fmt: skip


def scan(root: str, split: str) -> tuple[list[str], list[str]]:
    """Images under root/split in the order of their names, and the class folder of each.

    Arguments:
        root: the folder that the paths become relative to.
        split: its sub-folder with the class folders, or "".

    Returns:
        Relative paths of all images at any depth below a class folder, and the names of these folders.

    Raises:
        UserError: a folder cannot be read, or there are no images.
    """
    top = os.path.join(root, split)
    paths: list[str] = []
    folders: list[str] = []
    for entry in sorted(list_folder(top)):
        if entry.startswith(".") or not is_folder(os.path.join(top, entry)):
            continue
        found = sorted(_images_below(os.path.join(top, entry)))
        paths += [os.path.join(split, entry, each) for each in found]
        folders += [entry] * len(found)
    if not paths:
        raise UserError(f"{top} has no folders with images in it; put each class's images into a folder of its own.")
    return paths, folders


def _images_below(folder: str) -> Iterator[str]:
    """Paths relative to the folder; names with another ending than an image's are looked at for being a folder."""
    for name in list_folder(folder):
        if name.startswith("."):
            continue
        if name.lower().endswith(EXTENSIONS):
            yield name
        elif is_folder(os.path.join(folder, name)):
            yield from (os.path.join(name, each) for each in _images_below(os.path.join(folder, name)))
