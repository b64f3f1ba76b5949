"""Stabilizer states as tableaux, by columns: every gate is a few operations on words.

A state of ``n`` qubits is ``2 n`` Pauli strings, destabilizers and then stabilizers (S. Aaronson
and D. Gottesman, Improved simulation of stabilizer circuits, Phys. Rev. A 70, 052328, 2004). Row
``r`` is bit ``r`` of every column; a column has ``w`` words. There is one for X of each qubit, one
for Z, and one of signs: qubit ``q`` has X at ``q w`` and Z at ``(n + q) w``, the signs are at
``2 n w``.

As in ``dense``, a qubit in no superposition is inactive: it has its value in ``where``, and is 0 in
the tableau. An active one has any number from 0 there.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from openqse_emulator.dynamic import dense
from openqse_emulator.dynamic.codes import ONE, ZERO
from openqse_emulator.statevector.compiled import kernel

_U0, _U1 = np.uint64(0), np.uint64(1)
_TOLERANCE = 1e-9
_QUARTER = 0.5 * math.pi
_X, _Y, _Z = 1, 2, 3


def words(num_qubits: int) -> int:
    """Words of a column."""
    return -(-2 * num_qubits // 64)


def amplitudes(num_qubits: int) -> int:
    """Complex numbers in whose place a tableau fits."""
    return ((2 * num_qubits + 1) * words(num_qubits) + 1) // 2


@kernel
def begin(state: Any, n: int) -> None:
    """Writes the tableau of all qubits at 0."""
    w = (2 * n + 63) // 64
    state[: (2 * n + 1) * w] = _U0
    for q in range(n):
        state[q * w + (q >> 6)] |= _U1 << np.uint64(q & 63)
        r = n + q
        state[(n + q) * w + (r >> 6)] |= _U1 << np.uint64(r & 63)


@kernel
def _activate(state: Any, n: int, where: Any, qubit: int) -> None:
    if where[qubit] < 0:
        if where[qubit] == ONE:
            pauli(state, n, qubit, _X)
        where[qubit] = 0


@kernel
def pauli(state: Any, n: int, qubit: int, which: int) -> None:
    """X, Y or Z (1, 2, 3) on an active qubit."""
    w = (2 * n + 63) // 64
    for i in range(w):
        turned = _U0
        if which != _Z:
            turned ^= state[(n + qubit) * w + i]
        if which != _X:
            turned ^= state[qubit * w + i]
        state[2 * n * w + i] ^= turned


@kernel
def _hadamard(state: Any, n: int, q: int) -> None:
    w = (2 * n + 63) // 64
    for i in range(w):
        x, z = state[q * w + i], state[(n + q) * w + i]
        state[2 * n * w + i] ^= x & z
        state[q * w + i], state[(n + q) * w + i] = z, x


@kernel
def _phases(state: Any, n: int, q: int, quarters: int) -> None:
    """So many quarter turns about Z."""
    w = (2 * n + 63) // 64
    for _ in range(quarters & 3):
        for i in range(w):
            x, z = state[q * w + i], state[(n + q) * w + i]
            state[2 * n * w + i] ^= x & z
            state[(n + q) * w + i] = z ^ x


@kernel
def _controlled_z(state: Any, n: int, a: int, b: int) -> None:
    w = (2 * n + 63) // 64
    for i in range(w):
        xa, za = state[a * w + i], state[(n + a) * w + i]
        xb, zb = state[b * w + i], state[(n + b) * w + i]
        state[2 * n * w + i] ^= xa & xb & (za ^ zb)
        state[(n + a) * w + i] = za ^ xb
        state[(n + b) * w + i] = zb ^ xa


@kernel
def _controlled(state: Any, n: int, control: int, target: int, which: int) -> None:
    """X, Y or Z under a control."""
    if which == _Y:
        _phases(state, n, target, 3)
    if which != _Z:
        _hadamard(state, n, target)
    _controlled_z(state, n, control, target)
    if which != _Z:
        _hadamard(state, n, target)
    if which == _Y:
        _phases(state, n, target, 1)


@kernel
def _quarters(factor: Any) -> Any:
    """How many quarter turns a phase is, from 0 to 3; -1 if it is not a whole number of them."""
    turns = round(math.atan2(factor.imag, factor.real) / _QUARTER)
    back = complex(math.cos(turns * _QUARTER), math.sin(turns * _QUARTER))
    return turns & 3 if abs(factor - back) < _TOLERANCE else -1


@kernel
def gate(
    op: int,
    controls: int,
    qubits: Any,
    state: Any,
    n: int,
    where: Any,
    x: float,
    y: float,
    z: float,
) -> Any:
    """Applies a gate of the circuit form; returns whether it is one of the Clifford group here,
    where qubits that are in no superposition are known.

    Args:
        qubits: int64, the first ``controls`` of them controls.
        x, y, z: its angles.
    """
    count, first, second = 0, -1, -1
    for j in range(controls):
        q = qubits[j]
        if where[q] == ZERO:
            return True
        if where[q] >= 0:
            count, first, second = count + 1, q, first
    if op == 0:
        return _phase(state, n, count, first, second, complex(math.cos(x), math.sin(x)))
    target = qubits[controls]
    if op >= 17:
        return _pair(op, target, qubits[controls + 1], count, first, state, n, where, x)
    _, a, b, c, d = dense.matrix(op, x, y, z)
    if abs(b) + abs(c) < _TOLERANCE and where[target] < 0:
        return _phase(state, n, count, first, second, a if where[target] == ZERO else d)
    if abs(b) + abs(c) + abs(a - 1) + abs(d - 1) < _TOLERANCE:
        return True
    if count == 0:
        if abs(a) + abs(d) < _TOLERANCE and where[target] < 0:
            where[target] = ZERO + ONE - where[target]
            return True
        _activate(state, n, where, target)
        return _turn(state, n, target, a, b, c, d)
    if count > 1:
        return False
    which, factor = 0, a
    if abs(b) + abs(c) < _TOLERANCE:
        if abs(d + a) < _TOLERANCE:
            which = _Z
        elif abs(d - a) > _TOLERANCE:
            return False
    elif abs(a) + abs(d) < _TOLERANCE:
        if abs(c - b) < _TOLERANCE:
            which, factor = _X, b
        elif abs(c + b) < _TOLERANCE:
            which, factor = _Y, 1j * b
        else:
            return False
    else:
        return False
    quarters = _quarters(factor)
    if quarters < 0:
        return False
    if which:
        _activate(state, n, where, target)
        _controlled(state, n, first, target, which)
    _phases(state, n, first, quarters)
    return True


@kernel
def _phase(state: Any, n: int, count: int, first: int, second: int, factor: Any) -> Any:
    """A phase where all active controls are 1."""
    if count == 0 or abs(factor - 1) < _TOLERANCE:
        return True
    if count == 1:
        quarters = _quarters(factor)
        if quarters >= 0:
            _phases(state, n, first, quarters)
        return quarters >= 0
    if count == 2 and abs(factor + 1) < _TOLERANCE:
        _controlled_z(state, n, first, second)
        return True
    return False


@kernel
def _image(a: Any, b: Any, c: Any, d: Any) -> Any:
    """What a Hermitian matrix without trace is: a Pauli operator's number and sign, or 0."""
    if abs(b.real) > 1 - _TOLERANCE:
        return _X, b.real < 0
    if abs(c.imag) > 1 - _TOLERANCE:
        return _Y, c.imag < 0
    if abs(a.real) > 1 - _TOLERANCE:
        return _Z, a.real < 0
    return 0, False


@kernel
def _turn(state: Any, n: int, q: int, a: Any, b: Any, c: Any, d: Any) -> Any:
    """A gate on one qubit by what it makes of X, Y and Z; False if that are no Pauli operators."""
    ac, bc, cc, dc = a.conjugate(), b.conjugate(), c.conjugate(), d.conjugate()
    # Of U P U^†, for U = ((a, b), (c, d)): rows times columns of the conjugate transpose.
    of_x, minus_x = _image(b * ac + a * bc, b * cc + a * dc, d * ac + c * bc, d * cc + c * dc)
    of_z, minus_z = _image(a * ac - b * bc, a * cc - b * dc, c * ac - d * bc, c * cc - d * dc)
    i = 1j
    of_y, minus_y = _image(
        i * (b * ac - a * bc), i * (b * cc - a * dc), i * (d * ac - c * bc), i * (d * cc - c * dc)
    )
    if of_x == 0 or of_y == 0 or of_z == 0:
        return False
    w = (2 * n + 63) // 64
    for k in range(w):
        x, z = state[q * w + k], state[(n + q) * w + k]
        turned = _U0
        if minus_x:
            turned ^= x & ~z
        if minus_z:
            turned ^= z & ~x
        if minus_y:
            turned ^= x & z
        state[2 * n * w + k] ^= turned
        to_x, to_z = _U0, _U0
        if of_x != _Z:
            to_x ^= x
        if of_x != _X:
            to_z ^= x
        if of_z != _Z:
            to_x ^= z
        if of_z != _X:
            to_z ^= z
        state[q * w + k], state[(n + q) * w + k] = to_x, to_z
    return True


@kernel
def _pair(
    op: int, one: int, other: int, count: int, control: int, state: Any, n: int, where: Any,
    angle: float,
) -> Any:  # fmt: skip
    """A gate on two qubits: SWAP, RXX, RYY, RZZ."""
    if op == 17:
        if where[one] < 0 and where[one] == where[other]:
            return True
        if count:
            return False
        if where[one] < 0 and where[other] < 0:
            where[one], where[other] = where[other], where[one]
            return True
        _activate(state, n, where, one)
        _activate(state, n, where, other)
        for first, second in ((one, other), (other, one), (one, other)):
            _controlled(state, n, first, second, _X)
        return True
    quarters = round(angle / _QUARTER)
    if abs(angle - quarters * _QUARTER) > _TOLERANCE:
        return False
    which = op - 17
    if quarters & 7 == 0:  # two whole turns
        return True
    if count > 1 or (count == 1 and quarters & 1):
        return False
    _activate(state, n, where, one)
    _activate(state, n, where, other)
    if count == 1:
        half = quarters >> 1
        if half & 1:
            _controlled(state, n, control, one, which)
            _controlled(state, n, control, other, which)
        _phases(state, n, control, -half & 3)
        return True
    for q in (one, other):
        _to_z(state, n, q, which, 1)
    for _ in range(quarters & 3):
        _controlled_z(state, n, one, other)
        _phases(state, n, one, 1)
        _phases(state, n, other, 1)
    for q in (one, other):
        _to_z(state, n, q, which, 3)
    return True


@kernel
def _to_z(state: Any, n: int, q: int, which: int, quarters: int) -> None:
    """Turns an axis to Z, up to a sign; with 3 quarters in place of 1, back."""
    if which != _Z:
        _hadamard(state, n, q)
    if which == _Y:
        _phases(state, n, q, quarters)
        _hadamard(state, n, q)


@kernel
def expectation(state: Any, n: int, where: Any, paulis: Any) -> Any:
    """The expectation of a Pauli string: 0, 1 or -1."""
    factor = 1.0
    inner = np.zeros(n, dtype=np.uint8)
    for q in range(n):
        if paulis[q] == 0:
            continue
        if where[q] >= 0:
            inner[q] = paulis[q]
        elif paulis[q] != _Z:
            return 0.0
        elif where[q] == ONE:
            factor = -factor
    return factor * _sign(state, n, inner)


@kernel
def _sign(state: Any, n: int, paulis: Any) -> Any:
    """The sign with which a Pauli string is a product of stabilizers; 0 if it is none."""
    w = (2 * n + 63) // 64
    against = np.zeros(w, dtype=np.uint64)
    for q in range(n):
        p = paulis[q]
        if p:
            for i in range(w):
                if p != _X:
                    against[i] ^= state[q * w + i]
                if p != _Z:
                    against[i] ^= state[(n + q) * w + i]
    for r in range(n, 2 * n):
        if against[r >> 6] >> np.uint64(r & 63) & _U1:
            return 0.0
    xs, zs = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    exponent = np.int64(0)
    for r in range(n):
        if not against[r >> 6] >> np.uint64(r & 63) & _U1:
            continue
        row = n + r
        at, shift = row >> 6, np.uint64(row & 63)
        exponent += 2 * np.int64(state[2 * n * w + at] >> shift & _U1)
        for q in range(n):
            x = np.int64(state[q * w + at] >> shift & _U1)
            z = np.int64(state[(n + q) * w + at] >> shift & _U1)
            if x | z:
                exponent += _exponent(x, z, xs[q], zs[q])
                xs[q] ^= x
                zs[q] ^= z
    return -1.0 if exponent & 2 else 1.0


@kernel
def _exponent(x: int, z: int, u: int, v: int) -> Any:
    """The power of i in the product of the Pauli operators ``(x, z)`` and ``(u, v)``."""
    if x and z:
        return v - u
    if x:
        return v * (2 * u - 1)
    return u * (1 - 2 * v)


@kernel
def weigh(state: Any, n: int, qubit: int) -> Any:
    """The probabilities that an active qubit is 0 and 1."""
    paulis = np.zeros(n, dtype=np.uint8)
    paulis[qubit] = _Z
    sign = _sign(state, n, paulis)
    return 0.5 * (1 + sign), 0.5 * (1 - sign)


@kernel
def collapse(state: Any, n: int, where: Any, qubit: int, value: int) -> None:
    """An active qubit is found to have a value, and becomes inactive."""
    w = (2 * n + 63) // 64
    pivot = -1
    for r in range(n, 2 * n):
        if state[qubit * w + (r >> 6)] >> np.uint64(r & 63) & _U1:
            pivot = r
            break
    if pivot >= 0:
        _project(state, n, qubit, value, pivot)
    if value:
        pauli(state, n, qubit, _X)
    where[qubit] = ONE if value else ZERO


@kernel
def _project(state: Any, n: int, qubit: int, value: int, pivot: int) -> None:
    """Multiplies all rows that do not commute with Z of a qubit by one stabilizer of them, which
    then makes room for Z itself."""
    w = (2 * n + 63) // 64
    at, shift = pivot >> 6, np.uint64(pivot & 63)
    to, back = (pivot - n) >> 6, np.uint64((pivot - n) & 63)
    rows = state[qubit * w : (qubit + 1) * w].copy()
    rows[at] &= ~(_U1 << shift)
    rows[to] &= ~(_U1 << back)
    low, high = np.zeros(w, dtype=np.uint64), np.zeros(w, dtype=np.uint64)
    for q in range(n):
        px = state[q * w + at] >> shift & _U1
        pz = state[(n + q) * w + at] >> shift & _U1
        if px | pz:
            for i in range(w):
                x, z = state[q * w + i], state[(n + q) * w + i]
                if px & pz:
                    plus, minus = ~x & z, x & ~z
                elif px:
                    plus, minus = x & z, ~x & z
                else:
                    plus, minus = x & ~z, x & z
                high[i] ^= low[i] & plus
                low[i] ^= plus
                high[i] ^= ~low[i] & minus
                low[i] ^= minus
                if px:
                    state[q * w + i] = x ^ rows[i]
                if pz:
                    state[(n + q) * w + i] = z ^ rows[i]
        for column in (q, n + q):
            bit = px if column == q else pz
            place = column * w + to
            state[place] = state[place] & ~(_U1 << back) | bit << back
            state[column * w + at] &= ~(_U1 << shift)
    state[(n + qubit) * w + at] |= _U1 << shift
    signs = 2 * n * w
    minus_pivot = state[signs + at] >> shift & _U1
    for i in range(w):
        state[signs + i] ^= high[i] & rows[i]
        if minus_pivot:
            state[signs + i] ^= rows[i]
    state[signs + to] = state[signs + to] & ~(_U1 << back) | minus_pivot << back
    state[signs + at] = state[signs + at] & ~(_U1 << shift) | np.uint64(value) << shift
