"""The command `openqse-keys`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from openqse.errors import ConfigurationError
from openqse_agent import config, keys


def main(argv: list[str] | None = None) -> int:
    """Makes key pairs; an error is one line on stderr and exit code 2."""
    parser = argparse.ArgumentParser(
        prog="openqse-keys",
        description="Makes key pairs for the connections between node agents and QPU agents.",
        epilog="NAME.secret stays on the agent's host. NAME.public of a QPU goes into the site "
        f"file ([qpu.NAME] key = ...); that of the node agents, '{keys.NODE}', into the folder "
        f"'{keys.AUTHORISED}' beside each QPU agent's key.",
    )
    parser.add_argument(
        "name", nargs="+", help=f"a QPU's name, or '{keys.NODE}' for the node agents"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=config.AgentConfig().keys,
        help="where the keys are put (default: %(default)s)",
    )
    arguments = parser.parse_args(argv)
    try:
        for name in arguments.name:
            path = keys.make(arguments.directory, name)
            print(f"{name}: {path.read_text().strip()}  ({path})")
    except ConfigurationError as error:
        print(f"openqse-keys: {error}", file=sys.stderr)
        return 2
    return 0
