"""Being told to stop: SIGTERM, which a cluster sends before it takes a machine away."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator

import jax
from jax.experimental import multihost_utils

EXIT_CODE = 75
"""Of a process that stopped because it was told to: "try again later" (EX_TEMPFAIL of sysexits.h)."""

SENTENCE = "Stopped by SIGTERM; the same command goes on from the newest checkpoint."


@contextlib.contextmanager
def leaving(say: Callable[[str], None]) -> Iterator[None]:
    """Lets SIGTERM end the process at once inside the block, with `EXIT_CODE` and a sentence: nothing is to be saved.

    Where several processes are starting, JAX has taken the signal over until the first step asks (see `watching`).
    """

    def leave(*_) -> None:
        # An exception would get lost where the signal interrupts a destructor or a callback of the garbage collector.
        try:
            say(SENTENCE)
        finally:
            for worker in multiprocessing.active_children():
                worker.kill()
            os._exit(EXIT_CODE)

    with _handler(leave):
        yield


@contextlib.contextmanager
def watching() -> Iterator[Callable[[int], bool]]:
    """Lets SIGTERM wait inside the block until the training asks.

    Yields:
        A function of the number of steps done, to be called after every step by all processes: whether to save and stop
        now. If one process was told to stop, all are told so at the same step.
    """
    if jax.process_count() > 1:
        yield multihost_utils.reached_preemption_sync_point
        return
    told = threading.Event()
    with _handler(lambda *_: told.set()):
        yield lambda step: told.is_set()
    if told.is_set():  # after the last step had asked
        signal.raise_signal(signal.SIGTERM)


@contextlib.contextmanager
def _handler(handle: Callable[..., None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python lets no other one handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
