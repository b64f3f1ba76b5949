"""Kernels over the coefficients of a density matrix: float64 ``(4**n,)``, a digit of base 4 for
each qubit, qubit 0's the least significant.

What is on two qubits, whatever it is, takes one pass: the 16 coefficients that differ in these two
digits are multiplied by a matrix. A pass takes tiles of as many columns as fill vectors, whose 16
rows are brought together in the first-level cache; where the digits are not the lowest, a row of a
tile is contiguous.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from openqse_emulator.statevector.compiled import kernel

#: Columns of a tile: three digits of the other qubits.
TILE_DIGITS = 3


@kernel
def on_two(vector: Any, factor: Any, low: int, high: int, begin: int, end: int) -> None:
    """Multiplies by a matrix on two qubits, ``low < high``, in tiles ``begin`` to ``end``.

    Args:
        factor: float64 ``(16, 16)``, the digit of ``low`` being the less significant.
        begin, end: of the ``max(1, 4**(n - 2 - TILE_DIGITS))`` tiles.
    """
    count = min(64, len(vector) // 16)
    tile, made = np.zeros((16, 64)), np.empty((16, 64))
    # Without a sign, or each index would be looked at before it is used.
    columns, rows = np.empty(64, dtype=np.uint64), np.empty(16, dtype=np.uint64)
    for j in range(count):
        columns[j] = _spread(_spread(j, low), high)
    for r in range(16):
        rows[r] = (r & 3) << 2 * low | (r >> 2) << 2 * high
    contiguous = count == 64 and columns[63] == 63
    for number in range(begin, end):
        first = np.uint64(_spread(_spread(number * count, low), high))
        if contiguous:
            for r in range(16):
                part = vector[first + rows[r] :]
                for j in range(64):
                    tile[r, j] = part[j]
            _multiply(factor, tile, made)
            for r in range(16):
                part = vector[first + rows[r] :]
                for j in range(64):
                    part[j] = made[r, j]
        else:
            for r in range(16):
                for j in range(count):
                    tile[r, j] = vector[first + rows[r] + columns[j]]
            _multiply(factor, tile, made)
            for r in range(16):
                for j in range(count):
                    vector[first + rows[r] + columns[j]] = made[r, j]


@kernel
def _multiply(factor: Any, tile: Any, made: Any) -> None:
    """The product of a matrix and a tile: a row of 64 fills vectors while its 16 factors stay in
    registers."""
    for r in range(16):
        f0, f1, f2, f3 = factor[r, 0], factor[r, 1], factor[r, 2], factor[r, 3]
        f4, f5, f6, f7 = factor[r, 4], factor[r, 5], factor[r, 6], factor[r, 7]
        f8, f9, f10, f11 = factor[r, 8], factor[r, 9], factor[r, 10], factor[r, 11]
        f12, f13, f14, f15 = factor[r, 12], factor[r, 13], factor[r, 14], factor[r, 15]
        for j in range(64):
            made[r, j] = (
                (f0 * tile[0, j] + f1 * tile[1, j] + f2 * tile[2, j] + f3 * tile[3, j])
                + (f4 * tile[4, j] + f5 * tile[5, j] + f6 * tile[6, j] + f7 * tile[7, j])
                + (f8 * tile[8, j] + f9 * tile[9, j] + f10 * tile[10, j] + f11 * tile[11, j])
                + (f12 * tile[12, j] + f13 * tile[13, j] + f14 * tile[14, j] + f15 * tile[15, j])
            )


@kernel
def _spread(index: int, digit: int) -> int:
    """An index with a digit 0 put in at a place."""
    low = index & ((1 << 2 * digit) - 1)
    return (index ^ low) << 2 | low


@kernel
def on_some(vector: Any, factor: Any, qubits: Any, begin: int, end: int) -> None:
    """Multiplies by a matrix on some qubits, for a part of all values of the other digits.

    Args:
        factor: float64 ``(4**k, 4**k)``, the first qubit's digit being the least significant.
        qubits: int64 ``(k,)``.
        begin, end: among the ``4**(n - k)`` values.
    """
    size = len(factor)
    ordered = np.sort(qubits)
    offsets = np.zeros(size, dtype=np.int64)
    for r in range(size):
        for k in range(len(qubits)):
            offsets[r] |= (r >> 2 * k & 3) << 2 * qubits[k]
    held = np.empty(size)
    for number in range(begin, end):
        first = number
        for k in range(len(ordered)):
            first = _spread(first, ordered[k])
        for r in range(size):
            held[r] = vector[first + offsets[r]]
        for r in range(size):
            total = 0.0
            for c in range(size):
                total += factor[r, c] * held[c]
            vector[first + offsets[r]] = total


@kernel
def on_bits(vector: Any, factor: Any, bits: Any, controls: int) -> None:
    """Multiplies complex coefficients by a matrix on bits of their index, complex128
    ``(2**k, 2**k)``.

    Args:
        bits: int64 ``(k,)``, the first being the least significant of the matrix' indices.
        controls: mask of further bits; where one of them is not set, nothing changes.
    """
    size = len(factor)
    offsets = np.zeros(size, dtype=np.int64)
    for r in range(size):
        for k in range(len(bits)):
            offsets[r] |= ((r >> k) & 1) << bits[k]
    held = np.empty(size, dtype=np.complex128)
    fixed = controls | offsets[size - 1]
    # With all fixed bits set, adding one carries over them to the next index of the others.
    i = fixed
    while i < len(vector):
        begin = i ^ fixed ^ controls
        for r in range(size):
            held[r] = vector[begin + offsets[r]]
        for r in range(size):
            total = 0j
            for c in range(size):
                total += factor[r, c] * held[c]
            vector[begin + offsets[r]] = total
        i = (i + 1) | fixed
