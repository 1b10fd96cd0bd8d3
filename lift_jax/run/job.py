"""What a run trains and evaluates, and which runs have that in common."""

import dataclasses
from collections.abc import Hashable
from typing import Any

import jax
import ml_collections
from etils import epath

from lift_jax import config as lift_config
from lift_jax.classifier.network import Network
from lift_jax.data import RunData, groups, validation
from lift_jax.files import write_json
from lift_jax.run import cached_views, task_check
from lift_jax.training import head_start, objective
from lift_jax.training.hyperparameters import Hyperparameters
from lift_jax.training.objective import Objective
from lift_jax.workdir import record, tracking

MEMBERS_OWN = ("seed", *Hyperparameters._fields, "head_init")
"""The keys of the config in which runs may differ that train as one program (see `run_together`)."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What a run trains and evaluates.

    Attributes:
        config: the resolved config.
        data: the images.
        network: the network, placed on all devices.
        objective: what the training minimises.
        identity: what the trained parameters belong to.
        record: what is written down about the run.
        trains: whether it trains before it evaluates.
    """

    config: ml_collections.FrozenConfigDict
    data: RunData
    network: Network
    objective: Objective
    identity: dict[str, Any]
    record: record.Record
    trains: bool

    def write_down(self, config: epath.Path, run: epath.Path) -> None:
        """Writes the contents of config.json and run.json to two files."""
        write_json(config, self.config.to_dict())
        write_json(run, record.content(self.record))


def check(config: ml_collections.ConfigDict) -> ml_collections.FrozenConfigDict:
    """Resolves a config, and refuses what is wrong with it as far as this can be known without data and backbone.

    Raises:
        UserError: for the first mistake.
    """
    resolved = lift_config.resolve(config)
    task_check.check(resolved)
    objective.check(resolved)
    cached_views.check(resolved)
    head_start.check(resolved.head_init)
    groups.check(resolved.class_groups)
    validation.check(resolved.validation, 0 if resolved.auto else resolved.patience)
    tracking.check(resolved.tracker)
    return resolved


def program_key(config: ml_collections.FrozenConfigDict) -> Hashable:
    """Gives what runs have in common that one program can train and evaluate: the same value of a resolved config.

    It is the config without `MEMBERS_OWN`. Several processes, or a backbone in pieces over the devices, hold one run,
    and one that trains on features is in no group.
    """
    values = lift_config.flatten(config)
    alone = jax.process_count() > 1 or config.fsdp or config.cache_views
    return object() if alone else tuple((key, str(value)) for key, value in values.items() if key not in MEMBERS_OWN)
