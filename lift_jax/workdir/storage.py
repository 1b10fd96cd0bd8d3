"""A run's folder, on a disk or in a bucket."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
from etils import epath

from lift_jax.cluster import locking, processes
from lift_jax.errors import NO_ROOM, UserError, reason

CHECKPOINTS = "checkpoints"

_PROBE = 1 << 20
"""Bytes that must fit into a workdir: enough for what a run writes besides its checkpoints."""


class Folder:
    """A run's folder, in which all but the checkpoints is read and written on a disk.

    Nothing can be appended to a file in a bucket. So a run whose folder is there writes into a temporary folder, and
    copies what has changed to the bucket when `push` is called.

    Attributes:
        path: where the run is; its checkpoints are written there directly.
        local: where its other files are: `path` itself if that is on a disk.
    """

    def __init__(self, path: epath.Path, local: Path):
        self.path, self.local = path, local
        self._pushed: dict[Path, tuple[int, int]] = {}

    @property
    def remote(self) -> bool:
        """Whether the run is in a bucket."""
        return self.path != epath.Path(self.local)

    def pull(self) -> None:
        """Copies all files but the checkpoints from the bucket."""
        for file in _files(self.path) if self.remote else ():
            target = self.local / file.relative_to(self.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.copy(target, overwrite=True)
            self._pushed[target] = _version(target)

    def push(self) -> None:
        """Copies to the bucket what has changed since; only the first process does."""
        if not self.remote or jax.process_index() > 0:
            return
        for file in _files(epath.Path(self.local)):
            source = Path(file)
            if self._pushed.get(source) != (version := _version(source)):
                target = self.path / source.relative_to(self.local).as_posix()
                target.parent.mkdir(parents=True, exist_ok=True)
                file.copy(target, overwrite=True)
                self._pushed[source] = version


@contextlib.contextmanager
def fetched(path: epath.PathLike) -> Iterator[Folder]:
    """Gives the folder of a run as it is now; nothing is written back by itself."""
    path = epath.Path(path)
    if "://" not in str(path):
        yield Folder(path, Path(path))
        return
    with tempfile.TemporaryDirectory(prefix="lift_jax_") as local:
        folder = Folder(path, Path(local))
        folder.pull()
        yield folder


@contextlib.contextmanager
def opened(path: epath.PathLike) -> Iterator[Folder]:
    """Makes the folder of a run that is about to begin, checks that it is writable, and keeps other runs out of it.

    A new one is taken away again if the run fails with a `UserError` before its first checkpoint.

    Raises:
        UserError: if it cannot be written to, or another run does; the same on all processes. If it is full later.
    """
    path = epath.Path(path)
    new = processes.first_says(not path.exists())
    with contextlib.ExitStack() as held:
        try:
            with processes.together():
                _probe(path)
                if jax.process_index() == 0 and "://" not in str(path):
                    taken = f"Another run is writing into the workdir {path}; wait for its end, or name another with"
                    held.enter_context(locking.alone(path, f"{taken} --workdir."))
            with fetched(path) as folder:
                yield folder
        except locking.TakenError:
            raise
        except UserError:
            if new and jax.process_index() == 0 and path.exists() and not (path / CHECKPOINTS).exists():
                path.rmtree()
            raise
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise UserError(
                f"The workdir {path} cannot be written to ({reason(error)}); make room and start the same command "
                "again, which goes on from the newest checkpoint."
            ) from error


def _probe(path: epath.Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f"probe_{jax.process_index()}"
        try:
            probe.write_bytes(bytes(_PROBE))
        finally:
            probe.unlink(missing_ok=True)
    except Exception as error:  # a bucket's have no common base
        raise UserError(
            f"The workdir {path} cannot be written to ({reason(error)}); make room or get permission, or name another "
            "with --workdir."
        ) from error


def _files(folder: epath.Path) -> Iterator[epath.Path]:
    """Lists the files in the folder and below it, but for the checkpoints."""
    for entry in folder.iterdir():
        if not entry.is_dir():
            yield entry
        elif entry.name != CHECKPOINTS:
            yield from _files(entry)


def _version(file: Path) -> tuple[int, int]:
    return file.stat().st_mtime_ns, file.stat().st_size
