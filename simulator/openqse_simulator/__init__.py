"""A discrete-event simulator of sites that share QPUs, driving the policies of the QPU agent."""

from __future__ import annotations

import sys


def main() -> int:
    """The command ``openqse-simulate``; says what to install where its packages are missing."""
    try:
        from openqse_simulator import cli
    except ModuleNotFoundError as error:
        if str(error.name).startswith("openqse"):
            raise
        print(
            f"openqse-simulate: {error.name} is not installed. Install what it needs: "
            "pip install 'openqse[simulator]'",
            file=sys.stderr,
        )
        return 2
    return cli.main()
