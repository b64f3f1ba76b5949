"""Shell completion of `openqse`, by scripts that `shtab` makes from its parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from openqse import site as sites
from openqse.errors import ConfigurationError

SHELLS = ("bash", "zsh", "fish", "tcsh")

#: Prints the QPUs of a site file. Run at each completion: it must be quick, and silent.
_QPUS = r"sed -n 's/^\[qpu\.\([A-Za-z0-9_]*\)\].*/\1/p' {} 2>/dev/null"


class Print(argparse.Action):
    """The option that prints a shell's script and ends.

    Raises:
        ConfigurationError: what makes the script is not installed.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option: Any = None
    ) -> None:
        try:
            import shtab
        except ImportError:
            raise ConfigurationError(
                "shell completion needs shtab", remedy="Install it: pip install 'openqse[agent]'"
            ) from None
        qpus = _QPUS.format(sites.DEFAULT_PATH)
        for action in _actions(parser):
            if action.metavar in ("FILE", "PROGRAM"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.dest == "qpu":
                action.complete = shtab.cmd(qpus)  # type: ignore[attr-defined]
        print(shtab.complete(parser, values))
        parser.exit()


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The arguments of a parser and of all subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
        else:
            yield action
