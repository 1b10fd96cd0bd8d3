"""A step of several trainings: what it computes once, and how many fit into memory."""

import contextlib
import functools
import re
from typing import Any

import hypothesis
import jax.numpy as jnp
import pytest
import sharded_members
import simulated_devices
from conftest import tune
from hypothesis import strategies as st

from lift_jax.cluster import placement
from lift_jax.models.image_input import ImageInput
from lift_jax.training import fitting, losses, optimizer
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.training.members_step import MembersStep
from lift_jax.training.population import Member
from lift_jax.training.state import initial_state
from lift_jax.training.step import TrainingStep

IMAGES = (16, 16, 16, 3)


@pytest.fixture(scope="module")
def step_of(tiny_clip):
    """Gives the step of a method with these options."""
    mesh = placement.make_mesh()

    def tx(numbers):
        return optimizer.make(numbers.lr, numbers.momentum, numbers.weight_decay)

    @functools.cache
    def make(method: str, **options) -> MembersStep:
        tuned = tune(tiny_clip, method, **options)
        image_input = ImageInput(16, tiny_clip.mean, tiny_clip.std, jnp.float32)
        loss = losses.make("LA", [300, 90, 40, 20, 9, 3, 1])
        step = TrainingStep(tuned.classifier, loss, tx, image_input, mesh, accumulate=1, mirrored=True)
        state = initial_state(tuned.parts, tx(Hyperparameters(0.1)), mesh)
        return MembersStep(step, placement.replicate(tuned.parts.frozen, mesh), state)

    return make


def operations(step: MembersStep, count: int, own_batches: bool = False) -> float:
    costs: Any = step.compiled(IMAGES, count, own_batches).cost_analysis()
    return costs["flops"]


@pytest.mark.usefixtures("optimised")
def test_heads_of_one_seed_share_the_pass_through_the_backbone(step_of):
    step = step_of("head_only")
    alone = operations(step, 1)
    assert operations(step, 4) < 1.2 * alone
    assert 3.5 * alone < operations(step, 4, own_batches=True)


@pytest.mark.slow
@pytest.mark.usefixtures("optimised")
def test_blocks_before_the_first_tuner_are_computed_once(step_of):
    def more(partial: str) -> float:
        """The operations of three more members, in those of one of which every block is tuned."""
        step = step_of("adaptformer", partial=partial)
        return (operations(step, 4) - operations(step, 1)) / operations(step_of("adaptformer"), 1)

    # A step of one member through its blocks: forward through all three, back through those that are tuned.
    assert more("1") < more("2") < more("") < 3.1
    assert more("1") < 1.2


@pytest.mark.slow
def test_members_on_two_devices_are_their_lone_trainings_whichever_is_divided():
    found = simulated_devices.printed(sharded_members.__file__, 2)
    assert [case["whole"] for case in found] == [True, False, False, True]
    for case in found:
        assert case["apart"] < 1e-5 < 0.05 < case["moved"], case


@hypothesis.settings(deadline=None)
@hypothesis.given(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(1, 40), st.integers(0, 10**9))
def test_as_many_as_fit_are_found(constant, each, count, free):
    def needs(members: int) -> int:
        return constant + each * members

    fit = [members for members in range(1, count + 1) if needs(members) <= free]
    assert fitting.largest(needs, count, free) == max(fit, default=1)


def test_few_programs_are_compiled_to_find_it():
    tried = []

    def needs(members: int) -> int | None:
        tried.append(members)
        return None if members > 20 else 10**9 + 10**8 * members

    assert fitting.largest(needs, 64, 2 * 10**9) == 10
    assert len(tried) <= 5


def members_of(step_of, count: int) -> tuple[list[Member], MembersStep]:
    class Batches:
        image_shape, step, num_steps = IMAGES, 0, 1

    unused: Any = None
    loaders: list[Any] = [Batches() for _ in range(count)]
    numbers, none = Hyperparameters(0.1), contextlib.nullcontext
    members = [Member(seed, numbers, loader, unused, none, unused) for seed, loader in enumerate(loaders)]
    return members, step_of("head_only")


def test_members_that_do_not_fit_train_in_parts_of_equal_sizes(step_of):
    members, step = members_of(step_of, 4)
    needed = step.needs(IMAGES, 3, own_batches=True)
    assert needed is not None
    parts, sentence = fitting.divided(members, step, int(needed / 0.9) + 2)
    assert [list(part) for part in parts] == [members[:2], members[2:]]
    said = r"4 runs at once need 0\.00 GB of memory, and \S+ has 0\.00 GB left: --members 3 fits, and .* in 2 parts\."
    assert re.fullmatch(said, sentence)
    assert fitting.divided(members, step, 10**9) == ([members], "")
    assert [len(part) for part in fitting.divided(members, step, 1).parts] == [1] * 4
