"""Quantum trajectories: noise as a random choice for every shot, whose mean is exact.

Where a channel is a mixture of Pauli operators each shot draws its own, which do not depend on the
state (J. Dalibard, Y. Castin and K. Mølmer, Phys. Rev. Lett. 68, 580, 1992, for the method). Shots
that drew the same share a state; and a Pauli operator costs nothing but other numbers in the same
plan (see ``canonical``).

Amplitude damping that finds no decay shrinks the amplitudes of 1, which is part of the plan. That
it finds a decay has at most its probability ``gamma``: a shot whose number is above that is spared
the question, and for the others the channel becomes a branch: with a probability of the population
of 1, the decay takes place.

Kraus operators are branches for every shot. A qubit that leaks is measured, unseen, at that moment,
and left as 1; from then on gates that act on it do nothing, so that it reads 1 until it is reset.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse_emulator import noise
from openqse_emulator.noise import Kind, Sequenced
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector import branches, execute, paths, program, readout
from openqse_emulator.statevector.branches import Use
from openqse_emulator.statevector.canonical import BRANCH, SHRINK
from openqse_emulator.statevector.execute import Engine
from openqse_emulator.statevector.readout import State
from openqse_emulator.statevector.team import Stopped, go_on

#: Streams of random numbers of channels; those before are of collapses and of final measurements.
_STREAMS = 2**20

_MEASURE, _RESET, _X = int(Op.MEASURE), int(Op.RESET), int(Op.X)
#: Programs that are kept in which something happens beside Pauli operators.
_MOST_VARIANTS = 64
#: What a shot may draw beside Pauli operators, which are 1 to 3.
_DECAYS, _LEAKS = 4, 5


@dataclass(frozen=True, eq=False)
class _Draw:
    """A channel of which each shot draws something.

    Attributes:
        position: the operation before which it acts.
        bounds: float64, ascending: a number below ``bounds[i]``, and not below the one before,
            stands for ``events[i]``; one above all for nothing.
        events: of each the qubits and what happens to them.
    """

    position: int
    bounds: NDArray[np.float64]
    events: tuple[tuple[tuple[int, int], ...], ...]


class Prepared:
    """A program with its channels: of the operations, those that act on every shot."""

    def __init__(
        self, engine: Engine, circuit: Circuit, sequence: Sequenced, *, observed: bool = False
    ) -> None:
        """
        Args:
            observed: whether an observable stands at the end (see ``program.read``).
        """
        self._engine = engine
        self._read = program.read(
            circuit,
            observed=observed,
            disturbed=noise.disturbed(sequence, circuit.num_qubits),
            identities=noise.identities(sequence),
        )
        self._angle_count = len(circuit.angle_constants)
        self._rows: list[tuple[int, ...]] = []
        self._operands: list[int] = self._read.operands.tolist()
        #: Where among the operands each qubit stands by itself, for operations that shots draw.
        self._every_qubit = len(self._operands)
        self._operands.extend(range(circuit.num_qubits))
        self._constants: list[float] = []
        self._channels: list[NDArray[np.complex128]] = []
        self._draws: list[_Draw] = []
        self._collapses = self._read.collapses
        self._variants: dict[bytes, _Variant] = {}
        self._write(circuit, sequence)

    def _write(self, circuit: Circuit, sequence: Sequenced) -> None:
        """Puts the channels between the operations that the program keeps."""
        kept = dict(zip(self._read.positions.tolist(), self._read.operations.tolist(), strict=True))
        operations = enumerate(circuit.operations())
        for item in sequence:
            if isinstance(item, Operation):
                # The sequence leaves operations out, and else has them in order.
                position = next(i for i, operation in operations if operation == item)
                if position in kept:
                    self._rows.append(tuple(kept[position]))
            elif item.kind is Kind.PAULI:
                strings = [
                    tuple((q, p) for q, p in zip(item.qubits, _string(i, len(item.qubits)),
                          strict=True) if p)
                    for i in range(1, 1 + len(item.probabilities))
                ]  # fmt: skip
                self._choose(item.probabilities, tuple(strings))
            elif item.kind is Kind.DAMPING:
                (decays,) = item.probabilities
                self._choose((decays,), (((item.qubits[0], _DECAYS),),))
                self._row(SHRINK, item.qubits, self._angle_count + len(self._constants))
                # A qubit that surely decays is left to the branch of those that do.
                self._constants.append(math.sqrt(max(1 - decays, 1e-12)))
            elif item.kind is Kind.KRAUS:
                self._channels.append(item.operators)
                self._row(BRANCH, item.qubits, len(self._channels))
                self._collapses += 1
            else:
                self._choose(item.probabilities, (((item.qubits[0], _LEAKS),),))

    def _choose(
        self, probabilities: tuple[float, ...], events: tuple[tuple[tuple[int, int], ...], ...]
    ) -> None:
        self._draws.append(_Draw(len(self._rows), np.cumsum(probabilities), events))

    def _row(self, opcode: int, qubits: tuple[int, ...], at: int) -> None:
        begin = len(self._operands)
        self._operands.extend(qubits)
        self._rows.append((opcode, 0, begin, begin + len(qubits), at, 1, 0))

    @cached_property
    def _usual(self) -> execute.Prepared:
        """The program of shots that drew nothing but Pauli operators."""
        return self._engine.prepare(self._with(self._rows, self._collapses))

    def _with(self, rows: list[tuple[int, ...]], collapses: int) -> program.Program:
        operations = np.array(rows, dtype=np.int64).reshape(-1, 7)
        operands = np.array(self._operands, dtype=np.int32)
        return self._read.with_operations(operations, operands, collapses)

    def sample(
        self,
        angles: NDArray[np.float64],
        uniforms: Uniforms,
        memory: NDArray[np.uint8],
        stopped: Stopped,
        left: NDArray[np.bool_] | None = None,
    ) -> None:
        """Samples the program, without readout errors.

        Args:
            angles: float64 ``(n_angles,)``, a row of ``Circuit.bind``.
            memory: uint8 ``(shots, bytes)``, one row of ``Samples.memory``; written.
            left: bool ``(shots,)``, which are to be sampled; those that are, are struck off. None
                means all.

        Raises:
            TaskCancelled: ``stopped`` was true.
        """
        left = np.ones(len(memory), np.bool_) if left is None else left
        draws = uniforms.draw(0, 0, len(memory))

        def use(state: State, shots: NDArray[np.int64]) -> None:
            if len(self._read.final_qubits):
                rows = memory[shots]
                readout.measured_alone(self._read, state).draw(draws[shots], rows)
                memory[shots] = rows
            left[shots] = False

        self._follow(angles, uniforms, memory, left, use, stopped, keep_phases=False)

    def expectation(
        self,
        observable: PauliSum,
        angles: NDArray[np.float64],
        uniforms: Uniforms,
        count: int,
        stopped: Stopped,
    ) -> float:
        """The mean of an observable's expectations in as many trajectories as ``count`` says.

        Raises:
            TaskCancelled: ``stopped`` was true.
        """
        sums: dict[int, float] = {}

        def use(state: State, shots: NDArray[np.int64]) -> None:
            value = self._engine.expectation_alone(state, observable)
            # Shrunk amplitudes leave a state with a norm below 1.
            sums[int(shots[0])] = len(shots) * value / readout.norm(state)

        nothing = np.zeros((count, -(-self._read.num_clbits // 8)), dtype=np.uint8)
        all_shots = np.ones(count, np.bool_)
        self._follow(angles, uniforms, nothing, all_shots, use, stopped, keep_phases=True)
        # Threads end in any order; a sum is the same in one order alone.
        return sum(sums[shot] for shot in sorted(sums)) / count

    def _follow(
        self,
        angles: NDArray[np.float64],
        uniforms: Uniforms,
        memory: NDArray[np.uint8],
        left: NDArray[np.bool_],
        use: Use,
        stopped: Stopped,
        *,
        keep_phases: bool,
    ) -> None:
        angles = np.concatenate([angles, self._constants])
        usual: list[paths.Path] = []
        wanted = np.flatnonzero(left)
        for events, shots in _groups(*self._draw(uniforms, len(memory), stopped), wanted):
            if (events[:, 2] < _DECAYS).all() and not self._collapses:
                usual.append(paths.Path(events, shots))
                continue
            variant = self._with_events(events)
            branches.follow(
                self._engine, variant.prepared, angles, uniforms, memory, shots, use, stopped,
                noise=variant.noise(events), channels=self._channels, keep_phases=keep_phases,
                noisy=True,
            )  # fmt: skip
        if usual:
            paths.follow(
                self._engine, self._usual, angles, usual, use, stopped, keep_phases=keep_phases
            )

    def _draw(
        self, uniforms: Uniforms, shots: int, stopped: Stopped
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What happens to shots: int64 ``(events,)``, the shot of each, ascending; and int64
        ``(events, 3)``, in order of time, before which operation, to which qubit, and what."""
        found_shots: list[NDArray[np.int64]] = []
        tables: list[NDArray[np.int64]] = []
        for stream, choice in enumerate(self._draws, start=_STREAMS):
            go_on(stopped)
            draws = uniforms.draw(stream, 0, shots)
            hits = np.flatnonzero(draws < choice.bounds[-1])
            which = np.searchsorted(choice.bounds, draws[hits], side="right")
            for value in np.unique(which).tolist():
                hit = hits[which == value]
                for qubit, what in choice.events[value]:
                    found_shots.append(hit)
                    row = np.array([[choice.position, qubit, what]], dtype=np.int64)
                    tables.append(np.repeat(row, len(hit), axis=0))
        if not tables:
            return np.zeros(0, np.int64), np.zeros((0, 3), np.int64)
        of_shot = np.concatenate(found_shots)
        order = np.argsort(of_shot, kind="stable")
        return of_shot[order], np.concatenate(tables)[order]

    def _with_events(self, events: NDArray[np.int64]) -> _Variant:
        """The program in which some things happen beside Pauli operators; the last are kept."""
        rare = events[events[:, 2] >= _DECAYS]
        key = rare.tobytes()
        found = self._variants.get(key)
        if found is None:
            if len(self._variants) >= _MOST_VARIANTS:
                self._variants.clear()
            found = self._variants[key] = self._vary(rare.tolist())
        return found

    def _vary(self, events: list[list[int]]) -> _Variant:
        rows: list[tuple[int, ...]] = []
        where: list[int] = []
        collapses = self._collapses
        leaked: dict[int, int] = {}
        away: list[tuple[int, int, int]] = []
        pending = events[::-1]
        for position, row in enumerate([*self._rows, None]):
            where.append(len(rows))
            while pending and pending[-1][0] <= position:
                _, qubit, what = pending.pop()
                if qubit in leaked:
                    continue
                at = self._every_qubit + qubit
                opcode, clbit = (BRANCH, branches.DECAY) if what == _DECAYS else (_RESET, -1)
                rows.append((opcode, 0, at, at + 1, clbit, 1, 0))
                collapses += 1
                if what == _LEAKS:
                    leaked[qubit] = position
                    rows.append((_X, 0, at, at + 1, self._angle_count, 1, 0))
            if row is None:
                break
            opcode, _, begin, end, _, _, _ = row
            qubits = self._operands[begin:end]
            if opcode == _RESET and qubits[0] in leaked:
                away.append((qubits[0], leaked.pop(qubits[0]), position))
            if opcode == _MEASURE or leaked.keys().isdisjoint(qubits):
                rows.append(row)
        away += [(qubit, since, len(self._rows)) for qubit, since in leaked.items()]
        prepared = self._engine.prepare(self._with(rows, collapses), threads=1)
        return _Variant(prepared, np.array(where), away)


@dataclass(frozen=True, eq=False)
class _Variant:
    """A program in which a qubit decays or leaks, or none does.

    Attributes:
        prepared: the program.
        where: int64, for each operation of the usual program where it is in this one.
        away: qubits that have leaked, before which operation they did, and which brings them back.
    """

    prepared: execute.Prepared
    where: NDArray[np.int64]
    away: list[tuple[int, int, int]]

    def noise(self, events: NDArray[np.int64]) -> NDArray[np.int64]:
        """The Pauli operators among some events, before operations of this program."""
        paulis = events[events[:, 2] < _DECAYS]
        for qubit, since, until in self.away:
            gone = (paulis[:, 1] == qubit) & (paulis[:, 0] > since) & (paulis[:, 0] <= until)
            paulis = paulis[~gone]
        moved = paulis.copy()
        moved[:, 0] = self.where[paulis[:, 0]]
        return moved


def _string(number: int, width: int) -> tuple[int, ...]:
    """The Pauli string of this number: of two, the first is the more significant."""
    return (number,) if width == 1 else (number // 4, number % 4)


def _groups(
    of_shot: NDArray[np.int64], table: NDArray[np.int64], wanted: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Of the shots that are wanted, those to which the same happens: the events, and their
    numbers."""
    begins = np.searchsorted(of_shot, wanted).tolist()
    ends = np.searchsorted(of_shot, wanted, side="right").tolist()
    groups: dict[bytes, tuple[NDArray[np.int64], list[int]]] = {}
    for shot, begin, end in zip(wanted.tolist(), begins, ends, strict=True):
        events = table[begin:end]
        groups.setdefault(events.tobytes(), (events, []))[1].append(shot)
    return [(events, np.array(members)) for events, members in groups.values()]
