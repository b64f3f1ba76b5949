"""What a circuit needs of a device, read from its form."""

from __future__ import annotations

from functools import lru_cache

from openqse.program.circuit import FORMAT, FORMAT_1, Circuit
from openqse.program.gates import GATES, Op
from openqse.program.program import Program


@lru_cache(maxsize=16)
def circuit_of(program: Program) -> Circuit | None:
    """The circuit in an envelope, kept for a device that is going to ask for it, too; None where
    there is another program in it.

    Raises:
        ProgramError: it is not valid.
    """
    return Circuit.of(program) if program.format in (FORMAT, FORMAT_1) else None


@lru_cache(maxsize=256)
def gates(circuit: Circuit) -> tuple[str, ...]:
    """Names of its gates, a ``c`` in front for each control."""
    found: dict[str, None] = {}
    for operation in circuit.operations():
        if operation.op in GATES:
            found["c" * operation.controls + operation.op.name.lower()] = None
    return tuple(found)


@lru_cache(maxsize=256)
def joined(circuit: Circuit) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Its gates on more than one qubit: the name of each, and the qubits that it acts on."""
    found: dict[tuple[str, tuple[int, ...]], None] = {}
    for operation in circuit.operations():
        if len(operation.qubits) > 1 and operation.op in GATES:
            name = "c" * operation.controls + operation.op.name.lower()
            found[name, operation.qubits] = None
    return tuple(found)


def dynamic(circuit: Circuit) -> str:
    """What it does in its course beside gates, as a clause with a verb; empty if nothing."""
    if circuit.measures_last:
        return ""
    if circuit.classical:
        return "computes or branches while it runs"
    if (circuit.opcodes == Op.RESET).any():
        return "resets qubits"
    return "measures qubits in its course"
