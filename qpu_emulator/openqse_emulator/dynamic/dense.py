"""Amplitudes of the qubits that are in superposition: small kernels, in place.

A qubit is *active* while it may be in superposition; the others have a value, 0 or 1, and take no
room. ``where[q]`` is an active qubit's bit of the index, or ``ZERO`` or ``ONE``. A state of ``k``
active qubits is ``psi[: 1 << k]``, whose norm need not be 1. A gate makes a qubit active, a
measurement or reset ends that: so of a chain of a hundred teleportations three qubits are active.
Global phases are dropped.
"""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np

from openqse_emulator.dynamic.codes import ONE, ZERO
from openqse_emulator.statevector.compiled import kernel

#: How a gate's matrix looks.
_DIAGONAL, _FLIP, _FULL = 0, 1, 2
_HALF = math.sqrt(0.5)
_EIGHTH = cmath.exp(0.25j * math.pi)
#: Below this norm a state is scaled to 1.
_SMALL = 2.0**-20


@kernel
def activate(psi: Any, k: int, where: Any, qubit: int) -> Any:
    """Makes a qubit active; returns how many are."""
    if where[qubit] >= 0:
        return k
    size = 1 << k
    if where[qubit] == ZERO:
        psi[size : 2 * size] = 0.0
    else:
        psi[size : 2 * size] = psi[:size]
        psi[:size] = 0.0
    where[qubit] = k
    return k + 1


@kernel
def scale_all(psi: Any, k: int, factor: Any) -> None:
    for i in range(1 << k):
        psi[i] *= factor


@kernel
def phase(psi: Any, k: int, mask: int, factor: Any) -> None:
    """Multiplies the amplitudes that have all bits of a mask."""
    i = mask
    while i < 1 << k:
        psi[i] *= factor
        i = (i + 1) | mask


@kernel
def diagonal(psi: Any, k: int, bit: int, mask: int, zero: Any, one: Any) -> None:
    """Multiplies by ``zero`` or ``one`` by a bit, where all bits of a mask are set."""
    at = 1 << bit
    if zero == 1.0:
        phase(psi, k, mask | at, one)
    elif mask == 0:
        for begin in range(0, 1 << k, 2 * at):
            for i in range(begin, begin + at):
                psi[i] *= zero
                psi[i + at] *= one
    else:
        fixed = mask | at
        i = fixed
        while i < 1 << k:
            psi[i ^ at] *= zero
            psi[i] *= one
            i = (i + 1) | fixed


@kernel
def flip(psi: Any, k: int, bit: int, mask: int, to_zero: Any, to_one: Any) -> None:
    """Exchanges 0 and 1 of a bit with factors, where all bits of a mask are set."""
    at = 1 << bit
    fixed = mask | at
    if mask == 0:
        for begin in range(0, 1 << k, 2 * at):
            for i in range(begin, begin + at):
                low = psi[i]
                psi[i] = to_zero * psi[i + at]
                psi[i + at] = to_one * low
        return
    i = fixed
    while i < 1 << k:
        low = psi[i ^ at]
        psi[i ^ at] = to_zero * psi[i]
        psi[i] = to_one * low
        i = (i + 1) | fixed


@kernel
def full(psi: Any, k: int, bit: int, mask: int, a: Any, b: Any, c: Any, d: Any) -> None:
    """Multiplies by ``((a, b), (c, d))`` on a bit, where all bits of a mask are set."""
    at = 1 << bit
    if mask == 0:
        for begin in range(0, 1 << k, 2 * at):
            for i in range(begin, begin + at):
                low, high = psi[i], psi[i + at]
                psi[i] = a * low + b * high
                psi[i + at] = c * low + d * high
        return
    fixed = mask | at
    i = fixed
    while i < 1 << k:
        low, high = psi[i ^ at], psi[i]
        psi[i ^ at] = a * low + b * high
        psi[i] = c * low + d * high
        i = (i + 1) | fixed


@kernel
def twofold(
    psi: Any, k: int, one: int, other: int, mask: int, cosine: float, even: Any, odd: Any
) -> None:
    """``cosine`` plus a flip of two bits, whose factor is ``even`` where they agree, else ``odd``;
    where all bits of a mask are set."""
    both = (1 << one) | (1 << other)
    fixed = both | mask
    i = fixed
    while i < 1 << k:
        base = i ^ both
        for low in (base, base | (1 << one)):
            factor = even if low == base else odd
            high = low ^ both
            x, y = psi[low], psi[high]
            psi[low] = cosine * x + factor * y
            psi[high] = cosine * y + factor * x
        i = (i + 1) | fixed


@kernel
def weigh(psi: Any, k: int, bit: int) -> Any:
    """The squared norms of the parts in which a bit is 0 and 1."""
    at = 1 << bit
    zero, one = 0.0, 0.0
    for begin in range(0, 1 << k, 2 * at):
        for i in range(begin, begin + at):
            zero += psi[i].real ** 2 + psi[i].imag ** 2
            one += psi[i + at].real ** 2 + psi[i + at].imag ** 2
    return zero, one


@kernel
def norm(psi: Any, k: int) -> Any:
    """The squared norm."""
    total = 0.0
    for i in range(1 << k):
        total += psi[i].real ** 2 + psi[i].imag ** 2
    return total


@kernel
def collapse(psi: Any, k: int, where: Any, qubit: int, value: int) -> Any:
    """Leaves of a state what has a value in an active qubit, which becomes inactive; returns how
    many are active then."""
    bit = where[qubit]
    at = 1 << bit
    total = 0.0
    for i in range(1 << (k - 1)):
        low = i & (at - 1)
        kept = psi[((i ^ low) << 1) | (value << bit) | low]
        psi[i] = kept
        total += kept.real**2 + kept.imag**2
    for q in range(len(where)):
        if where[q] > bit:
            where[q] -= 1
    where[qubit] = ONE if value else ZERO
    if total < _SMALL:
        scale_all(psi, k - 1, total**-0.5)
    return k - 1


@kernel
def pauli(psi: Any, k: int, where: Any, qubit: int, which: int) -> None:
    """X, Y or Z (1, 2, 3) on a qubit."""
    bit = where[qubit]
    if bit < 0:
        if which != 3:
            where[qubit] = ZERO + ONE - bit
    elif which == 1:
        flip(psi, k, bit, 0, 1.0 + 0j, 1.0 + 0j)
    elif which == 2:
        flip(psi, k, bit, 0, -1j, 1j)
    else:
        phase(psi, k, 1 << bit, -1.0 + 0j)


@kernel
def matrix(op: int, x: float, y: float, z: float) -> Any:
    """A gate on one qubit: what its matrix looks like, and its four numbers."""
    i = 1j
    o = 0j
    one = 1.0 + 0j
    if op == 2:
        return _FLIP, o, one, one, o
    if op == 3:
        return _FLIP, o, -i, i, o
    if op == 4:
        return _DIAGONAL, one, o, o, -one
    if op == 5:
        return _FULL, _HALF * one, _HALF * one, _HALF * one, -_HALF * one
    if op == 6:
        return _DIAGONAL, one, o, o, i
    if op == 7:
        return _DIAGONAL, one, o, o, -i
    if op == 8:
        return _DIAGONAL, one, o, o, _EIGHTH
    if op == 9:
        return _DIAGONAL, one, o, o, _EIGHTH.conjugate()
    if op == 10:
        return _FULL, 0.5 + 0.5 * i, 0.5 - 0.5 * i, 0.5 - 0.5 * i, 0.5 + 0.5 * i
    if op == 11:
        return _FULL, 0.5 - 0.5 * i, 0.5 + 0.5 * i, 0.5 + 0.5 * i, 0.5 - 0.5 * i
    if op == 12:
        return _DIAGONAL, one, o, o, _turn(x)
    c, s = math.cos(0.5 * x), math.sin(0.5 * x)
    if op == 13:
        return _FULL, c * one, -s * i, -s * i, c * one
    if op == 14:
        return _FULL, c * one, -s * one, s * one, c * one
    if op == 15:
        return _DIAGONAL, _turn(-0.5 * x), o, o, _turn(0.5 * x)
    if op == 16:
        return _FULL, c * one, -s * _turn(z), s * _turn(y), c * _turn(y + z)
    return _DIAGONAL, one, o, o, one


@kernel
def _turn(angle: float) -> Any:
    return complex(math.cos(angle), math.sin(angle))


@kernel
def gate(
    op: int, controls: int, qubits: Any, psi: Any, k: int, where: Any, x: float, y: float, z: float
) -> Any:
    """Applies a gate of the circuit form; returns how many qubits are active then.

    Args:
        qubits: int64, the first ``controls`` of them controls. There must be room for two more
            active qubits.
        x, y, z: its angles.
    """
    mask = 0
    for j in range(controls):
        bit = where[qubits[j]]
        if bit == ZERO:
            return k
        if bit >= 0:
            mask |= 1 << bit
    if op == 0:
        if mask:
            phase(psi, k, mask, _turn(x))
        return k
    target = qubits[controls]
    if op >= 17:
        return _pair(op, target, qubits[controls + 1], mask, psi, k, where, x)
    kind, a, b, c, d = matrix(op, x, y, z)
    bit = where[target]
    if kind == _DIAGONAL:
        if bit >= 0:
            diagonal(psi, k, bit, mask, a, d)
        elif mask:
            phase(psi, k, mask, a if bit == ZERO else d)
        return k
    if kind == _FLIP:
        if bit < 0 and mask == 0:
            where[target] = ZERO + ONE - bit
            return k
        k = activate(psi, k, where, target)
        flip(psi, k, where[target], mask, b, c)
        return k
    k = activate(psi, k, where, target)
    full(psi, k, where[target], mask, a, b, c, d)
    return k


@kernel
def _pair(
    op: int, one: int, other: int, mask: int, psi: Any, k: int, where: Any, angle: float
) -> Any:
    """A gate on two qubits: SWAP, RXX, RYY, RZZ."""
    if op == 17:
        if mask == 0:
            where[one], where[other] = where[other], where[one]
            return k
        if where[one] < 0 and where[one] == where[other]:
            return k
        k = activate(psi, k, where, one)
        k = activate(psi, k, where, other)
        first, second = where[one], where[other]
        flip(psi, k, second, mask | (1 << first), 1.0 + 0j, 1.0 + 0j)
        flip(psi, k, first, mask | (1 << second), 1.0 + 0j, 1.0 + 0j)
        flip(psi, k, second, mask | (1 << first), 1.0 + 0j, 1.0 + 0j)
        return k
    c, s = math.cos(0.5 * angle), math.sin(0.5 * angle)
    if op == 20:
        agree, differ = complex(c, -s), complex(c, s)
        if where[one] >= 0 and where[other] >= 0:
            phase(psi, k, mask, agree)
            # Where they differ: each bit turns by the quotient, both together by nothing more.
            turn = differ * differ
            diagonal(psi, k, where[one], mask, 1.0 + 0j, turn)
            diagonal(psi, k, where[other], mask, 1.0 + 0j, turn)
            phase(psi, k, mask | (1 << where[one]) | (1 << where[other]), 1.0 / (turn * turn))
            return k
        if where[one] < 0 and where[other] < 0:
            if mask:
                phase(psi, k, mask, agree if where[one] == where[other] else differ)
            return k
        bit, value = where[one], where[other]
        if bit < 0:
            bit, value = value, bit
        if value == ZERO:
            diagonal(psi, k, bit, mask, agree, differ)
        else:
            diagonal(psi, k, bit, mask, differ, agree)
        return k
    k = activate(psi, k, where, one)
    k = activate(psi, k, where, other)
    even = 1j * s if op == 19 else -1j * s
    twofold(psi, k, where[one], where[other], mask, c, even, -1j * s)
    return k


@kernel
def reduce(psi: Any, k: int, bits: Any, found: Any) -> None:
    """Writes the density matrix of some bits, the first the least significant."""
    size = 1 << len(bits)
    offsets = np.zeros(size, dtype=np.int64)
    for r in range(size):
        for j in range(len(bits)):
            offsets[r] |= ((r >> j) & 1) << bits[j]
    fixed = offsets[size - 1]
    found[:] = 0.0
    i = fixed
    while i < 1 << k:
        base = i ^ fixed
        for r in range(size):
            for c in range(size):
                found[r, c] += psi[base + offsets[r]] * psi[base + offsets[c]].conjugate()
        i = (i + 1) | fixed


@kernel
def multiply(psi: Any, k: int, bits: Any, factor: Any) -> None:
    """Multiplies by a matrix on some bits, the first the least significant."""
    size = 1 << len(bits)
    offsets = np.zeros(size, dtype=np.int64)
    for r in range(size):
        for j in range(len(bits)):
            offsets[r] |= ((r >> j) & 1) << bits[j]
    held = np.empty(size, dtype=np.complex128)
    fixed = offsets[size - 1]
    i = fixed
    while i < 1 << k:
        base = i ^ fixed
        for r in range(size):
            held[r] = psi[base + offsets[r]]
        for r in range(size):
            total = 0j
            for c in range(size):
                total += factor[r, c] * held[c]
            psi[base + offsets[r]] = total
        i = (i + 1) | fixed


@kernel
def expectation(psi: Any, k: int, where: Any, paulis: Any) -> Any:
    """The expectation of a Pauli string, times the squared norm.

    Args:
        paulis: uint8 ``(num_qubits,)``: 0 to 3 for I, X, Y, Z.
    """
    flips, signs, factor = 0, 0, 1.0 + 0j
    for q in range(len(where)):
        p, bit = paulis[q], where[q]
        if p == 0:
            continue
        if bit < 0:
            if p != 3:
                return 0.0
            if bit == ONE:
                factor = -factor
            continue
        if p != 3:
            flips |= 1 << bit
        if p != 1:
            signs |= 1 << bit
        if p == 2:
            factor *= 1j
    total = 0j
    for i in range(1 << k):
        odd = i & signs
        parity = 0
        while odd:
            odd &= odd - 1
            parity ^= 1
        value = psi[i ^ flips].conjugate() * psi[i]
        total += -value if parity else value
    return (factor * total).real
