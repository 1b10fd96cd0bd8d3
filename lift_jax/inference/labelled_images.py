"""Labelled images that a person names for a run: a folder for each class, or a list."""

import os

import numpy as np

from lift_jax.data import Dataset
from lift_jax.data.dataset import FileSource, check_labels, is_folder, is_remote
from lift_jax.data.folder import scan
from lift_jax.data.listed_files import find_files
from lift_jax.data.lists import read_list
from lift_jax.data.shown import shown
from lift_jax.errors import UserError
from lift_jax.files import expand
from lift_jax.inference import named_classes


def read(path: str, class_names: tuple[str, ...], root: str = "") -> Dataset:
    """Reads labelled images of a run's classes, not all of which need have one.

    Args:
        path: a folder with a folder for each class, which has its name or label; or a list file, whose lines have the
            path of an image and its label (see `lift_jax.data.lists.read_list`).
        class_names: the names of the run's classes, in label order.
        root: the folder that the paths of a list start from; "" for that of the list itself.

    Raises:
        UserError: if there is no such folder or file, an image is missing, or a class is not one of the run.
    """
    path = expand(path, "--images")
    if is_folder(path):
        found = scan(path, "")
        folders = sorted(set(found.folders))
        places = dict(zip(folders, named_classes.find(folders, class_names, path), strict=True))
        labels = np.array([places[folder] for folder in found.folders], np.int32)
        return Dataset(path, FileSource(path, tuple(found.paths)), labels, class_names)
    if not is_remote(path) and not os.path.exists(path):
        raise UserError(
            f"--images is {shown(path)}, which is not there; name a folder with a folder for each class, or a list of "
            "paths and labels."
        )
    paths, given = read_list(path)
    root = root or os.path.dirname(path)
    remedy = f"write paths that start from {root or 'there'}, or whole ones"
    source = FileSource(root, tuple(find_files(root, paths, path, remedy)))
    return Dataset(path, source, check_labels(given, len(class_names), path), class_names)
