"""Density matrices: exact evolution under noise.

A matrix on ``n`` qubits is kept by its Pauli strings, ``rho = sum(r[i] * P_i) / 2**n``: float64
``(4**n,)``, where digit ``q`` of base 4 of the index is the string's Pauli on qubit ``q``. So
``r[i]`` is the expectation of a string, and ``r[0]`` the trace. Everything is real and half as
large as the matrix, and whatever happens to two qubits is one real 16 x 16 matrix (see
``transfer``), which ``fusion`` makes of all that happens between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from openqse.errors import NotSupported
from openqse.program.circuit import Operation
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse_emulator.density import multiply
from openqse_emulator.density.fusion import Controlled, Factor, Fusion, Pass, count_passes
from openqse_emulator.density.transfer import FOUND_ONE, FOUND_ZERO, WIDEST
from openqse_emulator.noise import Channel
from openqse_emulator.statevector.team import Stopped, Team, go_on

#: A matrix of 134 million bytes; a pass over it takes some hundredths of a second.
MOST_QUBITS = 12

#: What rounding leaves of an outcome that cannot be.
_IMPOSSIBLE = 1e-14
#: Values that a thread multiplies at a time, about: some tenths of a millisecond.
_PIECE = 2**17
#: Pieces from which on another thread saves more than it takes to wake it.
_LEAST_PIECES = 4

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Distribution:
    """The final classical registers that have probability.

    Attributes:
        registers: uint8 ``(r, ceil(num_outputs / 8))``, each as a row of ``Samples.memory``.
        cumulative: float64 ``(r,)``, the running sum of their probabilities.
    """

    registers: NDArray[np.uint8]
    cumulative: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.registers.nbytes + self.cumulative.nbytes


@dataclass(frozen=True, eq=False)
class _Part:
    """Passes, and the measurement after them whose outcomes are told apart; none after the last."""

    passes: list[Pass]
    measured: Operation | None = field(default=None)


def matrix_bytes(num_qubits: int) -> int:
    """Memory that a density matrix takes."""
    return 8 << 2 * num_qubits


def program_bytes(
    sequence: list[Operation | Channel], num_qubits: int, num_outputs: int, *, observed: bool
) -> int:
    """Memory that a program takes: a matrix for each branch that may wait, and room for a gate on
    many qubits.

    Args:
        observed: whether no outcomes are told apart.
    """
    wide = any(len(item.qubits) > WIDEST for item in sequence)
    waiting = 0 if observed else branchings(sequence, num_outputs)
    return matrix_bytes(num_qubits) * (1 + waiting + 3 * wide)


def branchings(sequence: Iterable[Operation | Channel], num_outputs: int) -> int:
    """How many measurements in the course of a sequence split what follows in two."""
    steps, _ = _depended_on(list(sequence), num_outputs)
    return sum(seen for _, seen in steps)


def products(
    sequence: Iterable[Operation | Channel], num_qubits: int, num_outputs: int, *, observed: bool
) -> float:
    """How many products of real numbers a program takes, about.

    Args:
        observed: whether no outcomes are told apart, and everything matters.
    """
    steps = [(item, False) for item in sequence]
    if not observed:
        steps, _ = _depended_on([item for item, _ in steps], num_outputs)
    branches = 2.0 ** min(64, sum(seen for _, seen in steps))
    return branches * count_passes(item for item, _ in steps) * 4.0 ** (num_qubits + 2)


def distribution(
    sequence: Iterable[Operation | Channel],
    num_qubits: int,
    num_outputs: int,
    angles: NDArray[np.float64],
    stopped: Stopped,
    team: Team | None = None,
) -> Distribution:
    """The exact distribution of the program's results, without readout errors.

    Both outcomes of a measurement in the course of the program are followed, where its bit is not
    written again; with ``m`` of these it takes up to ``2**m`` times as long, and ``m + 1`` matrices
    of memory. Left out is what no outcome depends on.

    Args:
        sequence: as ``noise.sequence`` gives it.
        num_outputs: classical bits that are results; others may be written as well.
        angles: float64 ``(n_angles,)``, a row of ``Circuit.bind``.
        team: threads to take part; None means the caller's alone.

    Raises:
        NotSupported: more than ``MOST_QUBITS`` qubits, or leakage.
        TaskCancelled: ``stopped`` was true.
    """
    steps, final = _depended_on(list(sequence), num_outputs)
    parts = _parts(steps, angles, stopped)
    registers, probabilities = [], []
    waiting = [(_zero(num_qubits), 0, np.zeros(-(-num_outputs // 8), np.uint8))]
    while waiting:
        vector, number, register = waiting.pop()
        _apply(vector, parts[number].passes, stopped, team)
        measured = parts[number].measured
        if measured is None:
            outcomes, p = _read(vector, [qubit for qubit, _ in final])
            registers.append(_with_bits(register, [clbit for _, clbit in final], outcomes))
            probabilities.append(p)
            continue
        (qubit,) = measured.qubits
        zero, one = (vector[0] + sign * vector[3 << 2 * qubit] for sign in (1, -1))
        if one > 2 * _IMPOSSIBLE:
            other = vector.copy() if zero > 2 * _IMPOSSIBLE else vector
            _apply(other, [Factor((qubit,), FOUND_ONE)], stopped, team)
            found = _with_bits(register, [measured.clbit], np.array([1]))[0]
            waiting.append((other, number + 1, found))
        if zero > 2 * _IMPOSSIBLE:
            _apply(vector, [Factor((qubit,), FOUND_ZERO)], stopped, team)
            waiting.append((vector, number + 1, register))
    return Distribution(np.concatenate(registers), np.cumsum(np.concatenate(probabilities)))


def sample(found: Distribution, uniforms: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The registers drawn by random numbers in [0, 1), one for each shot.

    Args:
        uniforms: float64 ``(shots,)``.

    Returns:
        uint8 ``(shots, ceil(num_outputs / 8))``; ``noise.misread`` adds readout errors.
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
    team: Team | None = None,
) -> Vector:
    """The density matrix at the end by its Pauli strings, float64 ``(4**n,)``; a measurement leaves
    its qubit in the mixture of both outcomes.

    Raises:
        NotSupported: more than ``MOST_QUBITS`` qubits, or leakage.
        TaskCancelled: ``stopped`` was true.
    """
    vector = _zero(num_qubits)
    for part in _parts([(item, False) for item in sequence], angles, stopped):
        _apply(vector, part.passes, stopped, team)
    return vector


def expectation(
    sequence: Iterable[Operation | Channel],
    observable: PauliSum,
    angles: NDArray[np.float64],
    stopped: Stopped,
    team: Team | None = None,
) -> float:
    """The exact expectation of an observable at the end, without readout errors.

    Args:
        sequence: as ``noise.sequence`` gives it with ``measurements=False``.

    Raises:
        NotSupported: more than ``MOST_QUBITS`` qubits, or leakage.
        TaskCancelled: ``stopped`` was true.
    """
    vector = evolve(sequence, observable.num_qubits, angles, stopped, team)
    strings = observable.paulis @ (np.int64(1) << 2 * np.arange(observable.num_qubits))
    return float(observable.coefficients @ vector[strings])


def _parts(
    steps: list[tuple[Operation | Channel, bool]], angles: NDArray[np.float64], stopped: Stopped
) -> list[_Part]:
    """The passes between the measurements whose outcomes are told apart."""
    fusion = Fusion(angles)
    parts: list[_Part] = []
    for item, seen in steps:
        go_on(stopped)
        if not seen:
            fusion.add(item)
            continue
        assert isinstance(item, Operation)
        parts.append(_Part(fusion.take(item.qubits), item))
    parts.append(_Part(fusion.take()))
    return parts


def _depended_on(
    sequence: list[Operation | Channel], num_outputs: int
) -> tuple[list[tuple[Operation | Channel, bool]], list[tuple[int, int]]]:
    """What outcomes depend on, each with whether it is a measurement whose outcomes are told apart;
    and the qubits and bits that are read together at the end: those that nothing touches after they
    are measured."""
    needed: set[int] = set()
    written: set[int] = set()
    steps: list[tuple[Operation | Channel, bool]] = []
    final: list[tuple[int, int]] = []
    for item in reversed(sequence):
        seen = False
        if isinstance(item, Operation) and item.op is Op.MEASURE:
            seen = item.clbit < num_outputs and item.clbit not in written
            written.add(item.clbit)
            if seen and item.qubits[0] not in needed:
                needed.add(item.qubits[0])
                final.append((item.qubits[0], item.clbit))
                continue
        if needed.intersection(item.qubits):
            steps.append((item, seen))
            needed.update(item.qubits)
    return steps[::-1], final


def _apply(vector: Vector, passes: Iterable[Pass], stopped: Stopped, team: Team | None) -> None:
    n = _num_qubits(vector)
    for each in passes:
        go_on(stopped)
        if isinstance(each, Controlled):
            _controlled(vector, each)
        elif len(each.qubits) == 2:
            low, high = each.qubits
            values = np.ascontiguousarray(each.values)
            tiles = 4 ** max(0, n - 2 - multiply.TILE_DIGITS)
            _share(multiply.on_two, tiles, stopped, team, vector, values, low, high)
        else:
            qubits = np.array(each.qubits, dtype=np.int64)
            columns = 4 ** (n - len(qubits))
            values = np.ascontiguousarray(each.values)
            _share(multiply.on_some, columns, stopped, team, vector, values, qubits)


def _share(
    kernel: Callable[..., None], count: int, stopped: Stopped, team: Team | None, vector: Vector,
    values: Vector, *places: object,
) -> None:  # fmt: skip
    """Calls a kernel for all ``count`` parts of a pass, by several threads if that is worth it."""
    pieces = min(count, len(vector) // _PIECE)
    if team is None or team.threads == 1 or pieces < _LEAST_PIECES:
        kernel(vector, values, *places, 0, count)
        return

    def job(_: int, i: int) -> None:
        kernel(vector, values, *places, count * i // pieces, count * (i + 1) // pieces)

    team.each(pieces, job, stopped)


#: From the Paulis of a qubit (I, X, Y, Z) to twice the entries of its matrix, the bit of the row
#: before that of the column; and back.
_ENTRIES = np.array([[1, 0, 0, 1], [0, 1, 1j, 0], [0, 1, -1j, 0], [1, 0, 0, -1]])
_PAULIS = np.linalg.inv(_ENTRIES)


def _controlled(vector: Vector, each: Controlled) -> None:
    """A gate on many qubits: on their entries of the matrix, by row and by column."""
    entries = vector.astype(np.complex128)
    qubits = (*each.controls, *each.targets)
    for qubit in qubits:
        multiply.on_bits(entries, _ENTRIES, np.array([2 * qubit, 2 * qubit + 1]), 0)
    for gate, column in ((each.gate, 0), (each.gate.conj(), 1)):
        targets = np.array([2 * qubit + column for qubit in each.targets], dtype=np.int64)
        controls = sum(1 << 2 * qubit + column for qubit in each.controls)
        multiply.on_bits(entries, gate, targets, controls)
    for qubit in qubits:
        multiply.on_bits(entries, _PAULIS, np.array([2 * qubit, 2 * qubit + 1]), 0)
    vector[:] = entries.real


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
    vector = np.zeros(4**num_qubits)
    vector[_strings(list(range(num_qubits)))] = 1.0
    return vector


def _strings(qubits: list[int]) -> NDArray[np.int64]:
    """The strings of I and Z on some qubits, by the mask of the Z: int64 ``(2**k,)``."""
    numbers = np.zeros(1, dtype=np.int64)
    for qubit in qubits:
        numbers = np.concatenate([numbers, numbers | 3 << 2 * qubit])
    return numbers


def _num_qubits(vector: Vector) -> int:
    return (len(vector).bit_length() - 1) // 2


def _read(vector: Vector, qubits: list[int]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The outcomes of these qubits (in order, least significant bit first) that have probability,
    ascending, and their probabilities."""
    p = vector[_strings(qubits)]
    for k in range(len(qubits)):  # expectations of strings of Z become probabilities
        even, odd = np.moveaxis(p.reshape(-1, 2, 2**k), 1, 0)
        p = np.stack([even + odd, even - odd], axis=1).reshape(-1) / 2
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
