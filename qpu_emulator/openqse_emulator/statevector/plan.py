"""The plan: the items of a program in stages, each of which one sweep over the state applies.

A *stage* names local qubits, so many that the amplitudes which differ in these alone, a *block*,
fit into a core's second-level cache. A rotation needs its qubit to be local, a phase needs nothing:
in a block the other bits are constants. So a stage takes from the items that are left whatever its
local qubits allow, in the order that the items' dependencies leave: rotations commute with all that
does not touch their qubit, phases also with each other. The lowest qubits are always local, so that
a block is read in runs; for the others several sets are tried, and the one that takes most
rotations is kept. (Häner and Steiger, arXiv:1704.01127, and Fatima and Markov, arXiv:2008.00216,
schedule gates by cache blocks in the same spirit.)

Within a stage items become *operations* on a block: rotations of up to four qubits and all lanes of
a vector, whose amplitudes stay in registers meanwhile; exchanges, with the rotations that come
after them; fusions; and phases, all that are ready at once.

A plan is integers alone, made from the kinds and qubits of items; ``bind`` adds the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from openqse_emulator.statevector import simd
from openqse_emulator.statevector.canonical import (
    COLLAPSE,
    EXCHANGE,
    FUSION,
    PHASE1,
    PHASE2,
    PHASE_MANY,
    ROTATION,
)
from openqse_emulator.statevector.compiled import kernel

#: Bytes of a block: half of a common second-level cache.
_BLOCK_BYTES = 2**19
#: A block may be beyond the cache where it is this power of two smaller than the state, and how far
#: beyond.
_SMALL_PART, _BEYOND_CACHE = 6, 3
#: A state of more than so many qubits is cut into at least this power of two of blocks.
_UNSHARED, _SHARES = 13, 2
#: Qubits that are always local: a run of 2**6 numbers is 256 or 512 bytes.
_RUN_QUBITS = 6
#: Fewest qubits of a state: the rest of a program with fewer stay zero.
LEAST_QUBITS = 6

# Columns of a stage: its operations; qubits (as masks) that are local, and that were rotated
# before, that is may be 1; how many of the lowest are local; and the qubits that are 1 in any index
# which the stage before has written, none before the first: other amplitudes are zero, whatever
# their memory holds.
STAGE_BEGIN, STAGE_END, STAGE_LOCAL, STAGE_LIVE, STAGE_RUN, STAGE_WRITTEN = range(6)
STAGE_COLUMNS = 6

# Columns of an operation. A rotation: kind, number k of bits that are not of a lane's number, these
# bits, whether lanes rotate, where its tangents begin. A phase: kind, where its record begins.
# Exchanges and the rotations after them: as rotations (lanes move or rotate, or neither), and where
# the record begins: how many exchanges there are, and for each the places of its target and its
# control: bits of a lane's number, then the others by their number among these; of a control that
# is not local -1 less its qubit. A mix: kind, number of bits that are not of a lane's number, its
# two bits, and where its coefficients begin.
OP_KIND, OP_COUNT, OP_BITS, OP_LANES, OP_AT, OP_RECORD = 0, 1, 2, 6, 7, 8
OP_COLUMNS = 9
ROTATE, TURN, PERMUTE, MIX = range(4)
#: Tangents of one operation: of four bits, and of those of a lane's number.
TANGENTS = 8
#: Rotations that a fusion counts for where a stage is chosen: their passes would cost as much.
_FUSION_WEIGHT = 6

# The record of a phase, in ``records``: where its factors begin (one for every local bit and one
# for the whole); where its tables begin, of pairs of low bits and of pairs of high bits (-1: none);
# lengths of the lists that follow; and for every high bit where the table of its pairs with low
# bits begins (-1: none). Then the lists: a factor for a bit of the block's number (qubit, factor),
# for two of them (qubit, qubit, factor), for one and a local bit (bit, qubit, factor); for two low
# bits, two high ones, a low and a high one (bit, bit, factor); for the bits of a mask (local mask,
# mask of others, item, factor).
REC_FACTORS, REC_LOW_PAIRS, REC_HIGH_PAIRS = range(3)
REC_LENGTHS, REC_MIXED = 3, 10
LISTS = 7
(OUTER, OUTER_PAIR, INNER_OUTER, LOW_PAIR, HIGH_PAIR, MIXED_PAIR, MANY) = range(LISTS)

# Columns of ``fills``: what an item's number is for. A tangent: item, -1, place. A factor: item,
# which of its numbers, place. An exchange, which has no number, and a fusion: item, -1, -1.
FILL_ITEM, FILL_WHICH, FILL_PLACE = range(3)


def block_qubits(num_qubits: int, dtype: DTypeLike) -> int:
    """How many qubits are local, whatever the number of threads: so that rounding is the same.

    A block fits into the second-level cache. Larger ones, of which fewer stages come, do better
    where they are still a small part of the state; and small states are cut into several blocks,
    so that threads can share the work.
    """
    cached = (_BLOCK_BYTES // (2 * np.dtype(dtype).itemsize)).bit_length() - 1
    large = min(num_qubits - _SMALL_PART, cached + _BEYOND_CACHE)
    shared = max(num_qubits - _SHARES, _UNSHARED)
    return max(LEAST_QUBITS, min(num_qubits, max(cached, large), shared))


def lane_qubits(dtype: DTypeLike) -> int:
    """The lowest qubits, whose bits are a lane's number."""
    return simd.lanes(dtype).bit_length() - 1


def row_qubits(dtype: DTypeLike) -> int:
    """Low bits of a block: a *row* is sixteen vectors, and phases that depend on these bits alone
    are the same in all rows."""
    return min(LEAST_QUBITS + 2, (16 * simd.lanes(dtype)).bit_length() - 1)


@dataclass(frozen=True, eq=False)
class Plan:
    """The stages of a program's items.

    Attributes:
        num_qubits: of the state, at least ``LEAST_QUBITS``.
        block, row: qubits of a block, and of a row of a block.
        items: int64 ``(items, 4)``: for which the plan was made.
        segments: int64 ``(segments + 1,)``: the stages before each collapse, and those after all.
        stages: int64 ``(stages, STAGE_COLUMNS)``.
        local: int64 ``(stages, block)``: the local qubits, ascending: bits of an index in a block.
        ops: int64 ``(operations, OP_COLUMNS)``. records: int64. fills: int64 ``(numbers, 3)``.
        fill_ends: int64 ``(operations,)``: where each operation's fills end.
        tangents, factors, table_size: how many numbers ``bind`` writes.
    """

    num_qubits: int
    block: int
    row: int
    items: NDArray[np.int64]
    segments: NDArray[np.int64]
    stages: NDArray[np.int64]
    local: NDArray[np.int64]
    ops: NDArray[np.int64]
    records: NDArray[np.int64]
    fills: NDArray[np.int64]
    fill_ends: NDArray[np.int64]
    tangents: int
    factors: int
    table_size: int

    @property
    def sweeps(self) -> int:
        """Passes over the state."""
        return len(self.stages)


def plan(
    items: NDArray[np.int64],
    num_qubits: int,
    dtype: DTypeLike,
    *,
    block: int,
    keep_phases: bool = True,
) -> Plan:
    """Plans items.

    Args:
        items: int64 ``(items, 4)``, as ``canonical`` writes them.
        num_qubits: of the state.
        dtype: float32 or float64, of the state's numbers.
        block: number of local qubits, from ``LEAST_QUBITS`` to ``num_qubits``.
        keep_phases: whether phases that no outcome of a measurement depends on are applied.
    """
    lane_bits = lane_qubits(dtype)
    row = min(block, row_qubits(dtype))
    run = max(lane_bits, min(_RUN_QUBITS, block - 2))  # two at least can be chosen
    written = _plan(items, num_qubits, block, row, run, lane_bits, keep_phases)
    segments, stages, local, ops, records, fills, fill_ends, sizes = written
    return Plan(
        num_qubits, block, row, items, segments, stages, local, ops, records, fills, fill_ends,
        *(int(size) for size in sizes),
    )  # fmt: skip


@kernel
def _plan(items: Any, n: int, b: int, row: int, run: int, lane_bits: int, keep_phases: bool) -> Any:
    count = len(items)
    masks = _masks(items)
    alive = _alive(items, masks, keep_phases)
    most_stages = count + 1
    collapses = 0
    for i in range(count):
        collapses += items[i, 0] == COLLAPSE
    segments = np.zeros(collapses + 2, dtype=np.int64)
    stages = np.zeros((most_stages, STAGE_COLUMNS), dtype=np.int64)
    local = np.zeros((most_stages, b), dtype=np.int64)
    ops = np.zeros((count + 1, OP_COLUMNS), dtype=np.int64)
    records = np.zeros((count + 1) * (REC_MIXED + b - row) + 4 * 3 * count, dtype=np.int64)
    fills = np.zeros((3 * count, 3), dtype=np.int64)
    fill_ends = np.zeros(count + 1, dtype=np.int64)
    # What has been written of stages, operations, records, fills, tangents, factors, tables.
    sizes = np.zeros(7, dtype=np.int64)
    chosen = np.zeros(count, dtype=np.bool_)
    best = np.zeros(count, dtype=np.bool_)
    live = written = 0
    begun = 0
    for segment in range(collapses + 1):
        end = begun
        while end < count and items[end, 0] != COLLAPSE:
            end += 1
        left = np.empty(end - begun, dtype=np.int64)
        m = 0
        for i in range(begun, end):
            if alive[i]:
                left[m] = i
                m += 1
        while m > 0:
            qubits = _choose(items, masks, left[:m], n, b, run, chosen, best)
            stage = sizes[0]
            at = 0
            for q in range(n):
                if qubits >> q & 1:
                    local[stage, at] = q
                    at += 1
            stages[stage, STAGE_BEGIN] = sizes[1]
            stages[stage, STAGE_LOCAL], stages[stage, STAGE_LIVE] = qubits, live
            stages[stage, STAGE_WRITTEN] = written
            written = live | qubits
            while qubits >> stages[stage, STAGE_RUN] & 1:
                stages[stage, STAGE_RUN] += 1
            taken = np.empty(m, dtype=np.int64)
            kept, took = 0, 0
            for i in left[:m]:
                if best[i]:
                    taken[took] = i
                    took += 1
                    if items[i, 0] in (ROTATION, EXCHANGE, FUSION):
                        live |= masks[i]
                else:
                    left[kept] = i
                    kept += 1
            m = kept
            _write_stage(
                items, masks, taken[:took], local[stage], n, row, lane_bits,
                ops, records, fills, fill_ends, sizes,
            )  # fmt: skip
            stages[stage, STAGE_END] = sizes[1]
            sizes[0] += 1
        if segment == 0 and sizes[0] == 0:  # a stage without operations, which writes |0...0>
            stages[0, STAGE_LOCAL] = (1 << b) - 1
            stages[0, STAGE_RUN] = b
            local[0] = np.arange(b)
            sizes[0] = 1
        if end < count and items[end, 2] < -1:
            live |= masks[end]  # a channel may turn a qubit that no gate has
        segments[segment + 1] = sizes[0]
        begun = end + 1
        written = (1 << n) - 1  # a state that a collapse looks at is there in full
    return (
        segments,
        stages[: sizes[0]].copy(),
        local[: sizes[0]].copy(),
        ops[: sizes[1]].copy(),
        records[: sizes[2]].copy(),
        fills[: sizes[3]].copy(),
        fill_ends[: sizes[1]].copy(),
        sizes[4:].copy(),
    )


@kernel
def _masks(items: Any) -> Any:
    """The qubits of each item."""
    masks = np.zeros(len(items), dtype=np.int64)
    for i in range(len(items)):
        kind, p, q = items[i, 0], items[i, 1], items[i, 2]
        if kind == PHASE_MANY:
            masks[i] = p
        elif kind in (PHASE2, EXCHANGE, FUSION):
            masks[i] = 1 << p | 1 << q
        elif kind == COLLAPSE:
            masks[i] = 1 << (p & 63) | 1 << (p >> 6)  # of a channel on one qubit also qubit 0
        else:
            masks[i] = 1 << p
    return masks


@kernel
def _alive(items: Any, masks: Any, keep_phases: bool) -> Any:
    """Whether an item is to be applied: not phases of qubits that are still zero nor exchanges that
    these control, and if so asked not phases of qubits that no rotation follows."""
    alive = np.ones(len(items), dtype=np.bool_)
    live = 0
    for i in range(len(items)):
        if items[i, 0] == ROTATION:
            live |= masks[i]
        elif items[i, 0] == FUSION:
            alive[i] = items[i, 3] == 0  # the other rows are its numbers
            live |= masks[i]
        elif items[i, 0] == EXCHANGE:
            alive[i] = live >> items[i, 1] & 1
            if alive[i]:
                live |= masks[i]
        elif items[i, 0] in (PHASE1, PHASE2) and not live & masks[i]:
            alive[i] = False
        elif items[i, 0] == COLLAPSE and items[i, 2] < -1:
            live |= masks[i]
    if keep_phases:
        return alive
    rotated = 0
    for i in range(len(items) - 1, -1, -1):
        kind = items[i, 0]
        if not alive[i]:
            continue
        if kind in (ROTATION, EXCHANGE, FUSION) or (kind == COLLAPSE and items[i, 2] < -1):
            rotated |= masks[i]
        elif kind != COLLAPSE and not rotated & masks[i]:
            if kind == PHASE1 and items[i, 2]:
                continue  # it changes probabilities
            alive[i] = False
    return alive


# --- which items make a stage ----------------------------------------------------------------


@kernel
def _take(items: Any, masks: Any, left: Any, qubits: int, most: int, n: int, chosen: Any) -> Any:
    """Chooses from the items that are left what local qubits allow, adding qubits as long as they
    are fewer than ``most``: the number of rotations chosen, and the local qubits."""
    everything = (1 << n) - 1
    blocked = 0  # an item on these qubits was not chosen: nothing behind it can be
    guarded = 0  # only phases were not chosen: other phases can be
    room = most
    for q in range(n):
        room -= qubits >> q & 1
    rotations = 0
    for i in left:
        mask = masks[i]
        chosen[i] = False
        if blocked == everything:
            continue
        if items[i, 0] in (ROTATION, EXCHANGE, FUSION):
            control = 0
            if items[i, 0] == EXCHANGE:  # commutes with phases of its control
                control = 1 << items[i, 1]
                mask ^= control
            ok = not ((blocked | guarded) & mask or blocked & control)
            if ok and mask & ~qubits:
                missing = 1 + ((mask & ~qubits) & ((mask & ~qubits) - 1) != 0)
                if room >= missing:
                    qubits |= mask
                    room -= missing
                else:
                    ok = False
            if ok:
                chosen[i] = True
                rotations += _FUSION_WEIGHT if items[i, 0] == FUSION else 1
            else:
                blocked |= mask
                guarded |= control
        elif blocked & mask:
            guarded |= mask
        else:
            chosen[i] = True
    return rotations, qubits


@kernel
def _choose(
    items: Any, masks: Any, left: Any, n: int, b: int, run: int, chosen: Any, best: Any
) -> int:
    """The local qubits of a stage, and in ``best`` the items that it takes."""
    low = (1 << run) - 1
    rest = b - run
    most, winner = -1, 0
    # Sets grown from the items' order, from scratch and from half a window of neighbours, and whole
    # windows.
    for trial in range(2 * (n - run) + 1):
        qubits = low
        if trial > 0:
            if n <= b:
                break
            begin = run + (trial - 1) // 2
            width = rest if trial % 2 else rest // 2
            if begin + width > n:
                continue
            qubits |= ((1 << width) - 1) << begin
        rotations, grown = _take(items, masks, left, qubits, b, n, chosen)
        if rotations > most:
            most, winner = rotations, grown
            for i in left:
                best[i] = chosen[i]
    size = 0
    for q in range(n):
        size += winner >> q & 1
    for q in range(n):
        if size < b and not winner >> q & 1:
            winner |= 1 << q
            size += 1
    return winner


# --- what a stage does -----------------------------------------------------------------------


@kernel
def _write_stage(
    items: Any,
    masks: Any,
    taken: Any,
    local: Any,
    n: int,
    row: int,
    lane_bits: int,
    ops: Any,
    records: Any,
    fills: Any,
    fill_ends: Any,
    sizes: Any,
) -> None:
    """Writes the operations of a stage: rotations and phases in turn, each as soon as it can be."""
    b = len(local)
    bit_of = np.full(n, -1, dtype=np.int64)
    for bit in range(b):
        bit_of[local[bit]] = bit
    # An item's step: a multiple of three for fusions, one more for exchanges and the rotations
    # after them, two more for phases.
    steps = np.empty(len(taken), dtype=np.int64)
    reached = np.full(n, -1, dtype=np.int64)
    for k in range(len(taken)):
        i = taken[k]
        step = -1
        for q in range(n):
            if masks[i] >> q & 1:
                step = max(step, reached[q])
        if items[i, 0] == FUSION:
            step += -step % 3
        elif items[i, 0] in (EXCHANGE, ROTATION):
            step += (1 - step) % 3
        else:
            step += (2 - step) % 3
        steps[k] = step
        for q in range(n):
            if masks[i] >> q & 1:
                reached[q] = step + (items[i, 0] == ROTATION)  # no exchange after it in this step
    order = np.argsort(steps, kind="mergesort")
    begun = 0
    while begun < len(order):
        end = begun
        step = steps[order[begun]]
        while end < len(order) and steps[order[end]] == step:
            end += 1
        group = taken[order[begun:end]]
        if step % 3 == 2:
            _write_phases(items, group, bit_of, b, row, ops, records, fills, fill_ends, sizes)
        elif step % 3 == 0:
            _write_fusions(items, group, bit_of, lane_bits, ops, fills, fill_ends, sizes)
        else:
            rotations = np.full(b, -1, dtype=np.int64)  # by their bit
            exchanges = np.empty(len(group), dtype=np.int64)
            count = 0
            for i in group:
                if items[i, 0] == ROTATION:
                    rotations[bit_of[items[i, 1]]] = i
                else:
                    exchanges[count] = i
                    count += 1
            _write_exchanges(
                items, exchanges[:count], rotations, bit_of, lane_bits, ops, records, fills,
                fill_ends, sizes,
            )  # fmt: skip
            _write_rotations(rotations, lane_bits, ops, fills, fill_ends, sizes)
        begun = end


@kernel
def _write_exchanges(
    items: Any, group: Any, rotations: Any, bit_of: Any, lane_bits: int, ops: Any, records: Any,
    fills: Any, fill_ends: Any, sizes: Any,
) -> None:  # fmt: skip
    """Exchanges in order, as many in one operation as a pass can do: together they have no more
    than four bits that are not of a lane's number, and take the numbers of a vector from two.

    Each operation takes on the rotations of its bits that no later exchange of the group has, and
    of further bits as long as it has less than four.

    Args:
        rotations: the rotation of each bit, -1 for none; those taken on are removed.
    """
    bits = np.empty(4, dtype=np.int64)
    later = np.zeros(len(rotations), dtype=np.int64)  # how many exchanges are left that have a bit
    for i in group:
        for q in items[i, 1:3]:
            if bit_of[q] >= 0:
                later[bit_of[q]] += 1
    begun = 0
    while begun < len(group):
        op, at = ops[sizes[1]], sizes[2]
        sources = 1 << np.arange(64)  # from where a number comes, for each bit of its index
        count, end, lanes = 0, begun, False
        while end < len(group):
            control, target = bit_of[items[group[end], 1]], bit_of[items[group[end], 2]]
            wanted = count
            for bit in (control, target):
                if bit >= lane_bits and _place(bits, wanted, bit) < 0:
                    if wanted < 4:
                        bits[wanted] = bit
                    wanted += 1
            if wanted > 4:
                break
            if control >= 0:
                sources[control] ^= sources[target]
            if _vectors(sources, lane_bits) > 2:
                break
            lanes |= target < lane_bits or (0 <= control < lane_bits)
            count = wanted
            records[at + 1 + 2 * (end - begun)] = _exchanged_place(bits, count, target, lane_bits)
            records[at + 2 + 2 * (end - begun)] = (
                _exchanged_place(bits, count, control, lane_bits)
                if control >= 0
                else -1 - items[group[end], 1]
            )
            _fill(fills, sizes, group[end], -1, -1)
            for bit in (control, target):
                if bit >= 0:
                    later[bit] -= 1
            end += 1
        for bit in range(len(rotations)):
            if rotations[bit] < 0 or later[bit]:
                continue
            place = 4 + bit
            if bit >= lane_bits:
                place = _place(bits, count, bit)
                if place < 0 and count < 4:
                    bits[count] = bit
                    place = count
                    count += 1
            elif not lanes:
                continue
            if place >= 0:
                _fill(fills, sizes, rotations[bit], -1, sizes[4] + place)
                rotations[bit] = -1
        op[OP_KIND], op[OP_COUNT], op[OP_LANES], op[OP_AT] = PERMUTE, count, lanes, sizes[4]
        op[OP_BITS : OP_BITS + count] = bits[:count]
        op[OP_RECORD] = at
        records[at] = end - begun
        sizes[2] = at + 1 + 2 * (end - begun)
        sizes[4] += TANGENTS
        fill_ends[sizes[1]] = sizes[3]
        sizes[1] += 1
        begun = end


@kernel
def _vectors(sources: Any, lane_bits: int) -> int:
    """From how many vectors the numbers of one come."""
    found, count = 0, 1
    for bit in range(lane_bits):
        beyond = sources[bit] >> lane_bits
        if beyond and beyond != found:
            found, count = beyond, 2 * count
    return count


@kernel
def _exchanged_place(bits: Any, count: int, bit: int, lane_bits: int) -> int:
    return bit if bit < lane_bits else lane_bits + _place(bits, count, bit)


@kernel
def _place(bits: Any, count: int, bit: int) -> int:
    """Where a bit is among the first ``count`` of some bits; -1 if it is not."""
    for k in range(count):
        if bits[k] == bit:
            return k
    return -1


@kernel
def _write_fusions(
    items: Any, group: Any, bit_of: Any, lane_bits: int, ops: Any, fills: Any, fill_ends: Any,
    sizes: Any,
) -> None:  # fmt: skip
    """Fusions in order, each an operation."""
    for i in group:
        op = ops[sizes[1]]
        low, high = bit_of[items[i, 1]], bit_of[items[i, 2]]
        op[OP_KIND], op[OP_BITS], op[OP_BITS + 1], op[OP_AT] = MIX, low, high, sizes[6]
        op[OP_COUNT] = (low >= lane_bits) + (high >= lane_bits)
        sizes[6] += 1 << (3 + lane_bits + op[OP_COUNT])  # numbers of ``simd.mix_vectors``
        _fill(fills, sizes, i, -1, -1)
        fill_ends[sizes[1]] = sizes[3]
        sizes[1] += 1


@kernel
def _write_rotations(
    rotations: Any, lane_bits: int, ops: Any, fills: Any, fill_ends: Any, sizes: Any
) -> None:
    """Rotations by fours, from the lowest bit; those of lanes join the first four."""
    inner = (rotations[:lane_bits] >= 0).sum()
    outer = (rotations[lane_bits:] >= 0).sum()
    if inner + outer == 0:
        return
    passes = max(1, (outer + 3) // 4)
    bit = lane_bits
    for p in range(passes):
        size = (outer + passes - 1 - p) // passes
        op = ops[sizes[1]]
        op[OP_KIND], op[OP_COUNT], op[OP_AT] = ROTATE, size, sizes[4]
        for k in range(size):
            while rotations[bit] < 0:
                bit += 1
            op[OP_BITS + k] = bit
            _fill(fills, sizes, rotations[bit], -1, sizes[4] + k)
            bit += 1
        if p == 0 and inner:
            op[OP_LANES] = 1
            for k in range(lane_bits):
                if rotations[k] >= 0:
                    _fill(fills, sizes, rotations[k], -1, sizes[4] + 4 + k)
        sizes[4] += TANGENTS
        fill_ends[sizes[1]] = sizes[3]
        sizes[1] += 1


@kernel
def _fill(fills: Any, sizes: Any, item: int, which: int, place: int) -> None:
    at = sizes[3]
    fills[at, FILL_ITEM], fills[at, FILL_WHICH], fills[at, FILL_PLACE] = item, which, place
    sizes[3] += 1


@kernel
def _write_phases(
    items: Any, group: Any, bit_of: Any, b: int, row: int, ops: Any, records: Any, fills: Any,
    fill_ends: Any, sizes: Any,
) -> None:  # fmt: skip
    """The record of some phases."""
    begun = sizes[2]
    base = sizes[5]
    sizes[5] += b + 1
    record = records[begun:]
    record[:REC_MIXED] = 0
    record[REC_FACTORS] = base
    record[REC_LOW_PAIRS] = record[REC_HIGH_PAIRS] = -1
    record[REC_MIXED : REC_MIXED + b - row] = -1
    lists = np.empty((LISTS, 3 * len(group), 4), dtype=np.int64)
    lengths = np.zeros(LISTS, dtype=np.int64)
    for i in group:
        if items[i, 0] == PHASE_MANY:
            inner, outer = 0, 0
            for q in range(len(bit_of)):
                if items[i, 1] >> q & 1:
                    if bit_of[q] >= 0:
                        inner |= 1 << bit_of[q]
                    else:
                        outer |= 1 << q
            entry = lists[MANY, lengths[MANY]]
            entry[0], entry[1], entry[2], entry[3] = inner, outer, i, sizes[5]
            _fill(fills, sizes, i, 0, sizes[5])
            sizes[5] += 1
            lengths[MANY] += 1
            continue
        p, q = items[i, 1], items[i, 2]
        _write_single(p, i, 0, bit_of, base, lists, lengths, fills, sizes)
        if items[i, 0] == PHASE1:
            continue
        _write_single(q, i, 1, bit_of, base, lists, lengths, fills, sizes)
        x, y = bit_of[p], bit_of[q]
        if x < 0 and y < 0:
            kind, x, y = OUTER_PAIR, p, q
        elif x < 0 or y < 0:
            kind, x, y = INNER_OUTER, max(x, y), p if x < 0 else q
        else:
            x, y = min(x, y), max(x, y)
            kind = LOW_PAIR if y < row else (HIGH_PAIR if x >= row else MIXED_PAIR)
        _write_entry(kind, x, y, i, 2, lists, lengths, fills, sizes)
    if lengths[LOW_PAIR]:
        record[REC_LOW_PAIRS] = sizes[6]
        sizes[6] += 2 << row
    if lengths[HIGH_PAIR]:
        record[REC_HIGH_PAIRS] = sizes[6]
        sizes[6] += 2 << (b - row)
    for k in range(lengths[MIXED_PAIR]):
        high = REC_MIXED + lists[MIXED_PAIR, k, 1] - row
        if record[high] < 0:
            record[high] = sizes[6]
            sizes[6] += 2 << row
    at = REC_MIXED + b - row
    for kind in range(LISTS):
        record[REC_LENGTHS + kind] = lengths[kind]
        width = 2 if kind == OUTER else (4 if kind == MANY else 3)
        for k in range(lengths[kind]):
            record[at : at + width] = lists[kind, k, :width]
            at += width
    op = ops[sizes[1]]
    op[OP_KIND], op[OP_AT] = TURN, begun
    fill_ends[sizes[1]] = sizes[3]
    sizes[1] += 1
    sizes[2] = begun + at


@kernel
def _write_single(
    q: int,
    item: int,
    which: int,
    bit_of: Any,
    base: int,
    lists: Any,
    lengths: Any,
    fills: Any,
    sizes: Any,
) -> None:
    """The factor of one qubit's bit."""
    bit = bit_of[q]
    if bit >= 0:
        _fill(fills, sizes, item, which, base + bit)
        return
    for k in range(lengths[OUTER]):
        if lists[OUTER, k, 0] == q:
            _fill(fills, sizes, item, which, lists[OUTER, k, 1])
            return
    entry = lists[OUTER, lengths[OUTER]]
    entry[0], entry[1] = q, sizes[5]
    lengths[OUTER] += 1
    _fill(fills, sizes, item, which, sizes[5])
    sizes[5] += 1


@kernel
def _write_entry(
    kind: int, x: int, y: int, item: int, which: int, lists: Any, lengths: Any, fills: Any,
    sizes: Any,
) -> None:  # fmt: skip
    """The factor of two bits: a new entry, or a further number for one that is there."""
    for k in range(lengths[kind]):
        if lists[kind, k, 0] == x and lists[kind, k, 1] == y:
            _fill(fills, sizes, item, which, lists[kind, k, 2])
            return
    entry = lists[kind, lengths[kind]]
    entry[0], entry[1], entry[2] = x, y, sizes[5]
    lengths[kind] += 1
    _fill(fills, sizes, item, which, sizes[5])
    sizes[5] += 1
