r"""How long a service takes to answer many requests at once, and whether it loses any.

    python -m lift_jax.bench.serve http://127.0.0.1:8000 IMAGE... [--requests 2000] [--at_once 200]

The service is started before, with `lift_jax serve`. Each request has one image.
"""

import argparse
import concurrent.futures
import http.client
import itertools
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

from lift_jax.errors import UserError, exit_status, reason


class Measured(NamedTuple):
    """What was measured.

    Attributes:
        requests: how many requests were made.
        answered: how many of them were answered with 200.
        seconds: how long all of them took.
        p50, p99: the times of which half, and 99 of 100, of the answered requests are below, in seconds.
    """

    requests: int
    answered: int
    seconds: float
    p50: float
    p99: float


def measure(address: str, images: Sequence[bytes], requests: int, at_once: int) -> Measured:
    """Makes requests to a service, so many at once, each with the next of the images."""
    host = urlsplit(address).netloc
    counter, own = itertools.count(), threading.local()

    def ask(_: int) -> tuple[bool, float]:
        if not hasattr(own, "connection"):
            own.connection = http.client.HTTPConnection(host, timeout=300)
        image, started = images[next(counter) % len(images)], time.perf_counter()
        try:
            own.connection.request("POST", "/predict", image, {"Content-Type": "image/*"})
            response = own.connection.getresponse()
            response.read()
            return response.status == 200, time.perf_counter() - started
        except (OSError, http.client.HTTPException):
            own.connection.close()
            return False, time.perf_counter() - started

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        answers = list(pool.map(ask, range(requests)))
    seconds = time.perf_counter() - started
    times = [taken for is_answered, taken in answers if is_answered]
    p50, p99 = np.percentile(times, [50, 99]).tolist() if times else (np.nan, np.nan)
    return Measured(requests, len(times), seconds, p50, p99)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the measurement; the exit status is 1 if a request was lost."""
    parser = argparse.ArgumentParser(
        prog="python -m lift_jax.bench.serve", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address", help="of the service, such as http://127.0.0.1:8000")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="what is sent, in turn")
    parser.add_argument("--requests", type=int, default=2000, metavar="N", help="in all (default 2000)")
    parser.add_argument("--at_once", type=int, default=200, metavar="N", help="connections (default 200)")
    given = parser.parse_args(arguments)

    def run() -> int:
        try:
            images = [file.read_bytes() for file in given.images]
        except OSError as error:
            raise UserError(f"{error.filename} cannot be read ({reason(error)}); name image files.") from error
        found = measure(given.address, images, given.requests, given.at_once)
        print(f"{found.answered} of {found.requests} requests were answered, {given.at_once} at once")
        print(f"{found.answered / found.seconds:.0f} images a second")
        print(f"p50 {1000 * found.p50:.0f} ms, p99 {1000 * found.p99:.0f} ms")
        return int(found.answered < found.requests)

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
