"""A grid of runs: every combination of some keys' values, with means and standard deviations over seeds."""

import ast
import contextlib
import itertools
import math
import statistics
import tempfile
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import ml_collections
from etils import epath
from jax.experimental.compilation_cache import compilation_cache

from lift_jax import config as lift_config
from lift_jax.config import keys as config_keys
from lift_jax.config.keys import nearest_key
from lift_jax.errors import DivergedError, UserError
from lift_jax.evaluation import metrics
from lift_jax.run import Loaded, Mode, Results, check, program_key, run_together
from lift_jax.run import run as run_one
from lift_jax.workdir import config_file, storage

Grid = dict[str, tuple[Any, ...]]

MEMBERS = 8
"""How many runs train at once if nothing else is asked for."""


def parse(text: str) -> Grid:
    """Reads a grid written as `KEY=VALUE,VALUE KEY=VALUE`.

    Example:
        >>> parse("method=lift,lora seed=0,1")
        {'method': ('lift', 'lora'), 'seed': (0, 1)}

    Raises:
        UserError: if it is not of that form or a key is not in the config.
    """
    keys = lift_config.flatten(lift_config.default())
    grid: Grid = {}
    for word in text.split():
        key, equals, values = word.partition("=")
        if not equals or not values:
            raise UserError(f"config.sweep has {word!r}; write KEY=VALUE,VALUE for each key, with spaces between.")
        if key not in keys:
            raise UserError(
                f"config.sweep has the key {key!r}, which does not exist; the nearest is {nearest_key(key, keys)}."
            )
        grid[key] = tuple(_value(value) for value in values.split(","))
    return grid


def run(
    config: ml_collections.ConfigDict,
    workdir: epath.PathLike,
    by_hand: Iterable[str] = (),
    mode: Mode = "train",
    checkpoint: epath.PathLike | None = None,
    members: int = MEMBERS,
) -> None:
    """Runs the grid `config.sweep`, each combination in a folder of its own below `workdir`, and prints the table.

    What has an eval.json already is not run again. Every combination is looked at before the first one runs.

    Args:
        config: the combinations' common config.
        workdir: of the whole grid.
        by_hand: keys set on the command line; they are taken out of the grid.
        mode: of each run.
        checkpoint: with the mode "eval", the one that all of them evaluate, each in its way.
        members: how many runs that one program can hold train at once (see `lift_jax.run.run_together`).

    Raises:
        UserError: if a combination is not valid, or was done with other settings, or if what it left is damaged; at
            the end, if the training of some has diverged.
    """
    grid = {key: values for key, values in parse(config.sweep).items() if key not in set(by_hand)}
    workdir = epath.Path(workdir)
    plan: dict[epath.Path, tuple[str, ml_collections.ConfigDict]] = {}
    done: dict[epath.Path, Results] = {}
    for combination in itertools.product(*grid.values()):
        chosen = dict(zip(grid, combination, strict=True))
        one = ml_collections.ConfigDict(config.to_dict())
        one.sweep = ""
        for key, value in chosen.items():
            _set(one, key, value)
        folder = workdir / (_name(chosen) or "run")
        plan[folder] = _name({k: v for k, v in chosen.items() if k != "seed"}) or "run", one
        resolved = check(one)
        if mode == "train" and (folder / "eval.json").is_file():
            _refuse_others(folder, resolved)
            done[folder] = _results(folder)
    ended: dict[epath.Path, Results | DivergedError] = dict(done)
    loaded = Loaded()
    with programs_compiled_once():
        for group in groups({folder: one for folder, (_, one) in plan.items()}, members if mode == "train" else 1):
            left = {folder: one for folder, one in group.items() if folder not in done}
            ended |= _run_group(left, mode, checkpoint, loaded)
    _tell(plan, ended, workdir, config.report)


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


def _run_group(
    group: Mapping[epath.Path, ml_collections.ConfigDict],
    mode: Mode,
    checkpoint: epath.PathLike | None,
    loaded: Loaded,
) -> dict[epath.Path, Results | DivergedError]:
    """Runs a group; gives for each run its results, or why it ended early if its loss is no longer a number."""
    if len(group) > 1:
        print(f"{len(group)} runs train at once: {', '.join(folder.name for folder in group)}")
        return dict(zip(group, run_together(group, loaded), strict=True))
    ended: dict[epath.Path, Results | DivergedError] = {}
    for folder, config in group.items():
        try:
            ended[folder] = run_one(config, folder, mode, checkpoint, loaded=loaded)
        except DivergedError as error:
            ended[folder] = error
    return ended


def _tell(
    plan: Mapping[epath.Path, tuple[str, ml_collections.ConfigDict]],
    ended: Mapping[epath.Path, Results | DivergedError],
    workdir: epath.Path,
    report: bool,
) -> None:
    """Prints the table and draws the page of the runs that ended well.

    Raises:
        UserError: with the folders of those that diverged, if there are any.
    """
    results: dict[str, list[Results]] = {}
    diverged: dict[str, DivergedError] = {}
    for folder, (name, _) in plan.items():
        result = ended[folder]
        if isinstance(result, DivergedError):
            diverged[folder.name] = result
        else:
            results.setdefault(name, []).append(result)
    if results and jax.process_index() == 0:
        print(summary(results))
        if report:
            _compare([folder.name for folder in plan if folder.name not in diverged], workdir)
    if diverged:
        first = next(iter(diverged.values()))
        raise UserError(f"{len(diverged)} of {len(plan)} runs are not in the table, {', '.join(diverged)}: {first}")


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


def _results(folder: epath.Path) -> Results:
    from lift_jax.report import results_file  # matplotlib takes a second to import

    return results_file.read(folder / "eval.json").metrics()


def _refuse_others(folder: epath.Path, config: ml_collections.FrozenConfigDict) -> None:
    """Refuses a result that is there but belongs to another config: the table would show it under a wrong name."""
    without_effect = config_keys.without_effect(config_keys.KEYS)
    changed = {
        key: values for key, values in config_file.differences(folder, config).items() if key not in without_effect
    }
    if changed:
        said = ", ".join(f"{key} {old!r} instead of {new!r}" for key, (old, new) in changed.items())
        raise UserError(f"{folder} was done with {said}; name another folder with --workdir, or remove this one.")


def _compare(names: Sequence[str], workdir: epath.Path) -> None:
    """Writes the runs side by side as a page. Whatever goes wrong with it, the runs are there."""
    try:
        from lift_jax.report import compare  # matplotlib takes a second to import

        with storage.fetched(workdir) as folder:
            compare([folder.local / name for name in names], folder.local / "comparison.html")
            folder.push()
        print(f"Comparison: {workdir / 'comparison.html'}")
    except Exception as error:
        print(f"warning: The comparison could not be drawn ({type(error).__name__}: {error}).")


def summary(results: Mapping[str, Sequence[Results]]) -> str:
    """Formats a line a combination: the mean over its runs, and "± standard deviation" (of the sample) if several.

    The numbers are those of test-time ensembling where it is enabled, else of the plain evaluation.
    """
    means, deviations = {}, {}
    for name, runs in results.items():
        sections = [result.get("tte", result["plain"]) for result in runs]
        columns = {metric: [section[metric] for section in sections] for metric in metrics.COLUMNS.values()}
        known = {metric: values for metric, values in columns.items() if not any(map(_absent, values))}
        means[name] = {metric: statistics.fmean(values) for metric, values in known.items()}
        if len(runs) > 1:
            deviations[name] = {metric: statistics.stdev(values) for metric, values in known.items()}
    return metrics.table(means, deviations)


def _absent(value: float | None) -> bool:
    """Tells whether a group has no classes: that is NaN in a run's results and null in its eval.json."""
    return value is None or math.isnan(value)


def _name(chosen: dict[str, Any]) -> str:
    return ",".join(
        f"{value}" if key == "method" else f"{key}={value}".replace("/", "_") for key, value in chosen.items()
    )


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _set(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
    try:
        config.update_from_flattened_dict({key: value})
    except (TypeError, ValueError) as error:
        raise UserError(f"config.sweep sets {key}={value!r}, which does not fit: {error}.") from error
