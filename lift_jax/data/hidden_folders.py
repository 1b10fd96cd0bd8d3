"""Hidden folders that hold images, of which a person is told: they may be classes, such as `.net`."""

import os

from lift_jax.data.image_files import SUFFIXES, entries, walk
from lift_jax.data.shown import some
from lift_jax.errors import UserError
from lift_jax.text import printable

_LITTER = frozenset(
    (
        ".git", ".hg", ".svn", ".dvc", ".github", ".idea", ".vscode", ".venv", ".tox", ".nox", ".cache", ".local",
        ".config", ".ipynb_checkpoints", ".huggingface", ".thumbnails", ".@__thumb", ".appledouble", ".appledb",
        ".appledesktop", ".fseventsd", ".spotlight-v100", ".temporaryitems", ".documentrevisions-v100", ".snapshot",
        ".snapshots", ".zfs",
    )
)  # fmt: skip
"""What version control, editors, notebooks, macOS and storage servers leave in folders, in lower case."""

_LITTER_BEGINS = (".trash", "._")
"""How the names of bins begin (.Trash-1000, .Trashes), and those of what macOS writes on other systems' disks."""


def notice(where: str) -> str:
    """Says which hidden folders of a folder hold images, and are left out; "" if there are none.

    Known litter, and what cannot be read, is passed over.

    Args:
        where: the folder of the class folders, local, remote or in an archive.
    """
    counts = {name: _count_images(os.path.join(where, name)) for name in _hidden(where)}
    named = [f"{name} ({count:,} image{'' if count == 1 else 's'})" for name, count in counts.items() if count]
    if not named:
        return ""
    why, remedy = "its name begins", "it if it is a class"
    if len(named) > 1:
        why, remedy = "their names begin", "those that are classes"
    folder = printable(where.rstrip(os.sep))
    return f"{folder}: left out because {why} with a dot: {some(named)}; rename {remedy}."


def _hidden(where: str) -> list[str]:
    found = entries(where, hidden=True)
    return sorted(name for name, what in found if what in ("folder", "link") and not _is_litter(name.lower()))


def _is_litter(name: str) -> bool:
    return name in _LITTER or name.startswith(_LITTER_BEGINS)


def _count_images(folder: str) -> int:
    """Counts the files with the ending of an image at any depth; none is opened."""
    try:
        files = walk(folder).files
    except UserError:
        return 0
    return sum(os.path.splitext(file)[1].lower() in SUFFIXES for file in files)
