"""Reports that are printed repeatedly, as by `squeue --iterate`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from openqse_agent.cli.options import seconds


def add_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--iterate``."""
    parser.add_argument(
        "-i",
        "--iterate",
        type=seconds,
        metavar="SECONDS",
        help="repeat after this many seconds, until Ctrl-C; with --json, one line each time",
    )


def repeated(
    run: Callable[[argparse.Namespace], int],
) -> Callable[[argparse.Namespace], int]:
    """A command that runs once or, with ``--iterate``, until it is interrupted."""

    def iterate(arguments: argparse.Namespace) -> int:
        if arguments.iterate is None:
            return run(arguments)
        while True:
            if not arguments.json and not arguments.noheader:
                print(time.strftime("%Y-%m-%dT%H:%M:%S"))
            run(arguments)
            if not arguments.json:
                print()
            print(end="", flush=True)
            time.sleep(arguments.iterate)

    return iterate
