"""A run in Weights & Biases, online, or with WANDB_MODE=offline in the folder of the run."""

import logging
import os
import secrets
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pydantic
from etils import epath
from jaxtyping import UInt8

from lift_jax.errors import UserError, first_line
from lift_jax.files import write_json
from lift_jax.workdir import metrics_file, schema
from lift_jax.workdir.metrics_file import Line
from lift_jax.workdir.tracking import TrackedRun

FILE = "wandb.json"

_LOGGER = logging.getLogger(__name__)


class _File(pydantic.BaseModel):
    """What wandb.json has.

    Attributes:
        run: the identifier of the run.
        last: the last step that was told, by split.
    """

    model_config = schema.STRICT
    run: str
    last: dict[str, int] = {}


class Wandb:
    """A run of Weights & Biases, which goes on where the folder of the run has a wandb.json.

    Its project is that of WANDB_PROJECT, or lift_jax. The numbers of each split stand over its own steps, such as
    "train/step", so that they may come in any order of the splits.

    Raises:
        UserError: if Weights & Biases cannot be reached or knows nobody by this key.
    """

    def __init__(self, run: TrackedRun):
        import wandb  # takes a second

        self._file = epath.Path(run.folder / FILE)
        if self._file.is_file():
            self._known = schema.read(self._file, _File, "remove it, and a new run begins in Weights & Biases")
        else:
            self._known = _File(run=secrets.token_hex(4))
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "lift_jax",
                id=self._known.run,
                name=run.name,
                config=dict(run.config),
                dir=str(run.folder),
                resume="allow",
                settings=wandb.Settings(reinit="create_new", silent=True, console="off", x_disable_stats=True),
            )
        except wandb.Error as error:
            raise UserError(
                f"config.tracker=wandb cannot begin a run ({first_line(error).rstrip('.')}); run `wandb login`, set "
                "WANDB_MODE=offline, or leave wandb out of config.tracker."
            ) from error
        self._make_image = wandb.Image
        self._shown: set[str] = set()
        for split, step in self._online().items():
            self._known.last[split] = max(step, self._known.last.get(split, step))
        self._write()
        place = f"run {self._known.run} in {run.folder / 'wandb'}" if self._run.offline else self._run.url
        _LOGGER.info("Weights & Biases: %s", place)

    def resume(self, step: int, lines: Iterable[Line], anew: Collection[str]) -> None:
        """Tells the lines that Weights & Biases lacks; splits that are measured anew are told once more."""
        self._known.last = {split: last for split, last in self._known.last.items() if split not in anew}
        for line in lines:
            self.scalars(line["step"], line["split"], metrics_file.numbers(line))

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Tells the numbers of a step unless it, or a later one of the split, was told before."""
        if step <= self._known.last.get(split, -1):
            return
        # First the note: a kill between the two loses a point, where it would double it else.
        self._known.last[split] = step
        self._write()
        if split not in self._shown:
            self._shown.add(split)
            self._run.define_metric(f"{split}/*", step_metric=f"{split}/step")
        self._run.log({f"{split}/step": step, **{f"{split}/{key}": value for key, value in values.items()}})

    def images(self, step: int, images: Mapping[str, UInt8[np.ndarray, "..."]]) -> None:
        """Tells pictures; those of a grid one beside the other."""
        for name, array in images.items():
            pictures = [array] if array.ndim == 3 else list(array)
            self._run.log({name: [self._make_image(picture) for picture in pictures]})

    def flush(self) -> None:
        """Does nothing: each call is handed to another process, which keeps it."""

    def close(self, failed: bool) -> None:
        """Waits until all has arrived, and ends the run of Weights & Biases."""
        self._run.finish(exit_code=int(failed))

    def _online(self) -> dict[str, int]:
        """Gives the last step of each split that Weights & Biases itself has; offline it remembers none."""
        steps = {key: value for key, value in dict(self._run.summary).items() if key.endswith("/step")}
        return {key.removesuffix("/step"): int(value) for key, value in steps.items()}

    def _write(self) -> None:
        write_json(self._file, self._known.model_dump())
