"""Opens the folder of a run, and makes all that the run needs or finds where it goes on."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import jax
import ml_collections
import numpy as np
from etils import epath

from lift_jax import config as lift_config
from lift_jax import tuners
from lift_jax.classifier import frozen
from lift_jax.classifier import network as networks
from lift_jax.classifier.loaded import Loaded
from lift_jax.classifier.network import Network
from lift_jax.cluster import placement, preemption, processes
from lift_jax.data import RunData, layouts
from lift_jax.data.shown import some
from lift_jax.errors import UserError
from lift_jax.evaluation.tasks import TASKS, AnyEvaluator
from lift_jax.files import place, replacing_together
from lift_jax.models import partition
from lift_jax.run import alike, source
from lift_jax.run.job import Job
from lift_jax.training import head_start, objective, zero_shot
from lift_jax.training.state import initial_state
from lift_jax.version import __version__
from lift_jax.weights import Backbone, reference
from lift_jax.workdir import changes, config_file, record, storage
from lift_jax.workdir import checkpoints as ckpt
from lift_jax.workdir.checkpoints import Saved
from lift_jax.workdir.identity import identify
from lift_jax.workdir.logs import Logs

Mode = Literal["train", "eval"]


@dataclasses.dataclass(frozen=True)
class Opened:
    """A run whose folder is open.

    Attributes:
        job: what it trains and evaluates.
        saved: the checkpoint that it goes on from, or that it evaluates.
        folder: its workdir.
        logs: what it says.
        evaluator: evaluates its classifier.
    """

    job: Job
    saved: Saved | None
    folder: storage.Folder
    logs: Logs
    evaluator: AnyEvaluator


@contextlib.contextmanager
def opened(
    config: ml_collections.FrozenConfigDict,
    workdir: epath.PathLike,
    mode: Mode,
    checkpoint: epath.PathLike | None,
    loaded: Loaded | None,
    launched: float | None = None,
    name: str = "",
) -> Iterator[Opened]:
    """Opens a run's folder and its logs, and prepares the run; the arguments are those of `run` and `Logs`."""
    if mode == "train":
        with Logs(None, enabled=processes.is_first(), name=name), processes.together():
            _check_apart(epath.Path(workdir), config.data)
    with (
        storage.opened(workdir) as folder,
        Logs(folder.local, enabled=processes.is_first(), push=folder.push, launched=launched, name=name) as logs,
        preemption.leaving(logs.info) if jax.process_count() == 1 else contextlib.nullcontext(),
    ):
        job, saved = _prepare(config, folder, mode, checkpoint, logs, loaded or Loaded())
        yield Opened(job, saved, folder, logs, TASKS[config.task].evaluator(job.network.classifier, job.network.input))


def _prepare(
    config: ml_collections.FrozenConfigDict,
    folder: storage.Folder,
    mode: Mode,
    checkpoint: epath.PathLike | None,
    logs: Logs,
    loaded: Loaded,
) -> tuple[Job, Saved | None]:
    """Makes all that the run needs, and finds where it goes on; only then does it write into the workdir.

    The host's copy of the backbone lives no longer than this function, unless runs share it.
    """
    processes.agree(config=config.to_json())
    placement.check_batch(config.batch_size, config.accumulate or 1)
    with processes.together():
        changes.check(folder.local, config, evaluates=mode == "eval")
    data = _load_data(config, loaded, logs)
    with processes.together():
        changes.check_data(folder.local, data.train.class_names, data.train_counts.tolist(), _held_out_counts(data))
    goal = objective.make(config, data.train.class_counts, len(data.train))
    network, backbone = _load_network(config, data, loaded, logs)
    identity = identify(
        config, backbone.name, backbone.hash, data.train.class_names, reads_prompt=network.method.tunes_text
    )
    made = _record(network, data, backbone, folder.local, mode)
    trains = mode == "train" and not network.method.zero_shot
    job = Job(config, data, network, goal, identity, made, trains)
    saved = _restore(job, folder, mode, checkpoint, logs)
    _warn_of_seen(config, checkpoint, logs)
    if saved is None and trains:
        parts = head_start.start_head(config, network, backbone, data, folder.local, logs)
        if config.init_from:
            parts = source.begin_from(config.init_from, parts, network, backbone, identity, logs)
            if config.head_alone:
                logs.info("Of these the head alone is trained (config.head_alone).")
        network = network.with_trained(placement.replicate(parts.trainable, placement.make_mesh()))
    elif saved is not None:
        network = network.with_results(saved.state.result)
    logs.stage("head start" if saved is None else "checkpoint")
    if saved is None and trains and config.zero_shot:
        before = loaded.zero_shot(config, lambda: zero_shot.measure(config, network, backbone, data, logs))
        made = dataclasses.replace(made, zero_shot=before)
        logs.stage("zero-shot")
    job = dataclasses.replace(job, network=network, record=made)
    if trains and processes.is_first():
        with replacing_together([folder.local / name for name in (config_file.FILE, record.FILE)]) as parts:
            job.write_down(*parts)
    with processes.together():
        logs.track(config.tracker, lift_config.flatten(config), folder.path.resolve().name)
    return job, saved


def _check_apart(workdir: epath.Path, data: ml_collections.FrozenConfigDict) -> None:
    """Refuses a new run whose pictures would be images of a class in the next training."""
    if data.format != "folder" or "://" in str(workdir) or (workdir / config_file.FILE).exists():
        return
    if where := layouts.among_classes(str(workdir), data.root, data.train_list, data.test_list):
        raise UserError(
            f"The workdir {workdir} lies in {where}, whose folders are the classes, and would be taken for one; name a "
            "folder elsewhere with --workdir."
        )


def _warn_of_seen(config: ml_collections.FrozenConfigDict, checkpoint: epath.PathLike | None, logs: Logs) -> None:
    """Warns of held-out images that judge a training which may have had them."""
    others = {}
    if config.init_from:
        others["config.init_from"] = place(config.init_from, "config.init_from")
    if checkpoint is not None:  # RUN/checkpoints/STEP
        others["--checkpoint"] = epath.Path(checkpoint).parent.parent
    for name, run in others.items():
        try:
            known = config_file.read(run)
        except UserError:  # it is gone, or there never was one
            continue
        if alike.may_have_seen(known, config):
            logs.warning(
                f"The run {run} ({name}) may have been trained on images that are held out here by config.validation, "
                "which then judge too well; give both one config.validation and config.seed, or name the images in a "
                "file."
            )


def _load_data(config: ml_collections.FrozenConfigDict, loaded: Loaded, logs: Logs) -> RunData:
    with processes.together():
        data = loaded.data(config)
    logs.stage("data")
    counts, images = data.train_counts, len(data.train) + (0 if data.validation is None else len(data.validation))
    logs.info(
        f"{config.data.name}: {images:,} training images of {len(counts):,} classes "
        f"({counts.max():,} to {counts.min():,} a class), {len(data.test):,} test images."
    )
    if untested := [data.test.class_names[label] for label in np.flatnonzero(data.test.class_counts == 0)]:
        have, count = ("have", "count") if len(untested) > 1 else ("has", "counts")
        logs.info(f"{len(untested):,} of them {have} no test images and {count} in no mean: {some(untested, 3)}.")
    if data.held_out is not None:
        logs.info(data.held_out.sentence)
    if config.data.cap:
        logs.info(f"Trained on: {len(data.train):,} images, at most {config.data.cap:,} of a class (config.data.cap).")
    return data


def _held_out_counts(data: RunData) -> list[int] | None:
    return None if data.validation is None else data.validation.class_counts.tolist()


def _load_network(
    config: ml_collections.FrozenConfigDict, data: RunData, loaded: Loaded, logs: Logs
) -> tuple[Network, Backbone]:
    """Loads the backbone and joins it with tuners and head; the parameters are placed on all devices."""
    start = time.monotonic()
    with processes.together():
        backbone = loaded.backbone(config)
        method = tuners.resolve(config.method, config.tuner)
        network = networks.build(config, method, backbone, data.train.class_names)
    logs.info(
        f"Backbone {backbone.name}: {partition.count(backbone.params['vision']):,} parameters, "
        f"{backbone.resolution} x {backbone.resolution} pixels, loaded in {time.monotonic() - start:.1f} s."
    )
    splits = (each for each in (data.train, data.test, data.validation) if each is not None)
    split = [(each.class_names, each.labels.tobytes()) for each in splits]
    processes.agree(data=split, backbone=backbone.hash)
    if not method.zero_shot:  # which trains nothing, its head neither
        logs.info(tuners.summary(network.tuning, network.parts))
    for sentence in frozen.remarks(network.parts, config.frozen_dtype, jax.devices()[0]):
        logs.info(sentence)
    network = loaded.placed(network, config.fsdp)
    logs.stage("backbone")
    return network, backbone


def _restore(
    job: Job, folder: storage.Folder, mode: Mode, checkpoint: epath.PathLike | None, logs: Logs
) -> Saved | None:
    """Restores the checkpoint that a training goes on from, or that an evaluation is about; None if there is none."""
    if job.network.method.zero_shot:
        return None
    mesh = placement.make_mesh()
    like = initial_state(job.network.parts, job.objective.tx(), mesh)
    if mode == "train":
        return ckpt.restore_newest(folder.path, like, job.identity, logs)
    if checkpoint is not None and epath.Path(checkpoint).is_file():
        parts = reference.load(Path(checkpoint), job.network.tuning, jax.device_get(job.network.parts))
        logs.info(f"Evaluating {checkpoint}, a checkpoint of the reference implementation.")
        return Saved(initial_state(parts, job.objective.tx(), mesh), {})
    if checkpoint is not None:
        saved = ckpt.restore(checkpoint, like, job.identity)
    else:
        saved = ckpt.restore_chosen(folder.path, like, job.identity, logs)
    if saved is None:
        raise UserError(f"There is no checkpoint in {folder.path}; train first, or name one with --checkpoint.")
    logs.info(f"Evaluating the checkpoint of step {int(saved.state.step)}.")
    return saved


def _record(network: Network, data: RunData, backbone: Backbone, workdir: Path, mode: Mode) -> record.Record:
    """Makes the record of the run."""
    trained = [] if network.method.zero_shot else tuners.rows(network.tuning, network.parts)
    test_counts, class_groups = data.test.class_counts.tolist(), np.asarray(data.groups).tolist()
    return record.Record(
        # A run that is merely evaluated again was made by the command that trained it.
        command=(record.known_command(workdir) if mode == "eval" else None) or record.command_line(),
        versions={"lift_jax": __version__, "jax": jax.__version__},
        devices=record.devices(),
        backbone={
            "name": backbone.name,
            "hash": backbone.hash,
            "parameters": partition.count(backbone.params["vision"]),
        },
        trainable=[row._asdict() for row in trained],
        class_names=list(data.train.class_names),
        train_counts=data.train_counts.tolist(),
        test_counts=test_counts,
        class_groups=class_groups,
        validation_counts=_held_out_counts(data),
        zero_shot=record.known_zero_shot(workdir, test_counts, class_groups),
    )
