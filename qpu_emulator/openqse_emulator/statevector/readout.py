"""What is read off a state: the distribution of final measurements, expectations, norms."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqse.program.observable import PauliSum
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector import measure
from openqse_emulator.statevector.program import Program
from openqse_emulator.statevector.team import Stopped, Team

#: Pieces that a pass over the state is cut into: sums are the same however many threads there are.
_PIECES = 64
_SHOTS, _SHOTS_OF_CHUNK = 2**14, 32

#: Bytes of a distribution's objects beside their numbers.
_OBJECTS = 2048


@dataclass(frozen=True, eq=False)
class State:
    """A state up to a Pauli operator, which is moved to where the state is read.

    Attributes:
        numbers: real ``(2 * 2**n,)``: real parts of all amplitudes, then imaginary parts.
        names: int64, for each qubit of the program its bit of an amplitude's index.
        flips, signs: masks of the bits on which X and Z are yet to act, Z first.
    """

    numbers: NDArray[Any]
    names: NDArray[np.int64]
    flips: int
    signs: int

    def amplitudes(self, indices: NDArray[np.int64] | None = None) -> NDArray[np.complex128]:
        """The state itself, complex128, up to a global phase.

        Args:
            indices: int64, of the amplitudes; bit ``q`` is qubit ``q``. None means all ``2**n``.
        """
        if indices is None:
            indices = np.arange(1 << len(self.names))
        places, odd = np.zeros_like(indices), np.zeros_like(indices)
        for qubit, bit in enumerate(self.names.tolist()):
            value = (indices >> qubit ^ self.flips >> bit) & 1
            places |= value << bit
            odd ^= value & self.signs >> bit
        state = self.numbers[places].astype(np.complex128)
        state += 1j * self.numbers[len(self.numbers) // 2 + places]
        return np.asarray(state * (1 - 2 * odd))


class Distribution:
    """The distribution of a state's final measurements, to be sampled any number of times.

    Where few qubits are measured it is a table, else the state itself and the weights of its
    chunks.

    Attributes:
        state: what is sampled; None if it is a table.
    """

    def __init__(
        self,
        state: State | None,
        weights: NDArray[np.float64],
        places: NDArray[np.int64],
        read: Program,
    ) -> None:
        self.state = state
        self._cumulative = np.cumsum(weights)
        self._starts = np.empty(max(2, len(weights)), dtype=np.int64)
        measure.guide(self._cumulative, self._starts)
        bits, clbits = (int(places[:, column].max(initial=0)) for column in (0, 1))
        size = bits // 8 + 1
        drawn = len(places) if state is None else read.num_qubits
        if len(places) == drawn == read.num_clbits <= 64:
            size *= not np.array_equal(places[:, 0], places[:, 1])
        self._spelling = np.empty((clbits // 64 + 1, size + 2, 256), dtype=np.uint64)
        measure.spell(places, self._spelling)

    @property
    def nbytes(self) -> int:
        """Memory that it takes, what Python itself needs for it included."""
        tables = self._cumulative.nbytes + self._starts.nbytes + self._spelling.nbytes
        return _OBJECTS + tables + (0 if self.state is None else self.state.numbers.nbytes)

    def sample(
        self, uniforms: Uniforms, memory: NDArray[np.uint8], team: Team, stopped: Stopped
    ) -> None:
        """Writes the outcomes of shots into rows of ``Samples.memory``: shot ``i`` is drawn with
        the ``i``-th number of the first stream.

        Raises:
            TaskCancelled: ``stopped`` was true.
        """
        # Each piece reads all chunks that it needs, so it must have many shots for each.
        least = max(_SHOTS, _SHOTS_OF_CHUNK * len(self._cumulative))
        pieces = max(1, len(memory) // least)

        def job(_: int, i: int) -> None:
            begin, end = len(memory) * i // pieces, len(memory) * (i + 1) // pieces
            self.draw(uniforms.draw(0, begin, end - begin), memory[begin:end])

        team.each(pieces, job, stopped)

    def draw(self, draws: NDArray[np.float64], memory: NDArray[np.uint8]) -> None:
        """Writes the outcomes that random numbers from [0, 1), one for each row, stand for."""
        arguments = (self._cumulative, self._starts, draws, self._spelling, memory)
        if self.state is None:
            measure.read_table(*arguments)
        else:
            measure.read_state(self.state.numbers, *arguments)


@dataclass(frozen=True, eq=False)
class Terms:
    """An observable as ``measure.pauli_sums`` reads it."""

    groups: NDArray[np.int64]
    flips: NDArray[np.int64]
    signs: NDArray[np.int64]
    coefficients: NDArray[np.float64]
    turned: NDArray[np.bool_]

    def sum(self, state: State, begin: int, end: int, sums: NDArray[np.float64]) -> None:
        """Adds what chunks of a state contribute: float64 ``(chunks,)``."""
        measure.pauli_sums(
            state.numbers, begin, end, self.groups, self.flips, self.signs, self.coefficients,
            self.turned, state.flips, state.signs, sums,
        )  # fmt: skip

    def expectation(self, state: State) -> float:
        """The expectation in a state, found by one thread."""
        sums = np.zeros(chunks_of(state.numbers))
        self.sum(state, 0, len(sums), sums)
        return float(sums.sum())

    @staticmethod
    def of(observable: PauliSum, names: NDArray[np.int64]) -> Terms:
        """The terms of an observable on the bits that qubits have."""
        codes = observable.paulis
        bits = np.int64(1) << names
        flips = ((codes == 1) | (codes == 2)) @ bits
        signs = ((codes == 2) | (codes == 3)) @ bits
        ys = (codes == 2).sum(axis=1)
        # 1j**y times the real part is real for even y; for odd y it is the imaginary part.
        factors = np.array([1.0, -1.0, -1.0, 1.0])[ys % 4]
        order = np.argsort(flips, kind="stable")
        ends = np.flatnonzero(np.diff(flips[order])) + 1
        return Terms(
            np.concatenate([[0], ends, [len(codes)]]).astype(np.int64),
            flips[order],
            signs[order],
            (observable.coefficients * factors)[order],
            (ys % 2 == 1)[order],
        )


def norm(state: State) -> float:
    """The squared norm of a state, found by one thread."""
    weights = np.zeros(chunks_of(state.numbers))
    measure.weigh(state.numbers, 0, len(weights), weights)
    return float(weights.sum())


def measured_alone(read: Program, state: State) -> Distribution:
    """The distribution of the final measurements, found by one thread."""

    def each(job: Callable[[int, int], None]) -> None:
        for begin, end in pieces_of(state.numbers):
            job(begin, end)

    return measured(read, state, each)


def measured(
    read: Program, state: State, each: Callable[[Callable[[int, int], None]], None]
) -> Distribution:
    """The distribution of the final measurements; ``each`` makes a pass over the state's pieces."""
    numbers, bits = state.numbers, state.names[read.final_qubits]
    chunks = chunks_of(numbers)
    if len(bits) > measure.TABLE:
        weights = np.zeros(chunks)
        each(lambda begin, end: measure.weigh(numbers, begin, end, weights))
        return Distribution(state, weights, _places(read, state, bits), read)
    pieces = len(pieces_of(numbers))
    tables = np.zeros((pieces, 1 << len(bits)))
    each(
        lambda begin, end: measure.tabulate(
            numbers, begin, end, bits, tables[begin * pieces // chunks]
        )
    )
    return Distribution(None, tables.sum(axis=0), _places(read, state, np.arange(len(bits))), read)


def _places(read: Program, state: State, entries: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the final measurements go, as ``measure.spell`` reads it.

    Args:
        entries: int64 ``(measurements,)``, the bits of what is drawn.
    """
    inverted = state.flips >> state.names[read.final_qubits] & 1
    return np.stack([entries, read.final_clbits, inverted], axis=1)


def pieces_of(numbers: NDArray[Any]) -> list[tuple[int, int]]:
    """The chunks of each piece of a state, first and after last."""
    chunks = chunks_of(numbers)
    pieces = min(_PIECES, -(-chunks // 4))
    bounds = [chunks * i // pieces for i in range(pieces + 1)]
    return list(itertools.pairwise(bounds))


def chunks_of(numbers: NDArray[Any]) -> int:
    return max(1, len(numbers) >> (measure.CHUNK + 1))
