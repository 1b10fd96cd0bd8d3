"""List files in the format of the ImageNet-LT and Places-LT releases (OLTR, Liu et al. 2019): `relative/path label`."""

import os
from collections import defaultdict
from collections.abc import Sequence

from lift_jax.data import imagenet
from lift_jax.data.classnames import folder_names, read_class_names
from lift_jax.data.dataset import Dataset, FileSource, check_labels, list_folder, read_bytes
from lift_jax.errors import UserError


def read_list(path: str) -> tuple[list[str], list[int]]:
    """Relative paths and labels of a list file.

    The label is the last word of a line; the path before it may hold spaces. Empty lines are skipped.

    Raises:
        UserError: the file cannot be read, is empty, or a line does not end in an integer.
    """
    paths, labels = [], []
    for number, line in enumerate(read_bytes(path).decode("utf-8-sig", "surrogateescape").splitlines(), start=1):
        if not line.strip():
            continue
        name, _, label = line.strip().replace("\t", " ").rpartition(" ")
        try:
            labels.append(int(label))
        except ValueError as error:
            raise UserError(
                f"{path} line {number} ends in {label!r}; each line is an image's path, a space, and a label."
            ) from error
        if not name.strip():
            raise UserError(f"{path} line {number} has no path before the label {label}.")
        paths.append(name.strip())
    if not paths:
        raise UserError(f"{path} lists no images; each line is an image's path, a space, and its label.")
    return paths, labels


def check_files(root: str, paths: Sequence[str], where: str) -> None:
    """Check that all files exist, with one listing a folder rather than one call a file.

    Arguments:
        root: folder that the paths are relative to.
        paths: relative paths.
        where: the list file, for the message.

    Raises:
        UserError: files are missing (the first ten, and how many), or a folder cannot be read.
    """
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_folder[os.path.dirname(path)].append(path)
    missing: set[str] = set()
    for folder, members in by_folder.items():
        full = os.path.join(root, folder)
        present = list_folder(full) if "://" in full or os.path.exists(full) else set()
        missing.update(path for path in members if os.path.basename(path) not in present)
    if missing:
        first = [path for path in paths if path in missing][:10]
        raise UserError(
            f"{where} names {len(missing)} files that are not under {root}: {', '.join(first)}"
            f"{', ...' if len(missing) > len(first) else ''}; "
            f"set config.data.root to the folder that the paths start from."
        )


def load_lists(root: str, train_list: str, test_list: str, class_names: str, name: str) -> tuple[Dataset, Dataset]:
    """Training and test split from two list files over one image root.

    Arguments:
        root: folder that the lists' paths are relative to.
        train_list, test_list: the list files.
        class_names: file of class names (see `read_class_names`), or "" for the names of the images' folders.
        name: name of the data set.

    Raises:
        UserError: see `read_list`, `check_files`, `check_labels`; or the names are not as many as the classes.
    """
    for key, value in (("root", root), ("train_list", train_list), ("test_list", test_list)):
        if not value:
            raise UserError(
                f"config.data.{key} is empty; config.data.format=lists needs root, train_list and test_list."
            )
    train_paths, train_labels = read_list(train_list)
    test_paths, test_labels = read_list(test_list)
    return from_paths(
        root, (train_list, train_paths, train_labels), (test_list, test_paths, test_labels), class_names, name
    )


def from_paths(
    root: str,
    train: tuple[str, Sequence[str], Sequence[int]],
    test: tuple[str, Sequence[str], Sequence[int]],
    class_names: str | Sequence[str],
    name: str,
    check: bool = True,
) -> tuple[Dataset, Dataset]:
    """Training and test split from paths and labels, each given with the name of the file that they come from.

    Arguments:
        root: folder that the paths are relative to.
        train, test: (where they come from, relative paths, labels).
        class_names: the names in label order; or a file of them; or "" for the names of the images' folders.
        name: name of the data set.
        check: whether to look if the files exist.

    Raises:
        UserError: as `load_lists`.
    """
    (train_where, train_paths, train_labels), (test_where, test_paths, test_labels) = train, test
    names = read_class_names(class_names) if isinstance(class_names, str) and class_names else tuple(class_names)
    train_array = check_labels(train_labels, len(names) or None, train_where)
    names = names or tuple(imagenet.readable(folder_names(train_paths, train_labels, int(train_array.max()) + 1)))
    if isinstance(test_labels, Sequence) and len(test_labels) and max(test_labels) >= len(names):
        raise UserError(
            f"{test_where} has the label {max(test_labels)}, which {train_where} lacks: "
            f"training has {len(names)} classes, 0 to {len(names) - 1}."
        )
    test_array = check_labels(test_labels, len(names), test_where)
    if check:
        check_files(root, train_paths, train_where)
        check_files(root, test_paths, test_where)
    return (
        Dataset(f"{name} train", FileSource(root, tuple(train_paths)), train_array, names),
        Dataset(f"{name} test", FileSource(root, tuple(test_paths)), test_array, names),
    )
