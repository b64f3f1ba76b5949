"""What operations and channels do to the Pauli strings of a density matrix: real matrices.

A density matrix is a real sum of Pauli strings, since it is Hermitian; so whatever happens to it is
a real matrix on the coefficients, the *Pauli transfer matrix* ``R[i, j] = Tr(P_i E(P_j)) / 2**k``
of a map ``E`` on ``k`` qubits (D. Greenbaum, Introduction to Quantum Gate Set Tomography,
arXiv:1509.02921, section 2). Row and column have a digit of base 4 for each qubit, the first one's
the least significant: 0 is I, 1 X, 2 Y, 3 Z.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from openqse.errors import NotSupported
from openqse.program.circuit import Operation
from openqse.program.gates import Op, matrix
from openqse_emulator.noise import Channel, Kind

Transfer = NDArray[np.float64]

#: Gates on more qubits have too large a matrix: see ``evolution``.
WIDEST = 4

_ONE = np.array([matrix(op) for op in (Op.ID, Op.X, Op.Y, Op.Z)])

#: What a measurement leaves of its qubit that finds 0, or 1, or at which nobody looks; a reset.
FOUND_ZERO = np.array([[0.5, 0, 0, 0.5], [0, 0, 0, 0], [0, 0, 0, 0], [0.5, 0, 0, 0.5]])
FOUND_ONE = np.array([[0.5, 0, 0, -0.5], [0, 0, 0, 0], [0, 0, 0, 0], [-0.5, 0, 0, 0.5]])
_UNSEEN: Transfer = FOUND_ZERO + FOUND_ONE
_RESET = np.array([[1.0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1.0, 0, 0, 0]])


def transfer(item: Operation | Channel, angles: NDArray[np.float64]) -> Transfer:
    """The matrix of an operation or channel on its qubits, float64 ``(4**k, 4**k)``; a measurement
    leaves its qubit in the mixture of both outcomes.

    Raises:
        NotSupported: leakage.
    """
    if isinstance(item, Channel):
        if item.kind is Kind.LEAKAGE:
            raise NotSupported(
                "density matrices of qubits that leak",
                layer="device",
                remedy='Set method = "trajectories" in the profile',
            )
        if item.kind is Kind.KRAUS:
            return _of_kraus(item.operators.tobytes(), len(item.qubits))
        return _of_channel(item.kind, item.probabilities, len(item.qubits))
    if item.op is Op.MEASURE:
        return _UNSEEN
    if item.op is Op.RESET:
        return _RESET
    values = tuple(angles[item.angles.start : item.angles.stop].tolist())
    return _of_gate(item.op, item.controls, values)


@lru_cache(maxsize=4096)
def _of_gate(op: Op, controls: int, angles: tuple[float, ...]) -> Transfer:
    gate = matrix(op, angles)
    full = np.eye(len(gate) << controls, dtype=np.complex128)
    on = (1 << controls) - 1
    full[on :: 1 << controls, on :: 1 << controls] = gate
    return _of_operators(full[np.newaxis])


@lru_cache(maxsize=4096)
def _of_channel(kind: Kind, probabilities: tuple[float, ...], width: int) -> Transfer:
    if kind is Kind.DAMPING:
        (decays,) = probabilities
        shrinks = np.sqrt(1 - decays)
        damping = np.diag([1.0, shrinks, shrinks, 1 - decays])
        damping[3, 0] = decays
        return damping
    # A string keeps its sign under the errors that it commutes with, and changes it under others.
    # Of two letters the first is the more significant among probabilities (see ``Channel``).
    rest = max(0.0, 1 - sum(probabilities))
    ordered = np.array([rest, *probabilities]).reshape((4,) * width).T.reshape(-1)
    return np.asarray(np.diag(_signs(width) @ ordered))


@cache
def _signs(width: int) -> Transfer:
    one = np.array([[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=np.float64)
    signs: Transfer = np.ones((1, 1))
    for _ in range(width):
        signs = np.kron(signs, one).astype(np.float64)
    return signs


@lru_cache(maxsize=256)
def _of_kraus(operators: bytes, width: int) -> Transfer:
    return _of_operators(np.frombuffer(operators, np.complex128).reshape(-1, 2**width, 2**width))


def _of_operators(operators: NDArray[np.complex128]) -> Transfer:
    """The matrix of a map from its Kraus operators, complex128 ``(m, 2**k, 2**k)``."""
    size = operators.shape[1]
    strings = _strings(size.bit_length() - 1)
    total = np.zeros((size**2, size**2))
    for operator in operators:
        mapped = operator @ strings @ operator.conj().T
        # Tr(P_i M) is the sum of conj(P_i) M over all entries, as P_i is Hermitian.
        flat = mapped.reshape(len(strings), -1).T
        total += (strings.reshape(len(strings), -1).conj() @ flat).real
    return np.asarray(total / size)


@cache
def _strings(width: int) -> NDArray[np.complex128]:
    """All Pauli strings, complex128 ``(4**width, 2**width, 2**width)``, by their number."""
    found = np.ones((1, 1, 1), dtype=np.complex128)
    for _ in range(width):  # the next qubit has the more significant digit and index
        size = found.shape[1]
        products = np.einsum("pab,qcd->pqacbd", _ONE, found)
        found = products.reshape(-1, 2 * size, 2 * size)
    return found
