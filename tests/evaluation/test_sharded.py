"""A backbone in pieces is evaluated over the mesh with the same numbers, and no device is given all of it."""

import pytest
import sharded_evaluation
import simulated_devices


@pytest.mark.usefixtures("optimised")
def test_no_device_holds_the_backbone_and_the_numbers_are_those_of_one_device():
    found = simulated_devices.printed(sharded_evaluation.__file__, 4)
    # Vectors stay whole, and so do matrices that four devices do not divide.
    assert found["bytes on a device"] < 0.5 * found["bytes in all"]
    assert found["same predictions"] and found["confidences apart"] < 1e-6
    assert found["same predictions of two heads"] and found["confidences of two heads apart"] < 1e-6
    assert found["heads differ"]
