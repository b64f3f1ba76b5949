"""Density matrices: exact evolution under noise, the reference for everything faster.

A matrix on ``n`` qubits is kept as complex128 ``(4**n,)``: entry ``(row, column)`` at
``row + (column << n)``, so that qubit ``q`` is bit ``q`` of the row and bit ``q + n`` of the index
is its column. A channel with Kraus operators ``K`` is the matrix ``sum(conj(K) ⊗ K)`` on both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from openqse.errors import NotSupported
from openqse.program.circuit import Operation
from openqse.program.gates import Op, matrix
from openqse.program.observable import PauliSum
from openqse_emulator.noise import Channel, Kind, kraus
from openqse_emulator.statevector.compiled import kernel
from openqse_emulator.statevector.team import Stopped, go_on

#: A matrix of 268 million bytes; an operation on it takes some tenths of a second.
MOST_QUBITS = 12

#: What rounding leaves of an outcome that cannot be.
_IMPOSSIBLE = 1e-14

Vector = NDArray[np.complex128]


@dataclass(frozen=True, eq=False)
class Distribution:
    """The final classical registers that have probability.

    Attributes:
        registers: uint8 ``(r, ceil(num_clbits / 8))``, each as a row of ``Samples.memory``.
        cumulative: float64 ``(r,)``, the running sum of their probabilities.
    """

    registers: NDArray[np.uint8]
    cumulative: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.registers.nbytes + self.cumulative.nbytes


class _Step(NamedTuple):
    """An operation or channel, and for a measurement what becomes of its outcome."""

    item: Operation | Channel
    seen: bool


def matrix_bytes(num_qubits: int) -> int:
    """Memory that a density matrix takes."""
    return 16 << 2 * num_qubits


def branchings(sequence: Iterable[Operation | Channel]) -> int:
    """How many measurements in the course of a sequence split what follows in two."""
    steps, _ = _observed(list(sequence))
    return sum(step.seen for step in steps)


def distribution(
    sequence: Iterable[Operation | Channel],
    num_qubits: int,
    num_clbits: int,
    angles: NDArray[np.float64],
    stopped: Stopped,
) -> Distribution:
    """The exact distribution of the final classical register, without readout errors.

    Both outcomes of a measurement in the course of the program are followed, where its bit is not
    written again; with ``m`` of these it takes up to ``2**m`` times as long, and ``m + 1`` matrices
    of memory. Left out is what no outcome depends on.

    Args:
        sequence: as ``noise.sequence`` gives it.
        angles: float64 ``(n_angles,)``, a row of ``Circuit.bind``.

    Raises:
        NotSupported: more than ``MOST_QUBITS`` qubits, or leakage.
        TaskCancelled: ``stopped`` was true.
    """
    steps, final = _observed(list(sequence))
    registers, probabilities = [], []
    waiting = [(_zero(num_qubits), 0, np.zeros(-(-num_clbits // 8), np.uint8))]
    while waiting:
        vector, position, register = waiting.pop()
        for i, (item, seen) in enumerate(steps[position:], start=position + 1):
            go_on(stopped)
            if not seen:
                _apply(vector, item, angles)
                continue
            assert isinstance(item, Operation)
            other = vector.copy()
            _super(other, _ONE, item.qubits)
            _super(vector, _ZERO, item.qubits)
            if _trace(other) > _IMPOSSIBLE:
                waiting.append((other, i, _with_bits(register, [item.clbit], np.array([1]))[0]))
            if _trace(vector) <= _IMPOSSIBLE:
                break
        else:
            outcomes, p = _read(vector, [qubit for qubit, _ in final])
            registers.append(_with_bits(register, [clbit for _, clbit in final], outcomes))
            probabilities.append(p)
    return Distribution(np.concatenate(registers), np.cumsum(np.concatenate(probabilities)))


def sample(found: Distribution, uniforms: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The registers drawn by random numbers in [0, 1), one for each shot.

    Args:
        uniforms: float64 ``(shots,)``.

    Returns:
        uint8 ``(shots, ceil(num_clbits / 8))``; ``noise.misread`` adds readout errors.
    """
    draws = uniforms * found.cumulative[-1]
    # A product that is rounded up to the total lies beyond the last entry.
    rows = np.searchsorted(found.cumulative[:-1], draws, side="right")
    drawn: NDArray[np.uint8] = found.registers[rows]
    return drawn


def evolve(
    sequence: Iterable[Operation | Channel],
    num_qubits: int,
    angles: NDArray[np.float64],
    stopped: Stopped,
) -> Vector:
    """The density matrix at the end, complex128 ``(4**n,)``; a measurement leaves its qubit in the
    mixture of both outcomes.

    Raises:
        NotSupported: more than ``MOST_QUBITS`` qubits, or leakage.
        TaskCancelled: ``stopped`` was true.
    """
    vector = _zero(num_qubits)
    for item in sequence:
        go_on(stopped)
        _apply(vector, item, angles)
    return vector


def expectation(
    sequence: Iterable[Operation | Channel],
    observable: PauliSum,
    angles: NDArray[np.float64],
    stopped: Stopped,
) -> float:
    """The exact expectation of an observable at the end, without readout errors.

    Args:
        sequence: as ``noise.sequence`` gives it with ``measurements=False``.

    Raises:
        NotSupported: more than ``MOST_QUBITS`` qubits, or leakage.
        TaskCancelled: ``stopped`` was true.
    """
    n = observable.num_qubits
    vector = evolve(sequence, n, angles, stopped)
    rows = np.arange(2**n)
    bits = rows[:, np.newaxis] >> np.arange(n) & 1
    value = 0.0
    for coefficient, codes in zip(observable.coefficients, observable.paulis, strict=True):
        go_on(stopped)
        # The string takes |i> to |i ^ flip>, times -1 for each 1 under a Y or Z and 1j for each Y.
        flip = int(((codes == 1) | (codes == 2)) @ (1 << np.arange(n)))
        signs = 1 - 2 * (bits @ (codes >= 2) % 2)
        trace = signs @ vector[rows + ((rows ^ flip) << n)]
        value += float(coefficient * (trace * 1j ** np.count_nonzero(codes == 2)).real)
    return value


def _observed(sequence: list[Operation | Channel]) -> tuple[list[_Step], list[tuple[int, int]]]:
    """What outcomes depend on, and the qubits and bits that are read together at the end: those
    that nothing touches after they are measured."""
    needed: set[int] = set()
    written: set[int] = set()
    steps: list[_Step] = []
    final: list[tuple[int, int]] = []
    for item in reversed(sequence):
        seen = False
        if isinstance(item, Operation) and item.op is Op.MEASURE:
            seen = item.clbit not in written
            written.add(item.clbit)
            if seen and item.qubits[0] not in needed:
                needed.add(item.qubits[0])
                final.append((item.qubits[0], item.clbit))
                continue
        if needed.intersection(item.qubits):
            steps.append(_Step(item, seen))
            needed.update(item.qubits)
    return steps[::-1], final


def _apply(vector: Vector, item: Operation | Channel, angles: NDArray[np.float64]) -> None:
    """An operation or channel; a measurement without a look at its outcome."""
    if isinstance(item, Channel):
        if item.kind is Kind.LEAKAGE:
            raise NotSupported(
                "density matrices of qubits that leak",
                layer="device",
                remedy='Set method = "trajectories" in the profile',
            )
        _super(vector, _superoperator(kraus(item)), item.qubits)
        return
    op, controls, qubits, at, _ = item
    if op is Op.MEASURE:
        _super(vector, _ZERO + _ONE, qubits)
    elif op is Op.RESET:
        _super(vector, _RESET, qubits)
    elif op is not Op.BARRIER and qubits:
        gate = matrix(op, tuple(angles[at.start : at.stop].tolist()))
        mask = sum(1 << q for q in qubits[:controls])
        rows = np.array(qubits[controls:], dtype=np.int64)
        n = _num_qubits(vector)
        multiply(vector, gate, rows, mask)
        multiply(vector, gate.conj(), rows + n, mask << n)


def _super(vector: Vector, superoperator: Vector, qubits: tuple[int, ...]) -> None:
    rows = np.array(qubits, dtype=np.int64)
    multiply(vector, superoperator, np.concatenate([rows, rows + _num_qubits(vector)]), 0)


def _superoperator(operators: Vector) -> Vector:
    total: Vector = np.sum([np.kron(each.conj(), each) for each in operators], axis=0)
    return total


#: What a measurement that finds 0, or 1, leaves of its qubit, and what a reset does.
_ZERO, _ONE = np.diag([1, 0, 0, 0]).astype(complex), np.diag([0, 0, 0, 1]).astype(complex)
_RESET = _superoperator(np.array([[[1, 0], [0, 0]], [[0, 1], [0, 0]]], dtype=complex))


def _zero(num_qubits: int) -> Vector:
    if num_qubits > MOST_QUBITS:
        raise NotSupported(
            f"a density matrix of {num_qubits} qubits ({matrix_bytes(num_qubits)} bytes); at most "
            f"{MOST_QUBITS} are offered",
            layer="device",
            remedy='Use fewer qubits, or set method = "trajectories" in the profile',
            num_qubits=num_qubits,
            max_qubits=MOST_QUBITS,
        )
    vector = np.zeros(4**num_qubits, dtype=np.complex128)
    vector[0] = 1.0
    return vector


def _num_qubits(vector: Vector) -> int:
    return (len(vector).bit_length() - 1) // 2


def _diagonal(vector: Vector) -> NDArray[np.float64]:
    return vector[:: 2 ** _num_qubits(vector) + 1].real


def _trace(vector: Vector) -> float:
    return float(_diagonal(vector).sum())


def _read(vector: Vector, qubits: list[int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The outcomes of these qubits (in order, least significant bit first) that have probability,
    ascending, and their probabilities."""
    rows = np.arange(2 ** _num_qubits(vector), dtype=np.int64)
    outcomes = np.zeros_like(rows)
    for i, qubit in enumerate(qubits):
        outcomes |= (rows >> qubit & 1) << i
    p = np.bincount(outcomes, weights=_diagonal(vector)).astype(np.float64)
    possible = np.flatnonzero(p > _IMPOSSIBLE).astype(np.int64)
    return possible, p[possible]


def _with_bits(
    register: NDArray[np.uint8], clbits: list[int], outcomes: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """A copy of the register for each outcome, whose bit ``i`` is set in ``clbits[i]``."""
    registers = np.tile(register, (len(outcomes), 1))
    for i, clbit in enumerate(clbits):
        registers[:, clbit >> 3] |= ((outcomes >> i & 1) << (clbit & 7)).astype(np.uint8)
    return registers


@kernel
def multiply(vector: Any, factor: Any, bits: Any, controls: int) -> None:
    """Multiplies a vector by a matrix, complex128 ``(2**k, 2**k)``, on ``k`` bits of its index.

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
