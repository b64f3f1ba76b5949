"""A program as everybody but its device knows it: an envelope around bytes of some format."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

from openqse.errors import ProgramError

#: Longest name of a format, and most outputs, that an envelope may have.
MAX_FORMAT = 64
MAX_OUTPUTS = 65536
#: Most bits of all outputs together.
MAX_BITS = 2**24


class Output(NamedTuple):
    """A named register of a program's results, and how many bits it has."""

    name: str
    width: int


@dataclass(frozen=True, eq=False)
class Program:
    """A program in some format. Agents, wire, journal and caches read no more than this.

    Attributes:
        format: name of the format, such as ``"openqse.circuit.2"``.
        data: the program itself; only who executes or translates the format looks into it.
        parameters: names of the free parameters, in the order in which values are given.
        outputs: registers of the result, the first one first: register 0 has the lowest bits.

    Raises:
        ProgramError: an envelope that cannot be.
    """

    format: str
    data: bytes
    parameters: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.format) <= MAX_FORMAT or not self.format.isascii():
            raise ProgramError(f"a program's format is named by 1 to {MAX_FORMAT} ASCII letters")
        if len(set(self.parameters)) != len(self.parameters):
            raise ProgramError("two free parameters share a name")
        check_outputs(self.outputs)

    @property
    def width(self) -> int:
        """Bits of all outputs together: what one shot gives."""
        return sum(output.width for output in self.outputs)

    @cached_property
    def digest(self) -> bytes:
        """The program's name everywhere: SHA-256 over its format, a zero byte and its data."""
        return sha256(b"\0".join((self.format.encode(), self.data))).digest()

    @property
    def id(self) -> str:
        """``digest`` in hex, for people."""
        return self.digest.hex()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def check_outputs(outputs: tuple[Output, ...]) -> None:
    """Raises ProgramError unless these can be the outputs of a program."""
    if len(outputs) > MAX_OUTPUTS:
        raise ProgramError(f"{len(outputs)} outputs; a program has at most {MAX_OUTPUTS}")
    if len({name for name, _ in outputs}) != len(outputs):
        raise ProgramError("two outputs share a name")
    if any(width < 1 for _, width in outputs):
        raise ProgramError("an output needs at least one bit")
    if sum(width for _, width in outputs) > MAX_BITS:
        raise ProgramError(f"a program's outputs have at most {MAX_BITS} bits together")
