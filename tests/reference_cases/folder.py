"""Where the cases are: LIFT_REFERENCE_DIR, or the packed copy in tests/reference."""

import atexit
import functools
import os
import tarfile
import tempfile
from pathlib import Path

PACKED = Path(__file__).parents[1] / "reference" / "cases.tar.xz"


@functools.cache
def root() -> Path:
    """The folder of the cases; that of the copy is unpacked for the time of the process."""
    if given := os.environ.get("LIFT_REFERENCE_DIR"):
        return Path(given)
    unpacked = tempfile.TemporaryDirectory(prefix="lift-reference-")
    atexit.register(unpacked.cleanup)
    with tarfile.open(PACKED) as archive:
        archive.extractall(unpacked.name, filter="data")
    return Path(unpacked.name)
