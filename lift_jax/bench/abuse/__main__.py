"""The command line; see `lift_jax.bench.abuse`."""

import argparse
import contextlib
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

from lift_jax.bench.abuse import (
    commands,
    config_values,
    images,
    run_files,
    run_readers,
    runner,
    setting,
    text_files,
    weights,
)
from lift_jax.bench.abuse.cases import Case, Grammar, Setting, judge
from lift_jax.text import aligned
from lift_jax.workdir.progress import Progress

GRAMMARS: tuple[Grammar, ...] = (
    config_values.GRAMMAR,
    text_files.GRAMMAR,
    images.GRAMMAR,
    weights.GRAMMAR,
    run_files.GRAMMAR,
    commands.GRAMMAR,
)
_VERDICTS = ("a sentence", "accepted and right", "anything else")

Label = tuple[str, int | str]
"""The kind of an input with its number, or with what a valid one says."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status, which is 1 if there was anything else."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", force=True)
    logging.getLogger("lift_jax.workdir.progress").setLevel(logging.INFO)
    jax.config.update("jax_platforms", "cpu")  # of the children: nothing here starts it
    with _folder(given.keep) as folder:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder / "programs")
        print("Making pictures, a backbone and a finished run.", flush=True)
        made = setting.make(folder, run_readers.known)
        cases = {label: _case(label, given.seed, made) for label in _labels(given)}
        limits = runner.Limits(given.seconds, given.megabytes << 20)
        counts = _run(cases, folder / "children", limits, given.jobs, given.verbose)
    kinds = [grammar.name for grammar in GRAMMARS if any(kind == grammar.name for kind, _ in counts)]
    rows = [[kind, *(str(counts[kind, verdict]) for verdict in _VERDICTS)] for kind in kinds]
    rows.append(["together", *(str(sum(counts[kind, verdict] for kind in kinds)) for verdict in _VERDICTS)])
    print(aligned([["", *_VERDICTS], *rows]))
    return 1 if any(counts[kind, "anything else"] for kind in kinds) else 0


def _run(cases: dict[Label, Case], folder: Path, limits: runner.Limits, jobs: int, verbose: bool) -> Counter:
    """Runs the valid inputs and then the others, and counts each kind and verdict."""
    valid: dict[Label, Case] = {}
    for (kind, _), case in cases.items():
        if case.valid is not None:
            valid[kind, case.valid.says] = case.valid
    wrong: dict[Label, str] = {}
    counts: Counter = Counter()
    with Progress(len(valid) + len(cases), "inputs", unit="inputs", line_every=20) as bar:
        for label, case, outcome in runner.run([*valid.items(), *cases.items()], folder, limits, jobs):
            kind, index = label
            verdict, reason = judge(case, outcome)
            if label in valid:
                if verdict != "accepted and right":
                    wrong[label] = reason
                    print(f"{kind}, a valid input: {case.says}: {reason}", flush=True)
            else:
                if case.valid is not None and (kind, case.valid.says) in wrong and verdict != "anything else":
                    verdict, reason = "anything else", "its valid input is not accepted"
                counts[kind, verdict] += 1
                if verdict == "anything else":
                    print(f"{kind}:{index}: {case.says}: {reason}", flush=True)
                elif verbose:
                    print(f"{kind}:{index}: {case.says}: {verdict}: {outcome.text}", flush=True)
            bar.update()
    print(f"{len(valid) - len(wrong)} of {len(valid)} valid inputs gave the known answer.")
    return counts


def _case(label: Label, seed: int, made: Setting) -> Case:
    kind, index = label
    grammar = next(grammar for grammar in GRAMMARS if grammar.name == kind)
    return grammar.case(int(index), seed, made)


def _labels(given: argparse.Namespace) -> list[Label]:
    if given.only:
        return [(kind, int(index)) for kind, _, index in (each.partition(":") for each in given.only.split(","))]
    share, rest = divmod(given.count, len(given.kinds))
    return [(kind, i) for at, kind in enumerate(given.kinds) for i in range(share + (at < rest))]


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="abuse_") as folder:
        yield Path(folder)


def _parser() -> argparse.ArgumentParser:
    names = [grammar.name for grammar in GRAMMARS]

    def kinds(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := set(chosen) - set(names):
            raise argparse.ArgumentTypeError(f"{min(unknown)!r} is none of {', '.join(names)}")
        return chosen

    parser = argparse.ArgumentParser(
        prog="python -m lift_jax.bench.abuse",
        description="Makes bad inputs by grammars, gives each to the program in a process of its own, and counts what "
        "becomes of them. Exit status 1 if one ended in anything but a sentence or the right answer.",
    )
    parser.add_argument("--count", type=int, default=1000, help="number of inputs (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default %(default)s)")
    parser.add_argument("--kinds", type=kinds, default=names, help=f"some of {','.join(names)} (default all)")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="these inputs alone, separated by commas")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time (default %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="limit of each input (default %(default)s)")
    parser.add_argument("--megabytes", type=int, default=2048, help="limit of memory for each (default %(default)s)")
    parser.add_argument("--verbose", action="store_true", help="print the sentences and answers that are right too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder for what is made; it is kept")
    return parser


if __name__ == "__main__":
    sys.exit(main())
