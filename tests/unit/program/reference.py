"""Slow, obvious unitaries, written apart from the code under test."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import expm

from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse.program.machine import Machine, Step

ID, X, Y, Z = (
    np.array(m, dtype=complex)
    for m in ([[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]])
)
H = (X + Z) / np.sqrt(2)
SX = ((1 + 1j) * ID + (1 - 1j) * X) / 2
SWAP = (np.kron(ID, ID) + np.kron(X, X) + np.kron(Y, Y) + np.kron(Z, Z)) / 2


def rotation(pauli: NDArray, angle: float) -> NDArray:
    return expm(-0.5j * angle * pauli)


def phase(angle: float) -> NDArray:
    return np.diag([1, np.exp(1j * angle)])


def u(theta: float, phi: float, lam: float) -> NDArray:
    """The three-angle gate: Z, Y and Z rotations and the phase that makes its corner real."""
    turns = rotation(Z, phi) @ rotation(Y, theta) @ rotation(Z, lam)
    return np.exp(0.5j * (phi + lam)) * turns


def controlled(gate: NDArray, count: int = 1) -> NDArray:
    """``gate`` under ``count`` controls, which are the least significant bits."""
    full = np.eye(len(gate) << count, dtype=complex)
    last = (1 << count) - 1
    full[last :: 1 << count, last :: 1 << count] = gate
    return full


FIXED = {
    Op.ID: ID,
    Op.X: X,
    Op.Y: Y,
    Op.Z: Z,
    Op.H: H,
    Op.S: phase(np.pi / 2),
    Op.SDG: phase(-np.pi / 2),
    Op.T: phase(np.pi / 4),
    Op.TDG: phase(-np.pi / 4),
    Op.SX: SX,
    Op.SXDG: SX.conj().T,
    Op.SWAP: SWAP,
}
WITH_ANGLES = {
    Op.GPHASE: lambda a: np.array([[np.exp(1j * a)]]),
    Op.P: phase,
    Op.RX: lambda a: rotation(X, a),
    Op.RY: lambda a: rotation(Y, a),
    Op.RZ: lambda a: rotation(Z, a),
    Op.U: u,
    Op.RXX: lambda a: rotation(np.kron(X, X), a),
    Op.RYY: lambda a: rotation(np.kron(Y, Y), a),
    Op.RZZ: lambda a: rotation(np.kron(Z, Z), a),
}


def gate(op: Op, angles: tuple[float, ...] = ()) -> NDArray:
    return FIXED[op] if op in FIXED else WITH_ANGLES[op](*angles)


def on(qubits: tuple[int, ...], matrix: NDArray, size: int) -> NDArray:
    """``matrix`` on ``qubits`` of ``size``; the first of them is its least significant bit."""
    full = np.zeros((1 << size, 1 << size), dtype=complex)
    for column in range(1 << size):
        index = sum((column >> q & 1) << i for i, q in enumerate(qubits))
        rest = column & ~sum(1 << q for q in qubits)
        for value in range(len(matrix)):
            row = rest | sum((value >> i & 1) << q for i, q in enumerate(qubits))
            full[row, column] += matrix[value, index]
    return full


def unitaries(circuit: Circuit, parameters: ArrayLike | None = None) -> list[NDArray]:
    """The unitaries between a circuit's barriers; qubit 0 is the least significant bit."""
    (angles,) = circuit.bind(parameters)
    size = circuit.num_qubits
    parts = [np.eye(1 << size, dtype=complex)]
    for step in circuit.operations():
        if step.op is Op.BARRIER:
            parts.append(np.eye(1 << size, dtype=complex))
        else:
            small = gate(step.op, tuple(angles[i] for i in step.angles))
            parts[-1] = on(step.qubits, controlled(small, step.controls), size) @ parts[-1]
    return parts


def unitary(circuit: Circuit, parameters: ArrayLike | None = None) -> NDArray:
    """The unitary of a circuit without measurements; qubit 0 is the least significant bit."""
    total = np.eye(1 << circuit.num_qubits, dtype=complex)
    for part in unitaries(circuit, parameters):
        total = part @ total
    return total


def same_up_to_phase(a: NDArray, b: NDArray) -> bool:
    return bool(abs(abs(np.vdot(a, b)) - len(a)) < 1e-9)


def distribution(circuit: Circuit, parameters: ArrayLike = ()) -> dict[str, float]:
    """The probability of each string of the results' bits, bit 0 rightmost: every branch of
    outcomes is followed by itself, with a machine and a state vector of its own."""
    size = circuit.num_qubits
    start = np.zeros(1 << size, dtype=complex)
    start[0] = 1
    found: dict[str, float] = {}
    waiting = [(Machine(circuit, np.array(parameters, dtype=float)), start)]
    while waiting:
        machine, state = waiting.pop()
        while (step := machine.advance()) is not None:
            if step.op in (Op.MEASURE, Op.RESET):
                for outcome in (1, 0):
                    part = _collapsed(state, step, outcome)
                    if np.vdot(part, part).real > 1e-12:
                        other = machine.copy()
                        if step.op is Op.MEASURE:
                            other.write(step.clbit, outcome)
                        waiting.append((other, part))
                break
            if step.op not in (Op.BARRIER, Op.DELAY, Op.BOX, Op.END_BOX):
                small = gate(step.op, step.angles)
                state = on(step.qubits, controlled(small, step.controls), size) @ state
        else:
            bits = "".join(map(str, machine.outputs()[::-1]))
            found[bits] = found.get(bits, 0.0) + float(np.vdot(state, state).real)
    return found


def _collapsed(state: NDArray, step: Step, outcome: int) -> NDArray:
    """What a measurement or reset of a qubit leaves of a state, not normalised."""
    (qubit,) = step.qubits
    part: NDArray = np.where((np.arange(len(state)) >> qubit & 1) == outcome, state, 0)
    if step.op is Op.RESET and outcome:
        part = on((qubit,), X, len(state).bit_length() - 1) @ part
    return part
