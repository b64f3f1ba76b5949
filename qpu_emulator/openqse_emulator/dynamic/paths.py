"""Paths through programs with classical control, on amplitudes or tableaux: samples and means."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openqse.errors import NotSupported
from openqse.program.gates import Op
from openqse.program.machine import MAX_STEPS
from openqse.program.observable import PauliSum
from openqse_emulator.dynamic import draws, records, tableau
from openqse_emulator.dynamic.codes import (
    DONE,
    FAILED,
    MORE_AMPLITUDES,
    MORE_FRAMES,
    ZERO,
)
from openqse_emulator.dynamic.compile import Compiled
from openqse_emulator.dynamic.failures import failure
from openqse_emulator.dynamic.records import EXACT, FRAME, MEAN, SAMPLE
from openqse_emulator.dynamic.walk import walk
from openqse_emulator.statevector.team import Stopped, Team, go_on

#: Active qubits for which there is room at the start, and frames beside those for the shots' bits.
_ACTIVE, _FRAMES = 10, 8
#: Paths that are followed for an exact mean before it is left to samples.
MOST_PATHS = 1 << 14
#: How often the kernel may return before that: some seconds.
_MOST_ROUNDS = 1000
#: Seconds between two looks at whether to stop, where a thread has nothing else to do.
_LOOK = 0.01


@dataclass(frozen=True, slots=True)
class Sampled:
    """What shots gave.

    Attributes:
        memory: uint8 ``(shots, ceil(num_outputs / 8))``, as in ``Samples``.
        ends: int64 ``(shots,)``, nanoseconds each took from its first operation to its last.
        left: bool ``(shots,)``, which are not computed yet.
    """

    memory: NDArray[np.uint8]
    ends: NDArray[np.int64]
    left: NDArray[np.bool_]

    @staticmethod
    def none(compiled: Compiled, shots: int) -> Sampled:
        """Of no shot yet."""
        width = -(-compiled.circuit.num_outputs // 8)
        return Sampled(
            np.zeros((shots, width), np.uint8), np.zeros(shots, np.int64), np.ones(shots, np.bool_)
        )


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of an observable.

    Attributes:
        value: the mean.
        ns: the mean time of a shot, nanoseconds.
        paths: how many were followed.
    """

    value: float
    ns: float
    paths: int


def sample(
    compiled: Compiled,
    parameters: NDArray[np.float64],
    seed: tuple[int, int],
    first_shot: int,
    sampled: Sampled,
    memory_bytes: int,
    stopped: Stopped,
    team: Team | None = None,
) -> None:
    """Samples a program for one set of parameters.

    Args:
        parameters: float64 ``(n_parameters,)``.
        seed: from 0 to 2^64 - 1, and the number of the set.
        first_shot: the number of the first shot: what a shot gives depends on its own alone.
        sampled: those shots that are left are written, and struck off, as they come.
        memory_bytes: what frames may take.
        team: threads to take part; None means the caller's alone.

    Raises:
        TaskCancelled: ``stopped`` was true.
        NotSupported: more memory is needed.
        ProgramError, LimitExceeded: the program fails.
    """
    left = np.flatnonzero(sampled.left)
    if not len(left):
        return
    found = records.Found(
        sampled.memory, sampled.ends, sampled.left, np.zeros((0, 0), np.uint8), np.zeros(0),
        np.zeros(3), np.zeros(1, np.int64),
    )  # fmt: skip
    _follow(
        compiled, parameters, seed, first_shot, left, found, SAMPLE, memory_bytes, stopped, team
    )  # fmt: skip


def mean(
    compiled: Compiled,
    observable: PauliSum,
    parameters: NDArray[np.float64],
    seed: tuple[int, int],
    shots: int,
    memory_bytes: int,
    stopped: Stopped,
) -> Mean | None:
    """The mean of an observable at the end of the program, before its last measurements.

    Args:
        shots: as many are sampled; 0 follows all paths, each with its probability.

    Returns:
        None where all paths are more than ``MOST_PATHS``.

    Raises:
        As ``sample`` does.
    """
    found = records.Found(
        np.zeros((0, 0), np.uint8), np.zeros(0, np.int64), np.zeros(0, np.bool_),
        observable.paulis, observable.coefficients, np.zeros(3), np.zeros(1, np.int64),
    )  # fmt: skip

    order, mode = np.arange(max(shots, 1)), MEAN if shots else EXACT
    _follow(
        compiled, parameters, seed, 0, order, found, mode, memory_bytes, stopped
    )  # fmt: skip
    if mode == EXACT and found.paths[0] > MOST_PATHS:
        return None
    weight, total, ns = found.sums.tolist()
    return Mean(total / weight, ns / weight, int(found.paths[0]))


def _follow(
    compiled: Compiled,
    parameters: NDArray[np.float64],
    seed: tuple[int, int],
    first_shot: int,
    order: NDArray[np.int64],
    found: records.Found,
    mode: int,
    memory_bytes: int,
    stopped: Stopped,
    team: Team | None = None,
) -> None:
    """Walks until all paths have ended, or those that are followed exactly are too many."""
    code = compiled.code if mode == SAMPLE else compiled.observed
    parameters = np.array(parameters, dtype=np.float64)  # for kernels, of one type however it came
    angles = compiled.angles(parameters[np.newaxis])[0]
    shots = _shots(seed, first_shot, order)
    draws.begin(shots)
    n = compiled.circuit.num_qubits
    active = min(_ACTIVE, n)
    if code.tableau[0]:
        active = (tableau.amplitudes(n) - 1).bit_length()
    stack = _stack(compiled, _FRAMES + 2 * len(order).bit_length(), active + 2)
    frame = stack.frames[0]
    frame["hi"] = frame["hit"] = len(order)
    if code.tableau[0]:
        frame["active"] = active
        tableau.begin(stack.words[0], n)
    draws.lowest(shots, frame)
    control = records.Control(mode, MAX_STEPS, compiled.circuit.num_outputs, np.zeros(3, np.int64))
    walker = _Walker(compiled, code, angles, parameters, stack, shots, found, control, memory_bytes)
    rounds = 0
    while not walker.go():
        go_on(stopped)
        rounds += 1
        if mode == EXACT and (rounds > _MOST_ROUNDS or found.paths[0] > MOST_PATHS):
            found.paths[0] = MOST_PATHS + 1
            return
        if (
            team is not None
            and mode == SAMPLE
            and team.threads > 1
            and walker.may_give(team.threads)
        ):
            team.each(team.threads, _Sharing(walker, team.threads, stopped).work, stopped)
            return


class _Walker:
    """Walks the frames of a stack."""

    def __init__(
        self,
        compiled: Compiled,
        code: records.Code,
        angles: NDArray[np.float64],
        parameters: NDArray[np.float64],
        stack: records.Stack,
        shots: records.Shots,
        found: records.Found,
        control: records.Control,
        memory_bytes: int,
    ) -> None:
        self._compiled, self._code = compiled, code
        self._angles, self._parameters = angles, parameters
        self._stack, self._shots, self._found, self._control = stack, shots, found, control
        self._memory_bytes = memory_bytes

    def go(self) -> bool:
        """Goes on for some milliseconds; returns whether all paths have ended.

        Raises:
            NotSupported: more memory is needed.
            ProgramError, LimitExceeded: the program fails.
        """
        status = walk(
            self._code, self._angles, self._parameters, self._stack, self._shots, self._found,
            self._control,
        )  # fmt: skip
        top, wrong, pc = self._control.state.tolist()
        if status == FAILED:
            raise failure(self._compiled.circuit, wrong, pc, self._stack, top)
        if status in (MORE_FRAMES, MORE_AMPLITUDES):
            wanted = _most_frames(self._compiled, len(self._shots.order))
            frames = top + 2 if status == MORE_FRAMES else max(top + 1, wanted)
            self._stack, self._shots = _grown(
                self._compiled, self._stack, self._shots, status, top, frames, self._memory_bytes
            )
        return bool(status == DONE)

    def may_give(self, threads: int) -> bool:
        """Whether there are frames beside the one that is walked, and memory for so many stacks."""
        top = int(self._control.state[0])
        frames = self._stack.frames[:top]
        active = self._stack.psi.shape[1].bit_length() - 1
        needed = threads * stack_bytes(self._compiled, top + 2, active)
        return needed <= self._memory_bytes and bool((frames["hi"] > frames["lo"]).any())

    def give(self) -> _Walker:
        """Another walker, for the frame that waits at the bottom: the one with most to do."""
        frames = self._stack.frames
        bottom = int(np.flatnonzero(frames["hi"] > frames["lo"])[0])
        stack = _stack(self._compiled, len(frames), self._stack.psi.shape[1].bit_length() - 1)
        for old, new in zip(self._stack, stack, strict=True):
            new[0] = old[bottom]
        frames[bottom]["lo"] = frames[bottom]["hi"]
        return _Walker(
            self._compiled, self._code, self._angles, self._parameters, stack,
            self._shots._replace(sums=np.empty_like(self._shots.sums)),
            self._found._replace(paths=np.zeros(1, np.int64)),
            self._control._replace(state=np.zeros(3, np.int64)),
            self._memory_bytes,
        )  # fmt: skip


class _Sharing:
    """Threads that walk together: one that has nothing to do is given a frame of another one's.

    A shot draws numbers of its own, so that it is of no matter who computes it.
    """

    def __init__(self, first: _Walker, threads: int, stopped: Stopped) -> None:
        self._threads, self._stopped = threads, stopped
        self._tasks = [first]
        self._busy = 0
        self._halted = False
        self._changed = threading.Condition()

    def work(self, thread: int, _: int) -> None:
        """Walks until there is nothing to do for any thread.

        Raises:
            TaskCancelled: ``stopped`` was true. Whatever ``_Walker.go`` raises.
        """
        try:
            while (walker := self._next(thread)) is not None:
                while not self._halted and not walker.go():
                    if thread == 0:
                        go_on(self._stopped)
                    if (
                        self._busy < self._threads
                        and not self._tasks
                        and walker.may_give(self._threads)
                    ):
                        self._offer(walker.give())
                with self._changed:
                    self._busy -= 1
                    self._changed.notify_all()
        except BaseException:
            with self._changed:
                self._halted = True
                self._changed.notify_all()
            raise

    def _next(self, thread: int) -> _Walker | None:
        """A walker with something to do; None when all is done."""
        with self._changed:
            while not self._tasks:
                if self._halted or self._busy == 0:
                    return None
                if thread == 0:
                    go_on(self._stopped)
                self._changed.wait(_LOOK)
            self._busy += 1
            return self._tasks.pop()

    def _offer(self, walker: _Walker) -> None:
        with self._changed:
            self._tasks.append(walker)
            self._changed.notify()


def _shots(seed: tuple[int, int], first_shot: int, order: NDArray[np.int64]) -> records.Shots:
    key = np.array([draws.key_of(np.uint64(seed[0]), np.uint64(seed[1]))], dtype=np.uint64)
    size = int(order.max()) + 1
    return records.Shots(
        key, np.array([first_shot]), order.copy(), np.zeros(size), np.zeros(size, np.int64),
        np.zeros(size, np.int64), np.empty(1 << (_ACTIVE + 2)),
    )  # fmt: skip


def _stack(compiled: Compiled, frames: int, active: int) -> records.Stack:
    """Room for so many frames of so many active qubits; the first is where a program begins."""
    circuit = compiled.circuit
    n = circuit.num_qubits
    ints = np.zeros((frames, len(circuit.cells)), dtype=np.int64)
    psi = np.empty((frames, 1 << active), dtype=np.complex128)
    stack = records.Stack(
        frames=np.zeros(frames, dtype=FRAME),
        psi=psi,
        words=psi.view(np.uint64),
        ints=ints,
        floats=ints.view(np.float64),
        bits=np.zeros((frames, circuit.num_clbits), dtype=np.uint8),
        free=np.zeros((frames, n)),
        began=np.full((frames, n), -1.0),
        ended=np.zeros((frames, n)),
        where=np.full((frames, n), ZERO, dtype=np.int64),
        leaked=np.zeros((frames, n), dtype=np.uint8),
        boxes=np.zeros((frames, compiled.depth)),
    )
    stack.psi[0, 0] = 1.0
    stack.ints[0] = circuit.cells
    stack.frames["weight"] = 1.0
    return stack


def stack_bytes(compiled: Compiled, frames: int, active: int) -> int:
    """Memory that frames take."""
    circuit = compiled.circuit
    return frames * (
        FRAME.itemsize + (16 << active) + 8 * len(circuit.cells) + circuit.num_clbits
        + 33 * circuit.num_qubits + 8 * compiled.depth
    )  # fmt: skip


def _most_frames(compiled: Compiled, shots: int) -> int:
    """How many frames are going to wait at once: a split halves the shots of one of the parts."""
    opcodes = compiled.circuit.opcodes
    splits = int(((opcodes == Op.MEASURE) | (opcodes == Op.RESET)).sum())
    if (opcodes == Op.LOOP).any() or not compiled.quiet:
        splits = shots
    return 1 + min(splits, shots.bit_length())


def _grown(
    compiled: Compiled,
    stack: records.Stack,
    shots: records.Shots,
    status: int,
    top: int,
    frames: int,
    memory_bytes: int,
) -> tuple[records.Stack, records.Shots]:
    """The same frames with room for more frames, or for two more active qubits.

    Args:
        top: the last frame.
        frames: as many are going to be used. Memory that never is takes no room.
    """
    room, amplitudes = stack.psi.shape
    active = amplitudes.bit_length() - 1
    more = active + 2 if status == MORE_AMPLITUDES else active
    needed = stack_bytes(compiled, frames, more)
    if needed > memory_bytes:
        raise NotSupported(
            f"the program brings {int(stack.frames['active'][: top + 1].max()) + 1} qubits into "
            f"superposition at once, for which it takes more than {memory_bytes:.3g} bytes",
            layer="device",
            remedy="Use fewer qubits at a time, or a QPU on a larger machine",
            bytes=needed,
            memory_bytes=memory_bytes,
        )
    made = _stack(compiled, room * 2 if status == MORE_FRAMES else room, more)
    for old, new in zip(stack, made, strict=True):
        if old.ndim == 1:
            new[: top + 1] = old[: top + 1]
        else:
            new[: top + 1, : old.shape[1]] = old[: top + 1]
    if more > active:
        shots = shots._replace(sums=np.empty(1 << more))
    return made, shots
