"""OpenQASM 3 as Amazon Braket writes and reads it: names without an include, and pragmas.

Its ``U`` lacks the phase exp(i theta/2) that the specification's has, which shows under a control.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from openqse.program.gates import Op
from openqse.program.openqasm.library import U2
from openqse.program.openqasm.steps import Gate, Step, Value, plain
from openqse.program.openqasm.synthesis import MAX_QUBITS, Inexact, synthesised
from openqse.program.openqasm.tools import NEWER, between, exchange, rotated


def _zeros_first(pattern: str) -> Gate:
    """A phase on one of the states of two qubits, the first qubit's value first."""

    def steps(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
        flips = [Step(Op.X, (q,)) for q, bit in zip(qubits, pattern, strict=True) if bit == "0"]
        return between(flips, [Step(Op.P, qubits, tuple(angles), 1)])

    return Gate(1, 2, steps)


def _pswap(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
    a, b = qubits
    phase = between([Step(Op.X, (a, b), (), 1)], [Step(Op.P, (b,), tuple(angles))])
    return [Step(Op.SWAP, qubits), *phase]


def _ms(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
    before = [Step(Op.P, (q,), (-a,)) for q, a in zip(qubits, angles[:2], strict=True)]
    return between(before, [Step(Op.RXX, qubits, (angles[2],))])


def _gpi(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
    return [Step(Op.U, qubits, (math.pi, angles[0], math.pi - angles[0]))]


#: Braket's gates that have no definition in the text.
GATES: dict[str, Gate] = {
    **{name: plain(Op[name.upper()]) for name in ("h", "x", "y", "z", "s", "t", "swap")},
    **{name: plain(Op[name.upper()]) for name in ("rx", "ry", "rz")},
    "i": plain(Op.ID),
    "si": plain(Op.SDG),
    "ti": plain(Op.TDG),
    "v": plain(Op.SX),
    "vi": plain(Op.SXDG),
    "phaseshift": plain(Op.P),
    "prx": NEWER["prx"],
    "gpi": Gate(1, 1, _gpi),
    "gpi2": Gate(1, 1, lambda angles, qubits: rotated((math.pi / 2, angles[0]), qubits[0])),
    "cnot": plain(Op.X, 1),
    "cy": plain(Op.Y, 1),
    "cz": plain(Op.Z, 1),
    "cv": plain(Op.SX, 1),
    "cphaseshift": plain(Op.P, 1),
    **{f"cphaseshift{pattern}": _zeros_first(pattern) for pattern in ("00", "01", "10")},
    "iswap": NEWER["iswap"],
    "pswap": Gate(1, 2, _pswap),
    "xx": plain(Op.RXX),
    "yy": plain(Op.RYY),
    "zz": plain(Op.RZZ),
    "xy": Gate(1, 2, lambda angles, qubits: exchange(-1 * angles[0], qubits)),
    "ms": Gate(3, 2, _ms),
    "ecr": NEWER["ecr"],
    "ccnot": plain(Op.X, 2),
    "cswap": plain(Op.SWAP, 1),
    "U": U2,
    "u": U2,
}


class Refused(Exception):
    """A pragma that asks for what is not supported: ``what`` (plural) and ``remedy``."""

    def __init__(self, construct: str, what: str, remedy: str) -> None:
        super().__init__(what)
        self.construct = construct
        self.what = what
        self.remedy = remedy


class Unitary(NamedTuple):
    """A gate that a pragma gives as a matrix, and the text of the qubits that it acts on."""

    gate: Gate
    operands: str


def pragma(text: str) -> Unitary | None:
    """What a pragma does to the qubits: None if nothing, as those of other vendors.

    Args:
        text: the line after ``pragma``.

    Raises:
        Refused: it changes what the program means, and is not supported.
        ValueError: a matrix that cannot be read or is not unitary.
    """
    found = re.match(r"\s*braket\s+(\w+)\s*(.*)", text, re.DOTALL)
    if found is None or found[1] == "verbatim":
        return None
    kind, rest = found[1], found[2]
    if kind == "unitary":
        given = re.fullmatch(r"\((.*)\)\s*([^()]+)", rest.strip(), re.DOTALL)
        if given is None:
            raise ValueError("a matrix in parentheses and qubits are needed")
        return Unitary(_gate(_matrix(given[1])), given[2].strip())
    construct = f"pragma braket {kind}"
    remedies = {
        "result": "Measure into bits, or ask for the expectation through the client",
        "noise": "Choose a device profile with that noise",
    }
    raise Refused(construct, f"{construct!r} directives", remedies.get(kind, "Remove it"))


_ENTRY = re.compile(r"\s*([+-]?[\s+-]*)((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(im)?")
#: How far a matrix may be from a unitary one: Braket's users write eight digits.
_DIGITS = 1e-6


def _matrix(text: str) -> NDArray[np.complex128]:
    """The matrix in ``[[…], […]]``, entries such as ``0.5 - 0.5im``."""
    body = re.fullmatch(r"\s*\[(.*)\]\s*", text, re.DOTALL)
    if body is None:
        raise ValueError("the matrix is not a list of rows")
    rows = re.findall(r"\[([^\[\]]*)\]", body[1])
    if re.sub(r"\[[^\[\]]*\]", "", body[1]).strip(", \t\r\n"):
        raise ValueError("the matrix is not a list of rows")
    values = [[_entry(entry) for entry in row.split(",")] for row in rows]
    size = len(values)
    if size < 2 or size & (size - 1) or any(len(row) != size for row in values):
        raise ValueError("the matrix is not square with a power of two of rows")
    matrix = np.array(values, dtype=np.complex128)
    if not np.abs(matrix).max() < 2 or (
        np.abs(matrix @ matrix.conj().T - np.eye(size)).max() > _DIGITS
    ):
        raise ValueError("the matrix is not unitary")
    return matrix


def _entry(text: str) -> complex:
    value, position = 0j, 0
    while position < len(text.rstrip()):
        found = _ENTRY.match(text, position)
        if found is None or (position > 0 and not found[1]):
            raise ValueError(f"{text.strip()!r} is not a complex number")
        sign = -1 if found[1].count("-") % 2 else 1
        value += sign * float(found[2]) * (1j if found[3] else 1)
        position = found.end()
    if position == 0:
        raise ValueError("an entry of the matrix is missing")
    return value


def _gate(matrix: NDArray[np.complex128]) -> Gate:
    count = len(matrix).bit_length() - 1
    if count > MAX_QUBITS:
        raise Refused(
            "pragma braket unitary",
            f"matrices on {count} qubits (at most {MAX_QUBITS})",
            "Write the gate as smaller ones",
        )
    left, _, right = np.linalg.svd(matrix)  # the nearest unitary
    try:
        steps = synthesised(left @ right, range(count)[::-1])  # Braket's first qubit is the highest
    except Inexact:
        raise Refused(
            "pragma braket unitary", "matrices so near a degenerate one", "Write it as gates"
        ) from None

    def placed(angles: Sequence[Value], qubits: tuple[int, ...]) -> list[Step]:
        return [step._replace(qubits=tuple(qubits[q] for q in step.qubits)) for step in steps]

    return Gate(0, count, placed)
