"""One run in one workdir: build, train, evaluate, write down."""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import ml_collections
import numpy as np
from etils import epath

import lift_jax
from lift_jax import config as lift_config
from lift_jax import tuners
from lift_jax.classifier import network as networks
from lift_jax.classifier.loaded import Loaded
from lift_jax.classifier.network import Network
from lift_jax.cluster import placement, preemption, processes
from lift_jax.data import RunData, TrainLoader, groups, validation
from lift_jax.errors import DivergedError, UserError
from lift_jax.evaluation import metrics, per_class
from lift_jax.evaluation.evaluator import Evaluator, Predictions
from lift_jax.files import replacing_together, write_json
from lift_jax.models import partition
from lift_jax.training import head_start, objective, population, step, zero_shot
from lift_jax.training.hooks import RunHooks
from lift_jax.training.loop import fit
from lift_jax.training.objective import Objective
from lift_jax.training.state import TrainState, initial_state
from lift_jax.training.validation import Validation
from lift_jax.weights import Backbone, reference
from lift_jax.workdir import changes, config_file, record, storage
from lift_jax.workdir import checkpoints as ckpt
from lift_jax.workdir.checkpoints import Saved
from lift_jax.workdir.identity import identify
from lift_jax.workdir.logs import Logs
from lift_jax.workdir.progress import duration

Mode = Literal["train", "eval"]
Results = dict[str, dict[str, float]]

MEMBERS_OWN = ("seed", "lr")
"""The keys of the config in which runs may differ that train as one program (see `run_together`)."""

VALIDATION = "validation"
"""The section of eval.json, and the split of metrics.jsonl, that tell of the held-out images."""


def run(
    config: ml_collections.ConfigDict,
    workdir: epath.PathLike,
    mode: Mode = "train",
    checkpoint: epath.PathLike | None = None,
    launched: float | None = None,
    loaded: Loaded | None = None,
) -> Results:
    """Trains and evaluates, or evaluates only.

    Args:
        config: see `lift_jax.config.default`.
        workdir: a folder, or a bucket such as gs://BUCKET/RUN; gets config.json, run.json, console.log, metrics.jsonl,
            tensorboard/, checkpoints/, eval.json, predictions.npz, and, with config.report, report.html and report/.
        mode: "train" goes on from the newest checkpoint in the workdir if there is one, and evaluates at the end;
            "eval" restores and evaluates.
        checkpoint: the one to evaluate, instead of the newest, or of the best where images are held out: a folder, or
            the reference implementation's checkpoint.pth.tar.
        launched: when the program was (see `lift_jax.workdir.logs.process_start`), for the line that says how long
            the start took; None takes the present.
        loaded: data and backbones that earlier runs of this process have loaded.

    Returns:
        The sections of eval.json: `plain`, `tte` where test-time ensembling is enabled, and `validation` where images
        are held out.

    Raises:
        UserError: for any mistake in what the user gave. A workdir that was made for the run is then removed, unless
            training has begun.
        SystemExit: with `preemption.EXIT_CODE`, if the process was told to stop by SIGTERM.
    """
    with processes.together():
        resolved = check(config)
        if mode == "train" and checkpoint is not None:
            raise UserError(
                f"--checkpoint names {checkpoint}, but only --mode eval reads one; add --mode eval, or leave it out: "
                "training goes on from the newest checkpoint of the workdir."
            )
    with _opened(resolved, workdir, mode, checkpoint, loaded, launched) as opened:
        network = _train(opened) if opened.job.trains else opened.job.network
        return _evaluate(opened, network, opened.evaluator)


def run_together(
    plan: Mapping[epath.Path, ml_collections.ConfigDict], loaded: Loaded | None = None
) -> list[Results | DivergedError]:
    """Trains several runs at once, on one backbone and in one program, and then evaluates one after the other.

    Each run is what it would be alone (see `run`), up to float32 rounding, and goes on from its own newest checkpoint.
    Runs that one program cannot hold train one after the other; besides those of different `program_key` these are
    seeds that hold out other numbers of images of a class, on which the loss depends.

    Args:
        plan: the config of each run by its workdir; their `program_key` is the same.
        loaded: see `run`.

    Returns:
        For each run what `run` gives, or why it ended early if its loss is no longer a number.

    Raises:
        UserError: for any mistake in what the user gave, which ends all runs.
        SystemExit: with `preemption.EXIT_CODE`, once all runs are saved, if the process was told to stop.
    """
    loaded = loaded or Loaded()
    with contextlib.ExitStack() as all_runs:
        ends = [all_runs.enter_context(contextlib.ExitStack()) for _ in plan]
        runs = [
            end.enter_context(_opened(check(config), workdir, "train", None, loaded, name=workdir.name))
            for end, (workdir, config) in zip(ends, plan.items(), strict=True)
        ]
        one_program = _one_program(runs)
        trained = _train_together(runs) if one_program else [_train_one_of_several(each) for each in runs]
        results: list[Results | DivergedError] = []
        for each, network in zip(runs, trained, strict=True):
            with each.logs.speaking():
                evaluator = runs[0].evaluator if one_program else each.evaluator  # compiled once for all
                diverged = isinstance(network, DivergedError)
                results.append(network if diverged else _evaluate(each, network, evaluator))
        for end, result in reversed(list(zip(ends, results, strict=True))):
            with contextlib.suppress(DivergedError), end:  # a workdir without a checkpoint is taken away again
                if isinstance(result, DivergedError):
                    raise result
    return results


def check(config: ml_collections.ConfigDict) -> ml_collections.FrozenConfigDict:
    """Resolves a config, and refuses what is wrong with it as far as this can be known without data and backbone.

    Raises:
        UserError: for the first mistake.
    """
    resolved = lift_config.resolve(config)
    objective.check(resolved)
    head_start.check(resolved.head_init)
    groups.check(resolved.class_groups)
    validation.check(resolved.validation, resolved.patience)
    return resolved


def program_key(config: ml_collections.FrozenConfigDict) -> Hashable:
    """Gives what runs have in common that can train as one program: the same value of a resolved config.

    It is the config without `MEMBERS_OWN`; several processes, or a backbone in pieces over the devices, hold one run.
    """
    values = lift_config.flatten(config)
    alone = jax.process_count() > 1 or config.fsdp
    return object() if alone else tuple((key, str(value)) for key, value in values.items() if key not in MEMBERS_OWN)


@dataclasses.dataclass(frozen=True)
class Job:
    """What a run trains and evaluates.

    Attributes:
        config: the resolved config.
        data: the images.
        network: the network, placed on all devices.
        objective: what the training minimises.
        identity: what the trained parameters belong to.
        record: what is written down about the run.
        trains: whether it trains before it evaluates.
    """

    config: ml_collections.FrozenConfigDict
    data: RunData
    network: Network
    objective: Objective
    identity: dict[str, Any]
    record: record.Record
    trains: bool

    def write_down(self, config: epath.Path, run: epath.Path) -> None:
        """Writes the contents of config.json and run.json to two files."""
        write_json(config, self.config.to_dict())
        write_json(run, record.content(self.record))


@dataclasses.dataclass(frozen=True)
class _Opened:
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
    evaluator: Evaluator


@contextlib.contextmanager
def _opened(
    config: ml_collections.FrozenConfigDict,
    workdir: epath.PathLike,
    mode: Mode,
    checkpoint: epath.PathLike | None,
    loaded: Loaded | None,
    launched: float | None = None,
    name: str = "",
) -> Iterator[_Opened]:
    """Opens a run's folder and its logs, and prepares the run; the arguments are those of `run` and `Logs`."""
    with (
        storage.opened(workdir) as folder,
        Logs(folder.local, enabled=processes.is_first(), push=folder.push, launched=launched, name=name) as logs,
        preemption.leaving(logs.info) if jax.process_count() == 1 else contextlib.nullcontext(),
    ):
        job, saved = _prepare(config, folder, mode, checkpoint, logs, loaded or Loaded())
        yield _Opened(job, saved, folder, logs, Evaluator(job.network.classifier, job.network.input))


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
    goal = objective.make(config, data.train.class_counts)
    network, backbone = _load_network(config, data, loaded, logs)
    identity = identify(
        config, backbone.name, backbone.hash, data.train.class_names, reads_prompt=network.method.tunes_text
    )
    made = _record(network, data, backbone, folder.local, mode)
    trains = mode == "train" and not network.method.zero_shot
    job = Job(config, data, network, goal, identity, made, trains)
    saved = _restore(job, folder, mode, checkpoint, logs)
    if saved is None and trains:
        parts = head_start.start_head(config, network, backbone, data, folder.local, logs)
        head = placement.replicate(parts.head, placement.make_mesh())
        network = network.with_trained({**parts.trainable, partition.HEAD: head})
    elif saved is not None:
        network = network.with_trained(saved.state.trainable)
    if saved is None and trains and config.zero_shot:
        before = loaded.zero_shot(config, lambda: zero_shot.measure(config, network, backbone, data, logs))
        made = dataclasses.replace(made, zero_shot=before)
    job = dataclasses.replace(job, network=network, record=made)
    if trains and processes.is_first():
        with replacing_together([folder.local / name for name in (config_file.FILE, record.FILE)]) as parts:
            job.write_down(*parts)
    logs.stage("head start" if saved is None else "checkpoint")
    return job, saved


def _load_data(config: ml_collections.FrozenConfigDict, loaded: Loaded, logs: Logs) -> RunData:
    with processes.together():
        data = loaded.data(config)
    logs.stage("data")
    counts = data.train_counts
    logs.info(
        f"{config.data.name}: {counts.sum():,} training images of {len(counts):,} classes "
        f"({counts.max():,} to {counts.min():,} a class), {len(data.test):,} test images."
    )
    if data.held_out is not None:
        logs.info(data.held_out.sentence)
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
        return Saved(dataclasses.replace(like, trainable=placement.replicate(parts.trainable, mesh)), {})
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
        versions={"lift_jax": lift_jax.__version__, "jax": jax.__version__},
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


class _Training(NamedTuple):
    """What belongs to the training of a run besides its state."""

    loader: TrainLoader
    checkpoints: ckpt.Checkpoints
    judge: Validation | None
    hooks: RunHooks


def _train(run: _Opened) -> Network:
    """Trains from the checkpoint, or from the start, to the end; gives the network that the results are of."""
    job, mesh = run.job, placement.make_mesh()
    with _begun(run, _loader(run)) as training:
        state = fit(
            job.network,
            job.objective,
            training.loader,
            training.hooks,
            step=step.make(job.config, job.network, job.objective, mesh),
            state=_first_state(run),
            key=placement.replicated_key(job.config.seed, mesh),
        )
    return _chosen(run, training, state)


def _train_one_of_several(run: _Opened) -> Network | DivergedError:
    """Trains a run while others are open, if it trains at all."""
    with run.logs.speaking():
        try:
            return _train(run) if run.job.trains else run.job.network
        except DivergedError as error:
            return error


def _train_together(runs: Sequence[_Opened]) -> list[Network | DivergedError]:
    """Trains runs of one program at once; gives for each what `_train` gives, or why it ended early."""
    job = runs[0].job
    loaders: dict[tuple[int, int], TrainLoader] = {}
    with contextlib.ExitStack() as begun, preemption.watching() as told:
        watching = functools.lru_cache(maxsize=1)(told)  # all members get the same answer after a step
        trainings: list[_Training] = []
        for run in runs:
            begun.enter_context(run.logs.speaking())
            loader = _loader(run)
            loader = loaders.setdefault((run.job.config.seed, loader.step), loader)
            trainings.append(begun.enter_context(_begun(run, loader, lambda: contextlib.nullcontext(watching))))
        members = [
            population.Member(
                seed=run.job.config.seed,
                lr=run.job.objective.lr,
                loader=training.loader,
                hooks=training.hooks,
                speaking=run.logs.speaking,
                state=_first_state(run),
            )
            for run, training in zip(runs, trainings, strict=True)
        ]
        population.fit(job.network, members, step.make(job.config, job.network, job.objective, placement.make_mesh()))
    return [
        member.diverged or _chosen(run, training, member.state)
        for run, training, member in zip(runs, trainings, members, strict=True)
    ]


def _one_program(runs: Sequence[_Opened]) -> bool:
    """Tells whether runs can train as one program, on one frozen backbone."""
    first = runs[0].job

    def fits(job: Job) -> bool:
        frozen = zip(
            jax.tree.leaves(job.network.parts.frozen), jax.tree.leaves(first.network.parts.frozen), strict=True
        )
        return (
            job.trains
            and program_key(job.config) == program_key(first.config)
            and job.network.class_names == first.network.class_names
            and np.array_equal(job.data.train.class_counts, first.data.train.class_counts)
            and all(array is other for array, other in frozen)
        )

    return all(fits(run.job) for run in runs)


def _loader(run: _Opened) -> TrainLoader:
    """Makes the loader of a run's training images, at the step with which it goes on."""
    loader = run.job.data.train_loader(run.job.network.input.resolution)
    if run.saved is not None:
        loader.set_state(run.saved.iterator)
        run.logs.info(f"Going on from the checkpoint of step {loader.step} of {loader.num_steps}.")
    return loader


def _first_state(run: _Opened) -> TrainState:
    if run.saved is not None:
        return run.saved.state
    return initial_state(run.job.network.parts, run.job.objective.tx(), placement.make_mesh())


@contextlib.contextmanager
def _begun(run: _Opened, loader: TrainLoader, watching: Any = preemption.watching) -> Iterator[_Training]:
    """Opens the checkpoints of a training, and makes its hooks."""
    job, saved = run.job, run.saved
    judge = _judge(run) if job.data.held_out is not None else None
    unread = saved.unread if saved is not None else ()
    with ckpt.Checkpoints(run.folder.path, job.identity, job.config.keep, loader.step) as checkpoints:
        hooks = RunHooks(job.config, job.objective, loader, run.logs, checkpoints, unread, judge, watching)
        yield _Training(loader, checkpoints, judge, hooks)


def _chosen(run: _Opened, training: _Training, state: TrainState) -> Network:
    """Gives the network that the results of a training are of, which has ended with a state."""
    network, best = run.job.network, training.checkpoints.best
    with run.logs.speaking():
        if training.judge is None:
            run.logs.info(f"Of the checkpoints that were kept, that of step {best} has the lowest training loss.")
            return network.with_trained(state.trainable)
        last = Saved(state, training.loader.get_state(), (), training.judge.scores)
        chosen = ckpt.restore_best(run.folder.path, last, run.job.identity)
        found = int(chosen.state.step)
        run.logs.info(f"The checkpoint of step {found} is the best on the held-out images, and is evaluated.")
        return network.with_trained(chosen.state.trainable)


def _judge(run: _Opened) -> Validation:
    """Makes what looks at the held-out images in the training."""
    job = run.job

    def measure(state: TrainState) -> dict[str, float]:
        return _validate(job, job.network.with_trained(state.trainable), run.evaluator, run.logs)

    return Validation(measure, job.config.patience, run.saved.scores if run.saved is not None else ())


def _evaluate(run: _Opened, network: Network, evaluator: Evaluator) -> Results:
    with preemption.leaving(run.logs.info), processes.connected():
        return evaluate(run.job, network, run.folder.local, evaluator, run.logs)


def _validate(job: Job, network: Network, evaluator: Evaluator, logs: Logs) -> dict[str, float]:
    """Evaluates a network on the held-out images."""
    loader = job.data.validation_loader(network.input.resolution)
    counts, _ = evaluator(network.params, loader, logs, "evaluation, validation")
    return metrics.summarize(counts, class_groups=job.data.groups)


def evaluate(job: Job, network: Network, workdir: Path, evaluator: Evaluator, logs: Logs) -> Results:
    """Evaluates plainly and, where enabled, with test-time ensembling; then writes down all results together."""
    config, resolution = job.config, network.input.resolution
    modes = {"plain": "plain"} | ({"tte": config.tte.mode} if config.tte.enabled else {})
    results: Results = {}
    predictions: dict[str, Predictions] = {}
    began = time.monotonic()
    for section, mode in modes.items():
        loader = job.data.test_loader(resolution, mode)
        if section == "tte":
            seconds = loader.num_views * (time.monotonic() - began)
            logs.info(
                f"tte: {loader.num_views} views an image take up to {loader.num_views} times as long, about "
                f"{duration(seconds)}; --config.tte.enabled=False leaves them out."
            )
        counts, predictions[section] = evaluator(network.params, loader, logs, f"evaluation, {section}")
        results[section] = metrics.summarize(counts, class_groups=job.data.groups)
        views = "1 view" if loader.num_views == 1 else f"{loader.num_views} views"
        share = loader.bytes_per_image / (loader.num_views * 3 * 4 * resolution**2)
        logs.info(
            f"{section}: {views} an image from {loader.bytes_per_image:,.0f} bytes an image, "
            f"{share:.1%} of what float32 views would take."
        )
    steps = job.data.train_loader(resolution).num_steps
    if not job.trains:  # then these results take the place of earlier ones
        logs.resume(steps, without=modes)
    logs.scalars(steps, {f"{s}/{key}": value for s, result in results.items() for key, value in result.items()})
    if job.data.held_out is not None:  # metrics.jsonl has the curve of its own
        results[VALIDATION] = _validate(job, network, evaluator, logs)
    before = None if network.method.zero_shot else job.record.zero_shot
    logs.info(metrics.table({**({"zero_shot": before} if before else {}), **results}))
    if before and (sentence := zero_shot.warning(before, results["plain"])):
        logs.warning(sentence)
    if advice := groups.advice(config.class_groups, job.data.train_counts):
        logs.info(advice)
    if processes.is_first():
        _write_results(job, workdir, results, predictions)
        if config.report:
            _report(job, workdir, logs)
    return results


def _report(job: Job, workdir: Path, logs: Logs) -> None:
    """Draws the report. Whatever goes wrong with it, the numbers are written already and the run goes on."""
    try:
        from lift_jax import report  # matplotlib takes a second to import

        logs.info(f"Report: {report.write(workdir, job.data.test, logs)}")
    except Exception as error:
        logs.warning(f"The report could not be drawn ({type(error).__name__}: {error}); the results are in eval.json.")


def _per_class(job: Job, predictions: dict[str, Predictions]) -> dict[str, Any]:
    """Measures each class in each section."""
    names = job.data.train.class_names
    measured = {
        section: per_class.measure(rows.label, rows.prediction, len(names)) for section, rows in predictions.items()
    }
    return per_class.content(measured, names)


def _write_results(job: Job, workdir: Path, results: Results, predictions: dict[str, Predictions]) -> None:
    """Writes eval.json and predictions.npz with the config and the record that they belong to.

    The headline's columns have their own names, and the plain ones beside ensembling are called `plain_...`.
    """
    main = predictions.get("tte", predictions["plain"])
    columns: dict[str, Any] = dict(
        index=main.index, label=main.label, prediction=main.prediction, confidence=main.confidence
    )
    if "tte" in predictions:
        plain = predictions["plain"]
        columns |= dict(plain_prediction=plain.prediction, plain_confidence=plain.confidence)
    names = config_file.FILE, record.FILE, "eval.json", "predictions.npz"
    with replacing_together([workdir / name for name in names]) as (config, run, evaluation, rows):
        job.write_down(config, run)
        write_json(evaluation, {**results, per_class.KEY: _per_class(job, predictions)})
        with rows.open("wb") as opened:
            np.savez_compressed(opened, **columns)


def default_workdir(config_file: str) -> Path:
    """Names the workdir of a run without one: runs/<config name>-<time>."""
    return Path("runs") / f"{Path(config_file).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
