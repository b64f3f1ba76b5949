"""The canonical form of a circuit: real rotations, phases, exchanges and fusions.

Every unitary operation of the circuit form is rewritten into *items* of four kinds:

- a **rotation** ``Ry(theta)`` of one qubit, whose matrix is real;
- a **phase**, diagonal: amplitude ``x`` is multiplied by a number that depends on one bit of ``x``,
  on two, or on whether some of its bits have given values;
- an **exchange** is a CX: of amplitudes that differ in one bit, where another is 1;
- a **fusion** is any unitary matrix of two qubits.

Phases commute with each other, so that any number of them can be applied in one pass, and a real
rotation costs one multiplication for each real number of the state. The rewriting:

- Gates on one qubit are multiplied together until something else touches the qubit. The product is
  a phase, a rotation and a phase (Euler angles); the last phase waits for the next product.
- A controlled X is a controlled Z between two Hadamard gates, which disappear in the products on
  either side. Controlled X with more controls, Y, RXX and RYY likewise. Where a CX is followed by
  no gate that the second Hadamard gate could join, as in a ladder of CX, it stays an exchange.
- A controlled U is phases and ``CRy(t) = Ry(t/2) CZ Ry(-t/2) CZ`` (Barenco et al., Phys. Rev. A 52,
  3457, 1995), with as many controls at the CZ as it has.
- SWAP exchanges the names of two qubits.
- A run of gates on two qubits that would need three rounds of rotations and phases or more, as any
  unitary of two qubits does, is multiplied to one matrix, with what waits at the two: a fusion.
- X, Y and Z are moved to the end, as a *Pauli frame*: what they pass changes its sign or its value
  (Knill, Nature 434, 39, 2005, does so for Clifford circuits; a rotation by ``theta`` becomes one
  by ``-theta``). A rotation by more than a right angle is one by less and a Y. So is every Pauli
  operator that noise inserts: it costs nothing but other numbers in the same items.

Which items there are depends on the circuit alone, never on the value of a free parameter or on
noise; these change ``values`` alone. So a plan made for one set of parameters serves all.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from openqse.program.gates import Op
from openqse_emulator.statevector.compiled import kernel

#: Kinds of items.
ROTATION, PHASE1, PHASE2, PHASE_MANY, COLLAPSE, EXCHANGE, FUSION = range(7)
#: Rows that a fusion takes, for its 16 numbers.
FUSION_ROWS = 6

#: What is special about an operation: nothing; a CX is better left as it is; it belongs to a
#: fusion; it is the last of one.
PLAIN, CHAINED, FUSED, LAST_FUSED = range(4)

_GPHASE, _ID, _X, _Y, _Z, _H = (int(op) for op in (Op.GPHASE, Op.ID, Op.X, Op.Y, Op.Z, Op.H))
_S, _SDG, _T, _TDG, _SX, _SXDG = (int(op) for op in (Op.S, Op.SDG, Op.T, Op.TDG, Op.SX, Op.SXDG))
_P, _RX, _RY, _RZ, _U = int(Op.P), int(Op.RX), int(Op.RY), int(Op.RZ), int(Op.U)
_SWAP, _RYY, _RZZ = int(Op.SWAP), int(Op.RYY), int(Op.RZZ)
_MEASURE, _RESET = int(Op.MEASURE), int(Op.RESET)

#: Opcodes of what noise adds to a program: the amplitudes whose qubit is 1 shrink (by an angle's
#: number), as they do where amplitude damping finds no decay; a channel acts, one of whose branches
#: is to be drawn (its number stands for the angle's).
SHRINK, BRANCH = 64, 65

#: What is known of a product of gates whatever its parameters are: that it is diagonal, or diagonal
#: after an X, or real with determinant 1 (a rotation), or diagonal after such a one, or nothing.
_DIAGONAL, _FLIPPED, _REAL, _TURNED, _GENERAL = range(5)

_ROOT_HALF = 0.5**0.5
_EPSILON = 1e-13


@kernel
def unit(angle: float) -> Any:
    """``exp(1j * angle)``."""
    return complex(math.cos(angle), math.sin(angle))


@kernel
def _matrix(op: int, angles: Any, at: int) -> Any:
    """A gate on one qubit: its entries by rows."""
    if op == _H:
        return _ROOT_HALF + 0j, _ROOT_HALF + 0j, _ROOT_HALF + 0j, -_ROOT_HALF + 0j
    if op == _X:
        return 0j, 1 + 0j, 1 + 0j, 0j
    if op == _Y:
        return 0j, -1j, 1j, 0j
    if op == _SX:
        return 0.5 + 0.5j, 0.5 - 0.5j, 0.5 - 0.5j, 0.5 + 0.5j
    if op == _SXDG:
        return 0.5 - 0.5j, 0.5 + 0.5j, 0.5 + 0.5j, 0.5 - 0.5j
    if op in (_RX, _RY, _U):
        c, s = complex(math.cos(angles[at] / 2)), complex(math.sin(angles[at] / 2))
        if op == _RX:
            return c, -1j * s, -1j * s, c
        if op == _RY:
            return c, -s, s, c
        phi, lam = unit(angles[at + 1]), unit(angles[at + 2])
        return c, -lam * s, phi * s, phi * lam * c
    return 1 + 0j, 0j, 0j, _phase(op, angles, at)


@kernel
def _phase(op: int, angles: Any, at: int) -> Any:
    """What a diagonal gate on one qubit gives the amplitudes of 1, beyond those of 0."""
    if op == _Z:
        return -1 + 0j
    if op == _S:
        return 1j
    if op == _SDG:
        return -1j
    if op == _T:
        return _ROOT_HALF + 1j * _ROOT_HALF
    if op == _TDG:
        return _ROOT_HALF - 1j * _ROOT_HALF
    if op in (_P, _RZ):
        return unit(angles[at])
    return 1 + 0j


@kernel
def is_diagonal(op: int) -> bool:
    return op in (_ID, _Z, _S, _SDG, _T, _TDG, _P, _RZ)


@kernel
def _class_of_gate(op: int) -> int:
    if is_diagonal(op):
        return _DIAGONAL
    if op in (_X, _Y):
        return _FLIPPED
    return _REAL if op == _RY else _GENERAL


@kernel
def _class_of_values(a: complex, b: complex, c: complex, d: complex) -> int:
    if abs(b) + abs(c) < _EPSILON:
        return _DIAGONAL
    if abs(a) + abs(d) < _EPSILON:
        return _FLIPPED
    if abs(a.imag) + abs(b.imag) + abs(c.imag) + abs(d.imag) + abs(a - d) + abs(b + c) < _EPSILON:
        return _REAL
    return _GENERAL


# --- items -----------------------------------------------------------------------------------
#
# The functions below share what is written: ``out`` is (items, values, pending, known, frame):
# ``pending`` complex128 (n, 4), the product that waits at each qubit, by rows; ``known`` int64
# (n, 4), its class, whether a free parameter is in it, the qubit's name in the items, and of which
# qubit the fusion is that it has begun (or -1), whose matrix ``pending`` has there from column 4;
# ``frame`` int64 (4,): how many items there are, the masks of the X and the Z of the Pauli frame,
# and whether every gate counts as free. The circuit so far is the products that wait, after the
# frame, after the items.


@kernel
def _emit(out: Any, kind: int, a: int, b: int, z: complex, u: complex, v: complex) -> None:
    items, values, _, _, frame = out
    at = frame[0]
    items[at, 0], items[at, 1], items[at, 2], items[at, 3] = kind, a, b, 0
    values[at, 0], values[at, 1], values[at, 2] = z, u, v
    frame[0] = at + 1


@kernel
def _emit_phase1(out: Any, q: int, z: complex) -> None:
    frame, name = out[4], out[3][q, 2]
    if abs(z - 1) < _EPSILON:
        z = 1 + 0j  # to the last digit, so that it costs nothing
    _emit(out, PHASE1, name, 0, z.conjugate() if frame[1] >> name & 1 else z, 1 + 0j, 1 + 0j)


@kernel
def _emit_rotation(out: Any, q: int, c: float, s: float) -> None:
    """A rotation with cosine and sine of half its angle."""
    frame, name = out[4], out[3][q, 2]
    if (frame[1] ^ frame[2]) >> name & 1:
        s = -s
    if abs(s) > abs(c):  # by more than a right angle: a Y, which joins the frame, and the rest
        c, s = s, -c
        frame[1] ^= 1 << name
        frame[2] ^= 1 << name
    _emit(out, ROTATION, name, 0, complex(s / c, abs(c)), 1 + 0j, 1 + 0j)


@kernel
def _wait(out: Any, q: int, a: complex, b: complex, c: complex, d: complex) -> None:
    pending = out[2]
    pending[q, 0], pending[q, 1], pending[q, 2], pending[q, 3] = a, b, c, d


@kernel
def _settle(out: Any, q: int) -> None:
    """Writes the product that waits at a qubit, up to a phase, which commutes with phases."""
    _, _, pending, known, frame = out
    a, b, c, d = pending[q, 0], pending[q, 1], pending[q, 2], pending[q, 3]
    if known[q, 0] == _DIAGONAL:
        return
    if known[q, 0] == _FLIPPED:
        frame[1] ^= 1 << known[q, 2]
        _wait(out, q, b, 0j, 0j, c)
    elif known[q, 0] == _REAL:
        _emit_rotation(out, q, a.real, c.real)
        _wait(out, q, 1 + 0j, 0j, 0j, 1 + 0j)
        known[q, 1] = 0
    else:
        before, cosine, sine, first, second = euler(a, b, c, d)
        if known[q, 0] == _GENERAL and (known[q, 1] or abs(before - 1) > _EPSILON):
            _emit_phase1(out, q, before)
        _emit_rotation(out, q, cosine, sine)
        _wait(out, q, first, 0j, 0j, second)
    known[q, 0] = _DIAGONAL


@kernel
def euler(a: complex, b: complex, c: complex, d: complex) -> Any:
    """A unitary as ``diag(first, second) @ [[cos, -sin], [sin, cos]] @ diag(1, before)``.

    Of the two ways to write it, the one in which ``before`` has no negative real part: it is 1 for
    all matrices that differ by Pauli operators if it is for one of them.

    Returns:
        before, cos, sin, first, second.
    """
    cosine, sine = abs(a), abs(c)
    if sine < _EPSILON:
        return 1 + 0j, 1.0, 0.0, a, d
    if cosine < _EPSILON:
        return 1 + 0j, 0.0, 1.0, -b, c
    first, second = a / cosine, c / sine
    before = -b / (first * sine)
    before /= abs(before)
    if before.real < -_EPSILON:
        before, sine, second = -before, -sine, -second
    return before, cosine, sine, first, second


@kernel
def _multiply(
    out: Any, q: int, kind: int, free: int, a: complex, b: complex, c: complex, d: complex
) -> None:
    """A gate on one qubit: its class, whether a free parameter is in it, its matrix by rows."""
    _, _, pending, known, _ = out
    e, f, g, h = pending[q, 0], pending[q, 1], pending[q, 2], pending[q, 3]
    _wait(out, q, a * e + b * g, a * f + b * h, c * e + d * g, c * f + d * h)
    before, known_free = known[q, 0], known[q, 1]
    free |= known_free | out[4][3]
    known[q, 1] = free
    if not free:
        known[q, 0] = _class_of_values(pending[q, 0], pending[q, 1], pending[q, 2], pending[q, 3])
    elif before == _DIAGONAL and kind == _DIAGONAL:
        known[q, 0] = _DIAGONAL
    elif before <= _FLIPPED and kind <= _FLIPPED:
        known[q, 0] = _DIAGONAL if before == kind else _FLIPPED
    elif before == _REAL and kind == _REAL:
        known[q, 0] = _REAL
    elif before in (_REAL, _TURNED) and kind == _DIAGONAL:
        known[q, 0] = _TURNED
    elif kind == _REAL and before == _DIAGONAL and not known_free and abs(e - h) < _EPSILON:
        known[q, 0] = _REAL  # what waited was a phase of the whole, which may go
        _wait(out, q, a, b, c, d)
    else:
        known[q, 0] = _GENERAL
    if known[q, 0] == _DIAGONAL:
        _wait(out, q, pending[q, 0], 0j, 0j, pending[q, 3])


@kernel
def _hadamard(out: Any, q: int) -> None:
    r = _ROOT_HALF + 0j
    _multiply(out, q, _GENERAL, 0, r, r, r, -r)


@kernel
def _phase_if(out: Any, qubits: Any, count: int, free: int, z: complex) -> None:
    """Multiplies the amplitudes in which the first ``count`` of some qubits are all 1 by ``z``."""
    known, frame = out[3], out[4]
    if count == 0:
        return
    if count == 1:
        _multiply(out, qubits[0], _DIAGONAL, free, 1 + 0j, 0j, 0j, z)
        return
    if count == 2:
        _phase_pair(out, qubits[0], qubits[1], 1 + 0j, z)
        return
    mask = 0
    for i in range(count):
        _settle(out, qubits[i])
        mask |= 1 << known[qubits[i], 2]
    _emit(out, PHASE_MANY, mask, 0, z, 1 + 0j, 1 + 0j)
    out[0][frame[0] - 1, 3] = mask ^ (frame[1] & mask)


@kernel
def _phase_pair(out: Any, p: int, q: int, single: complex, both: complex) -> None:
    """Multiplies amplitudes by ``single`` for each of two qubits that is 1, and by ``both`` where
    both are."""
    known, frame = out[3], out[4]
    _settle(out, p)
    _settle(out, q)
    a, b = known[p, 2], known[q, 2]
    u, v = single, single
    # Where a frame flips a bit, x stands for 1 - x.
    if frame[1] >> a & 1:
        u, v, both = u.conjugate(), v * both, both.conjugate()
    if frame[1] >> b & 1:
        u, v, both = u * both, v.conjugate(), both.conjugate()
    _emit(out, PHASE2, a, b, u, v, both)


@kernel
def _finish(out: Any, q: int) -> None:
    """Writes all that waits at a qubit."""
    _, _, pending, known, _ = out
    _settle(out, q)
    relative = pending[q, 3] * pending[q, 0].conjugate()
    if known[q, 1] or abs(relative - 1) > _EPSILON:
        _emit_phase1(out, q, relative)
    _wait(out, q, 1 + 0j, 0j, 0j, 1 + 0j)
    known[q, 1] = 0


@kernel
def _exchange(out: Any, control: int, target: int) -> None:
    """CX as an item of its own."""
    known, frame = out[3], out[4]
    c, t = known[control, 2], known[target, 2]
    _settle(out, control)
    _finish(out, target)
    _emit(out, EXCHANGE, c, t, 0j, 0j, 0j)
    frame[1] ^= (frame[1] >> c & 1) << t
    frame[2] ^= (frame[2] >> t & 1) << c


@kernel
def _x_if(out: Any, qubits: Any, count: int) -> None:
    """X on the last of ``count`` qubits, controlled by the others."""
    _hadamard(out, qubits[count - 1])
    _phase_if(out, qubits, count, 0, -1 + 0j)
    _hadamard(out, qubits[count - 1])


@kernel
def _unitary_if(
    out: Any, qubits: Any, count: int, free: int, a: complex, b: complex, c: complex, d: complex
) -> None:
    """A gate on the last of ``count`` qubits, controlled by the others."""
    target = qubits[count - 1]
    before, cosine, sine, first, second = euler(a, b, c, d)
    quarter = 0.5 * math.atan2(sine, cosine)
    c_, s_ = complex(math.cos(quarter)), complex(math.sin(quarter))
    _phase_if(out, qubits, count, free, before)
    _phase_if(out, qubits, count, 0, -1 + 0j)
    _multiply(out, target, _REAL, free, c_, s_, -s_, c_)
    _phase_if(out, qubits, count, 0, -1 + 0j)
    _multiply(out, target, _REAL, free, c_, -s_, s_, c_)
    _phase_if(out, qubits, count, free, second * first.conjugate())
    _phase_if(out, qubits, count - 1, free, first)


@kernel
def _pair_gate(out: Any, op: int, qubits: Any, count: int, free: int, angle: float) -> None:
    """SWAP, RXX, RYY or RZZ on the last two of ``count`` qubits, controlled by the others."""
    known = out[3]
    p, q = qubits[count - 2], qubits[count - 1]
    if op == _SWAP:
        if count == 2:
            pending = out[2]
            for i in range(4):
                pending[p, i], pending[q, i] = pending[q, i], pending[p, i]
            for i in range(3):
                known[p, i], known[q, i] = known[q, i], known[p, i]
            return
        exchanged = np.array([q, p])
        _x_if(out, exchanged, 2)
        _x_if(out, qubits, count)
        _x_if(out, exchanged, 2)
        return
    for r in (p, q):
        if op == _RYY:
            _multiply(out, r, _DIAGONAL, 0, 1 + 0j, 0j, 0j, -1j)
        if op != _RZZ:
            _hadamard(out, r)
    if count == 2:
        _phase_pair(out, p, q, unit(angle), unit(-2 * angle))
    else:  # the parity of both on q, an RZ with all other controls
        parity = np.array([p, q])
        others = np.empty(count - 1, dtype=np.int64)
        others[: count - 2] = qubits[: count - 2]
        others[count - 2] = q
        _x_if(out, parity, 2)
        _phase_if(out, others, count - 1, free, unit(angle))
        _phase_if(out, others, count - 2, free, unit(-angle / 2))
        _x_if(out, parity, 2)
    for r in (p, q):
        if op != _RZZ:
            _hadamard(out, r)
        if op == _RYY:
            _multiply(out, r, _DIAGONAL, 0, 1 + 0j, 0j, 0j, 1j)


# --- fusions ---------------------------------------------------------------------------------
#
# A matrix of two qubits is complex128 (16,), by rows; bit 0 of a row's number is the qubit that has
# it in ``pending``.


@kernel
def _multiply_rows(
    matrix: Any, bit: int, on: int, a: complex, b: complex, c: complex, d: complex
) -> None:
    """Multiplies by a gate on a bit of a row's number, where the bits ``on`` are set."""
    for row in range(4):
        if not row >> bit & 1 and row & on == on:
            for x in range(4 * row, 4 * row + 4):
                y = x + (4 << bit)
                matrix[x], matrix[y] = a * matrix[x] + b * matrix[y], c * matrix[x] + d * matrix[y]


@kernel
def _fuse(out: Any, op: int, qubits: Any, controls: int, angles: Any, at: int) -> Any:
    """Multiplies the fusion of two qubits by a gate on one or both, and gives the qubit that has
    its matrix."""
    pending, known = out[2], out[3]
    last = qubits[len(qubits) - 1]
    if known[last, 3] < 0:
        home = qubits[0]
        for q in qubits:
            known[q, 3] = home
        pending[home, 4:] = 0
        for row in range(4):
            pending[home, 4 + 5 * row] = 1
    home = known[last, 3]
    matrix = pending[home, 4:]
    bit = int(last != home)
    if op >= _SWAP:
        _multiply_pair(matrix, op, 0.0 if op == _SWAP else angles[at])
        return home
    on = 1 << (1 - bit) if len(qubits) == 2 else 0
    if op == _GPHASE:  # of as many controls as there are qubits
        _multiply_rows(matrix, bit, on, 1 + 0j, 0j, 0j, unit(angles[at]))
        return home
    a, b, c, d = _matrix(op, angles, at)
    if controls and op == _RZ:
        half = unit(-0.5 * angles[at])
        a, d = a * half, d * half
    _multiply_rows(matrix, bit, on, a, b, c, d)
    return home


@kernel
def _multiply_pair(matrix: Any, op: int, angle: float) -> None:
    """Multiplies by SWAP, RXX, RYY or RZZ."""
    if op == _SWAP:
        for x in range(4):
            matrix[4 + x], matrix[8 + x] = matrix[8 + x], matrix[4 + x]
        return
    c, s = complex(math.cos(angle / 2)), complex(math.sin(angle / 2))
    for x in range(16):
        even = x < 4 or x >= 12  # rows 0 and 3
        if op == _RZZ:
            matrix[x] *= c - 1j * s if even else c + 1j * s
        elif x < 8:
            y = 12 - 4 * (x >> 2) + (x & 3)  # the row with both bits flipped
            t = 1j * s if op == _RYY and even else -1j * s
            matrix[x], matrix[y] = c * matrix[x] + t * matrix[y], c * matrix[y] + t * matrix[x]


@kernel
def _emit_fusion(out: Any, home: int) -> None:
    """Writes the fusion of two qubits, after what waits at them and the frame."""
    items, values, pending, known, frame = out
    other = home
    for q in range(len(known)):
        if known[q, 3] == home:
            known[q, 3] = -1
            if q != home:
                other = q
    before = np.zeros(16, dtype=np.complex128)
    for row in range(4):
        before[5 * row] = 1
    for bit, q in enumerate((home, other)):
        name = known[q, 2]
        if frame[2] >> name & 1:
            _multiply_rows(before, bit, 0, 1 + 0j, 0j, 0j, -1 + 0j)
        if frame[1] >> name & 1:
            _multiply_rows(before, bit, 0, 0j, 1 + 0j, 1 + 0j, 0j)
        frame[1] &= ~(1 << name)
        frame[2] &= ~(1 << name)
        _multiply_rows(before, bit, 0, pending[q, 0], pending[q, 1], pending[q, 2], pending[q, 3])
        _wait(out, q, 1 + 0j, 0j, 0j, 1 + 0j)
        known[q, 0], known[q, 1] = _DIAGONAL, 0
    a, b = known[home, 2], known[other, 2]
    at = frame[0]
    for i in range(16):
        row, column = i >> 2, i & 3
        value = 0j
        for k in range(4):
            value += pending[home, 4 + 4 * row + k] * before[4 * k + column]
        if a > b:  # bit 0 is the lower of the names
            i = _other_order(row) << 2 | _other_order(column)
        values[at + i // 3, i % 3] = value
    for i in range(at, at + FUSION_ROWS):
        items[i, 0], items[i, 1], items[i, 2], items[i, 3] = FUSION, min(a, b), max(a, b), i - at
    frame[0] = at + FUSION_ROWS


@kernel
def _other_order(number: int) -> int:
    """A number of two bits, the other way around."""
    return number >> 1 | (number & 1) << 1


# --- noise -----------------------------------------------------------------------------------


@kernel
def _insert(out: Any, q: int, pauli: int) -> None:
    """A Pauli operator (1 for X, 2 for Y, 3 for Z) after all so far.

    It changes places with the product that waits, which it conjugates, and joins the frame; or it
    joins the qubit's fusion.
    """
    _, _, pending, known, frame = out
    home = known[q, 3]
    if home >= 0:
        bit, matrix = int(q != home), pending[home, 4:]
        if pauli != 1:
            _multiply_rows(matrix, bit, 0, 1 + 0j, 0j, 0j, -1 + 0j)
        if pauli != 3:
            _multiply_rows(matrix, bit, 0, 0j, 1 + 0j, 1 + 0j, 0j)
        return
    a, b, c, d = pending[q, 0], pending[q, 1], pending[q, 2], pending[q, 3]
    if pauli != 3:
        a, b, c, d = d, c, b, a
        frame[1] ^= 1 << known[q, 2]
    if pauli != 1:
        b, c = -b, -c
        frame[2] ^= 1 << known[q, 2]
    _wait(out, q, a, b, c, d)


@kernel
def _emit_collapse(out: Any, qubits: int, what: int, frame: int) -> None:
    _emit(out, COLLAPSE, qubits, what, 0j, 0j, 0j)
    out[0][out[4][0] - 1, 3] = frame


@kernel
def _branch(out: Any, qubits: Any, count: int, channel: int) -> None:
    known, frame = out[3], out[4]
    names, turned = 0, 0
    for i in range(count):
        _finish(out, qubits[i])
        name = known[qubits[i], 2]
        names |= name << (6 * i)
        turned |= (frame[1] >> name & 1) << i | (frame[2] >> name & 1) << (2 + i)
    _emit_collapse(out, names, -2 - channel, turned)


@kernel
def begin(pending: Any, known: Any, frame: Any) -> None:
    """Nothing waits, no qubit is renamed, the frame is the identity."""
    for q in range(len(known)):
        pending[q, 0], pending[q, 1], pending[q, 2], pending[q, 3] = 1 + 0j, 0j, 0j, 1 + 0j
        known[q, 0], known[q, 1], known[q, 2], known[q, 3] = _DIAGONAL, 0, q, -1
    frame[:3] = 0


@kernel
def canonical(
    program: Any,
    operands: Any,
    angles: Any,
    noise: Any,
    items: Any,
    values: Any,
    pending: Any,
    known: Any,
    frame: Any,
) -> None:
    """Writes the items of a circuit with given angles.

    Args:
        program: int64 ``(operations, 7)``: opcode, number of controls, where the operands begin and
            end, where the angles begin, whether one of these is free, and its role: ``PLAIN``,
            ``CHAINED``, ``FUSED`` or ``LAST_FUSED``. Measurements, resets, channels in its course
            become items ``COLLAPSE``.
        operands: int32, qubits; of each operation controls come first.
        angles: float64, radians; a row of ``Circuit.bind``.
        noise: int64 ``(events, 3)``: Pauli operators, each inserted before an operation: its
            position (in order), a qubit, and 1 for X, 2 for Y or 3 for Z.
        items: int64 ``(most items, 4)``, written: kind and qubits; of ``PHASE1`` 1 after the qubit
            where it shrinks; a ``FUSION`` takes ``FUSION_ROWS`` rows, numbered in the last column,
            the lower name first; of ``PHASE_MANY`` the mask of its qubits, and last the values of
            these bits; of ``COLLAPSE`` the qubit (of a channel on two both, the second times 64),
            the classical bit, -1 for a reset, -2 less the number of a channel, and last the frame's
            X on the qubits and, times 4, its Z.
        values: complex128 ``(most items, 3)``, written: of a rotation the tangent of half its angle
            and, as the imaginary part, the cosine; of a phase on one qubit the factor of the
            amplitudes whose bit is 1, and where it shrinks one of all; of one on two these of both
            qubits and the factor where both are 1; of one on many the factor; of a fusion its
            matrix by rows, where bit 0 of a row's number is the lower name.
        pending: complex128 ``(n, 20)``. known: int64 ``(n, 4)``; column 2 is written: the
            names that qubits have in the items. frame: int64 ``(4,)``, written: number of items,
            masks (by these names) of the X and the Z that come after all items. Read: whether every
            gate counts as free, as it must where there is noise.
    """
    out = (items, values, pending, known, frame)
    begin(pending, known, frame)
    event = 0
    for i in range(len(program)):
        while event < len(noise) and noise[event, 0] <= i:
            _insert(out, noise[event, 1], noise[event, 2])
            event += 1
        op, controls, begun, end, at, free, role = program[i]
        qubits = operands[begun:end]
        count = end - begun
        if role >= FUSED:
            home = _fuse(out, op, qubits, controls, angles, at)
            if role == LAST_FUSED:
                _emit_fusion(out, home)
        elif op in (_MEASURE, _RESET):
            q = qubits[0]
            _settle(out, q)
            name = known[q, 2]
            _emit_collapse(out, name, at, frame[1] >> name & 1)
            if op == _RESET:
                known[q, 0], known[q, 1] = _DIAGONAL, 0
                _wait(out, q, 1 + 0j, 0j, 0j, 1 + 0j)
                frame[1] &= ~(1 << name)
                frame[2] &= ~(1 << name)
        elif op == SHRINK:
            _settle(out, qubits[0])
            name, factor = known[qubits[0], 2], complex(angles[at])
            if frame[1] >> name & 1:  # of 1 - x: the whole shrinks, and 1 grows
                _emit(out, PHASE1, name, 1, 1 / factor, factor, 1 + 0j)
            else:
                _emit(out, PHASE1, name, 1, factor, 1 + 0j, 1 + 0j)
        elif op == BRANCH:
            _branch(out, qubits, count, at)
        elif op == _GPHASE:
            if controls:
                _phase_if(out, qubits, count, free, unit(angles[at]))
        elif op >= _SWAP:
            _pair_gate(out, op, qubits, count, free, 0.0 if op == _SWAP else angles[at])
        elif controls == 0:
            a, b, c, d = _matrix(op, angles, at)
            _multiply(out, qubits[0], _class_of_gate(op), free, a, b, c, d)
        elif op == _X:
            if role == CHAINED:
                _exchange(out, qubits[0], qubits[1])
            else:
                _x_if(out, qubits, count)
        elif op == _Y:
            _multiply(out, qubits[count - 1], _DIAGONAL, 0, 1 + 0j, 0j, 0j, -1j)
            _x_if(out, qubits, count)
            _multiply(out, qubits[count - 1], _DIAGONAL, 0, 1 + 0j, 0j, 0j, 1j)
        elif is_diagonal(op):
            _phase_if(out, qubits, count, free, _phase(op, angles, at))
            if op == _RZ:
                _phase_if(out, qubits, count - 1, free, unit(-0.5 * angles[at]))
        else:
            a, b, c, d = _matrix(op, angles, at)
            _unitary_if(out, qubits, count, free, a, b, c, d)
    while event < len(noise):
        _insert(out, noise[event, 1], noise[event, 2])
        event += 1
    for q in range(len(known)):
        _finish(out, q)
