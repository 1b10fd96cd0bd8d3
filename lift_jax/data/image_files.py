"""Finding image files: the one walk through folders and archives for data sets and predictions.

What a file holds decides whether it is an image. Hidden files and what systems leave behind are passed over; whatever
else is no image is counted, so that nobody misses an image without a word.
"""

import os
import stat
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

from etils import epath

from lift_jax.data import archives
from lift_jax.data.image_kinds import HEAD, kind_of
from lift_jax.data.reading import ask_bucket, entries_of, is_remote, list_folder, printable, read_bytes
from lift_jax.errors import UserError, reason

SUFFIXES = frozenset(
    (
        ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm",
        ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".avif",
    )
)  # fmt: skip
"""Files with these endings are taken for images without being opened, in any case of letters."""

_LITTER = frozenset(
    ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found")
)
"""What Windows, macOS and storage servers leave in folders, in lower case."""


class What(NamedTuple):
    """A kind of file that is left out: its name for one and for several, and the reason if there is more to say."""

    one: str
    several: str
    why: str = ""


_REPEATED = What("link to a folder that is read already", "links to folders that are read already")
_SPECIAL = What("pipe, device or socket", "pipes, devices or sockets")
_BROKEN = What("link to nothing", "links to nothing")


_Entry = Literal["file", "folder", "link"] | What
"""What there is under a name; "link" is one to a folder."""


class Tree(NamedTuple):
    """What is below a folder; paths are relative to it.

    Attributes:
        files: all files but hidden ones and litter; those of a folder by name, before those of its sub-folders.
        folders: names of the folder's own sub-folders, sorted.
        left_out: what is neither file nor folder, and links that were not followed, by what they are.
    """

    files: list[str]
    folders: list[str]
    left_out: dict[What, list[str]]


class Listing(NamedTuple):
    """The images below a folder; paths are relative to it.

    Attributes:
        images: in the order of `Tree.files`.
        folders: names of the folder's own sub-folders, sorted.
        left_out: what else is there, such as "3 .txt files such as dog/notes.txt"; "" for nothing.
    """

    images: list[str]
    folders: list[str]
    left_out: str


def list_images(top: str) -> Listing:
    """Lists the images at any depth below a local or remote folder.

    Raises:
        UserError: a folder cannot be read.
    """
    tree = walk(top)
    images: list[str] = []
    left_out = defaultdict(list, tree.left_out)
    for path in tree.files:
        suffix = _suffix(path)
        why = None if suffix in SUFFIXES else _why_not(os.path.join(top, path))
        if why is None:
            images.append(path)
        elif suffix:
            left_out[What(f"{printable(suffix)} file", f"{printable(suffix)} files", why)].append(path)
        else:
            left_out[What("file without an ending", "files without an ending", why)].append(path)
    return Listing(images, tree.folders, ", ".join(_counted(what, paths) for what, paths in left_out.items()))


def walk(top: str) -> Tree:
    """Lists what is below a local or remote folder, however deep.

    A link to a folder is followed unless that folder is read anyway or holds the link, so that every folder is read
    once. Pipes, devices and sockets are not opened.

    Raises:
        UserError: a folder cannot be read.
    """
    files: list[str] = []
    left_out: dict[What, list[str]] = defaultdict(list)
    folders, links, seen = [""], [], set()
    own = []
    while folders or links:
        # The folders themselves come before links to them; and of links the first by name.
        folder = folders.pop() if folders else links.pop(links.index(min(links)))
        full = os.path.join(top, folder) if folder else top
        where = _identity(full)
        if where in seen:
            left_out[_REPEATED].append(folder)
            continue
        seen.add(where)
        for name, what in entries(full):
            path = os.path.join(folder, name)
            if what in ("folder", "link"):
                (folders if what == "folder" else links).append(path)
                own += [name] if folder == "" else []
            elif what == "file":
                files.append(path)
            else:
                left_out[what].append(path)
    return Tree(sorted(files, key=_reading_order), sorted(own), dict(left_out))


def sub_folders(folder: str) -> list[str]:
    """Lists the names of the folders in a local or remote folder, sorted; links to folders are among them.

    Raises:
        UserError: the folder cannot be read.
    """
    return sorted(name for name, what in entries(folder) if what in ("folder", "link"))


def entries(folder: str, hidden: bool = False) -> list[tuple[str, _Entry]]:
    """Lists what is in a folder except for hidden files and litter, each name with what it is.

    Args:
        folder: the local or remote folder.
        hidden: whether the files and folders whose names begin with a dot are listed, and no others.
    """
    wanted = _is_hidden if hidden else _is_shown
    remote = is_remote(folder)
    try:
        if place := archives.divide(folder):
            found = entries_of(place).items()
            return [(name, "folder" if is_one else "file") for name, is_one in found if wanted(name)]
        if remote:
            names = list_folder(folder)
            return [(name, _what_remote(os.path.join(folder, name))) for name in names if wanted(name)]
        with os.scandir(folder or ".") as found:
            return [(entry.name, _what(entry)) for entry in found if wanted(entry.name)]
    except OSError as error:
        raise UserError(f"The folder {printable(folder)} cannot be read: {reason(error)}.") from error


def _what_remote(path: str) -> _Entry:
    # An image's ending is trusted, for to ask for each file takes time.
    return "folder" if _suffix(path) not in SUFFIXES and ask_bucket(path, lambda place: place.is_dir()) else "file"


def _what(entry: os.DirEntry[str]) -> _Entry:
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    if entry.is_file(follow_symlinks=False):
        return "file"
    try:
        mode = entry.stat().st_mode
    except OSError:
        return _BROKEN
    if stat.S_ISDIR(mode):
        return _REPEATED if _leads_up(entry.path) else "link"
    return "file" if stat.S_ISREG(mode) else _SPECIAL


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _is_shown(name: str) -> bool:
    return not _is_hidden(name) and name.lower() not in _LITTER


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _identity(folder: str) -> object:
    """Identifies a folder: all paths to it give the same."""
    if is_remote(folder) or archives.divide(folder):
        return folder
    try:
        status = os.stat(folder or ".")
    except OSError as error:
        raise UserError(f"The folder {printable(folder)} cannot be read: {reason(error)}.") from error
    return status.st_dev, status.st_ino


def _leads_up(link: str) -> bool:
    """Tells whether a link leads to a folder that it is in."""
    target, place = os.path.realpath(link), os.path.realpath(os.path.dirname(link))
    return os.path.commonpath([target, place]) == target


def _reading_order(path: str) -> list[tuple[int, str]]:
    """Sorts the files of a folder before those of its sub-folders."""
    *folders, name = path.split(os.sep)
    return [*((1, folder) for folder in folders), (0, name)]


def _why_not(path: str) -> str | None:
    """Says why a file is left out because of its ending, "" if there is nothing to say; None if it is an image."""
    try:
        kind = kind_of(_head(path))
    except Exception as error:  # That of a bucket's library can be any.
        return reason(error)
    if kind is None:
        return ""
    return f"{kind.name}; {kind.hint}" if kind.hint else None


def _head(path: str) -> bytes:
    if archives.divide(path):
        return read_bytes(path)[:HEAD]
    with epath.Path(path).open("rb") if is_remote(path) else open(path, "rb") as file:
        return file.read(HEAD)


def _counted(what: What, paths: Sequence[str]) -> str:
    name = what.one if len(paths) == 1 else what.several
    return f"{len(paths)} {name} such as {printable(min(paths))}" + (f" ({what.why})" if what.why else "")
