"""A backbone in pieces is evaluated over the mesh with the same numbers, and no device is given all of it."""

import json
import os
import subprocess
import sys

import sharded_evaluation


def test_no_device_holds_the_backbone_and_the_numbers_are_those_of_one_device():
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    command = [sys.executable, sharded_evaluation.__file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # Vectors stay whole, and so do matrices that four devices do not divide.
    assert found["bytes on a device"] < 0.5 * found["bytes in all"]
    assert found["same predictions"] and found["confidences apart"] < 1e-6
