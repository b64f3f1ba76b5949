"""Versions of the protocol: what a side speaks, and what two sides have in common.

A version covers what a session says: tasks, their results and what belongs to them. All other kinds
of message only ever gain fields, so that sides of any two releases can greet and refuse each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from openqse.errors import ProtocolError
from openqse.wire.bounds import Whole

Version = Annotated[int, Whole(1, 65535)]


@dataclass(frozen=True, slots=True)
class Versions:
    """All versions from ``oldest`` to ``newest``."""

    oldest: Version
    newest: Version

    def __str__(self) -> str:
        return f"{self.oldest}" if self.oldest == self.newest else f"{self.oldest} to {self.newest}"

    def __contains__(self, version: int) -> bool:
        return self.oldest <= version <= self.newest

    def common(self, other: Versions) -> int | None:
        """The newest version that both speak; None if there is none."""
        newest = min(self.newest, other.newest)
        return newest if newest in self and newest in other else None


#: What a side speaks that does not say.
FIRST = Versions(1, 1)

#: What this release speaks.
SPOKEN = Versions(1, 1)


def agree(program: Versions, agent: Versions, qpu: str) -> int:
    """The version for a session between a program and a QPU agent.

    Raises:
        ProtocolError: they have none in common; the message says which side is the older one.
    """
    version = program.common(agent)
    if version is None:
        older = "the program" if program.newest < agent.oldest else f"the QPU agent of {qpu}"
        raise ProtocolError(
            f"the program speaks protocol version {program}, the QPU agent of {qpu} {agent}",
            layer="node agent",
            remedy=f"Install a later release of openqse for {older}",
        )
    return version
