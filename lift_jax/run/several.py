"""Runs of one process that share what they can: data, backbones, programs, and one training for several."""

import contextlib
import tempfile
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import jax
import ml_collections
from etils import epath
from jax.experimental.compilation_cache import compilation_cache

from lift_jax import config as lift_config
from lift_jax.config import keys as config_keys
from lift_jax.errors import DivergedError, UserError
from lift_jax.run import Loaded, Mode, Results, program_key, run, run_together
from lift_jax.workdir import config_file

MEMBERS = 32
"""At most how many runs train at once, if memory suffices and nothing else is asked for: each keeps its logs and its
checkpoints open, and workers of its own if its seed is its own."""


def groups(
    plan: Mapping[epath.Path, ml_collections.ConfigDict], members: int
) -> list[dict[epath.Path, ml_collections.ConfigDict]]:
    """Divides runs into groups of at most `members` that can train as one program (see `lift_jax.run.program_key`)."""
    by_program: dict[Hashable, list[epath.Path]] = {}
    for folder, config in plan.items():
        by_program.setdefault(program_key(lift_config.resolve(config)), []).append(folder)
    return [
        {folder: plan[folder] for folder in folders[start : start + members]}
        for folders in by_program.values()
        for start in range(0, len(folders), members)
    ]


def run_group(
    group: Mapping[epath.Path, ml_collections.ConfigDict],
    mode: Mode,
    checkpoint: epath.PathLike | None,
    loaded: Loaded,
) -> dict[epath.Path, Results | DivergedError]:
    """Runs a group; gives for each run its results, or why it ended early if its loss is no longer a number."""
    if len(group) > 1:
        return dict(zip(group, run_together(group, loaded), strict=True))
    ended: dict[epath.Path, Results | DivergedError] = {}
    for folder, config in group.items():
        try:
            ended[folder] = run(config, folder, mode, checkpoint, loaded=loaded)
        except DivergedError as error:
            ended[folder] = error
    return ended


_PROGRAMS = {
    "jax_compilation_cache_dir": "",  # a folder for the time of the sweep
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}


@contextlib.contextmanager
def programs_compiled_once() -> Iterator[None]:
    """Lets runs share what is compiled: each traces its own programs, but equal ones, of two seeds say, compile once.

    JAX's cache of compiled programs does this, in a temporary folder unless the user has set one.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        yield
        return
    before = {key: jax.config.values[key] for key in _PROGRAMS}
    with tempfile.TemporaryDirectory(prefix="lift_jax-programs-") as folder:
        try:
            _configure(_PROGRAMS | {"jax_compilation_cache_dir": folder})
            yield
        finally:
            _configure(before)


def _configure(values: Mapping[str, Any]) -> None:
    compilation_cache.reset_cache()  # which else stays where it was first asked for
    for key, value in values.items():
        jax.config.update(key, value)


def refuse_others(folder: epath.Path, config: ml_collections.FrozenConfigDict) -> None:
    """Refuses a result that is there but belongs to another config: the table would show it under a wrong name."""
    without_effect = config_keys.without_effect(config_keys.KEYS)
    changed = {
        key: values for key, values in config_file.differences(folder, config).items() if key not in without_effect
    }
    if changed:
        said = ", ".join(f"{key} {old!r} instead of {new!r}" for key, (old, new) in changed.items())
        raise UserError(f"{folder} was done with {said}; name another folder with --workdir, or remove this one.")
