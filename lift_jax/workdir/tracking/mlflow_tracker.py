"""A run in MLflow, where MLFLOW_TRACKING_URI says, or in MLflow's own default place."""

import logging
import os
import re
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pydantic
from etils import epath
from jaxtyping import UInt8

from lift_jax.errors import UserError, first_line
from lift_jax.files import write_json
from lift_jax.workdir import metrics_file, schema
from lift_jax.workdir.metrics_file import Line
from lift_jax.workdir.tracking import TrackedRun

FILE = "mlflow.json"
_PARAMETERS_AT_ONCE = 100  # more than these, and longer ones, MLflow refuses
_LONGEST = 500

_LOGGER = logging.getLogger(__name__)


class _File(pydantic.BaseModel):
    """What mlflow.json has: the identifier of the run."""

    model_config = schema.STRICT
    run: str


class Mlflow:
    """A run of MLflow, which goes on where the folder of the run has a mlflow.json.

    Its experiment is that of MLFLOW_EXPERIMENT_NAME, or lift_jax. Numbers are sent in the background; `flush` waits.

    Raises:
        UserError: if MLflow cannot be reached, or does not know the run that mlflow.json names.
    """

    def __init__(self, run: TrackedRun):
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # MLflow's seven keep a run waiting for minutes
        import mlflow  # takes seconds
        from mlflow.exceptions import MlflowException

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        self._client = mlflow.MlflowClient()
        self._sent: list[Any] = []
        self._anew: Collection[str] = ()
        uri = _without_password(mlflow.get_tracking_uri())
        file = epath.Path(run.folder / FILE)
        try:
            self._run = self._continue(file, uri) if file.is_file() else self._begin(run)
        except (MlflowException, OSError) as error:
            why = _without_password(first_line(error)).rstrip(".")
            raise UserError(
                f"config.tracker=mlflow cannot use MLflow at {uri} ({why}); set "
                "MLFLOW_TRACKING_URI, or leave mlflow out of config.tracker."
            ) from error
        write_json(file, {"run": self._run})
        self._known = self._numbers()
        _LOGGER.info("MLflow: run %s at %s.", self._run, uri)

    def resume(self, step: int, lines: Iterable[Line], anew: Collection[str]) -> None:
        """Sends the lines that MLflow lacks."""
        self._anew = anew
        for line in lines:
            self.scalars(line["step"], line["split"], metrics_file.numbers(line))

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Sends the numbers that MLflow lacks, in the background; of splits that are measured anew, those that differ.

        MLflow forgets no number: what a run that was killed had sent after its checkpoint is there already.
        """
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        new = [
            Metric(f"{split}/{key}", value, now, step)
            for key, value in values.items()
            if self._lacks(f"{split}/{key}", step, value, split in self._anew)
        ]
        if new:
            self._known |= {(metric.key, step): metric.value for metric in new}
            self._sent.append(self._client.log_batch(self._run, new, synchronous=False))

    def images(self, step: int, images: Mapping[str, UInt8[np.ndarray, "..."]]) -> None:
        """Sends pictures, those of a grid in one row."""
        for name, array in images.items():
            row = array if array.ndim == 3 else np.concatenate(list(array), axis=1)
            self._client.log_image(self._run, row, key=name, step=step)

    def flush(self) -> None:
        """Waits until all numbers have arrived."""
        sent, self._sent = self._sent, []
        for each in sent:
            each.wait()

    def close(self, failed: bool) -> None:
        """Ends the run of MLflow as finished or failed; it runs again when it goes on."""
        self.flush()
        self._client.set_terminated(self._run, "FAILED" if failed else "FINISHED")

    def _lacks(self, key: str, step: int, value: float, anew: bool) -> bool:
        known = self._known.get((key, step))
        return known is None or (anew and known != value)

    def _begin(self, run: TrackedRun) -> str:
        from mlflow.entities import Param

        made = self._client.create_run(self._experiment(), run_name=run.name, tags={"workdir": str(run.folder)})
        parameters = [Param(key, str(value)[:_LONGEST]) for key, value in run.config.items()]
        for start in range(0, len(parameters), _PARAMETERS_AT_ONCE):
            self._client.log_batch(made.info.run_id, params=parameters[start : start + _PARAMETERS_AT_ONCE])
        return made.info.run_id

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "lift_jax"
        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return self._client.create_experiment(name)
            except MlflowException:  # another run has made it in the meantime
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return found.experiment_id

    def _continue(self, file: epath.Path, uri: str) -> str:
        from mlflow.exceptions import MlflowException

        known = schema.read(file, _File, "remove it, and a new run begins in MLflow").run
        try:
            self._client.update_run(known, status="RUNNING")
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise UserError(
                f"{file} names the run {known!r}, which MLflow at {uri} does not have; set MLFLOW_TRACKING_URI to "
                "where it is, or remove the file, and a new run begins there."
            ) from error
        return known

    def _numbers(self) -> dict[tuple[str, int], float]:
        """Gives all numbers that MLflow has of the run, by name and step."""
        keys = self._client.get_run(self._run).data.metrics
        histories = (self._client.get_metric_history(self._run, key) for key in keys)
        return {(metric.key, metric.step): metric.value for history in histories for metric in history}


def _without_password(text: str) -> str:
    """Takes name and password out of the addresses in a text."""
    return re.sub(r"//[^/@\s]*@", "//", text)
