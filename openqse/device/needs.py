"""What a circuit needs of a device, read from its form."""

from __future__ import annotations

from functools import lru_cache

from openqse.program.circuit import Circuit
from openqse.program.gates import GATES, Op
from openqse.program.program import Program


@lru_cache(maxsize=64)
def circuit(program: Program) -> Circuit:
    """The circuit in an envelope; those looked at lately are kept."""
    return Circuit.of(program)


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
        return "computes or branches in its course"
    if (circuit.opcodes == Op.RESET).any():
        return "resets qubits"
    return "measures qubits in its course"
