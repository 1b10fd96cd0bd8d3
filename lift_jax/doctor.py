"""Looks whether this machine is ready for lift_jax, and says what to mend: `lift_jax doctor`.

It names Python, packages, devices, memory, disk and caches, tries whether the Hugging Face hub can be reached, and
trains a tiny model for a few steps. "note" stands before what works, but not for everything. The exit status is 1 if
something is wrong that keeps a training from working.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from lift_jax.errors import exit_status, quiet
from lift_jax.errors.arguments import Parser
from lift_jax.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = Parser(
        prog="python -m lift_jax.doctor", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print what was found for programs, when all is through")
    arguments = parser.parse_args(argv)
    return exit_status(_tell if arguments.json else _look)


def _tell() -> int:
    from lift_jax.bench import checks  # `--help` does not wait for JAX

    found = [{"name": name, **finding._asdict()} for name, finding in checks.run_all()]
    ready = all(each["state"] != "wrong" for each in found)
    print(json.dumps({"version": __version__, "ready": ready, "checks": found}, indent=2))
    return int(not ready)


def _look() -> int:
    from lift_jax.bench import checks

    print(f"lift_jax {__version__}")
    remedies: list[tuple[str, str]] = []
    wrong = 0
    for name, found in checks.run_all():
        if found.state != "ok" or quiet.says(quiet.What.SENTENCE):
            print(f"{found.state:5}  {name:8}  {found.said}.", flush=True)
        wrong += found.state == "wrong"
        if found.remedy:
            remedies.append((name, found.remedy))
    for name, remedy in remedies:
        print(f"{name}: {remedy}")
    print("Something is wrong here." if wrong else "This machine is ready.")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
