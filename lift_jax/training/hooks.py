"""What a run does around the steps of its training: progress, logs, checkpoints, and stopping when it is told to."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import ml_collections

from lift_jax.cluster import preemption, processes
from lift_jax.data import TrainLoader
from lift_jax.errors import DivergedError
from lift_jax.training.objective import Objective
from lift_jax.training.running import RunningMetrics
from lift_jax.training.state import TrainState
from lift_jax.training.step import StepMetrics
from lift_jax.training.validation import Validation
from lift_jax.workdir.checkpoints import Checkpoints, Saved
from lift_jax.workdir.logs import Logs


class RunHooks:
    """The hooks of a run (see `lift_jax.training.loop.Hooks`).

    Nothing here waits for a device but every `config.log_every` steps and at the end of an epoch.

    Args:
        config: the resolved config, which says when to log and when to save.
        objective: gives the learning rate that is logged.
        loader: the loader that the training reads, at the step with which it begins.
        logs: gets loss, accuracy and learning rate, and a progress bar for each epoch.
        checkpoints: gets a checkpoint every `config.checkpoint_every` steps or `config.checkpoint_minutes`, and at the
            end.
        unread: metrics of steps that a run which goes on has not logged yet.
        validation: looks at the held-out images at the end of each epoch, which is then saved with its score.
        watching: gives what says after each step whether the process was told to stop (see `preemption.watching`).
    """

    def __init__(
        self,
        config: ml_collections.FrozenConfigDict,
        objective: Objective,
        loader: TrainLoader,
        logs: Logs,
        checkpoints: Checkpoints,
        unread: Sequence[Sequence[float]] = (),
        validation: Validation | None = None,
        watching: Callable[[], AbstractContextManager[Callable[[int], bool]]] = preemption.watching,
    ):
        self._config, self._objective, self._loader = config, objective, loader
        self._logs, self._checkpoints, self._validation = logs, checkpoints, validation
        self._watching = watching
        self._running = RunningMetrics(unread)
        self._every = config.checkpoint_every or loader.steps_per_epoch
        self._first = loader.step + 1
        self._saved_at = time.monotonic()
        self._context = contextlib.ExitStack()
        self._bar: Any = None

    def __enter__(self) -> "RunHooks":
        self._logs.resume(self._loader.step)
        self._told_to_stop = self._context.enter_context(self._watching())
        self._context.enter_context(processes.connected())
        self._saved_at = time.monotonic()
        if self._loader.step < self._loader.num_steps:
            self._logs.info("The training step is compiled now; a large model takes a minute or more.")
        self._open_bar()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        self._context.__exit__(*error)

    @property
    def finished(self) -> bool:
        """Whether the patience with the held-out images is at its end."""
        return self._validation is not None and self._validation.exhausted

    def log(self, metrics: StepMetrics, examples: int) -> None:
        """Logs what is due after a step; the arguments are those of `lift_jax.training.loop.Hooks`.

        Raises:
            DivergedError: if the loss is no longer a number.
        """
        step = self._loader.step
        self._running.add(metrics)
        if step == self._first:
            jax.block_until_ready(metrics)
            self._logs.started()
        if self._reads:
            self._log(step, examples)
        else:
            self._bar.update(1, images=examples, running=step != self._first)
        if self._ends_epoch:
            self._bar.close()

    def save(self, state: Callable[[], TrainState]) -> None:
        """Judges and saves what is due after a step that was logged; the arguments are those of `Hooks`.

        Raises:
            SystemExit: with `preemption.EXIT_CODE`, once a checkpoint is written, if the process was told to stop.
        """
        step = self._loader.step
        validates = self._ends_epoch and self._validation is not None
        if validates:
            self._validate(step, state())
        stops = self._told_to_stop(step)
        if self._save_is_due(step) or validates or stops:
            self._save(state())
        if stops:
            self._checkpoints.wait()
            self._logs.info(preemption.SENTENCE)
            raise SystemExit(preemption.EXIT_CODE)
        if self._ends_epoch:
            self._open_bar()

    @property
    def _ends_epoch(self) -> bool:
        return self._loader.step % self._loader.steps_per_epoch == 0

    @property
    def _reads(self) -> bool:
        """Whether loss and accuracy are fetched from the devices after this step."""
        return self._ends_epoch or self._loader.step % self._config.log_every == 0

    def _open_bar(self) -> None:
        epoch, done = divmod(self._loader.step, self._loader.steps_per_epoch)
        if self._loader.step < self._loader.num_steps:
            what = f"epoch {epoch + 1}/{self._config.num_epochs}"
            self._bar = self._logs.progress(self._loader.steps_per_epoch, what, initial=done)

    def _log(self, step: int, examples: int) -> None:
        loss, accuracy = (float(value) for value in self._running.read())
        self._check_finite(loss, step)
        self._bar.update(1, images=examples, loss=loss, accuracy=accuracy)
        lr = float(self._objective.learning_rate(step - 1))
        values = {"train/loss": loss, "train/accuracy": accuracy, "train/lr": lr}
        self._logs.scalars(step, values, epoch=(step - 1) // self._loader.steps_per_epoch + 1)

    def _validate(self, step: int, state: TrainState) -> None:
        assert self._validation is not None
        values = self._validation(step, state)
        epoch = step // self._loader.steps_per_epoch
        self._logs.scalars(step, {f"validation/{key}": value for key, value in values.items()}, epoch=epoch)
        task = self._validation.task
        of_what = "of the held-out images" if task.measure == "accuracy" else f"{task.measure} on the held-out images"
        self._logs.info(f"Epoch {epoch}: {values[task.score]:.1f} % {of_what}, on average over classes.")
        if self.finished and step < self._loader.num_steps:
            patience = self._config.patience
            epochs = "1 epoch has" if patience == 1 else f"{patience} epochs have"
            self._logs.info(f"The training ends here: {epochs} brought no gain (config.patience).")

    def _check_finite(self, loss: float, step: int) -> None:
        """Stops a training that has diverged, before it is saved."""
        if not math.isfinite(loss):
            raise DivergedError(
                f"The training has diverged: the loss is {loss} at step {step}, and the checkpoints from before stay; "
                f"write a lower config.lr than {self._config.lr:g} and another --workdir."
            )

    def _save_is_due(self, step: int) -> bool:
        if step % self._every == 0 or step == self._loader.num_steps:
            return True
        if not self._reads or not self._config.checkpoint_minutes:
            return False
        # Clocks differ, but all processes save at the same step.
        return processes.first_says(time.monotonic() - self._saved_at > 60 * self._config.checkpoint_minutes)

    def _save(self, state: TrainState) -> None:
        unread, loss = self._running.save()
        self._check_finite(float(loss), self._loader.step)
        self._logs.flush()  # before the checkpoint is there, so that what it continues is
        scores = self._validation.scores if self._validation is not None else ()
        self._checkpoints.save(Saved(state, self._loader.get_state(), unread, tuple(scores)), float(loss))
        self._saved_at = time.monotonic()
