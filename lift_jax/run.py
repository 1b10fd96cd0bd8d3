"""One run in one workdir: build, train, evaluate, write down."""

import contextlib
import time
from pathlib import Path
from typing import Any, Literal

import jax
import ml_collections
import numpy as np
from etils import epath

from lift_jax import checkpoints as ckpt
from lift_jax import config as lift_config
from lift_jax import devices, metrics, preemption, record, run_config, storage
from lift_jax import experiment as lift_experiment
from lift_jax.errors import UserError
from lift_jax.evaluate import Evaluator, Predictions
from lift_jax.experiment import Experiment
from lift_jax.initialize import initialize_head
from lift_jax.logs import Logs
from lift_jax.state import TrainState, merge
from lift_jax.train import train
from lift_jax.weights import reference

Mode = Literal["train", "eval"]
Results = dict[str, dict[str, float]]


def run(
    config: ml_collections.ConfigDict,
    workdir: epath.PathLike,
    mode: Mode = "train",
    checkpoint: epath.PathLike | None = None,
    launched: float | None = None,
) -> Results:
    """Trains and evaluates, or evaluates only.

    Args:
        config: see `lift_jax.config.default`.
        workdir: a folder, or a bucket such as gs://BUCKET/RUN; gets config.json, run.json, console.log, metrics.jsonl,
            tensorboard/, checkpoints/, eval.json, predictions.npz, and, with config.report, report.html and report/.
        mode: "train" goes on from the newest checkpoint in the workdir if there is one, and evaluates at the end;
            "eval" restores and evaluates.
        checkpoint: the one to evaluate, instead of the newest: a folder, or the reference implementation's
            checkpoint.pth.tar.
        launched: when the program was (see `lift_jax.logs.process_start`), for the line that says how long the start
            took; None takes the present.

    Returns:
        The sections of eval.json: `plain`, and `tte` where test-time ensembling is enabled.

    Raises:
        UserError: for any mistake in what the user gave. A workdir that was made for the run is then removed, unless
            training has begun.
        SystemExit: with `preemption.EXIT_CODE`, if the process was told to stop by SIGTERM.
    """
    with devices.together():
        resolved = lift_config.resolve(config)
    first = jax.process_index() == 0
    with (
        storage.opened(workdir) as folder,
        Logs(folder.local, enabled=first, push=folder.push, launched=launched) as logs,
        preemption.leaving(logs.info) if jax.process_count() == 1 else contextlib.nullcontext(),
    ):
        experiment = lift_experiment.build(resolved, logs)
        if changed := run_config.differences(folder.local, resolved):
            said = ", ".join(f"{key} ({old!r} before)" for key, (old, _) in changed.items())
            logs.warning(f"The config differs from that of the last run in this workdir: {said}.")
        if first:
            earlier = folder.local if mode == "eval" else None
            storage.write_json(folder.local / run_config.FILE, resolved.to_dict())
            storage.write_json(folder.local / record.FILE, record.content(record.of(experiment, earlier)))
        if mode == "eval" or resolved.method == "zero_shot":
            params = _restored(experiment, folder, checkpoint, logs)
        else:
            params = experiment.params_of(_trained(experiment, folder, logs))
        with preemption.leaving(logs.info), devices.connected():
            return evaluate(experiment, params, folder.local, logs)


def _trained(experiment: Experiment, folder: storage.Folder, logs: Logs) -> TrainState:
    """The state at the end of the training, which begins at the newest checkpoint if there is one."""
    saved = ckpt.restore_newest(folder.path, experiment.initial_state(), experiment.identity, logs)
    if saved is None:
        initialize_head(experiment, folder.local, logs)
    experiment.release_backbone()
    logs.stage("head start" if saved is None else "checkpoint")
    step = 0 if saved is None else int(saved.state.step)
    with ckpt.Checkpoints(folder.path, experiment.identity, experiment.config.keep, step) as checkpoints:
        train_state = train(experiment, checkpoints, logs, saved)
    logs.info(f"Of the checkpoints that were kept, that of step {checkpoints.best} has the lowest training loss.")
    return train_state


def evaluate(experiment: Experiment, params: dict[str, Any], workdir: Path, logs: Logs) -> Results:
    """Plain evaluation and, where enabled, test-time ensembling; writes eval.json and predictions.npz."""
    config = experiment.config
    modes = {"plain": "plain"} | ({"tte": config.tte.mode} if config.tte.enabled else {})
    evaluator = Evaluator(experiment.classifier, experiment.pixels)
    results: Results = {}
    predictions: dict[str, Predictions] = {}
    for section, mode in modes.items():
        loader = experiment.test_loader(mode)
        counts, predictions[section] = evaluator(params, loader, logs, f"evaluation, {section}")
        results[section] = metrics.summarize(counts, class_groups=experiment.class_groups)
        views = "1 view" if loader.num_views == 1 else f"{loader.num_views} views"
        share = loader.bytes_per_image / (loader.num_views * 3 * 4 * experiment.pixels.resolution**2)
        logs.info(
            f"{section}: {views} an image from {loader.bytes_per_image:,.0f} bytes an image, "
            f"{share:.1%} of what float32 views would take."
        )
    step = experiment.train_loader().num_steps
    logs.scalars(step, {f"{s}/{key}": value for s, result in results.items() for key, value in result.items()})
    logs.info(metrics.table(results))
    if jax.process_index() == 0:
        _write_predictions(workdir / "predictions.npz", predictions)
        storage.write_json(workdir / "eval.json", results)
        if config.report:
            _report(experiment, workdir, logs)
    return results


def _report(experiment: Experiment, workdir: Path, logs: Logs) -> None:
    """Draws the report. Whatever goes wrong with it, the numbers are written already and the run goes on."""
    try:
        from lift_jax import report  # matplotlib takes a second to import

        logs.info(f"Report: {report.write(workdir, experiment.test, logs)}")
    except Exception as error:
        logs.warning(f"The report could not be drawn ({type(error).__name__}: {error}); the results are in eval.json.")


def _restored(
    experiment: Experiment, folder: storage.Folder, checkpoint: epath.PathLike | None, logs: Logs
) -> dict[str, Any]:
    if experiment.config.method == "zero_shot":
        initialize_head(experiment, folder.local, logs)
        return experiment.params
    if checkpoint is not None and epath.Path(checkpoint).is_file():
        parts = reference.load(Path(checkpoint), experiment.tuning, jax.device_get(experiment.parts))
        logs.info(f"Evaluating {checkpoint}, a checkpoint of the reference implementation.")
        return merge(*devices.replicate(parts, experiment.mesh))
    like = experiment.initial_state()
    if checkpoint is not None:
        saved = ckpt.restore(checkpoint, like, experiment.identity)
    else:
        saved = ckpt.restore_newest(folder.path, like, experiment.identity, logs)
    if saved is None:
        raise UserError(f"There is no checkpoint in {folder.path}; train first, or name one with --checkpoint.")
    logs.info(f"Evaluating the checkpoint of step {int(saved.state.step)}.")
    return experiment.params_of(saved.state)


def _write_predictions(file: Path, predictions: dict[str, Predictions]) -> None:
    """The headline's columns under their own names; those of the plain evaluation beside ensembling as `plain_...`."""
    main = predictions.get("tte", predictions["plain"])
    columns: dict[str, Any] = dict(
        index=main.index, label=main.label, prediction=main.prediction, confidence=main.confidence
    )
    if "tte" in predictions:
        plain = predictions["plain"]
        columns |= dict(plain_prediction=plain.prediction, plain_confidence=plain.confidence)
    part = file.with_name("predictions.part.npz")
    np.savez_compressed(part, **columns)
    part.replace(file)


def default_workdir(config_file: str) -> Path:
    """runs/<config name>-<time>."""
    return Path("runs") / f"{Path(config_file).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
