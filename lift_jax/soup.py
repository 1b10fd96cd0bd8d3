r"""Averages runs of one backbone, method and class list, such as those of several seeds, into a run of its own.

    python -m lift_jax.soup RUN RUN... --workdir OUT [--greedy | --order lt]

averages what the tuners of the runs add to the network, exactly, and the class vectors; evaluates the average, and
writes OUT, which is a run like any other. With --greedy the runs are taken from the best to the worst on the images
that config.validation has held out, and each is left out with which the average would become worse on them. With
--order lt they are merged one after the other into the backbone as it was, as LT-Soups does.

docs/averaging.md says what is averaged in which way.
"""

import argparse
import sys
from collections.abc import Sequence

from lift_jax.errors import exit_status
from lift_jax.errors.arguments import Parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, and returns its exit status."""
    parser = Parser(
        prog="python -m lift_jax.soup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="the folders of the runs")
    parser.add_argument("--workdir", required=True, metavar="OUT", help="the folder of the new run")
    parser.add_argument("--greedy", action="store_true", help="choose among the runs by the held-out images")
    parser.add_argument("--order", default="", choices=["lt"], help="merge the runs one after the other, as named")
    parser.add_argument("--keep", type=float, help="with --order lt: what each run leaves of those before (0.7)")
    given = parser.parse_args(arguments)

    def run() -> None:
        # Imported here: `--help` needs no JAX.
        from lift_jax.cluster import processes
        from lift_jax.run.soup import soup
        from lift_jax.workdir.logs import Logs

        processes.start()
        with Logs(None):
            soup(given.runs, given.workdir, given.greedy, given.order, given.keep)

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
