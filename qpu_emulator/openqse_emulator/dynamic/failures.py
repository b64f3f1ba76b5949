"""What goes wrong on a path, as typed errors that say where and what to do."""

from __future__ import annotations

import numpy as np

from openqse.errors import NotSupported, OpenQSEError, ProgramError
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse.program.machine import too_many_steps
from openqse_emulator.dynamic.codes import (
    BOX_OVERRUN,
    DIVIDES_BY_ZERO,
    FAILS,
    NOT_A_DURATION,
    NOT_AN_INTEGER,
    NOT_CLIFFORD,
    NOT_FINITE,
    OUT_OF_RANGE,
    TOO_MANY_STEPS,
)
from openqse_emulator.dynamic.records import Stack


def failure(circuit: Circuit, wrong: int, pc: int, stack: Stack, top: int) -> OpenQSEError:
    """The error of what went wrong at an operation, on the path of a frame."""
    if wrong == TOO_MANY_STEPS:
        return too_many_steps()
    begin, end = circuit.operand_offsets[pc : pc + 2]
    operands = circuit.operands[begin:end].tolist()
    op = Op(circuit.opcodes[pc])
    ints, floats = stack.ints[top], stack.floats[top]
    if wrong == FAILS:
        return ProgramError(circuit.messages[operands[0]], layer="device")
    if wrong == DIVIDES_BY_ZERO:
        return ProgramError("a whole number is divided by zero", layer="device")
    if wrong == NOT_AN_INTEGER:
        value = float(np.float64(floats[operands[1]]))
        return ProgramError(f"the float {value!r} fits no whole number of 64 bits", layer="device")
    if wrong == OUT_OF_RANGE:
        place, length = int(ints[operands[3]]), operands[2]
        return ProgramError(f"index {place} of an array of {length}", layer="device")
    if wrong == NOT_FINITE:
        return ProgramError("an angle that the program computes is not finite", layer="device")
    if wrong == NOT_A_DURATION:
        return ProgramError(
            f"a {op.name.lower()} of less than no time, or of more than 10^18 ns, on qubits "
            f"{operands}",
            layer="device",
        )
    if wrong == BOX_OVERRUN:
        return ProgramError(
            f"what is in the box on qubits {operands} takes longer than the box",
            layer="device",
            remedy="Give the box more time",
        )
    assert wrong == NOT_CLIFFORD
    return NotSupported(
        f"{op.name.lower()} on qubits {operands} is not a Clifford gate at the angle that the "
        "program computes for it",
        layer="device",
        remedy='Set method = "auto" in the profile',
    )
