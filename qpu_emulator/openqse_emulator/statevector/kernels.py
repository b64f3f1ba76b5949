"""Kernels that carry a plan's operations out, block by block.

The state is real ``(2 * 2**n,)``: the real parts of all amplitudes, then the imaginary parts. A
thread copies a block into its scratch, applies all operations of a stage to it there and copies it
back. In the scratch a *line* of numbers as long as a page is followed by an unused vector: else
numbers whose distance is a large power of two would share the few places a cache has for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from openqse_emulator.statevector import simd
from openqse_emulator.statevector.canonical import FUSION, FUSION_ROWS
from openqse_emulator.statevector.compiled import kernel
from openqse_emulator.statevector.plan import (
    HIGH_PAIR,
    INNER_OUTER,
    LOW_PAIR,
    MANY,
    MIX,
    MIXED_PAIR,
    OP_AT,
    OP_BITS,
    OP_COUNT,
    OP_KIND,
    OP_LANES,
    OP_RECORD,
    OUTER,
    OUTER_PAIR,
    PERMUTE,
    REC_FACTORS,
    REC_HIGH_PAIRS,
    REC_LENGTHS,
    REC_LOW_PAIRS,
    REC_MIXED,
    ROTATE,
    STAGE_BEGIN,
    STAGE_END,
    STAGE_LIVE,
    STAGE_LOCAL,
    STAGE_RUN,
    STAGE_WRITTEN,
    TANGENTS,
)

_LINE_BYTES = 4096
_VECTOR_BYTES = simd.VECTOR_BYTES

#: What threads share in ``sync``: the next ticket; whether to stop; blocks done of each stage.
TICKET, STOPPED, DONE = 0, 1, 2


def scratch_size(block: int, row: int, dtype: Any) -> int:
    """Numbers that one thread needs: a block, the rows of a phase, its factors of rows."""
    size = np.dtype(dtype).itemsize
    pad = simd.VECTOR_BYTES // size
    body = placed(2 << block, line_bits(size), pad) + pad
    rows = (block - row + 1) * (2 << row) + (2 << (block - row))
    return int(-(-(body + rows) // pad) * pad)


@kernel
def line_bits(itemsize: int) -> int:
    """As a power of two, how many numbers make a line."""
    bits = 0
    while itemsize << bits < _LINE_BYTES:
        bits += 1
    return bits


@kernel
def placed(index: int, line: int, pad: int) -> Any:
    """Where a number of a block is in the scratch, whose lines have ``2**line`` numbers."""
    return index + (index >> line) * pad


# --- rotations -------------------------------------------------------------------------------


@kernel
def _rotate(
    scratch: Any, size: int, fixed: int, strides: Any, tangents: Any, lanes: Any, line: int,
    pad: int,
) -> None:  # fmt: skip
    """Rotates along some bits (``fixed`` has them set), and along lanes."""
    # Adding a vector's length carries over the fixed bits to the next free one.
    s = fixed
    while s < size:
        simd.rotate_vectors(scratch, placed(s ^ fixed, line, pad), strides, tangents, lanes)
        s = (s + pad) | fixed


@kernel
def rotate(scratch: Any, size: int, op: Any, tangents: Any, line: int, pad: int) -> None:
    """Applies an operation of rotations to the first ``size`` numbers of a block."""
    at = op[OP_AT]
    a, b, c, d = (
        1 << op[OP_BITS], 1 << op[OP_BITS + 1], 1 << op[OP_BITS + 2], 1 << op[OP_BITS + 3]
    )  # fmt: skip
    u, v, w, x = (placed(a, line, pad), placed(b, line, pad), placed(c, line, pad),
                  placed(d, line, pad))  # fmt: skip
    p, q, r, s = tangents[at], tangents[at + 1], tangents[at + 2], tangents[at + 3]
    lanes = (tangents[at + 4], tangents[at + 5], tangents[at + 6], tangents[at + 7])
    count = op[OP_COUNT]
    if op[OP_LANES]:
        if count == 0:  # four vectors at a time, which overlap in the processor's pipelines
            _rotate(scratch, size, 3 * pad, (pad, 2 * pad), (), lanes, line, pad)
        elif count == 1:
            _rotate(scratch, size, a, (u,), (p,), lanes, line, pad)
        elif count == 2:
            _rotate(scratch, size, a | b, (u, v), (p, q), lanes, line, pad)
        elif count == 3:
            _rotate(scratch, size, a | b | c, (u, v, w), (p, q, r), lanes, line, pad)
        else:
            _rotate(scratch, size, a | b | c | d, (u, v, w, x), (p, q, r, s), lanes, line, pad)
    elif count == 1:
        _rotate(scratch, size, a, (u,), (p,), (), line, pad)
    elif count == 2:
        _rotate(scratch, size, a | b, (u, v), (p, q), (), line, pad)
    elif count == 3:
        _rotate(scratch, size, a | b | c, (u, v, w), (p, q, r), (), line, pad)
    else:
        _rotate(scratch, size, a | b | c | d, (u, v, w, x), (p, q, r, s), (), line, pad)


# --- mixes -----------------------------------------------------------------------------------


@kernel
def _mix(
    scratch: Any, size: int, imaginary: int, fixed: int, strides: Any, lane_bits: Any, tables: Any,
    at: int, line: int, pad: int,
) -> None:  # fmt: skip
    s = fixed
    while s < size:
        re = placed(s ^ fixed, line, pad)
        simd.mix_vectors(scratch, re, imaginary + re, strides, lane_bits, tables, at)
        s = (s + pad) | fixed


@kernel
def mix(scratch: Any, block: int, op: Any, tables: Any, line: int, pad: int) -> None:
    """Multiplies by a matrix for two bits of a block."""
    size, imaginary, at = 1 << block, placed(1 << block, line, pad), op[OP_AT]
    low, high = op[OP_BITS], op[OP_BITS + 1]
    u, v = placed(1 << low, line, pad), placed(1 << high, line, pad)
    if op[OP_COUNT] == 2:
        _mix(scratch, size, imaginary, 1 << low | 1 << high, (u, v), (), tables, at, line, pad)
    elif op[OP_COUNT] == 1:
        _mix(scratch, size, imaginary, 1 << high, (v,), (low,), tables, at, line, pad)
    else:
        _mix(scratch, size, imaginary, 0, (), (low, high), tables, at, line, pad)


# --- exchanges -------------------------------------------------------------------------------


@kernel
def _permute(
    scratch: Any, size: int, fixed: int, strides: Any, places: Any, tangents: Any, line: int,
    pad: int,
) -> None:  # fmt: skip
    s = fixed
    while s < size:
        simd.permute_vectors(scratch, placed(s ^ fixed, line, pad), strides, places, tangents)
        s = (s + pad) | fixed


@kernel
def _permute_lanes(
    scratch: Any, size: int, fixed: int, strides: Any, places: Any, lanes: Any, tangents: Any,
    lane_tangents: Any, line: int, pad: int,
) -> None:  # fmt: skip
    s = fixed
    while s < size:
        base = placed(s ^ fixed, line, pad)
        simd.permute_lanes(scratch, base, strides, places, lanes, tangents, lane_tangents)
        s = (s + pad) | fixed


@kernel
def permute(
    scratch: Any, size: int, op: Any, records: Any, tangents: Any, base: int, line: int, pad: int
) -> None:
    """Applies exchanges to the first ``size`` numbers of a block, together an affine map of the
    indices' bits, and then rotations."""
    count, at = op[OP_COUNT], op[OP_RECORD]
    lane_bits = 0
    while 1 << lane_bits < pad:
        lane_bits += 1
    # From where a number comes, for each bit of a lane's number and of a vector's; and for all.
    sources = 1 << np.arange(lane_bits + 4)
    everywhere = 0
    for e in range(records[at]):
        target, control = records[at + 1 + 2 * e], records[at + 2 + 2 * e]
        if control >= 0:
            sources[control] ^= sources[target]
        elif base >> (-1 - control) & 1:
            everywhere ^= sources[target]
    moves = everywhere != 0
    for bit in range(lane_bits + count):
        moves |= sources[bit] != 1 << bit
    if not moves:
        if np.any(tangents[op[OP_AT] : op[OP_AT] + TANGENTS]):
            rotate(scratch, size, op, tangents, line, pad)
        return
    strides = np.zeros(4, dtype=np.int64)
    fixed = 0
    for k in range(count):
        fixed |= 1 << op[OP_BITS + k]
        strides[k] = placed(1 << op[OP_BITS + k], line, pad)
    a, b, c, d = strides[0], strides[1], strides[2], strides[3]
    places = np.zeros(32, dtype=np.int64)
    parted = 0  # the bits that differ between the two vectors from which a vector's numbers come
    for bit in range(lane_bits):
        parted |= sources[bit] >> lane_bits
    lanes = np.empty(16 * pad, dtype=np.int32)
    for r in range(1 << count):
        source = everywhere
        for k in range(count):
            if r >> k & 1:
                source ^= sources[lane_bits + k]
        for k in range(count):
            places[r] += (source >> lane_bits >> k & 1) * strides[k]
            places[16 + r] += ((source >> lane_bits ^ parted) >> k & 1) * strides[k]
        if op[OP_LANES]:
            for lane in range(pad):
                number = source
                for bit in range(lane_bits):
                    if lane >> bit & 1:
                        number ^= sources[bit]
                other = number >> lane_bits != source >> lane_bits
                lanes[r * pad + lane] = number & (pad - 1) | other << lane_bits
    at = op[OP_AT]
    p, q, r, s = tangents[at], tangents[at + 1], tangents[at + 2], tangents[at + 3]
    if op[OP_LANES]:
        turns = (tangents[at + 4], tangents[at + 5], tangents[at + 6], tangents[at + 7])
        if count == 0:
            _permute_lanes(scratch, size, 0, (), places, lanes, (), turns, line, pad)
        elif count == 1:
            _permute_lanes(scratch, size, fixed, (a,), places, lanes, (p,), turns, line, pad)
        elif count == 2:
            _permute_lanes(scratch, size, fixed, (a, b), places, lanes, (p, q), turns, line, pad)
        elif count == 3:
            _permute_lanes(
                scratch, size, fixed, (a, b, c), places, lanes, (p, q, r), turns, line, pad
            )
        else:
            _permute_lanes(
                scratch, size, fixed, (a, b, c, d), places, lanes, (p, q, r, s), turns, line, pad
            )
    elif count == 1:
        _permute(scratch, size, fixed, (a,), places, (p,), line, pad)
    elif count == 2:
        _permute(scratch, size, fixed, (a, b), places, (p, q), line, pad)
    elif count == 3:
        _permute(scratch, size, fixed, (a, b, c), places, (p, q, r), line, pad)
    else:
        _permute(scratch, size, fixed, (a, b, c, d), places, (p, q, r, s), line, pad)


# --- phases ----------------------------------------------------------------------------------


@kernel
def _double(table: Any, at: int, length: int, used: int, factor: complex) -> None:
    """Appends to the first ``used`` complex numbers of a table their products with a factor."""
    c, s = table.dtype.type(factor.real), table.dtype.type(factor.imag)
    re, im = table[at : at + 2 * used], table[at + length : at + length + 2 * used]
    for i in range(used):
        re[used + i] = re[i] * c - im[i] * s
        im[used + i] = re[i] * s + im[i] * c


@kernel
def turn(
    scratch: Any,
    rows_at: int,
    block: int,
    row: int,
    record: Any,
    factors: Any,
    own: Any,
    tables: Any,
    required: Any,
    local: Any,
    base: int,
    line: int,
    pad: int,
) -> None:
    """Applies phases to a block.

    The factor of amplitude ``low + (high << row)`` is a product of one that depends on ``low``, one
    that depends on ``high``, and for every bit of ``high`` that is set one that depends on ``low``.
    Rows are visited in ascending order of ``high``. A row's factors are kept for the lowest of the
    set bits that have a table, and are those of the number without this bit times that table.

    Args:
        rows_at: where in the scratch there is room for rows.
        own: complex128 ``(block + 1,)``, room for the factors in this block.
        base: the bits of the index that all amplitudes of the block share.
    """
    first = record[REC_FACTORS]
    own[:] = factors[first : first + block + 1]
    high_bits = block - row
    at = REC_MIXED + high_bits
    for _ in range(record[REC_LENGTHS + OUTER]):
        if base >> record[at] & 1:
            own[block] *= factors[record[at + 1]]
        at += 2
    for _ in range(record[REC_LENGTHS + OUTER_PAIR]):
        if base >> record[at] & base >> record[at + 1] & 1:
            own[block] *= factors[record[at + 2]]
        at += 3
    for _ in range(record[REC_LENGTHS + INNER_OUTER]):
        if base >> record[at + 1] & 1:
            own[record[at]] *= factors[record[at + 2]]
        at += 3
    at += 3 * (
        record[REC_LENGTHS + LOW_PAIR]
        + record[REC_LENGTHS + HIGH_PAIR]
        + record[REC_LENGTHS + MIXED_PAIR]
    )

    low, high = 1 << row, 1 << high_bits
    by_row = rows_at + (high_bits + 1) * 2 * low
    scratch[by_row] = own[block].real
    scratch[by_row + high] = own[block].imag
    for bit in range(high_bits):
        _double(scratch, by_row, high, 1 << bit, own[row + bit])
    if record[REC_HIGH_PAIRS] >= 0:
        _multiply(scratch, by_row, tables, record[REC_HIGH_PAIRS], high)

    scratch[rows_at] = 1
    scratch[rows_at + low] = 0
    same = record[REC_LOW_PAIRS] < 0  # whether a row's factors are all 1
    for bit in range(row):
        _double(scratch, rows_at, low, 1 << bit, own[bit])
        same &= own[bit] == 1
    if record[REC_LOW_PAIRS] >= 0:
        _multiply(scratch, rows_at, tables, record[REC_LOW_PAIRS], low)
    _turn_rows(scratch, rows_at, by_row, block, row, record, tables, same, line, pad)
    for _ in range(record[REC_LENGTHS + MANY]):
        inner, outer, item, f = record[at], record[at + 1], record[at + 2], record[at + 3]
        if base & outer == required[item] & outer:
            value = 0
            for bit in range(block):
                value |= (required[item] >> local[bit] & 1) << bit
            _turn_if(scratch, block, inner, value & inner, factors[f], line, pad)
        at += 4


@kernel
def _multiply(scratch: Any, at: int, tables: Any, table: int, length: int) -> None:
    """Multiplies complex numbers of the scratch by those of a table."""
    x, y = scratch[at : at + length], scratch[at + length : at + 2 * length]
    u, v = tables[table : table + length], tables[table + length : table + 2 * length]
    for i in range(length):
        x[i], y[i] = x[i] * u[i] - y[i] * v[i], x[i] * v[i] + y[i] * u[i]


@kernel
def _turn_rows(
    scratch: Any,
    rows_at: int,
    by_row: int,
    block: int,
    row: int,
    record: Any,
    tables: Any,
    same: bool,
    line: int,
    pad: int,
) -> None:
    """Multiplies all rows by their factors; ``turn`` explains how these are found."""
    low, high, high_bits = 1 << row, 1 << (block - row), block - row
    imaginary = placed(1 << block, line, pad)
    mixed = 0
    for bit in range(high_bits):
        if record[REC_MIXED + bit] >= 0:
            mixed |= 1 << bit
    kept = np.full(high_bits + 1, -1, dtype=np.int64)
    for h in range(high):
        key = h & mixed
        factors = rows_at
        if key:
            bit = _lowest(key)
            factors = rows_at + (bit + 1) * 2 * low
            if kept[bit] != key:
                kept[bit] = key
                parent = key & (key - 1)
                source = rows_at + ((_lowest(parent) + 1) * 2 * low if parent else 0)
                for i in range(0, low, pad):
                    simd.multiply_tables(
                        scratch, factors + i, scratch, source + i, tables,
                        record[REC_MIXED + bit] + i, low,
                    )  # fmt: skip
        c, s = scratch[by_row + h], scratch[by_row + high + h]
        begin = placed(h << row, line, pad)
        plain = c == 1 and s == 0
        if same and not key:
            if not plain:
                for i in range(begin, begin + low, pad):
                    simd.turn_evenly(scratch, i, imaginary + i, c, s)
        elif plain:
            for i in range(0, low, pad):
                simd.turn_by_table(
                    scratch, begin + i, imaginary + begin + i, scratch, factors + i, low
                )
        else:
            for i in range(0, low, pad):
                simd.turn_vectors(
                    scratch, begin + i, imaginary + begin + i, scratch, factors + i, low, c, s
                )


@kernel
def _lowest(number: int) -> int:
    """The lowest bit that is set."""
    bit = 0
    while not number >> bit & 1:
        bit += 1
    return bit


@kernel
def _turn_if(
    scratch: Any, block: int, mask: int, value: int, factor: complex, line: int, pad: int
) -> None:
    """Multiplies the amplitudes whose index has given values of some bits."""
    c, s = scratch.dtype.type(factor.real), scratch.dtype.type(factor.imag)
    imaginary = placed(1 << block, line, pad)
    run = mask & -mask if mask else 1 << block
    k = mask
    while k < 1 << block:
        begin = k ^ mask ^ value
        for i in range(begin, begin + run):
            at = placed(i, line, pad)
            x, y = scratch[at], scratch[imaginary + at]
            scratch[at], scratch[imaginary + at] = x * c - y * s, x * s + y * c
        k = (k + run) | mask


# --- blocks ----------------------------------------------------------------------------------


@kernel
def _load(
    state: Any, scratch: Any, n: int, block: int, outside: int, run: int, base: int, written: int,
    line: int, pad: int,
) -> None:  # fmt: skip
    one, zero = scratch.dtype.type(1), scratch.dtype.type(0)
    imaginary = placed(1 << block, line, pad)
    length = 1
    while length < 1 << min(run, line) and written & length:
        length *= 2
    s, to = outside, 0
    while s < 1 << n:
        source = s ^ outside ^ base
        s = (s + length) | outside
        ahead = s ^ outside ^ base
        for i in range(0, length, pad):
            # It will be written, and another core may have it: it is asked for once, and in time.
            simd.prefetch_to_write(state, ahead + i)
            simd.prefetch_to_write(state, (1 << n) + ahead + i)
        if source & ~written:
            for i in range(0, length, pad):
                at = placed(to + i, line, pad)
                simd.fill_vector(scratch, at, zero)
                simd.fill_vector(scratch, imaginary + at, zero)
        else:
            for i in range(0, length, pad):
                at = placed(to + i, line, pad)
                simd.copy_vector(scratch, at, state, source + i, one)
                simd.copy_vector(scratch, imaginary + at, state, (1 << n) + source + i, one)
        to += length


@kernel
def _store(
    state: Any, scratch: Any, n: int, block: int, outside: int, run: int, base: int,
    scale: float, line: int, pad: int,
) -> None:  # fmt: skip
    factor = scratch.dtype.type(scale)
    imaginary = placed(1 << block, line, pad)
    length = 1 << run
    s, source = outside, 0
    while s < 1 << n:
        to = s ^ outside ^ base
        for i in range(0, length, pad):
            at = placed(source + i, line, pad)
            simd.copy_vector(state, to + i, scratch, at, factor)
            simd.copy_vector(state, (1 << n) + to + i, scratch, imaginary + at, factor)
        source += length
        s = (s + length) | outside


@kernel
def _clear(state: Any, n: int, outside: int, run: int, base: int) -> None:
    length = 1 << run
    s = outside
    while s < 1 << n:
        to = s ^ outside ^ base
        state[to : to + length] = 0
        state[(1 << n) + to : (1 << n) + to + length] = 0
        s = (s + length) | outside


@kernel
def apply(
    scratch: Any, own: Any, block: int, row: int, local: Any, ops: Any, records: Any,
    tangents: Any, factors: Any, tables: Any, required: Any, begin: int, end: int, base: int,
    fresh: bool,
) -> None:  # fmt: skip
    """Applies operations to the block in the scratch, which is ``|0...0>`` if it is ``fresh``."""
    pad = _VECTOR_BYTES // scratch.itemsize
    line = line_bits(scratch.itemsize)
    rows_at = placed(2 << block, line, pad) + pad
    size = 4 * pad if fresh else 2 << block  # all numbers behind these are zero
    for o in range(begin, end):
        if ops[o, OP_KIND] == ROTATE or ops[o, OP_KIND] == PERMUTE:
            for k in range(ops[o, OP_COUNT]):
                size = max(size, 2 << ops[o, OP_BITS + k])
        else:
            size = 2 << block
        if ops[o, OP_KIND] == ROTATE:
            rotate(scratch, size, ops[o], tangents, line, pad)
        elif ops[o, OP_KIND] == MIX:
            mix(scratch, block, ops[o], tables, line, pad)
        elif ops[o, OP_KIND] == PERMUTE:
            permute(scratch, size, ops[o], records, tangents, base, line, pad)
        else:
            turn(
                scratch, rows_at, block, row, records[ops[o, OP_AT] :], factors, own, tables,
                required, local, base, line, pad,
            )  # fmt: skip


@kernel
def run_block(
    state: Any,
    scratch: Any,
    own: Any,
    n: int,
    block: int,
    row: int,
    stage: Any,
    local: Any,
    ops: Any,
    records: Any,
    tangents: Any,
    factors: Any,
    tables: Any,
    required: Any,
    scale: float,
    number: int,
    last: bool,
) -> None:
    """Applies a stage to one block.

    Args:
        number: of the block: the values of the qubits that are not local.
        last: whether zeros must be written, too, even if nothing has been before.
    """
    pad = _VECTOR_BYTES // scratch.itemsize
    line = line_bits(scratch.itemsize)
    outside = ((1 << n) - 1) ^ stage[STAGE_LOCAL]
    run = stage[STAGE_RUN]
    base, left = 0, number
    for q in range(n):
        if outside >> q & 1:
            base |= (left & 1) << q
            left >>= 1
    if base & ~stage[STAGE_LIVE]:  # a qubit that nothing has rotated is 1 here: all are zero
        if last:
            _clear(state, n, outside, run, base)
        return
    fresh = stage[STAGE_WRITTEN] == 0
    if fresh:
        scratch[: placed(2 << block, line, pad)] = 0
        scratch[0] = 1
    else:
        _load(state, scratch, n, block, outside, run, base, stage[STAGE_WRITTEN], line, pad)
    apply(
        scratch, own, block, row, local, ops, records, tangents, factors, tables, required,
        stage[STAGE_BEGIN], stage[STAGE_END], base, fresh,
    )  # fmt: skip
    _store(state, scratch, n, block, outside, run, base, scale, line, pad)


@kernel
def resume(
    trunk: Any, scratch: Any, state: Any, block: int, row: int, stages: Any, local: Any, ops: Any,
    records: Any, tangents: Any, factors: Any, tables: Any, required: Any, scales: Any, begin: int,
    end: int,
) -> None:  # fmt: skip
    """Copies a trunk, applies operations to the copy, and writes a state if these were the last.

    For plans of a single stage of a single block; a trunk is a scratch that holds such a block, and
    before the first operation ``|0...0>``.
    """
    mode = simd.flush_subnormals()
    pad = _VECTOR_BYTES // scratch.itemsize
    line = line_bits(scratch.itemsize)
    size = placed(2 << block, line, pad)
    if begin == 0:
        scratch[:size] = 0
        scratch[0] = 1
    elif trunk.ctypes.data != scratch.ctypes.data:
        scratch[:size] = trunk[:size]
    own = np.empty(block + 1, dtype=np.complex128)
    apply(
        scratch, own, block, row, local[0], ops, records, tangents, factors, tables, required,
        begin, end, 0, begin == 0,
    )  # fmt: skip
    if end == len(ops):
        _store(state, scratch, block, block, 0, block, 0, scales[0], line, pad)
    simd.restore_mode(mode)


@kernel
def first_changed(
    fills: Any, fill_ends: Any, items: Any, values: Any, other_items: Any, other_values: Any
) -> int:
    """The first operation whose items have other values: as many as there are if none has."""
    at = 0
    for o in range(len(fill_ends)):
        for f in range(at, fill_ends[o]):
            item = fills[f, 0]
            if items[item, 3] != other_items[item, 3]:
                return o
            for row in range(item, item + (FUSION_ROWS if items[item, 0] == FUSION else 1)):
                for k in range(3):
                    if values[row, k] != other_values[row, k]:
                        return o
        at = fill_ends[o]
    return len(fill_ends)


@kernel
def work(
    state: Any,
    scratch: Any,
    sync: Any,
    budget: int,
    first: int,
    last: int,
    block: int,
    row: int,
    stages: Any,
    local: Any,
    ops: Any,
    records: Any,
    tangents: Any,
    factors: Any,
    tables: Any,
    required: Any,
    scales: Any,
) -> bool:
    """What each thread does: takes blocks of stages ``first`` to ``last`` until none is left.

    Blocks are handed out in order, stage after stage; a block waits until all of the stage before
    are done, which threads that have them see to.

    Args:
        state: real ``(2 * 2**n,)``.
        scratch: real, ``scratch_size`` numbers of this thread's own.
        sync: int64 ``(DONE + stages,)``, shared, zero at the beginning.
        budget: blocks after which this thread returns in any case.

    Returns:
        Whether nothing is left to take: all is done once every thread has returned so.
    """
    mode = simd.flush_subnormals()
    n = 0
    while 2 << n < len(state):
        n += 1
    blocks = 1 << (n - block)
    own = np.empty(block + 1, dtype=np.complex128)
    finished = False
    for _ in range(budget):
        if simd.load_shared(sync, STOPPED):
            finished = True
            break
        ticket = simd.fetch_add(sync, TICKET, 1)
        stage = first + ticket // blocks
        if stage >= last:
            finished = True
            break
        if stage > first:
            while simd.load_shared(sync, DONE + stage - first - 1) < blocks:
                if simd.load_shared(sync, STOPPED):
                    break
                simd.yield_core()
            if simd.load_shared(sync, STOPPED):
                finished = True
                break
        run_block(
            state, scratch, own, n, block, row, stages[stage], local[stage], ops, records,
            tangents, factors, tables, required, scales[stage], ticket % blocks,
            first == 0 and stage == last - 1,
        )  # fmt: skip
        simd.fetch_add(sync, DONE + stage - first, 1)
    simd.restore_mode(mode)
    return finished
