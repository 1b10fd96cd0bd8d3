"""Folders of classes in which something else lies, or whose files and splits are called otherwise."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from lift_jax.bench.abuse.cases import Case, Setting
from lift_jax.bench.abuse.setting import CLASSES, encoded, labelled, paths, picture, truth

Hazard = Callable[[Path], Any]
"""Puts something into the folder of a data set."""


def _lay(setting: Setting, place: Path) -> None:
    for path, _ in paths():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        os.link(setting.photos / path, place / path)


def _hazards(where: str) -> dict[str, Hazard]:
    """Gives what may lie in a folder of classes, by its name; `where` is the class in whose folder most of it lies."""
    good = encoded(picture(99), "JPEG")

    def deep(place: Path) -> None:
        folder = place / where
        for _ in range(400):
            folder = folder / "deeper"
        folder.mkdir(parents=True)

    def sock(place: Path) -> None:
        os.chdir(place / where)
        socket.socket(socket.AF_UNIX).bind("spoilt.jpg")

    return {
        "a FIFO": lambda place: os.mkfifo(place / where / "spoilt.jpg"),
        "a FIFO without a suffix": lambda place: os.mkfifo(place / where / "spoilt"),
        "a socket": sock,
        "a link to a device": lambda place: (place / where / "spoilt.jpg").symlink_to("/dev/zero"),
        "a link to nothing": lambda place: (place / where / "spoilt.jpg").symlink_to("nowhere"),
        "a link to itself": lambda place: (place / where / "spoilt.jpg").symlink_to("spoilt.jpg"),
        "a link to its own folder": lambda place: (place / where / "spoilt").symlink_to("."),
        "two links to its own folder": lambda place: [(place / where / f"spoilt{i}").symlink_to(".") for i in range(2)],
        "a link to the folder above": lambda place: (place / where / "spoilt").symlink_to(".."),
        "a folder called .jpg": lambda place: (place / where / "spoilt.jpg").mkdir(),
        "an empty class": lambda place: (place / "spoilt").mkdir(),
        "a picture beside the classes": lambda place: (place / "spoilt.jpg").write_bytes(good),
        "a text file": lambda place: (place / where / "spoilt.txt").write_text("notes"),
        "a camera's file": lambda place: (place / where / "spoilt.cr2").write_bytes(b"II*\0\x10\0\0\0CR" + bytes(90)),
        "a hidden file": lambda place: (place / where / ".spoilt.jpg").write_bytes(b"\0\5\x16\7"),
        "four hundred folders": deep,
    }  # fmt: skip


def a_folder_with_more(random: Random, setting: Setting) -> Case:
    """Lays something else into a folder of classes, which is refused, or left out with a word, or followed once."""
    where = random.choice(CLASSES)
    hazards = _hazards(where)
    silent = ("a folder called .jpg", "a hidden file", "four hundred folders")
    followed = ("a link to its own folder", "two links to its own folder")
    what = random.choice(list(hazards))
    mentions = () if what in (*silent, *followed) else ("spoilt", "left out")

    def attempt(hazard: Hazard | None) -> Callable[[Path], Any]:
        def given(place: Path) -> Any:
            root = place / "pictures"
            _lay(setting, root)
            if hazard is not None:
                hazard(root)
            os.chdir(place)
            return labelled(root, format="folder", val_fraction=0.2)

        return given

    valid = Case("a folder of classes", attempt(None), (truth(),))
    return Case(f"{what} in a folder", attempt(hazards[what]), (truth(),), ("spoilt", where), mentions, valid)


def a_picture_of_another_suffix(random: Random, setting: Setting) -> Case:
    """Adds one more good picture under an unusual suffix, which has to be found."""
    where = random.choice(CLASSES)
    form, suffixes = random.choice([
        ("JPEG", ["jfif", "jpe", "JPG", "JPEG", "Jpg", "jpeg_", "jif", ""]), ("PNG", ["PNG", "Png", "apng", ""]),
        ("TIFF", ["TIF", "Tiff"]), ("WEBP", ["WEBP"]), ("BMP", ["dib", "BMP"]),
        ("JPEG2000", ["jp2", "JP2", "j2k", "jpx"]),
        ("AVIF", ["avif", "AVIF"]),
    ])  # fmt: skip
    suffix = random.choice(suffixes)
    name = f"more.{suffix}" if suffix else "more"
    try:
        content = encoded(picture(99), form)
    except (KeyError, OSError):  # this Pillow does not write it
        name, content = "more.jpg", encoded(picture(99), "JPEG")

    def attempt(added: str) -> Callable[[Path], Any]:
        def given(place: Path) -> Any:
            _lay(setting, place)
            (place / where / added).write_bytes(content if added == name else encoded(picture(99), "JPEG"))
            return labelled(place, format="folder", val_fraction=0.2)

        return given

    valid = Case(
        f"a picture more of {where}", attempt("more.jpg"), (tuple(sorted([*truth(), (f"{where}/more.jpg", where)])),)
    )
    right = tuple(sorted([*truth(), (f"{where}/{name}", where)]))
    return Case(f"{form} called {name}", attempt(name), (right,), (name,), valid=valid)


def a_split_of_another_name(random: Random, setting: Setting) -> Case:
    """Calls the folders of the splits by usual names in any case of letters."""
    train = random.choice(["train", "Train", "training", "TRAINING", "Training"])
    test = random.choice(["test", "Test", "testing", "val", "Valid", "validation", "VALIDATION", "Val"])

    def attempt(one: str, other: str) -> Callable[[Path], Any]:
        def given(place: Path) -> Any:
            for path, _ in paths():
                split = other if "4.png" in path else one
                (place / split / path).parent.mkdir(parents=True, exist_ok=True)
                os.link(setting.photos / path, place / split / path)
            return labelled(place, format="folder", val_fraction=0.0)

        return given

    def right(one: str, other: str) -> Any:
        return tuple(sorted((f"{other if '4.png' in path else one}/{path}", label) for path, label in paths()))

    valid = Case("train and test", attempt("train", "test"), (right("train", "test"),))
    return Case(f"folders {train} and {test}", attempt(train, test), (right(train, test),), (train,), valid=valid)
