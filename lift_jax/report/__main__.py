"""The command line of the reports; see `lift_jax.report`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lift_jax.errors import exit_status, quiet
from lift_jax.errors.arguments import Parser
from lift_jax.files import expand, place


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    arguments = quiet.without_flag(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["compare"]:
        return exit_status(lambda: _compare(arguments[1:]))
    return exit_status(lambda: _draw(arguments))


def _draw(arguments: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m lift_jax.report",
        description="Draws the report of a run anew, from the files in its folder; `python -m lift_jax.report compare "
        "--help` tells of several runs. The pictures of single images are those of the run's last report.",
    )
    parser.add_argument("run", metavar="RUN", help="the run's folder")
    given = parser.parse_args(arguments)
    from lift_jax.report.run_report import write  # `--help` needs no JAX
    from lift_jax.workdir.logs import Logs

    with Logs(None, to_stderr=True):
        print(write(place(given.run, "RUN")))
    return 0


def _compare(arguments: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m lift_jax.report compare",
        description="Puts runs side by side: a table, accuracy against trained parameters, and convergence. Runs whose "
        "configs differ in the seed, or in what no result depends on, are one row, with mean and standard deviation.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or one with runs in it")
    parser.add_argument("--output", default="comparison.html", metavar="FILE", help="the page (default %(default)s)")
    parser.add_argument(
        "--json", action="store_true", help="print names, folders, parameters and all metrics as JSON, without a page"
    )
    given = parser.parse_args(arguments)
    from lift_jax.report.comparison import compare  # `--help` needs no JAX
    from lift_jax.report.comparison_json import summary
    from lift_jax.workdir.logs import Logs

    if given.json:
        with Logs(None, to_stderr=True):
            print(json.dumps(summary([place(run, "RUN") for run in given.runs]), indent=2))
        return 0
    output = Path(expand(given.output, "--output"))
    with Logs(None, to_stderr=True):
        print(compare([place(run, "RUN") for run in given.runs], output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
