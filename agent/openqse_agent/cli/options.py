"""What the subcommands of `openqse` share: how they are made, and which QPUs they ask."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from openqse import site as sites
from openqse.errors import ArgumentError, OpenQSEError
from openqse.site import SiteQPU

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    help: str,
    description: str,
    examples: str,
) -> argparse.ArgumentParser:
    """Adds a subcommand.

    Args:
        run: does it; returns the exit code.
        description: paragraphs, printed as they are.
        examples: a line for each, with a comment after ``#`` where it needs one.
    """
    parser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog="Examples:\n" + "".join(f"  {line}\n" for line in examples.splitlines()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_group(commands: Commands, name: str, metavar: str, *, help: str) -> Commands:
    """Adds a group of subcommands."""
    parser = commands.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
    return parser.add_subparsers(metavar=metavar, required=True)


def add_site(parser: argparse.ArgumentParser) -> None:
    """Adds ``--site``."""
    parser.add_argument(
        "--site",
        type=Path,
        default=sites.DEFAULT_PATH,
        metavar="FILE",
        help="site file (default: %(default)s)",
    )


def add_timeout(parser: argparse.ArgumentParser, timeout: float) -> None:
    """Adds ``--timeout``."""
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=timeout,
        metavar="SECONDS",
        help="how long to wait for the QPU agents (default: %(default)s)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_qpus(parser: argparse.ArgumentParser) -> None:
    """Adds the QPUs that a command may name."""
    parser.add_argument("qpu", nargs="*", help="only these QPUs (default: all of the site)")


def chosen_qpus(arguments: argparse.Namespace) -> list[SiteQPU]:
    """The QPUs that a command names, or all of the site."""
    site = sites.load(arguments.site)
    return [site.qpu(name) for name in arguments.qpu] or list(site.qpus.values())


def complain(command: str, answers: Iterable[object]) -> int:
    """Prints why QPU agents gave no report. Returns the exit code: 1 if any gave none."""
    errors = [answer for answer in answers if isinstance(answer, OpenQSEError)]
    for error in errors:
        print(f"openqse {command}: {error}", file=sys.stderr)
    return 1 if errors else 0


def seconds(text: str) -> float:
    """A number of seconds on a command line."""
    number = float(text)
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError("give seconds above 0 and up to 3600")
    return number


def own_name() -> str:
    """The name, as Slurm knows it, of the user who runs the command.

    Raises:
        ArgumentError: nobody of this host has the process's user id.
    """
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise ArgumentError(
            f"no user of this host has the id {uid}", remedy="Name one with --user"
        ) from None
