"""What is read off a state: samples, marginals, expectations; and collapses.

All kernels read the state in *chunks* of ``2**CHUNK`` amplitudes, whose sums are added in order,
whoever computed them: so a result depends on neither the number of threads nor who was faster.
Nothing here makes a copy of the state.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from openqse_emulator.statevector import simd
from openqse_emulator.statevector.compiled import kernel

#: Qubits of a chunk: 1024 amplitudes, whose probabilities stay in the first-level cache.
CHUNK = 10
_FEW = 32
#: Outcomes that are written at a time.
_TILE = 1024
_BELOW_ONE = float(np.nextafter(1.0, 0.0))
#: Most measured qubits whose joint distribution is tabulated instead of searched in the state.
TABLE = 10


@kernel
def weigh(state: Any, begin: int, end: int, weights: Any) -> None:
    """Writes the squared norm of chunks ``begin`` to ``end``: float64 ``(chunks,)``."""
    half = len(state) // 2
    size = min(1 << CHUNK, half)
    for chunk in range(begin, end):
        re = state[chunk * size : (chunk + 1) * size]
        im = state[half + chunk * size : half + (chunk + 1) * size]
        total = 0.0
        for i in range(size):
            total += np.float64(re[i] * re[i] + im[i] * im[i])
        weights[chunk] = total


@kernel
def tabulate(state: Any, begin: int, end: int, bits: Any, table: Any) -> None:
    """Adds the probabilities of chunks to the joint distribution of some bits of the index:
    float64 ``(2**bits,)``."""
    half = len(state) // 2
    size = min(1 << CHUNK, half)
    shared = np.zeros(size, dtype=np.int64)  # what the low bits of the index contribute
    for k in range(len(bits)):
        for i in range(size):
            shared[i] |= (i >> bits[k] & 1) << k
    for chunk in range(begin, end):
        base = chunk * size
        outer = 0
        for k in range(len(bits)):
            outer |= (base >> bits[k] & 1) << k
        re, im = state[base : base + size], state[half + base : half + base + size]
        for i in range(size):
            table[outer | shared[i]] += np.float64(re[i] * re[i] + im[i] * im[i])


@kernel
def guide(cumulative: Any, starts: Any) -> None:
    """Writes where a search for ``k / len(starts)`` of the total begins: int64 ``(any,)``."""
    at = 0
    total = cumulative[-1]
    for k in range(len(starts)):
        while at < len(cumulative) - 1 and cumulative[at] <= total * k / len(starts):
            at += 1
        starts[k] = at


@kernel
def find(cumulative: Any, starts: Any, draw: float) -> Any:
    """The first entry above ``draw`` of the total; ``draw`` is from [0, 1)."""
    at = starts[int(draw * len(starts))]
    # The product must not be rounded up to the total, beyond which there is no entry.
    sought = min(draw * cumulative[-1], cumulative[-1] * _BELOW_ONE)
    while at < len(cumulative) - 1 and cumulative[at] <= sought:
        at += 1
    return at


@kernel
def spell(places: Any, spelling: Any) -> None:
    """Writes what the bytes of an outcome contribute to the bits that it is written as.

    Args:
        places: int64 ``(measurements, 3)``: bit of the outcome, classical bit, and whether it is
            written the other way round.
        spelling: uint64 ``(words of a row, bytes of an outcome + 2, 256)``, written: the bits for
            each value of each byte, to be joined by exclusive or; then, as the first entries of the
            last two, those of an outcome of zeros, and which bits are written at all. With no byte
            of an outcome: bit ``i`` is classical bit ``i``, and there are no others.
    """
    spelling[:] = 0
    last = spelling.shape[1] - 2
    for m in range(len(places)):
        byte, bit = places[m, 0] >> 3, places[m, 0] & 7
        word, flag = spelling[places[m, 1] >> 6], np.uint64(1) << np.uint64(places[m, 1] & 63)
        if last:
            for value in range(256):
                if value >> bit & 1:
                    word[byte, value] |= flag
        if places[m, 2]:
            word[last, 0] |= flag
        word[last + 1, 0] |= flag


@kernel
def write_outcomes(outcomes: Any, spelling: Any, memory: Any) -> None:
    """Writes outcomes into rows of ``Samples.memory``, and leaves their other bits alone.

    Args:
        outcomes: int64 ``(shots,)``.
    """
    shots, size = memory.shape
    last = spelling.shape[1] - 2
    words = np.empty(_TILE, dtype=np.uint64)
    for begin in range(0, shots, _TILE):
        count = min(_TILE, shots - begin)
        for w in range(len(spelling)):
            same, written = spelling[w, last, 0], spelling[w, last + 1, 0]
            if last == 0:  # the bits of the outcome in order, all of the row
                written = ~np.uint64(0)
            for i in range(count):
                outcome = outcomes[begin + i]
                bits = np.uint64(outcome) if last == 0 else np.uint64(0)
                for byte in range(last):
                    bits ^= spelling[w, byte, outcome >> (8 * byte) & 255]
                words[i] = bits ^ same
            for at in range(8 * w, min(8 * w + 8, size)):
                shift = np.uint64(8 * (at - 8 * w))
                kept = ~np.uint8(written >> shift)
                for i in range(count):
                    row = begin + i
                    memory[row, at] = memory[row, at] & kept | np.uint8(words[i] >> shift)


@kernel
def read_table(cumulative: Any, starts: Any, draws: Any, spelling: Any, memory: Any) -> None:
    """Draws outcomes from the running sum of a joint distribution.

    Args:
        draws: float64 ``(shots,)``, uniform in [0, 1).
        memory: uint8 ``(shots, bytes)``, written.
    """
    outcomes = np.empty(len(draws), dtype=np.int64)
    for shot in range(len(draws)):
        outcomes[shot] = find(cumulative, starts, draws[shot])
    write_outcomes(outcomes, spelling, memory)


@kernel
def read_state(
    state: Any, cumulative: Any, starts: Any, draws: Any, spelling: Any, memory: Any
) -> None:
    """Draws indices of the state, with the running sum of the chunks' weights.

    Shots are put in the order of their chunks first, so that each chunk is read once.
    """
    half = len(state) // 2
    size = min(1 << CHUNK, half)
    outcomes = np.empty(len(draws), dtype=np.int64)  # at first, chunks
    ends = np.zeros(len(cumulative) + 1, dtype=np.int64)
    for shot in range(len(draws)):
        chunk = find(cumulative, starts, draws[shot])
        outcomes[shot] = chunk
        ends[chunk + 1] += 1
    for chunk in range(len(cumulative)):
        ends[chunk + 1] += ends[chunk]
    order = np.empty(len(draws), dtype=np.int32)
    filled = ends[:-1].copy()
    for shot in range(len(draws)):
        chunk = outcomes[shot]
        order[filled[chunk]] = shot
        filled[chunk] += 1
    sums = np.empty(size, dtype=np.float64)
    inner = np.empty(size, dtype=np.int64)
    total = cumulative[-1]
    for chunk in range(len(cumulative)):
        if ends[chunk] == ends[chunk + 1]:
            continue
        base = chunk * size
        running = 0.0
        for i in range(size):
            x, y = np.float64(state[base + i]), np.float64(state[half + base + i])
            running += x * x + y * y
            sums[i] = running
        below = cumulative[chunk - 1] if chunk else 0.0
        within = cumulative[chunk] - below
        starts_here = inner
        if ends[chunk + 1] - ends[chunk] < _FEW:  # too few to be worth the whole guide
            starts_here = inner[:_FEW]
        guide(sums, starts_here)
        for k in range(ends[chunk], ends[chunk + 1]):
            shot = order[k]
            # Rounding may leave a number a little outside of its chunk.
            draw = min(max((draws[shot] * total - below) / within, 0.0), _BELOW_ONE)
            outcomes[shot] = base + find(sums, starts_here, draw)
    write_outcomes(outcomes, spelling, memory)


# --- collapses -------------------------------------------------------------------------------


@kernel
def weigh_bit(state: Any, begin: int, end: int, bit: int, weights: Any) -> None:
    """Writes the squared norm of the amplitudes of chunks in which a bit of the index is 0, and in
    which it is 1: float64 ``(chunks, 2)``."""
    half = len(state) // 2
    size = min(1 << CHUNK, half)
    for chunk in range(begin, end):
        zero, one = 0.0, 0.0
        for i in range(chunk * size, (chunk + 1) * size):
            p = np.float64(state[i] * state[i] + state[half + i] * state[half + i])
            if i >> bit & 1:
                one += p
            else:
                zero += p
        weights[chunk, 0], weights[chunk, 1] = zero, one


@kernel
def project(state: Any, bit: int, outcome: int, factor: float, becomes: int) -> None:
    """Keeps the amplitudes whose index has a bit with this outcome, times a factor, and gives the
    bit the value that it ``becomes``."""
    half = len(state) // 2
    scale = state.dtype.type(factor)
    run = 1 << bit
    for part in range(0, len(state), half):
        for begin in range(part, part + half, 2 * run):
            zeros, ones = state[begin : begin + run], state[begin + run : begin + 2 * run]
            kept, to = (ones, zeros) if outcome else (zeros, ones)
            if outcome != becomes:
                for i in range(run):
                    to[i] = kept[i] * scale
                    kept[i] = 0
            else:
                for i in range(run):
                    kept[i] *= scale
                    to[i] = 0


@kernel
def reduce(state: Any, bits: Any, matrix: Any) -> None:
    """Writes the reduced density matrix of some bits: complex128 ``(2**bits, 2**bits)``."""
    half = len(state) // 2
    size = len(matrix)
    offsets = np.zeros(size, dtype=np.int64)
    for r in range(size):
        for k in range(len(bits)):
            offsets[r] |= (r >> k & 1) << bits[k]
    fixed = offsets[size - 1]
    matrix[:] = 0
    i = fixed
    while i < half:
        base = i ^ fixed
        for r in range(size):
            a = complex(state[base + offsets[r]], state[half + base + offsets[r]])
            for c in range(size):
                b = complex(state[base + offsets[c]], state[half + base + offsets[c]])
                matrix[r, c] += a * b.conjugate()
        i = (i + 1) | fixed


@kernel
def multiply(state: Any, bits: Any, matrix: Any) -> None:
    """Multiplies by any matrix on some bits: complex128 ``(2**bits, 2**bits)``, the first bit being
    the least significant of its indices."""
    half = len(state) // 2
    size = len(matrix)
    offsets = np.zeros(size, dtype=np.int64)
    for r in range(size):
        for k in range(len(bits)):
            offsets[r] |= (r >> k & 1) << bits[k]
    fixed = offsets[size - 1]
    held = np.empty(size, dtype=np.complex128)
    i = fixed
    while i < half:
        base = i ^ fixed
        for r in range(size):
            held[r] = complex(state[base + offsets[r]], state[half + base + offsets[r]])
        for r in range(size):
            total = 0j
            for c in range(size):
                total += matrix[r, c] * held[c]
            state[base + offsets[r]], state[half + base + offsets[r]] = total.real, total.imag
        i = (i + 1) | fixed


# --- expectations ----------------------------------------------------------------------------


@kernel
def transform(values: Any) -> None:
    """The Walsh-Hadamard transform in place: entry ``s`` becomes the sum of all entries ``i``, with
    a minus where ``i & s`` has an odd number of bits (Fino and Algazi, IEEE Trans. Comput. 25,
    1142, 1976)."""
    lanes = simd.VECTOR_BYTES // values.itemsize
    for i in range(0, len(values), lanes):
        simd.transform_vectors(values, i, (), (0,))
    stride = lanes
    while 4 * stride < len(values):
        fixed = 7 * stride
        s = fixed
        while s < len(values):
            simd.transform_vectors(values, s ^ fixed, (stride, 2 * stride, 4 * stride), ())
            s = (s + lanes) | fixed
        stride *= 8
    while stride < len(values):
        s = stride
        while s < len(values):
            simd.transform_vectors(values, s ^ stride, (stride,), ())
            s = (s + lanes) | stride
        stride *= 2


@kernel
def fold(values: Any, signs: int) -> Any:
    """One entry of the transform: the sum of all entries ``i``, with a minus where ``i & signs``
    has an odd number of bits. The values are lost."""
    half = len(values) // 2
    while half:
        low, high = values[:half], values[half : 2 * half]
        if signs & half:
            for i in range(half):
                low[i] -= high[i]
        else:
            for i in range(half):
                low[i] += high[i]
        half //= 2
    return values[0]


@kernel
def odd(bits: int) -> bool:
    """Whether an odd number of bits (of 64) is set."""
    bits ^= bits >> 32
    bits ^= bits >> 16
    bits ^= bits >> 8
    bits ^= bits >> 4
    bits ^= bits >> 2
    bits ^= bits >> 1
    return (bits & 1) != 0


@kernel
def pauli_sums(
    state: Any, begin: int, end: int, groups: Any, flips: Any, signs: Any, coefficients: Any,
    turned: Any, frame_flips: int, frame_signs: int, sums: Any,
) -> None:  # fmt: skip
    """Adds what chunks ``begin`` to ``end`` contribute to the expectation of an observable.

    A term maps ``|i>`` to ``(-1)**odd(i & sign) |i ^ flip>`` times a factor. Terms with the same
    flip form a group, which one pass over the state serves: the products of amplitudes ``i`` and
    ``i ^ flip`` of a chunk are transformed once, and each term reads the entry of its sign.

    Args:
        groups: int64 ``(groups + 1,)``: where each group's terms begin.
        flips, signs: int64 ``(terms,)``. coefficients: float64 ``(terms,)``.
        turned: bool ``(terms,)``: whether the factor of the term is imaginary.
        frame_flips, frame_signs: masks of the bits on which X and Z are yet to act on the state.
        sums: float64 ``(chunks,)``, added to.
    """
    half = len(state) // 2
    size = min(1 << CHUNK, half)
    low = size - 1
    real, imaginary = np.empty(size, dtype=np.float64), np.empty(size, dtype=np.float64)
    for g in range(len(groups) - 1):
        first, last = groups[g], groups[g + 1]
        flip = flips[first]
        outer = flip & ~low
        # Of two chunks that a flip exchanges one is enough: the other has the same real part.
        top = 0
        while outer >> (top + 1):
            top += 1
        imaginary_terms = 0
        for t in range(first, last):
            imaginary_terms += turned[t]
        real_terms = last - first - imaginary_terms
        for chunk in range(begin, end):
            base = chunk * size
            if outer and base >> top & 1:
                continue
            twice = 2.0 if outer else 1.0
            re, im = state[base : base + size], state[half + base : half + base + size]
            other = base ^ outer
            u, v = state[other : other + size], state[half + other : half + other + size]
            if real_terms:
                _products(re, im, u, v, flip & low, real, False)
                if real_terms > 1:
                    transform(real)
            if imaginary_terms:
                _products(re, im, u, v, flip & low, imaginary, True)
                if imaginary_terms > 1:
                    transform(imaginary)
            total = 0.0
            for t in range(first, last):
                inner = signs[t] & low
                if turned[t]:
                    value = imaginary[inner] if imaginary_terms > 1 else fold(imaginary, inner)
                else:
                    value = real[inner] if real_terms > 1 else fold(real, inner)
                # Operators yet to act on the state change the sign of terms they anticommute with.
                turns = odd(flip & frame_signs) ^ odd(signs[t] & frame_flips)
                total += coefficients[t] * (-value if odd(base & signs[t]) ^ turns else value)
            sums[chunk] += twice * total


@kernel
def _products(re: Any, im: Any, u: Any, v: Any, inner: int, out: Any, imaginary: bool) -> None:
    """Real or imaginary parts of ``conj(other[i ^ inner]) * this[i]``."""
    run = inner & -inner if inner else len(out)
    if run < 8:
        for i in range(len(out)):
            j = i ^ inner
            if imaginary:
                out[i] = np.float64(u[j] * im[i] - v[j] * re[i])
            else:
                out[i] = np.float64(u[j] * re[i] + v[j] * im[i])
        return
    for begin in range(0, len(out), run):
        there = begin ^ inner
        a, b = re[begin : begin + run], im[begin : begin + run]
        c, d = u[there : there + run], v[there : there + run]
        to = out[begin : begin + run]
        if imaginary:
            for i in range(run):
                to[i] = np.float64(c[i] * b[i] - d[i] * a[i])
        else:
            for i in range(run):
                to[i] = np.float64(c[i] * a[i] + d[i] * b[i])
