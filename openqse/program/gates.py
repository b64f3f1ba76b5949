"""The operations of the circuit form: their numbers, arities and matrices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Op(IntEnum):
    """Operation code. The numbers are part of the wire format: add, never renumber."""

    GPHASE = 0
    ID = 1
    X = 2
    Y = 3
    Z = 4
    H = 5
    S = 6
    SDG = 7
    T = 8
    TDG = 9
    SX = 10
    SXDG = 11
    P = 12
    RX = 13
    RY = 14
    RZ = 15
    U = 16
    SWAP = 17
    RXX = 18
    RYY = 19
    RZZ = 20
    MEASURE = 32
    RESET = 33
    BARRIER = 34


@dataclass(frozen=True)
class Signature:
    """How many target qubits and angles an operation takes (``targets=None``: any number)."""

    targets: int | None
    angles: int


SIGNATURES: dict[Op, Signature] = {
    Op.GPHASE: Signature(0, 1),
    **dict.fromkeys(
        (Op.ID, Op.X, Op.Y, Op.Z, Op.H, Op.S, Op.SDG, Op.T, Op.TDG, Op.SX, Op.SXDG),
        Signature(1, 0),
    ),
    **dict.fromkeys((Op.P, Op.RX, Op.RY, Op.RZ), Signature(1, 1)),
    Op.U: Signature(1, 3),
    Op.SWAP: Signature(2, 0),
    **dict.fromkeys((Op.RXX, Op.RYY, Op.RZZ), Signature(2, 1)),
    Op.MEASURE: Signature(1, 0),
    Op.RESET: Signature(1, 0),
    Op.BARRIER: Signature(None, 0),
}

#: Operations that are not unitary and take no controls.
NON_UNITARY = frozenset({Op.MEASURE, Op.RESET, Op.BARRIER})

_FIXED: dict[Op, list[list[complex]]] = {
    Op.ID: [[1, 0], [0, 1]],
    Op.X: [[0, 1], [1, 0]],
    Op.Y: [[0, -1j], [1j, 0]],
    Op.Z: [[1, 0], [0, -1]],
    Op.H: [[0.5**0.5, 0.5**0.5], [0.5**0.5, -(0.5**0.5)]],
    Op.S: [[1, 0], [0, 1j]],
    Op.SDG: [[1, 0], [0, -1j]],
    Op.T: [[1, 0], [0, np.exp(0.25j * np.pi)]],
    Op.TDG: [[1, 0], [0, np.exp(-0.25j * np.pi)]],
    Op.SX: [[0.5 + 0.5j, 0.5 - 0.5j], [0.5 - 0.5j, 0.5 + 0.5j]],
    Op.SXDG: [[0.5 - 0.5j, 0.5 + 0.5j], [0.5 + 0.5j, 0.5 - 0.5j]],
    Op.SWAP: [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]],
}

_PAULI_PAIRS = {
    Op.RXX: np.kron(_FIXED[Op.X], _FIXED[Op.X]),
    Op.RYY: np.kron(_FIXED[Op.Y], _FIXED[Op.Y]),
    Op.RZZ: np.kron(_FIXED[Op.Z], _FIXED[Op.Z]),
}


def matrix(op: Op, angles: tuple[float, ...] = ()) -> NDArray[np.complex128]:
    """The unitary of ``op`` on its target qubits, controls not included.

    The first target is the least significant bit of the row and column index. ``U`` is OpenQASM's
    three-angle gate with ``U[0, 0]`` real; ``GPHASE`` is the 1 × 1 matrix of its phase.

    Args:
        angles: radians, as many as ``SIGNATURES[op].angles``.

    Returns:
        complex128 array of shape ``(2**targets, 2**targets)``.

    Raises:
        ValueError: ``op`` is not unitary.
    """
    if op in _FIXED:
        return np.array(_FIXED[op], dtype=np.complex128)
    if op in _PAULI_PAIRS:
        (theta,) = angles
        pair = np.cos(theta / 2) * np.eye(4) - 1j * np.sin(theta / 2) * _PAULI_PAIRS[op]
        return np.asarray(pair, dtype=np.complex128)
    if op is Op.GPHASE:
        return np.array([[np.exp(1j * angles[0])]], dtype=np.complex128)
    if op is Op.P:
        return np.diag([1.0, np.exp(1j * angles[0])]).astype(np.complex128)
    if op is Op.RZ:
        half = 0.5j * angles[0]
        return np.diag([np.exp(-half), np.exp(half)]).astype(np.complex128)
    if op is Op.RX:
        c, s = np.cos(angles[0] / 2), -1j * np.sin(angles[0] / 2)
        return np.array([[c, s], [s, c]], dtype=np.complex128)
    if op is Op.RY:
        c, s = np.cos(angles[0] / 2), np.sin(angles[0] / 2)
        return np.array([[c, -s], [s, c]], dtype=np.complex128)
    if op is Op.U:
        theta, phi, lam = angles
        c, s = np.cos(theta / 2), np.sin(theta / 2)
        return np.array(
            [[c, -np.exp(1j * lam) * s], [np.exp(1j * phi) * s, np.exp(1j * (phi + lam)) * c]],
            dtype=np.complex128,
        )
    raise ValueError(f"{op.name} has no matrix")
