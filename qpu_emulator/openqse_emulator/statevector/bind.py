"""Binding: the numbers of a plan's operations, from the values of its items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from openqse_emulator.statevector import simd
from openqse_emulator.statevector.canonical import PHASE1
from openqse_emulator.statevector.compiled import kernel
from openqse_emulator.statevector.plan import (
    FILL_ITEM,
    FILL_PLACE,
    FILL_WHICH,
    HIGH_PAIR,
    LISTS,
    LOW_PAIR,
    MANY,
    MIX,
    MIXED_PAIR,
    OP_AT,
    OP_BITS,
    OP_COUNT,
    OP_KIND,
    OUTER,
    PERMUTE,
    REC_FACTORS,
    REC_HIGH_PAIRS,
    REC_LENGTHS,
    REC_LOW_PAIRS,
    REC_MIXED,
    ROTATE,
    STAGE_BEGIN,
    STAGE_END,
    TURN,
    Plan,
)

_VECTOR_BYTES = simd.VECTOR_BYTES

#: A product of cosines below which a phase takes it on.
_SMALL = 1e-6


@dataclass(frozen=True, eq=False)
class Bound:
    """The numbers of a plan's operations, for one set of parameters.

    Attributes:
        tangents: real ``(any,)``, of rotations.
        factors: complex128 ``(any,)``, of phases.
        tables: real ``(any,)``, of phases of pairs: real parts, then imaginary parts; and of mixes
            as ``simd.mix_vectors`` reads them.
        required: int64 ``(items,)``, of phases on many qubits the values of their bits.
        scales: float64 ``(stages,)``: what a stage leaves out of its rotations' cosines.
    """

    tangents: NDArray[Any]
    factors: NDArray[np.complex128]
    tables: NDArray[Any]
    required: NDArray[np.int64]
    scales: NDArray[np.float64]


def allocate(plan: Plan, dtype: DTypeLike) -> Bound:
    """Room for the numbers of a plan."""
    return Bound(
        np.zeros(plan.tangents, dtype),
        np.zeros(plan.factors, np.complex128),
        np.zeros(plan.table_size, dtype),
        np.zeros(len(plan.items), np.int64),
        np.zeros(len(plan.stages), np.float64),
    )


@kernel
def fill(
    stages: Any,
    ops: Any,
    records: Any,
    fills: Any,
    fill_ends: Any,
    block: int,
    row: int,
    items: Any,
    values: Any,
    tangents: Any,
    factors: Any,
    tables: Any,
    required: Any,
    scales: Any,
) -> None:
    """Writes the numbers of a plan (``Bound``) from items and values as ``canonical`` gives them.

    A rotation is applied without its cosine. A stage multiplies its result by the product of the
    cosines, which costs nothing; before numbers grow so large that they could overflow, a phase
    takes the product on.
    """
    for i in range(len(items)):
        required[i] = items[i, 3]
    factors[:] = 1
    at = 0
    for stage in range(len(stages)):
        scale = 1.0
        for o in range(stages[stage, STAGE_BEGIN], stages[stage, STAGE_END]):
            if ops[o, OP_KIND] in (ROTATE, PERMUTE):
                for f in range(at, fill_ends[o]):
                    if fills[f, FILL_PLACE] < 0:  # an exchange
                        continue
                    value = values[fills[f, FILL_ITEM], 0]
                    tangents[fills[f, FILL_PLACE]] = value.real
                    scale *= value.imag
            elif ops[o, OP_KIND] == TURN:
                for f in range(at, fill_ends[o]):
                    value = values[fills[f, FILL_ITEM], fills[f, FILL_WHICH]]
                    factors[fills[f, FILL_PLACE]] *= value
                    if items[fills[f, FILL_ITEM], 0] == PHASE1:
                        scale *= values[fills[f, FILL_ITEM], 1].real
                record = records[ops[o, OP_AT] :]
                if scale < _SMALL:
                    factors[record[REC_FACTORS] + block] = scale
                    scale = 1.0
                _tabulate(record, block, row, factors, tables)
            elif ops[o, OP_KIND] == MIX:
                _spread(ops[o], values, fills[at, FILL_ITEM], tables)
            at = fill_ends[o]
        scales[stage] = scale


@kernel
def _spread(op: Any, values: Any, item: int, tables: Any) -> None:
    """The coefficients of a mix for each lane, from the matrix of a fusion."""
    k, at = op[OP_COUNT], op[OP_AT]
    lane_bits = 2 - k
    lanes = _VECTOR_BYTES // tables.itemsize
    for row in range(1 << k):
        for column in range(1 << k):
            for flips in range(1 << lane_bits):
                for lane in range(lanes):
                    value = 0
                    for bit in range(lane_bits):
                        value |= (lane >> op[OP_BITS + bit] & 1) << bit
                    to, of = value | row << lane_bits, value ^ flips | column << lane_bits
                    number = values[item + (4 * to + of) // 3, (4 * to + of) % 3]
                    tables[at + lane], tables[at + lanes + lane] = number.real, number.imag
                at += 2 * lanes


@kernel
def _tabulate(record: Any, block: int, row: int, factors: Any, tables: Any) -> None:
    """The tables of a phase: products of the factors of pairs, for all values of some bits."""
    low, high = 1 << row, 1 << (block - row)
    if record[REC_LOW_PAIRS] >= 0:
        _ones(tables, record[REC_LOW_PAIRS], low)
    if record[REC_HIGH_PAIRS] >= 0:
        _ones(tables, record[REC_HIGH_PAIRS], high)
    for bit in range(block - row):
        if record[REC_MIXED + bit] >= 0:
            _ones(tables, record[REC_MIXED + bit], low)
    at = REC_MIXED + block - row
    for kind in range(LISTS):
        width = 2 if kind == OUTER else (4 if kind == MANY else 3)
        for _ in range(record[REC_LENGTHS + kind]):
            x, y, f = record[at], record[at + 1], record[at + 2]
            if kind == LOW_PAIR:
                _turn_where(tables, record[REC_LOW_PAIRS], low, 1 << x | 1 << y, factors[f])
            elif kind == HIGH_PAIR:
                mask = (1 << x | 1 << y) >> row
                _turn_where(tables, record[REC_HIGH_PAIRS], high, mask, factors[f])
            elif kind == MIXED_PAIR:
                _turn_where(tables, record[REC_MIXED + y - row], low, 1 << x, factors[f])
            at += width


@kernel
def _ones(tables: Any, at: int, length: int) -> None:
    tables[at : at + length] = 1
    tables[at + length : at + 2 * length] = 0


@kernel
def _turn_where(tables: Any, at: int, length: int, mask: int, factor: complex) -> None:
    """Multiplies the entries whose number has all bits of a mask set."""
    c, s = factor.real, factor.imag
    i = mask
    while i < length:
        x, y = tables[at + i], tables[at + length + i]
        tables[at + i], tables[at + length + i] = x * c - y * s, x * s + y * c
        i = (i + 1) | mask
