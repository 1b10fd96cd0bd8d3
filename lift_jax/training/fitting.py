"""How many trainings fit into the devices' memory at once."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lift_jax.cluster import memory
from lift_jax.training.members_step import MembersStep
from lift_jax.training.population import Member, count_batches

_SHARE = 0.9
"""Of the free memory, what the steps may take; the rest is for checkpoints, evaluation, and gaps between arrays."""


class Fitting(NamedTuple):
    """How members are divided into parts that train one after the other.

    Attributes:
        parts: the members of each.
        sentence: why there are several parts; empty if all members train at once.
    """

    parts: list[Sequence[Member]]
    sentence: str


def divided(members: Sequence[Member], step: MembersStep, free: int | None = None) -> Fitting:
    """Divides members into the fewest parts that fit into the memory, of equal sizes but for the last.

    Args:
        members: the trainings.
        step: a step of theirs, of which the compiler says what it needs.
        free: bytes that each device can still have; None asks the device, and takes all members as one part if nobody
            knows.
    """
    free = memory.free(step.mesh.local_devices[0]) if free is None else free
    if free is None or len(members) == 1:
        return Fitting([members], "")
    images = members[0].loader.image_shape

    def needs(count: int) -> int | None:
        return step.needs(images, count, own_batches=count_batches(members[:count]) > 1)

    count = largest(needs, len(members), int(_SHARE * free))
    if count == len(members):
        return Fitting([members], "")
    number = -(-len(members) // count)
    size = -(-len(members) // number)
    parts = [members[start : start + size] for start in range(0, len(members), size)]
    needed = needs(len(members))
    said = f"{needed / 1e9:.2f} GB of memory" if needed is not None else "too much memory for the compiler"
    sentence = (
        f"{len(members)} runs at once need {said}, and {step.mesh.local_devices[0]} has {free / 1e9:.2f} GB left: "
        f"--members {count} fits, and they train in {number} parts."
    )
    return Fitting(parts, sentence)


def largest(needs: Callable[[int], int | None], count: int, free: int) -> int:
    """Finds how many members fit, from all of them downwards.

    What they need grows in proportion to their number, from a constant. So a line through the two smallest numbers that
    were tried, or through the only one and 0, does not say too few.

    Args:
        needs: gives the bytes that so many members need; None if they do not fit for certain. It is slow.
        count: number of members.
        free: bytes.

    Returns:
        The largest number that fits; 1 if none does.
    """
    before, there = 0, 0
    while count > 1:
        needed = needs(count)
        if needed is None:
            count //= 2
            continue
        if needed <= free:
            break
        over, slope = needed - free, (needed - there) / (count - before)
        before, there = count, needed
        count = min(count - 1, max(1, int(count - over / slope))) if slope > 0 else count - 1
    return count
