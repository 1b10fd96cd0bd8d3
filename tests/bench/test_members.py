"""The benchmark of several trainings at once."""

import re

from lift_jax.bench import members
from lift_jax.bench.workload import Workload
from lift_jax.models.vit import VisionTransformer


def test_a_line_for_each_number_of_members():
    vision = VisionTransformer(patch_size=4, width=16, depth=1, num_heads=2, mlp_dim=32)
    workload = Workload(vision, resolution=8, dim=4, num_classes=5, batch=2)
    head, *lines = members.table(workload, rounds=2, counts=(1, 2)).splitlines()
    assert re.split(" {2,}", head) == ["members", *members.COLUMNS]
    rows = [line.split() for line in lines]
    assert [int(row[0]) for row in rows] == [1, 2]
    assert rows[0][4] == "1.00"
    assert all(float(number) >= 0 for row in rows for number in row)
