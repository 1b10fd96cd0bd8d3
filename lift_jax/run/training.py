"""Trains a run, or several at once, from the checkpoint or the start to the network that is evaluated."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from lift_jax.classifier.network import Network
from lift_jax.cluster import memory, placement, preemption
from lift_jax.data import TrainLoader
from lift_jax.errors import DivergedError, quiet
from lift_jax.evaluation.tasks import TASKS
from lift_jax.run import cached_views
from lift_jax.run.job import Job, program_key
from lift_jax.run.opening import Opened
from lift_jax.run.reading import Evaluated, validate
from lift_jax.training import fitting, population, step
from lift_jax.training.hooks import RunHooks
from lift_jax.training.loop import fit
from lift_jax.training.members_step import MembersStep
from lift_jax.training.state import TrainState, initial_state
from lift_jax.training.validation import JointMeasure, Measure, Validation
from lift_jax.workdir import checkpoints as ckpt
from lift_jax.workdir.checkpoints import Saved


class _Training(NamedTuple):
    """What belongs to the training of a run besides its state."""

    loader: TrainLoader
    checkpoints: ckpt.Checkpoints
    judge: Validation | None
    hooks: RunHooks


def train(run: Opened) -> Network:
    """Trains from the checkpoint, or from the start, to the end; gives the network that the results are of."""
    job, mesh = run.job, placement.make_mesh()
    if job.network.method.closed_form:
        _save_start(run)
        return job.network
    remedy = "write a smaller config.batch_size, or a larger config.accumulate"

    def measure(state: TrainState) -> dict[str, float]:
        return _judged([run], {0: lambda: state})[0]

    with _begun(run, _loader(run), measure) as training, memory.sufficing("A training step", remedy):
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


def train_one_of_several(run: Opened) -> Network | DivergedError:
    """Trains a run while others are open, if it trains at all."""
    with run.logs.speaking():
        try:
            return train(run) if run.job.trains else run.job.network
        except DivergedError as error:
            return error


def train_together(runs: Sequence[Opened]) -> list[Network | DivergedError]:
    """Trains runs of one program at once; gives for each what `train` gives, or why it ended early."""
    job = runs[0].job
    loaders: dict[tuple[int, int], TrainLoader] = {}
    judging = JointMeasure(functools.partial(_judged, runs))
    with contextlib.ExitStack() as begun, preemption.watching() as told:
        watching = functools.lru_cache(maxsize=1)(told)  # all members get the same answer after a step
        trainings: list[_Training] = []
        for place, run in enumerate(runs):
            begun.enter_context(run.logs.speaking())
            loader = _loader(run)
            loader = loaders.setdefault((run.job.config.seed, loader.step), loader)
            begins = _begun(run, loader, judging.of(place), lambda: contextlib.nullcontext(watching))
            trainings.append(begun.enter_context(begins))
        members = [
            population.Member(
                seed=run.job.config.seed,
                hyperparameters=run.job.objective.hyperparameters,
                loader=training.loader,
                hooks=training.hooks,
                speaking=run.logs.speaking,
                state=_first_state(run),
            )
            for run, training in zip(runs, trainings, strict=True)
        ]
        lone = step.make(job.config, job.network, job.objective, placement.make_mesh())
        labels = job.data.train.labels.shape[1:]
        together = MembersStep(lone, job.network.parts.frozen, members[0].state, labels)
        places = {member: place for place, member in enumerate(members)}

        def stepped(reached: population.Reached) -> None:
            judging.stepped({places[member]: state for member, state in reached.items()})

        if len(members) > 1:
            quiet.say(f"The training step of {len(members)} runs at once is compiled now, to see what memory it needs.")
        parts, sentence = fitting.divided(members, together)
        if sentence:
            quiet.say(sentence)
        for part in parts:
            if len(part) > 1:
                names = [runs[places[member]].folder.path.name for member in part]
                quiet.say(f"{len(part)} runs train at once: {', '.join(names)}")
            population.fit(part, together, stepped)
    return [
        member.diverged or _chosen(run, training, member.state)
        for run, training, member in zip(runs, trainings, members, strict=True)
    ]


def one_program(runs: Sequence[Opened]) -> bool:
    """Tells whether one program can train and evaluate runs, on one frozen backbone."""
    first = runs[0].job

    def fits(job: Job) -> bool:
        frozen = zip(
            jax.tree.leaves(job.network.parts.frozen), jax.tree.leaves(first.network.parts.frozen), strict=True
        )
        return (
            program_key(job.config) == program_key(first.config)
            and job.network.class_names == first.network.class_names
            and np.array_equal(job.data.train.class_counts, first.data.train.class_counts)
            and all(array is other for array, other in frozen)
        )

    return all(fits(run.job) for run in runs)


def takes_steps(run: Opened) -> bool:
    """Tells whether a run has a training that takes steps."""
    return run.job.trains and not run.job.network.method.closed_form


def _loader(run: Opened) -> TrainLoader:
    """Makes the loader of a run's training images, at the step with which it goes on."""
    job = run.job
    if job.config.cache_views:
        loader = cached_views.loader(job.data, job.network, job.record.backbone["hash"], run.folder.local, run.logs)
    else:
        loader = job.data.train_loader(job.network.input.resolution)
    if run.saved is not None:
        loader.set_state(run.saved.iterator)
        run.logs.info(f"Going on from the checkpoint of step {loader.step} of {loader.num_steps}.")
    return loader


def _first_state(run: Opened) -> TrainState:
    if run.saved is not None:
        return run.saved.state
    return initial_state(run.job.network.parts, run.job.objective.tx(), placement.make_mesh())


def _save_start(run: Opened) -> None:
    """Saves the network of a run whose training has no steps, as the checkpoint of step 0."""
    run.logs.resume(0)
    iterator = run.job.data.train_loader(run.job.network.input.resolution).get_state()
    with ckpt.Checkpoints(run.folder.path, run.job.identity, run.job.config.keep) as checkpoints:
        checkpoints.save(Saved(_first_state(run), iterator), loss=0.0)


@contextlib.contextmanager
def _begun(
    run: Opened, loader: TrainLoader, measure: Measure, watching: Any = preemption.watching
) -> Iterator[_Training]:
    """Opens the checkpoints of a training, and makes its hooks; `measure` is asked if images are held out."""
    job, saved = run.job, run.saved
    unread, scores = (saved.unread, saved.scores) if saved is not None else ((), ())
    judges = job.data.held_out is not None
    judge = Validation(measure, job.config.patience, scores, TASKS[job.config.task]) if judges else None
    with ckpt.Checkpoints(run.folder.path, job.identity, job.config.keep, loader.step) as checkpoints:
        hooks = RunHooks(job.config, job.objective, loader, run.logs, checkpoints, unread, judge, watching)
        yield _Training(loader, checkpoints, judge, hooks)


def _chosen(run: Opened, training: _Training, state: TrainState) -> Network:
    """Gives the network that the results of a training are of, which has ended with a state."""
    network, best = run.job.network, training.checkpoints.best
    with run.logs.speaking():
        if training.judge is None:
            run.logs.info(f"Of the checkpoints that were kept, that of step {best} has the lowest training loss.")
            return network.with_results(state.result)
        last = Saved(state, training.loader.get_state(), (), training.judge.scores)
        chosen = ckpt.restore_best(run.folder.path, last, run.job.identity)
        found = int(chosen.state.step)
        run.logs.info(f"The checkpoint of step {found} is the best on the held-out images, and is evaluated.")
        return network.with_results(chosen.state.result)


def _judged(runs: Sequence[Opened], reached: Mapping[int, Callable[[], TrainState]]) -> Mapping[int, dict[str, float]]:
    """Evaluates those runs on their held-out images that have reached a state, by their places in the sequence."""
    evaluated = []
    for place, state in reached.items():
        run, result = runs[place], state().result
        evaluated.append(Evaluated(run.job, run.job.network.with_results(result), run.folder.local, run.logs))
    measured = validate(evaluated, runs[0].evaluator)  # compiled once for all
    return {place: metrics for place, (metrics, _) in zip(reached, measured, strict=True)}
