"""The operations of the circuit form: their numbers, what they take, and gates' matrices."""

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
    DELAY = 35
    BOX = 36
    END_BOX = 37

    # Whole numbers of 64 bits.
    MOVE = 64
    ADD = 65
    SUB = 66
    MUL = 67
    DIV = 68
    UDIV = 69
    REM = 70
    UREM = 71
    POW = 72
    AND = 73
    OR = 74
    XOR = 75
    NOT = 76
    SHL = 77
    SHR = 78
    SAR = 79
    EQ = 80
    LT = 81
    LE = 82
    ULT = 83
    ULE = 84
    POPCOUNT = 85
    SEXT = 86
    ZEXT = 87
    # Floats of 64 bits.
    FMOVE = 96
    FADD = 97
    FSUB = 98
    FMUL = 99
    FDIV = 100
    FPOW = 101
    FMOD = 102
    FEQ = 103
    FLT = 104
    FLE = 105
    FNEG = 106
    FSIN = 107
    FCOS = 108
    FTAN = 109
    FASIN = 110
    FACOS = 111
    FATAN = 112
    FEXP = 113
    FLN = 114
    FSQRT = 115
    FFLOOR = 116
    FCEIL = 117
    ITOF = 120
    UTOF = 121
    FTOI = 122
    PARAMETER = 123
    # Cells and classical bits.
    GETBITS = 128
    SETBITS = 129
    LOAD = 130
    STORE = 131
    # Control.
    IF = 160
    ELSE = 161
    END = 162
    LOOP = 163
    BREAK = 164
    CONTINUE = 165
    STOP = 166
    FAIL = 167


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
    Op.DELAY: Signature(None, 1),
    Op.BOX: Signature(None, 1),
    Op.END_BOX: Signature(None, 0),
}

#: Operations that act on qubits, unitary ones, and all the others, which take no controls.
QUANTUM = frozenset(SIGNATURES)
GATES = frozenset(op for op in SIGNATURES if op < Op.MEASURE)
NON_UNITARY = frozenset(Op) - GATES
#: Operations on cells and classical bits, and those that say where control goes.
CLASSICAL = frozenset(Op) - QUANTUM
CONTROL = frozenset(op for op in Op if op >= Op.IF)

#: What the operands of a classical operation are, the destination first: ``i`` an integer cell,
#: ``f`` a float cell, ``*`` a cell of either type, ``n`` a plain number.
OPERANDS: dict[Op, str] = {
    **dict.fromkeys((Op.MOVE, Op.NOT, Op.POPCOUNT), "ii"),
    **dict.fromkeys((op for op in Op if Op.ADD <= op <= Op.XOR), "iii"),
    **dict.fromkeys((op for op in Op if Op.SHL <= op <= Op.ULE), "iii"),
    **dict.fromkeys((Op.SEXT, Op.ZEXT), "iii"),
    **dict.fromkeys((op for op in Op if Op.FADD <= op <= Op.FMOD), "fff"),
    **dict.fromkeys((Op.FEQ, Op.FLT, Op.FLE), "iff"),
    **dict.fromkeys((Op.FMOVE, *(op for op in Op if Op.FNEG <= op <= Op.FCEIL)), "ff"),
    **dict.fromkeys((Op.ITOF, Op.UTOF), "fi"),
    Op.FTOI: "if",
    Op.PARAMETER: "f",
    **dict.fromkeys((Op.GETBITS, Op.SETBITS), "in"),
    **dict.fromkeys((Op.LOAD, Op.STORE), "*nni"),
    Op.IF: "i",
    **dict.fromkeys((Op.ELSE, Op.END, Op.LOOP, Op.STOP), ""),
    **dict.fromkeys((Op.BREAK, Op.CONTINUE, Op.FAIL), "n"),
}

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
