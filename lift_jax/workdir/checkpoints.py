"""Checkpoints in a workdir, by orbax: what is trained, and what it belongs to."""

import contextlib
import errno
import itertools
import math
import re
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from lift_jax.cluster import processes
from lift_jax.errors import UserError, first_line, is_news, reason
from lift_jax.files import require_room
from lift_jax.workdir import storage
from lift_jax.workdir.identity import check as check_identity
from lift_jax.workdir.logs import Logs


class Saved(NamedTuple):
    """The content of a checkpoint.

    Attributes:
        state: what training changes, a pytree with the attribute `step`.
        iterator: the state of the data iterator.
        unread: loss, right answers and examples of the steps that no line of metrics.jsonl tells of yet.
        scores: the steps so far at which the held-out images were looked at, each with the mean class accuracy on them
            in percent; empty without validation.
    """

    state: Any
    iterator: dict[str, int]
    unread: Sequence[Sequence[float]] = ()
    scores: Sequence[tuple[int, float]] = ()


class DamagedError(UserError):
    """A checkpoint of which something is missing, or whose arrays are not those that were saved."""


class Checkpoints:
    """Saves the checkpoints of one workdir; use it as a context manager, or call `close`.

    The newest `keep` stay, and the best. With held-out images that is the one of the highest score on them, of equal
    ones the earliest, and a run's results are those of this checkpoint (see `chosen`). Without, it is the one of the
    lowest mean training loss since the checkpoint before it, and a run's results are those of its last step. The test
    set chooses nothing.

    Args:
        workdir: the run's folder.
        identity: what the parameters belong to (see `lift_jax.workdir.identity.identify`).
        keep: how many of the newest stay.
        step: at which the run goes on. Checkpoints of later steps are damaged, and put aside as `STEP.damaged`.
    """

    def __init__(self, workdir: epath.PathLike, identity: dict[str, Any], keep: int = 2, step: int = 0):
        self._identity = identity
        folder = _folder(workdir)
        if jax.process_index() == 0:
            for damaged in (s for s in steps(workdir) if s > step):
                endings = itertools.chain(["damaged"], (f"damaged.{n}" for n in itertools.count(2)))
                aside = next(p for p in (folder / f"{damaged}.{ending}" for ending in endings) if not p.exists())
                (folder / str(damaged)).rename(aside)
        processes.wait_for_all("damaged checkpoints are put aside")
        best = policies.BestN(get_metric_fn=_rank, reverse=True, n=1)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
            best_fn=_rank,
            best_mode="min",
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        self._manager = ocp.CheckpointManager(folder, options=options)
        logging.get_absl_logger().addFilter(is_news)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def wait(self) -> None:
        """Waits for saves that are under way."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends the threads that save."""
        with self._writing():
            self._manager.close()
        logging.get_absl_logger().removeFilter(is_news)

    @property
    def best(self) -> int | None:
        """The step of the best checkpoint."""
        return self._manager.best_step()

    def save(self, content: Saved, loss: float) -> None:
        """Begins to save; training may go on meanwhile. A step that is saved already is not saved again.

        Args:
            content: of the checkpoint.
            loss: by which the best checkpoint is found, unless `content` has a score of its step.
        """
        step = int(content.state.step)
        score = dict(content.scores).get(step)
        if step in self._manager.all_steps():
            return
        run = {
            "iterator": content.iterator,
            "unread": content.unread,
            "identity": self._identity,
            "checksum": _checksum(jax.device_get(content.state)),
        }
        if content.scores:
            run["scores"] = [list(each) for each in content.scores]
        items = ocp.args.Composite(state=ocp.args.StandardSave(content.state), run=ocp.args.JsonSave(run))
        with self._writing():
            self._manager.wait_until_finished()  # then those that are to go are gone
            # A disk that fills up while arrays are written leaves a trace for each of them, by tensorstore's threads.
            require_room(self._manager.directory, sum(x.nbytes for x in jax.tree.leaves(content.state)))
            metrics = {"loss": loss} | ({} if score is None else {"score": score, "step": step})
            self._manager.save(step, args=items, metrics=metrics)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns what went wrong in the background, which orbax's next call raises, into a sentence."""
        try:
            yield
        except Exception as error:  # orbax and tensorstore have no common base
            raise UserError(
                f"A checkpoint could not be written to {self._manager.directory} ({reason(error)}); make room or get "
                "permission, and start the same command again, which goes on from the newest checkpoint."
            ) from error


def steps(workdir: epath.PathLike) -> list[int]:
    """Lists the steps of a run's complete checkpoints, ascending."""
    folder = _folder(workdir)
    if not folder.exists():
        return []
    return sorted(found.step for found in ocp.path.step.standard_name_format().find_all(folder))


def newest(workdir: epath.PathLike) -> epath.Path | None:
    """Finds the folder of the newest complete checkpoint of a run; None if there is none."""
    found = steps(workdir)
    return _folder(workdir) / str(found[-1]) if found else None


def chosen(workdir: epath.PathLike) -> epath.Path | None:
    """Finds the folder of the checkpoint that a run's results are of; None if it has no checkpoint.

    With held-out images it is the best on them of those that are there, without the newest.

    Raises:
        UserError: if the newest checkpoint, which knows the scores of all, is damaged.
    """
    last = newest(workdir)
    if last is None:
        return None
    step = best(_run(last)["scores"], steps(workdir))
    return last if step is None else last.parent / str(step)


def best(scores: Sequence[tuple[int, float]], among: Collection[int]) -> int | None:
    """The step of the highest score, of equal ones the earliest; None if there is none.

    Args:
        scores: steps and their scores.
        among: the steps that may be chosen.
    """
    return min(((-score, step) for step, score in scores if step in among), default=(0, None))[1]


def restore_chosen(workdir: epath.PathLike, like: Any, identity: dict[str, Any], logs: Logs) -> Saved | None:
    """Restores the checkpoint that a run's results are of (see `chosen`), or None; see `restore_newest`.

    Raises:
        UserError: if that checkpoint is damaged: another one would give other results.
    """
    last = restore_newest(workdir, like, identity, logs)
    return None if last is None else restore_best(workdir, last, identity)


def restore_best(workdir: epath.PathLike, last: Saved, identity: dict[str, Any]) -> Saved:
    """Restores the checkpoint that is the best by the scores of the last one, unless it is the last one itself.

    Args:
        workdir: the run's folder.
        last: the last checkpoint, or what it was made of; it is given back if it is the best, or has no scores.
        identity: see `restore`.

    Raises:
        UserError: if the best checkpoint is damaged.
    """
    step = best(last.scores, steps(workdir))
    if step is None or step == int(last.state.step):
        return last
    return restore(_folder(workdir) / str(step), last.state, identity)


def restore_newest(workdir: epath.PathLike, like: Any, identity: dict[str, Any], logs: Logs) -> Saved | None:
    """Restores the newest whole checkpoint of a run, or gives None; damaged ones are passed over with a warning.

    Args:
        workdir, like, identity: see `restore`.
        logs: for the warning.
    """
    for step in reversed(steps(workdir)):
        try:
            return restore(_folder(workdir) / str(step), like, identity)
        except DamagedError as error:
            logs.warning(f"{error} It is passed over.")
    return None


def restore(folder: epath.PathLike, like: Any, identity: dict[str, Any]) -> Saved:
    """Restores the checkpoint in `folder`.

    Args:
        folder: such as RUN/checkpoints/150.
        like: has the arrays' shapes, types and places.
        identity: what the parameters must belong to (see `lift_jax.workdir.identity.identify`).

    Raises:
        DamagedError: the same on all processes: if one of them cannot read it.
        UserError: if there is none, or it belongs to another backbone, method, tuner, head or class list.
    """
    folder = epath.Path(folder).resolve()
    if not folder.is_dir():
        raise UserError(
            f"The checkpoint {folder} does not exist; --checkpoint names a folder such as RUN/checkpoints/150."
        )
    problem = ""
    with _reader() as reader:
        try:
            run = reader.restore(folder, args=ocp.args.Composite(run=ocp.args.JsonRestore()))["run"]
            check_identity(folder, run["identity"], identity)
            template = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), like)
            arrays = ocp.args.Composite(state=ocp.args.StandardRestore(template))
            state = reader.restore(folder, args=arrays)["state"]
            scores = _scores(run)
            if _checksum(state) != run["checksum"]:
                problem = "its arrays are not those that were saved"
        except UserError:
            raise
        except Exception as error:  # orbax, tensorstore and JSON have no common base
            _check_readable(folder, error)
            problem = first_line(error)
    if not processes.all_agree(not problem):
        problem = problem or "another process cannot read it"
        raise DamagedError(
            f"The checkpoint {folder} is damaged or incomplete ({problem}); delete it to go on from the one before."
        )
    return Saved(
        jax.tree.map(lambda x, place: jax.device_put(x, place.sharding), state, like),
        run["iterator"],
        run["unread"],
        scores,
    )


def identity(folder: epath.PathLike) -> dict[str, Any]:
    """Reads what the parameters of the checkpoint in `folder` belong to, such as the names of its classes.

    Raises:
        UserError: if it is damaged or incomplete.
    """
    return _run(epath.Path(folder).resolve())["identity"]


def _run(folder: epath.Path) -> dict[str, Any]:
    """Reads what the checkpoint in `folder` holds besides its arrays.

    Raises:
        UserError: if it is damaged or incomplete.
    """
    with _reader() as reader:
        try:
            run = reader.restore(folder, args=ocp.args.Composite(run=ocp.args.JsonRestore()))["run"]
            return {**run, "identity": run["identity"], "scores": _scores(run)}
        except Exception as error:  # see `restore`
            _check_readable(folder, error)
            raise DamagedError(f"The checkpoint {folder} is damaged or incomplete ({first_line(error)}).") from error


_OTHER_REASONS = re.compile(
    "PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAVAILABLE|DEADLINE_EXCEEDED|UNAUTHENTICATED|ABORTED|CANCELLED|"
    r"[Tt]oo many open files|[Oo]ut of memory|[Pp]ermission denied|Input/output error|[Cc]onnection|timed? ?out"
)
"""What tensorstore says where not the checkpoint, but the way to it is at fault."""


def _check_readable(folder: epath.Path, error: Exception) -> None:
    """Stops at an error that does not prove that a checkpoint is damaged: it may be whole, and must stay.

    Raises:
        UserError: if the system, the memory or the network is what failed.
    """
    gone = isinstance(error, FileNotFoundError | NotADirectoryError)
    system = isinstance(error, OSError | MemoryError) and not gone
    if (code := re.search(r"os_error_code='(\d+)'", str(error))) and int(code[1]) != errno.ENOENT:
        system = True
    if system or _OTHER_REASONS.search(str(error)):
        raise UserError(
            f"The checkpoint {folder} cannot be read at the moment ({reason(error)}); nothing was changed, so see to "
            "that and start the same command again."
        ) from error


def _folder(workdir: epath.PathLike) -> epath.Path:
    return epath.Path(workdir).resolve() / storage.CHECKPOINTS


def _reader() -> ocp.Checkpointer:
    """Reads on this process alone: where one cannot read, the others must not wait for it."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(me, {me}, f"reader_{me}")
    handler = ocp.CompositeCheckpointHandler(composite_options=ocp.CompositeOptions(multiprocessing_options=alone))
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


def _checksum(state: Any) -> int:
    """Computes a checksum of the arrays' bytes."""
    total = 0
    for array in jax.tree.leaves(state):
        total = zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data, total)
    return total


def _scores(run: dict[str, Any]) -> list[tuple[int, float]]:
    return [(int(step), float(score)) for step, score in run.get("scores", ())]


def _rank(metrics: dict[str, float]) -> Any:
    """Sorts checkpoints, the best first: those with a score by it and the step, the others after them by the loss."""
    if "score" in metrics:
        return -metrics["score"], metrics["step"]
    return 1.0, metrics["loss"] if math.isfinite(metrics["loss"]) else math.inf
