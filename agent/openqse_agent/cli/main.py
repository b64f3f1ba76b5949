"""The command `openqse`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import version

from openqse.errors import OpenQSEError
from openqse_agent.cli import probe, qpu, report, site


def main(argv: list[str] | None = None) -> int:
    """Runs one subcommand; errors are one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="openqse", description="QPUs of a Slurm site: configuration, leases, usage, service."
    )
    parser.add_argument("--version", action="version", version=f"openqse {version('openqse')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    report.add_parser(commands)
    qpu.add_parser(commands)
    probe.add_parser(commands)
    site.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
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
