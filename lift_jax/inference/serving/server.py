"""The service of a run: its model is loaded and compiled, and then answers at an address."""

import functools
import io
import socket
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath
from PIL import Image

from lift_jax.errors import UserError, reason
from lift_jax.inference import answers
from lift_jax.inference.load import load
from lift_jax.inference.model import Model
from lift_jax.inference.nearest import store_of
from lift_jax.inference.serving import batching, gallery, packages
from lift_jax.inference.serving.batching import Batcher, NamedImage
from lift_jax.inference.serving.limits import Limits

if TYPE_CHECKING:
    import fastapi

CONNECTIONS = 1000
"""The most connections at a time; others are answered with 503."""

UNKNOWN, COVERAGE = 0.05, 0.9
"""What a calibrated run answers with where nothing is said: see `lift_jax predict --unknown` and `--coverage`."""


def serve(
    workdir: str, *, host: str = "127.0.0.1", port: int = 8000, checkpoint: str | None = None,
    backbone: str | None = None, raw: bool = False, tte: bool | None = None, top_k: int = 5,
    unknown: float | None = None, coverage: float | None = None, batch_size: int = 16, nearest: int = 0,
    limits: Limits | None = None,
) -> None:  # fmt: skip
    """Serves a run until the process is told to stop.

    Args:
        workdir, checkpoint, backbone, raw: see `lift_jax.load`.
        host: the address that is listened at; any but 127.0.0.1 lets other machines in.
        port: the port, 0 for one that is free.
        tte, top_k, unknown, coverage, batch_size, nearest, limits: see `application`.

    Raises:
        UserError: if the packages of the service are not installed, the address cannot be had, or the run cannot be
            loaded.
    """
    uvicorn = packages.require()
    listening = _listen(host, port)  # before the run is loaded, which takes longer
    with listening:
        limits = limits or Limits()
        model = load(workdir, checkpoint=checkpoint, backbone=backbone, raw=raw)
        model.require_one_label("The service", "take python -m lift_jax.predict")
        app, batcher = application(
            model, tte=tte, top_k=top_k, unknown=unknown, coverage=coverage, batch_size=batch_size,
            nearest=nearest, own=store_of(workdir), limits=limits,
        )  # fmt: skip
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, limit_concurrency=CONNECTIONS, timeout_keep_alive=5,
            timeout_graceful_shutdown=10,
        )  # fmt: skip
        shown = f"[{host}]" if ":" in host else host
        print(f"{workdir} is served at http://{shown}:{listening.getsockname()[1]}", file=sys.stderr, flush=True)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            pass
        finally:
            batcher.close()


def application(
    model: Model, *, tte: bool | None = None, top_k: int = 5, unknown: float | None = None,
    coverage: float | None = None, batch_size: int = 16, nearest: int = 0, own: epath.Path | None = None,
    limits: Limits | None = None,
) -> "tuple[fastapi.FastAPI, Batcher]":  # fmt: skip
    """Makes the application of a model, which has then been compiled, and the way to the model, which is to be closed.

    Args:
        model: the run's classifier.
        tte: whether the views of test-time ensembling are averaged; None does as the run did.
        top_k: number of classes of each answer.
        unknown, coverage: see `lift_jax predict`; 0.05 and 0.9 of a calibrated run, where they are None.
        batch_size: the most images that the model gets at a time.
        nearest: how many of the training images that are most like an image are shown beside it, 0 to 50.
        own: the folder that keeps features for that, of a run that names no store; None for memory alone.
        limits: what is accepted.

    Raises:
        UserError: if the packages of the service are not installed; or if `unknown` or `coverage` is given and the run
            is not calibrated.
    """
    packages.require()
    from lift_jax.inference.serving import app

    limits = limits or Limits()
    shown = gallery.load(model, nearest, own) if nearest else None
    decide = answers.answers(model, top_k=top_k, nearest=shown, **thresholds(model, unknown, coverage))
    answer = functools.partial(batching.predict, model, decide, tte=tte)
    for size in (1 << i for i in range(batch_size.bit_length())):  # the sizes that the model is compiled for
        answer([NamedImage("warm-up", _picture())] * size)
    batcher = Batcher(answer, batch_size, limits.waiting)
    absent = gallery.ABSENT if nearest and shown is None else None
    return app.make(batcher, model.class_names, limits, nearest if shown else 0, absent), batcher


def _listen(host: str, port: int) -> socket.socket:
    """Opens the port.

    Raises:
        UserError: if it is in use, not permitted, or the host is none of this machine.
    """
    if not 0 <= port < 1 << 16:
        raise UserError(f"--port is {port}; it is a whole number from 0 to 65535, such as 8000.")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=CONNECTIONS)
    except OSError as error:
        why = reason(error).partition(" (while")[0]  # the address once is enough
        raise UserError(
            f"Nothing can listen at {host} port {port} ({why}); name another --host or --port, or stop what is there."
        ) from error


def thresholds(model: Model, unknown: float | None, coverage: float | None) -> dict[str, Any]:
    """Gives the thresholds of a calibrated run as arguments of `lift_jax.inference.answers.answers`; else nothing.

    Raises:
        UserError: if `unknown` or `coverage` is given and the run is not calibrated.
    """
    calibration = model.calibration
    if calibration is None:
        if unknown is None and coverage is None:
            return {}
        raise UserError(
            f"{'--coverage' if unknown is None else '--unknown'} takes a calibrated run, and this one has no "
            "calibration; make it with python -m lift_jax.calibrate."
        )
    return {
        "unknown": calibration.unknown(UNKNOWN if unknown is None else unknown),
        "sets": calibration.sets(COVERAGE if coverage is None else coverage),
    }


def _picture() -> bytes:
    """Gives a small image file."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(file, "png")
    return file.getvalue()
