"""The command `openqse`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version

from openqse.errors import OpenQSEError
from openqse_agent.cli import completion, device, estimate, probe, qpu, qpus, report, site, usage


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="openqse",
        description="QPUs of a Slurm site: their state, queue, shares and usage; configuration and "
        "service.",
        epilog="Exit code 0 if all is well; 1 if a QPU agent does not answer or the answer is no; "
        "2, with the reason, if the command could not be carried out.",
    )
    made.add_argument("--version", action="version", version=f"openqse {version('openqse')}")
    made.add_argument(
        "--print-completion",
        action=completion.Print,
        choices=completion.SHELLS,
        help="print a script that completes commands, options and QPUs in this shell",
    )
    commands = made.add_subparsers(metavar="COMMAND", required=True)
    qpus.add_parser(commands, "status")
    for group in (report, usage, estimate, qpu, probe, site, device):
        group.add_parser(commands)
    return made


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand; errors are one line on stderr and exit code 2."""
    try:
        arguments = parser().parse_args(argv)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except OpenQSEError as error:
        print(f"openqse: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
