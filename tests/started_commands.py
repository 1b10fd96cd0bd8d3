"""The program's commands, started as a person starts them."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def start(module: str, *arguments: object, cwd: Path = ROOT, given: str = "") -> subprocess.CompletedProcess:
    """`python -m MODULE` with these arguments, and with this text on its standard input."""
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
        input=given,
        capture_output=True,
        text=True,
        timeout=300,
    )
