"""Gates that tools write and that neither library of the specification has.

Matrices are those of ``qiskit.circuit.library``, phases included, where it has the gate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from openqse.program.gates import Op
from openqse.program.openqasm.library import QELIB1, STDGATES
from openqse.program.openqasm.steps import Gate, Step, Value, inverse, plain


def rotated(angles: Sequence[Value], qubit: int) -> list[Step]:
    """A rotation by the first angle about the axis in the equator at the second."""
    theta, phi = angles
    return [Step(Op.U, (qubit,), (theta, phi - math.pi / 2, math.pi / 2 - phi))]


def exchange(angle: Value, qubits: tuple[int, ...], sign: int = 1) -> list[Step]:
    """``exp(-i angle/4 (XX + sign YY))``."""
    half = angle / 2
    return [Step(Op.RXX, qubits, (half,)), Step(Op.RYY, qubits, (sign * half,))]


def between(before: list[Step], steps: list[Step]) -> list[Step]:
    """``before``, the steps, and ``before`` undone."""
    return [*before, *steps, *inverse(before)]


def _rzx(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
    return between([Step(Op.H, qubits[1:])], [Step(Op.RZZ, qubits, tuple(angles))])


def _ecr(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
    quarter = math.pi / 4
    return [*_rzx([quarter], qubits), Step(Op.X, qubits[:1]), *_rzx([-quarter], qubits)]


def _iswap(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
    return exchange(-math.pi, qubits)


def _dcx(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
    return [Step(Op.X, qubits, (), 1), Step(Op.X, qubits[::-1], (), 1)]


def _xx_plus_yy(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
    return between([Step(Op.P, qubits[:1], (angles[1],))], exchange(angles[0], qubits))


def _xx_minus_yy(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
    return between([Step(Op.P, qubits[:1], (-angles[1],))], exchange(angles[0], qubits, -1))


_ROTATION = Gate(2, 1, lambda angles, qubits: rotated(angles, qubits[0]))

#: What no library defines, by the names that tools of today use. A program's own definitions come
#: first.
NEWER: dict[str, Gate] = {
    "sxdg": plain(Op.SXDG),
    "u": QELIB1["u"],
    "u0": QELIB1["u0"],
    "r": _ROTATION,
    "prx": _ROTATION,
    "rxx": plain(Op.RXX),
    "ryy": plain(Op.RYY),
    "rzz": plain(Op.RZZ),
    "rzx": Gate(1, 2, _rzx),
    "ecr": Gate(0, 2, _ecr),
    "iswap": Gate(0, 2, _iswap),
    "iswapdg": Gate(0, 2, lambda angles, qubits: inverse(_iswap(angles, qubits))),
    "dcx": Gate(0, 2, _dcx),
    "xx_plus_yy": Gate(2, 2, _xx_plus_yy),
    "xx_minus_yy": Gate(2, 2, _xx_minus_yy),
    "cs": plain(Op.S, 1),
    "csdg": plain(Op.SDG, 1),
    "csx": plain(Op.SX, 1),
    "cu1": plain(Op.P, 1),
    "cu3": QELIB1["cu3"],
    "ccz": plain(Op.Z, 2),
    "rccx": QELIB1["rccx"],
    "rcccx": QELIB1["rc3x"],
    "rc3x": QELIB1["rc3x"],
    "c3x": plain(Op.X, 3),
    "c3z": plain(Op.Z, 3),
    "c3sx": plain(Op.SX, 3),
    "c3sqrtx": plain(Op.SX, 3),
    "c4x": plain(Op.X, 4),
    "phase": STDGATES["phase"],
    "cphase": STDGATES["cphase"],
}

#: ``hqslib1.inc`` (Quantinuum, pytket) beside what it shares with qelib1.inc.
_HQS: dict[str, Gate] = {
    "U1q": _ROTATION,
    "Rz": plain(Op.RZ),
    "ZZ": Gate(0, 2, lambda angles, qubits: [Step(Op.RZZ, qubits, (math.pi / 2,))]),
    "RZZ": plain(Op.RZZ),
    "Rxxyyzz": Gate(
        3,
        2,
        lambda angles, qubits: [
            Step(op, qubits, (angle,))
            for op, angle in zip((Op.RXX, Op.RYY, Op.RZZ), angles, strict=True)
        ],
    ),
}

#: The gates of files that may be included, by version and name of the file.
INCLUDES: dict[int, dict[str, dict[str, Gate]]] = {
    3: {"stdgates.inc": STDGATES, "qelib1.inc": {**QELIB1, **STDGATES}},
    2: {
        "qelib1.inc": QELIB1,
        "hqslib1.inc": {**QELIB1, **_HQS},
        "hqslib1_dev.inc": {**QELIB1, **_HQS},
        "oqclib1.inc": {**QELIB1, "ecr": NEWER["ecr"]},
    },
}
