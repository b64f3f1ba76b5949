"""Kernels over a state: complex128 ``(2**n,)``, qubit ``q`` being bit ``q`` of the index.

A set of qubits is a mask. The kernels visit the indices ``i`` with ``i & fixed == value``. With all
bits of ``fixed`` set, adding at the lowest of them carries over the fixed bits to the next free
one, so ``s = (s + run) | fixed`` steps through runs of ``run`` consecutive indices, and a run
begins at ``s ^ fixed ^ value``.

All kernels stand in this one file: numba's cache notices a change of a kernel's own file alone.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from openqse.program.gates import Op
from openqse_emulator.statevector.compiled import kernel

_GPHASE, _X, _Y, _Z, _H = int(Op.GPHASE), int(Op.X), int(Op.Y), int(Op.Z), int(Op.H)
_S, _SDG, _T, _TDG, _P = int(Op.S), int(Op.SDG), int(Op.T), int(Op.TDG), int(Op.P)
_SX, _SXDG, _RX, _RY, _RZ = int(Op.SX), int(Op.SXDG), int(Op.RX), int(Op.RY), int(Op.RZ)
_U, _SWAP, _RXX, _RYY, _RZZ = int(Op.U), int(Op.SWAP), int(Op.RXX), int(Op.RYY), int(Op.RZZ)

_ROOT_HALF = 0.5**0.5


@kernel
def scale(state: Any, fixed: int, value: int, factor: complex) -> None:
    """Multiplies the amplitudes of indices ``i & fixed == value`` by ``factor``."""
    run = fixed & -fixed if fixed else len(state)
    s = fixed
    while s < len(state):
        begin = s ^ fixed ^ value
        part = state[begin : begin + run]
        for j in range(run):
            part[j] *= factor
        s = (s + run) | fixed


@kernel
def exchange(state: Any, fixed: int, value: int, flip: int) -> None:
    """Exchanges amplitudes ``(i, i ^ flip)`` where ``i & fixed == value``; fixed holds flip."""
    run = fixed & -fixed
    s = fixed
    while s < len(state):
        begin = s ^ fixed ^ value
        other = begin ^ flip
        low, high = state[begin : begin + run], state[other : other + run]
        for j in range(run):
            low[j], high[j] = high[j], low[j]
        s = (s + run) | fixed


@kernel
def mix(
    state: Any, fixed: int, value: int, flip: int, u: complex, v: complex, w: complex, x: complex
) -> None:
    """Applies ``[[u, v], [w, x]]`` to amplitudes ``(i, i ^ flip)`` where ``i & fixed == value``;
    fixed holds flip."""
    run = fixed & -fixed
    s = fixed
    while s < len(state):
        begin = s ^ fixed ^ value
        other = begin ^ flip
        low, high = state[begin : begin + run], state[other : other + run]
        for j in range(run):
            a, b = low[j], high[j]
            low[j] = u * a + v * b
            high[j] = w * a + x * b
        s = (s + run) | fixed


@kernel
def weight(state: Any, fixed: int, value: int) -> float:
    """The squared norm of the amplitudes of indices ``i & fixed == value``."""
    total = 0.0
    run = fixed & -fixed if fixed else len(state)
    s = fixed
    while s < len(state):
        begin = s ^ fixed ^ value
        part = state[begin : begin + run]
        for j in range(run):
            total += part[j].real * part[j].real + part[j].imag * part[j].imag
        s = (s + run) | fixed
    return total


@kernel
def one_qubit_matrix(op: int, angles: Any, at: int) -> Any:
    """The entries, by rows, of the gates that are not diagonal and act on one qubit."""
    if op == _H:
        return _ROOT_HALF + 0j, _ROOT_HALF + 0j, _ROOT_HALF + 0j, -_ROOT_HALF + 0j
    if op == _Y:
        return 0j, -1j, 1j, 0j
    if op == _SX:
        return 0.5 + 0.5j, 0.5 - 0.5j, 0.5 - 0.5j, 0.5 + 0.5j
    if op == _SXDG:
        return 0.5 - 0.5j, 0.5 + 0.5j, 0.5 + 0.5j, 0.5 - 0.5j
    c, s = math.cos(angles[at] / 2), math.sin(angles[at] / 2)
    if op == _RX:
        return c + 0j, -1j * s, -1j * s, c + 0j
    if op == _RY:
        return c + 0j, -s + 0j, s + 0j, c + 0j
    # What is left is U(theta, phi, lambda).
    phi, lam = np.exp(1j * angles[at + 1]), np.exp(1j * angles[at + 2])
    return c + 0j, -lam * s, phi * s, phi * lam * c


@kernel
def evolve(
    state: Any,
    opcodes: Any,
    controls: Any,
    firsts: Any,
    seconds: Any,
    angle_offsets: Any,
    angles: Any,
    start: int,
    stop: int,
) -> None:
    """Applies gates ``start`` to ``stop`` of a plan (see ``Plan``) to the state."""
    for g in range(start, stop):
        op, c, a, b, at = opcodes[g], controls[g], firsts[g], seconds[g], angle_offsets[g]
        if op == _X:
            exchange(state, c | a, c, a)
        elif op == _SWAP:
            exchange(state, c | a | b, c | a, a | b)
        elif op == _GPHASE:
            scale(state, c, c, np.exp(1j * angles[at]))
        elif op == _Z:
            scale(state, c | a, c | a, -1.0 + 0j)
        elif op == _S:
            scale(state, c | a, c | a, 1j)
        elif op == _SDG:
            scale(state, c | a, c | a, -1j)
        elif op == _T:
            scale(state, c | a, c | a, _ROOT_HALF + 1j * _ROOT_HALF)
        elif op == _TDG:
            scale(state, c | a, c | a, _ROOT_HALF - 1j * _ROOT_HALF)
        elif op == _P:
            scale(state, c | a, c | a, np.exp(1j * angles[at]))
        elif op == _RZ:
            half = np.exp(0.5j * angles[at])
            scale(state, c | a, c, half.conjugate())
            scale(state, c | a, c | a, half)
        elif op == _RZZ:
            half = np.exp(0.5j * angles[at])
            scale(state, c | a | b, c, half.conjugate())
            scale(state, c | a | b, c | a, half)
            scale(state, c | a | b, c | b, half)
            scale(state, c | a | b, c | a | b, half.conjugate())
        elif op in (_RXX, _RYY):
            u, v = math.cos(angles[at] / 2) + 0j, -1j * math.sin(angles[at] / 2)
            # YY is XX with its sign turned on |00> and |11>.
            equal = v if op == _RXX else -v
            mix(state, c | a | b, c, a | b, u, equal, equal, u)
            mix(state, c | a | b, c | a, a | b, u, v, v, u)
        else:
            u, v, w, x = one_qubit_matrix(op, angles, at)
            mix(state, c | a, c, a, u, v, w, x)


@kernel
def cumulate(state: Any, cumulative: Any) -> None:
    """Writes the running sum of the probabilities: float64, as long as the state."""
    total = 0.0
    for i in range(len(state)):
        total += state[i].real * state[i].real + state[i].imag * state[i].imag
        cumulative[i] = total


@kernel
def read_out(cumulative: Any, draws: Any, qubits: Any, clbits: Any, memory: Any) -> None:
    """Draws an index for each of ``draws`` (float64 ``(shots,)``, uniform in [0, 1)) and writes the
    bits of the measured qubits, in order, into the rows of ``memory`` (as in ``Samples``)."""
    for shot in range(len(draws)):
        drawn = draws[shot] * cumulative[-1]
        low, high = 0, len(cumulative) - 1
        while low < high:
            middle = (low + high) // 2
            if cumulative[middle] > drawn:
                high = middle
            else:
                low = middle + 1
        for m in range(len(qubits)):
            byte, bit = clbits[m] >> 3, clbits[m] & 7
            one = (low >> qubits[m]) & 1
            memory[shot, byte] = memory[shot, byte] & ~(1 << bit) | one << bit


@kernel
def pauli_sum(
    state: Any, coefficients: Any, flips: Any, signs: Any, start: int, stop: int
) -> float:
    """The expectation of terms ``start`` to ``stop`` of an observable.

    A term maps ``|i>`` to ``1j**y * (-1)**parity(i & sign) |i ^ flip>``: ``flip`` has its X and Y,
    ``sign`` its Y and Z, and ``y`` is the number of its Y. Pairs ``i``, ``i ^ flip`` contribute
    complex conjugates, so one of each pair is visited and the real part taken twice.
    """
    expectation = 0.0
    for t in range(start, stop):
        flip, sign = flips[t], signs[t]
        if flip == 0:
            total = 0.0
            for i in range(len(state)):
                p = state[i].real * state[i].real + state[i].imag * state[i].imag
                total += -p if odd(i & sign) else p
        else:
            overlap = 0j
            lowest = flip & -flip
            for i in range(len(state)):
                if not i & lowest:
                    product = state[i ^ flip].conjugate() * state[i]
                    overlap += -product if odd(i & sign) else product
            y = 0
            both = flip & sign
            while both:
                both &= both - 1
                y += 1
            for _ in range(y % 4):
                overlap *= 1j
            total = 2 * overlap.real
        expectation += coefficients[t] * total
    return expectation


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
