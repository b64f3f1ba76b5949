"""A slow, obvious emulator: tensors, ``tensordot`` and full branching over outcomes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import Op, matrix
from openqse.program.observable import PauliSum

PAULIS = [np.eye(2), matrix(Op.X), matrix(Op.Y), matrix(Op.Z)]


def state(circuit: Circuit, parameters: object = None) -> NDArray[np.complex128]:
    """The state ``(2**n,)`` after a circuit's unitary operations, qubit ``q`` being bit ``q``."""
    angles = circuit.bind(parameters)[0]
    tensor = zero(circuit.num_qubits)
    for operation in circuit.operations():
        if operation.op not in (Op.MEASURE, Op.RESET, Op.BARRIER):
            tensor = apply(tensor, operation, angles)
    return tensor.reshape(-1)


def outcomes(circuit: Circuit, parameters: object = None) -> dict[int, float]:
    """The probability of each value of the classical register (bit ``i`` is clbit ``i``)."""
    angles = circuit.bind(parameters)[0]
    branches = [(zero(circuit.num_qubits), 0)]
    for operation in circuit.operations():
        if operation.op is Op.BARRIER:
            continue
        if operation.op not in (Op.MEASURE, Op.RESET):
            branches = [(apply(tensor, operation, angles), bits) for tensor, bits in branches]
            continue
        split = []
        for tensor, bits in branches:
            for outcome in (0, 1):
                kept = project(tensor, operation.qubits[0], outcome)
                if np.vdot(kept, kept).real < 1e-12:
                    continue
                if operation.op is Op.MEASURE:
                    written = bits & ~(1 << operation.clbit) | outcome << operation.clbit
                    split.append((kept, written))
                else:
                    flip = Operation(Op.X, 0, operation.qubits, range(0), -1)
                    split.append((apply(kept, flip, angles) if outcome else kept, bits))
        branches = split
    probabilities: dict[int, float] = defaultdict(float)
    for tensor, bits in branches:
        probabilities[bits] += float(np.vdot(tensor, tensor).real)
    return probabilities


def expectation(observable: PauliSum, vector: NDArray[np.complex128]) -> float:
    """``<vector|observable|vector>``."""
    n = observable.num_qubits
    total = 0.0
    for coefficient, codes in zip(observable.coefficients, observable.paulis, strict=True):
        tensor = vector.reshape((2,) * n)
        for q, code in enumerate(codes):
            tensor = on_axes(tensor, PAULIS[code], [n - 1 - q])
        total += coefficient * np.vdot(vector, tensor.reshape(-1)).real
    return total


def matrix_of(strings: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The density matrix that the expectations of all Pauli strings describe: of string ``i`` on
    ``n`` qubits the digit ``q`` of base 4 is its Pauli on qubit ``q``."""
    n = len(strings).bit_length() // 2
    total = np.zeros((2**n, 2**n), dtype=complex)
    for index, value in enumerate(strings.tolist()):
        string = np.eye(1)
        for q in range(n):
            string = np.kron(PAULIS[index >> 2 * q & 3], string)
        total += value * string / 2**n
    return total


def zero(num_qubits: int) -> NDArray[np.complex128]:
    tensor = np.zeros((2,) * num_qubits, dtype=complex)
    tensor[(0,) * num_qubits] = 1
    return tensor


def apply(
    tensor: NDArray[np.complex128], operation: Operation, angles: NDArray[np.float64]
) -> NDArray[np.complex128]:
    """An operation on a state whose last axis is qubit 0."""
    op, controls, qubits, at, _ = operation
    gate = matrix(op, tuple(angles[at.start : at.stop]))
    full = np.eye(len(gate) << controls, dtype=complex)
    every = (1 << controls) - 1
    full[every :: 1 << controls, every :: 1 << controls] = gate
    # The first qubit is the least significant bit of the matrix, hence the last of its axes.
    axes = [tensor.ndim - 1 - q for q in reversed(qubits)]
    return on_axes(tensor, full, axes)


def on_axes(
    tensor: NDArray[np.complex128], gate: NDArray[np.complex128], axes: list[int]
) -> NDArray[np.complex128]:
    k = len(axes)
    contracted = np.tensordot(gate.reshape((2,) * 2 * k), tensor, (range(k, 2 * k), axes))
    return np.moveaxis(contracted, range(k), axes)


def project(tensor: NDArray[np.complex128], qubit: int, outcome: int) -> NDArray[np.complex128]:
    kept = np.zeros_like(tensor)
    where = [slice(None)] * tensor.ndim
    where[tensor.ndim - 1 - qubit] = slice(outcome, outcome + 1)
    kept[tuple(where)] = tensor[tuple(where)]
    return kept
