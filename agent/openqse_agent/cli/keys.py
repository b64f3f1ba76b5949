"""The command `openqse-keys`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from openqse.errors import ConfigurationError
from openqse_agent import config, keys

_EPILOG = """\
NAME.secret stays with its owner. NAME.public goes to those who check it:

  QPU      the secret stays on the QPU's host; the public key goes into the site file
           ([qpu.NAME] key = ...)
  node     the secret goes to every compute node; the public key into nodes/ beside each QPU
           agent's key
  admin    the secret goes where administrators work; the public key into admins/ beside nodes/

--rotate changes a key while everything runs. It makes the next pair of a name: node-2 and so on.
First put node-2.public beside node.public in nodes/. Then give node-2.secret to the compute nodes:
node agents use the last pair they find, within seconds. When the jobs that ran at that time have
ended (see 'openqse leases'), remove the old pair: it is no longer accepted. To change a QPU's own
key, change its line in the site file and restart the agents.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="openqse-keys",
        description="Makes key pairs for the connections to QPU agents.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "name",
        nargs="+",
        metavar="NAME",
        help=f"a QPU's name, '{keys.NODE}' for the node agents, '{keys.ADMIN}' for administrators",
    )
    made.add_argument(
        "--rotate", action="store_true", help="make the next pair of a name that has one"
    )
    made.add_argument(
        "--directory",
        type=Path,
        default=config.AgentConfig().keys,
        metavar="DIRECTORY",
        help="where to put the keys (default: %(default)s)",
    )
    return made


def main(argv: list[str] | None = None) -> int:
    """Makes key pairs; an error is one line on stderr and exit code 2."""
    arguments = parser().parse_args(argv)
    make = keys.rotate if arguments.rotate else keys.make
    try:
        for name in arguments.name:
            path = make(arguments.directory, name)
            print(f"{path.stem}: {path.read_text().strip()}  ({path})")
    except ConfigurationError as error:
        print(f"openqse-keys: {error}", file=sys.stderr)
        return 2
    return 0
