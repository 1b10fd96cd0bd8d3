"""Python processes that see several simulated devices."""

import json
import os
import subprocess
import sys
from typing import Any


def environment(num_devices: int) -> dict[str, str]:
    """The environment of a process on so many devices; it imports what this one can."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={num_devices}",
    }


def printed(script: str, num_devices: int) -> Any:
    """The JSON that a script prints on so many devices."""
    command = [sys.executable, script]
    done = subprocess.run(command, env=environment(num_devices), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
