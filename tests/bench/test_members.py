"""The benchmark of several trainings at once."""

import re

import pytest

from lift_jax.bench import members
from lift_jax.bench.workload import Workload
from lift_jax.models.partition import BACKBONE
from lift_jax.models.vit import VisionTransformer


def small(partial: int) -> Workload:
    vision = VisionTransformer(patch_size=4, width=16, depth=3, num_heads=2, mlp_dim=32)
    return Workload(vision, resolution=8, dim=4, num_classes=5, batch=2, partial=partial)


@pytest.mark.parametrize("one_batch, partial", [(False, 0), (True, 1)])
def test_a_line_for_each_number_of_members(one_batch, partial):
    head, *lines = members.table(small(partial), rounds=2, one_batch=one_batch, counts=(1, 2)).splitlines()
    assert re.split(" {2,}", head) == ["members", *members.COLUMNS]
    rows = [line.split() for line in lines]
    assert [int(row[0]) for row in rows] == [1, 2]
    assert rows[0][4] == "1.00"
    assert all(float(number) >= 0 for row in rows for number in row)


@pytest.mark.parametrize("partial, blocks", [(0, {"block_0", "block_1", "block_2"}), (2, {"block_1", "block_2"})])
def test_the_last_blocks_are_tuned(partial, blocks):
    assert set(small(partial).parts().tuner[BACKBONE]) == blocks
