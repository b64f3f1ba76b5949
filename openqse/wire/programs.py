"""What travels beside the bytes of a program: the rest of its envelope."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from openqse.program.program import MAX_BITS, MAX_FORMAT, MAX_OUTPUTS, Output, Program
from openqse.wire.bounds import Many, Text, Whole

#: Characters of the name of a parameter or an output, and most parameters.
MAX_NAME = 4096
MAX_PARAMETERS = 2**20

LongName = Annotated[str, Text(MAX_NAME)]
Register = tuple[LongName, Annotated[int, Whole(1, MAX_BITS)]]


@dataclass(frozen=True, slots=True)
class ProgramEnvelope:
    """What travels beside a program's bytes; fields as in ``Program``."""

    format: Annotated[str, Text(MAX_FORMAT, least=1)]
    parameters: Annotated[tuple[LongName, ...], Many(MAX_PARAMETERS)] = ()
    outputs: Annotated[tuple[Register, ...], Many(MAX_OUTPUTS)] = ()

    @staticmethod
    def of(program: Program) -> ProgramEnvelope:
        """The envelope of a program."""
        return ProgramEnvelope(program.format, program.parameters, program.outputs)

    def around(self, data: bytes) -> Program:
        """The program.

        Raises:
            ProgramError: an envelope that cannot be.
        """
        outputs = tuple(Output(name, width) for name, width in self.outputs)
        return Program(self.format, data, self.parameters, outputs)
