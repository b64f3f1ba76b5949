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
    tile, made = np.empty((16, 64)), np.empty(64)
    columns, rows = np.empty(64, dtype=np.int64), np.empty(16, dtype=np.int64)
    for j in range(count):
        columns[j] = _spread(_spread(j, low), high)
    for r in range(16):
        rows[r] = (r & 3) << 2 * low | (r >> 2) << 2 * high
    contiguous = columns[count - 1] == count - 1
    for number in range(begin, end):
        first = _spread(_spread(number * count, low), high)
        if contiguous:
            for r in range(16):
                at = first + rows[r]
                for j in range(count):
                    tile[r, j] = vector[at + j]
            for r in range(16):
                _row(factor[r], tile, vector[first + rows[r] : first + rows[r] + count])
            continue
        for r in range(16):
            at = first + rows[r]
            for j in range(count):
                tile[r, j] = vector[at + columns[j]]
        for r in range(16):
            _row(factor[r], tile, made[:count])
            at = first + rows[r]
            for j in range(count):
                vector[at + columns[j]] = made[j]


@kernel
def _row(f: Any, tile: Any, made: Any) -> None:
    """One row of the product of a row of a matrix and a tile."""
    for j in range(len(made)):
        made[j] = (
            (f[0] * tile[0, j] + f[1] * tile[1, j] + f[2] * tile[2, j] + f[3] * tile[3, j])
            + (f[4] * tile[4, j] + f[5] * tile[5, j] + f[6] * tile[6, j] + f[7] * tile[7, j])
            + (f[8] * tile[8, j] + f[9] * tile[9, j] + f[10] * tile[10, j] + f[11] * tile[11, j])
            + (
                f[12] * tile[12, j]
                + f[13] * tile[13, j]
                + f[14] * tile[14, j]
                + f[15] * tile[15, j]
            )
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
