"""Programs in whose course a state collapses: shots share a state while their outcomes agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from openqse.program.observable import PauliSum
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector import canonical, execute, measure
from openqse_emulator.statevector.execute import NO_NOISE, Engine, Prepared
from openqse_emulator.statevector.readout import State
from openqse_emulator.statevector.team import Stopped

#: Number of the channel by which a qubit decays from 1 to 0 with the probability that it is 1, and
#: by which else nothing happens. Other channels are numbered from 1.
DECAY = 0

#: What becomes of shots at the end of their branch: the state, and their numbers.
Use = Callable[[State, NDArray[np.int64]], None]
#: What takes part in a branch: shots, or a probability.
Part = TypeVar("Part")

#: What rounding leaves of the probability of an outcome that cannot be.
_IMPOSSIBLE = 1e-14
_NO_SHOTS = np.zeros(0, dtype=np.int64)


def sample(
    engine: Engine,
    prepared: Prepared,
    angles: NDArray[np.float64],
    uniforms: Uniforms,
    memory: NDArray[np.uint8],
    stopped: Stopped,
    left: NDArray[np.bool_] | None = None,
) -> None:
    """Samples a program with measurements and resets in its course.

    Args:
        memory: uint8 ``(shots, bytes)``, one row of ``Samples.memory``; written.
        left: bool ``(shots,)``, which are to be sampled; those that are, are struck off. None means
            all.

    Raises:
        TaskCancelled: ``stopped`` was true.
    """
    left = np.ones(len(memory), np.bool_) if left is None else left
    read = read_out(engine, prepared, uniforms, memory, stopped)

    def use(state: State, shots: NDArray[np.int64]) -> None:
        read(state, shots)
        left[shots] = False

    follow(
        engine, prepared, angles, uniforms, memory, np.flatnonzero(left), use, stopped
    )  # fmt: skip


def read_out(
    engine: Engine,
    prepared: Prepared,
    uniforms: Uniforms,
    memory: NDArray[np.uint8],
    stopped: Stopped,
) -> Use:
    """Draws the final measurements of shots from the states of their branches."""
    draws = uniforms.draw(0, 0, len(memory))

    def use(state: State, shots: NDArray[np.int64]) -> None:
        if len(prepared.program.final_qubits):
            rows = memory[shots]
            engine.measured(prepared.program, state, stopped).draw(draws[shots], rows)
            memory[shots] = rows

    return use


def follow(
    engine: Engine,
    prepared: Prepared,
    angles: NDArray[np.float64],
    uniforms: Uniforms,
    memory: NDArray[np.uint8],
    shots: NDArray[np.int64],
    use: Use,
    stopped: Stopped,
    *,
    noise: NDArray[np.int64] = NO_NOISE,
    channels: Sequence[NDArray[np.complex128]] = (),
    keep_phases: bool = False,
    noisy: bool = False,
) -> None:
    """Evolves shots through the collapses of a program.

    At a collapse each shot draws its outcome, with the number of its own in a stream of the
    collapse's own; every outcome that occurs goes on by itself. Branches with fewer shots go first,
    so that few states wait: ``log2(shots)`` where there are two outcomes.

    Args:
        memory: uint8 ``(all shots, bytes)``; what measurements find on the way is written.
        shots: int64, which of all shots these are.
        use: given each branch's state at the end, whose memory is not its own.
        noise: Pauli operators that are inserted (see ``canonical``); the same for all these shots.
        channels: the Kraus operators of those from number 1, complex128 ``(k, 2**m, 2**m)``.
        keep_phases: see ``Engine.evolve``.
        noisy: whether the plan is to serve other Pauli operators as well.
    """
    spaces = prepared.planned(angles, keep_phases, noisy)[1]
    spaces[0].rewrite(angles, noise)

    @cache
    def draws(stream: int) -> NDArray[np.float64]:
        return uniforms.draw(stream, 0, len(memory))

    def split(
        i: int, cumulative: NDArray[np.float64], part: NDArray[np.int64]
    ) -> list[tuple[int, NDArray[np.int64]]]:
        outcomes = np.searchsorted(cumulative, draws(i + 1)[part], side="right")
        found = [(value, part[outcomes == value]) for value in np.unique(outcomes).tolist()]
        return sorted(found, key=lambda outcome: -len(outcome[1]))

    _walk(
        engine, prepared, angles, memory, shots, split, lambda part: part, use, stopped,
        channels=channels, keep_phases=keep_phases, noisy=noisy,
    )  # fmt: skip


def expectation(
    engine: Engine,
    prepared: Prepared,
    observable: PauliSum,
    angles: NDArray[np.float64],
    stopped: Stopped,
) -> float:
    """The exact expectation of an observable at the end of a program that collapses: every outcome
    that can be is followed, with its probability.

    Args:
        prepared: read as ``observed`` (see ``program.read``).

    Raises:
        TaskCancelled: ``stopped`` was true.
    """
    values: list[float] = []
    memory = np.zeros((0, -(-prepared.program.num_clbits // 8)), dtype=np.uint8)
    prepared.planned(angles, True)[1][0].rewrite(angles, NO_NOISE)

    def split(_: int, cumulative: NDArray[np.float64], weight: float) -> list[tuple[int, float]]:
        shares = np.diff(cumulative, prepend=0.0, append=1.0)
        found = [(value, weight * share) for value, share in enumerate(shares.tolist())
                 if share > _IMPOSSIBLE]  # fmt: skip
        return sorted(found, key=lambda outcome: -outcome[1])

    def use(state: State, weight: float) -> None:
        values.append(weight * engine.expectation(state, observable, stopped))

    _walk(
        engine, prepared, angles, memory, 1.0, split, lambda _: _NO_SHOTS, use, stopped,
        keep_phases=True,
    )  # fmt: skip
    return math.fsum(values)


def _walk(
    engine: Engine,
    prepared: Prepared,
    angles: NDArray[np.float64],
    memory: NDArray[np.uint8],
    whole: Part,
    split: Callable[[int, NDArray[np.float64], Part], list[tuple[int, Part]]],
    shots_of: Callable[[Part], NDArray[np.int64]],
    use: Callable[[State, Part], None],
    stopped: Stopped,
    *,
    channels: Sequence[NDArray[np.complex128]] = (),
    keep_phases: bool = False,
    noisy: bool = False,
) -> None:
    """Evolves a program, whose first workspace has its numbers, through the outcomes that occur.

    Args:
        whole: what takes part in the beginning.
        split: of a collapse's number, the running sum of its outcomes' probabilities (but the last)
            and what takes part: the outcomes that occur, and what takes part in each. The last
            goes first.
        shots_of: the shots of a part, whose outcomes are written into ``memory``.
    """
    planned, spaces = prepared.planned(angles, keep_phases, noisy)
    bound = spaces[0].bind(planned, engine.dtype)
    items = spaces[0].items[: spaces[0].frame[0]]
    collapses = items[items[:, 0] == canonical.COLLAPSE]
    n = planned.num_qubits
    waiting = [(engine.take(n), 0, whole)]
    while waiting:
        numbers, i, part = waiting.pop()
        engine.advance(planned, bound, numbers, i, stopped)
        if i == len(collapses):
            use(execute.state_of(numbers, spaces[0]), part)
            engine.give_back(numbers)
            continue
        _, qubits, what, frame = collapses[i].tolist()
        branches: _Measured | _Decayed | _Channelled
        if what >= -1:
            branches = _Measured(engine, numbers, qubits, what, frame, memory, stopped)
        elif what == -2 - DECAY:
            branches = _Decayed(engine, numbers, qubits & 63, frame & 1, stopped)
        else:
            branches = _Channelled(numbers, qubits, channels[-3 - what], frame)
        *others, (last, rest) = split(i, branches.cumulative, part)
        for value, share in others:
            other = engine.take(n)
            other[:] = numbers
            branches.go(other, value, shots_of(share))
            waiting.append((other, i + 1, share))
        branches.go(numbers, last, shots_of(rest))
        waiting.append((numbers, i + 1, rest))


class _Measured:
    """The two outcomes of a measurement or reset.

    Attributes:
        cumulative: float64 ``(outcomes - 1,)``: running sum of the probabilities.
    """

    def __init__(
        self,
        engine: Engine,
        numbers: NDArray[Any],
        bit: int,
        clbit: int,
        inverted: int,
        memory: NDArray[np.uint8],
        stopped: Stopped,
    ) -> None:
        self._bit, self._clbit, self._inverted = bit, clbit, inverted
        self._memory = memory
        self._weights = engine.weigh_bit(numbers, bit, stopped)
        self.cumulative = np.array([self._weights[inverted] / sum(self._weights)])

    def go(self, numbers: NDArray[Any], value: int, shots: NDArray[np.int64]) -> None:
        """Leaves of a state what agrees with an outcome, normalised, and writes it down."""
        found = value ^ self._inverted
        becomes = found
        if self._clbit < 0:
            becomes = 0  # the frame of a qubit that is reset is the identity
        measure.project(numbers, self._bit, found, self._weights[found] ** -0.5, becomes)
        if self._clbit >= 0:
            byte, bit = self._clbit >> 3, self._clbit & 7
            kept = self._memory[shots, byte] & ~np.uint8(1 << bit)
            self._memory[shots, byte] = kept | np.uint8(value << bit)


class _Decayed:
    """Decay of a qubit, and that nothing happens."""

    def __init__(
        self, engine: Engine, numbers: NDArray[Any], bit: int, inverted: int, stopped: Stopped
    ) -> None:
        self._bit, self._inverted = bit, inverted
        weights = engine.weigh_bit(numbers, bit, stopped)
        self._weight = weights[1 ^ inverted]
        self.cumulative = np.array([self._weight / sum(weights)])

    def go(self, numbers: NDArray[Any], value: int, shots: NDArray[np.int64]) -> None:
        """Moves what is 1 to 0, normalised, or does nothing."""
        if value == 0:
            found = 1 ^ self._inverted
            measure.project(numbers, self._bit, found, self._weight**-0.5, self._inverted)


class _Channelled:
    """The branches of a channel: its Kraus operators, each as likely as the norm it leaves."""

    def __init__(
        self, numbers: NDArray[Any], qubits: int, operators: NDArray[np.complex128], frame: int
    ) -> None:
        width = operators.shape[1].bit_length() - 1
        self._bits = np.array([qubits >> 6 * k & 63 for k in range(width)], dtype=np.int64)
        pauli = np.ones((1, 1), dtype=np.complex128)
        for k in range(width):
            pauli = np.kron(_FRAMES[frame >> k & 1, frame >> (2 + k) & 1], pauli)
        # The state lacks the frame: K F = F (F^-1 K F).
        self._operators = np.ascontiguousarray(pauli.conj().T @ operators @ pauli)
        density = np.empty((1 << width, 1 << width), dtype=np.complex128)
        measure.reduce(numbers, self._bits, density)
        weights = np.einsum("kij,jl,kil->k", self._operators, density, self._operators.conj()).real
        self._weights = np.maximum(weights, 0) / np.trace(density).real
        self._norm = np.trace(density).real
        self.cumulative = np.cumsum(self._weights)[:-1] / self._weights.sum()

    def go(self, numbers: NDArray[Any], value: int, shots: NDArray[np.int64]) -> None:
        """Applies a Kraus operator and normalises."""
        scale = (self._weights[value] * self._norm) ** -0.5
        measure.multiply(numbers, self._bits, self._operators[value] * scale)


_X, _Z = np.array([[0, 1], [1, 0]]), np.diag([1, -1])
#: Pauli operators by whether there is an X, and a Z before it.
_FRAMES = {(x, z): np.linalg.matrix_power(_X, x) @ np.linalg.matrix_power(_Z, z)
           for x in (0, 1) for z in (0, 1)}  # fmt: skip
