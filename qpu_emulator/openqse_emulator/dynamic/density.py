"""Programs with classical control on density matrices: exact distributions and expectations.

Both outcomes of every measurement are followed, each with its probability. Paths that come to stand
alike (at one operation, with equal classical state, at equal times) go on as one, whose matrix is
their sum: so ``k`` measurements that nothing remembers take one path, not ``2**k``. Of paths the
one that is least far goes on first: a loop that some have left goes on until all have. Paths less
probable than 1e-14 are dropped. This is plain code on small matrices: what is faster is held
against it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openqse.errors import NotSupported, ProgramError
from openqse.program.circuit import Operation
from openqse.program.gates import Op, matrix
from openqse.program.machine import Machine, Step
from openqse.program.observable import PauliSum
from openqse_emulator import noise, timing
from openqse_emulator.dynamic.compile import Compiled
from openqse_emulator.noise import Channel, Kind, NoiseModel
from openqse_emulator.statevector.team import Stopped, go_on

#: A matrix of 16 MiB; operations on it take some tenths of a second.
MOST_QUBITS = 10
_IMPOSSIBLE = 1e-14
#: Nanoseconds by which sums of durations may be wrong.
_ROUNDING = 1e-6

Rho = NDArray[np.complex128]


class _Clocked(Machine):
    """A machine that knows which branches outcomes decide.

    Attributes:
        waited: whether it came to one since this was last set to False.
    """

    def __init__(self, compiled: Compiled, parameters: NDArray[np.float64]) -> None:
        super().__init__(compiled.circuit, parameters)
        self._waits = compiled.code.waits
        self.waited = False

    def _control(self, at: int, op: Op, operands: tuple[int, ...]) -> None:
        self.waited |= op is Op.IF and bool(self._waits[at])
        super()._control(at, op, operands)


@dataclass(eq=False)
class _Path:
    """All shots that stand alike.

    Attributes:
        machine: the classical state. step: what comes next; None at the end.
        rho: complex128 ``(2**n, 2**n)``, whose trace is the path's probability; qubit 0 is the
            least significant bit of both indices.
        free: when each qubit can be used again, nanoseconds.
        last: when the last operation of a qubit began and ended.
        clock, known: when what depends on outcomes can begin, and when the last outcome is known.
        leaked: qubits that have left their two levels.
        boxes: when the boxes that are open end.
    """

    machine: _Clocked
    rho: Rho
    free: tuple[float, ...]
    last: dict[int, tuple[float, float]] = field(default_factory=dict)
    clock: float = 0.0
    known: float = 0.0
    leaked: frozenset[int] = frozenset()
    boxes: tuple[float, ...] = ()
    step: Step | None = None

    def copy(self, rho: Rho) -> _Path:
        return replace(self, machine=self.machine.copy(), rho=rho, last=dict(self.last))

    def advance(self) -> None:
        """Goes on to the next quantum operation."""
        self.step = self.machine.advance()
        if self.machine.waited:
            self.clock, self.machine.waited = max(self.clock, self.known), False

    @property
    def key(self) -> tuple[Any, ...]:
        cells = tuple(np.float64(v).tobytes() if isinstance(v, float) else v
                      for v in self.machine.cells)  # fmt: skip
        return (
            self.machine.pc, self.step is None, bytes(self.machine.bits), cells, self.free,
            tuple(sorted(self.last.items())), self.clock, self.known, self.leaked, self.boxes,
        )  # fmt: skip

    @property
    def probability(self) -> float:
        return float(np.trace(self.rho).real)


@dataclass(frozen=True, eq=False)
class Distribution:
    """What shots end with.

    Attributes:
        memory: uint8 ``(r, ceil(num_outputs / 8))``, results as rows of ``Samples.memory``.
        ends: int64 ``(r,)``, nanoseconds that they take.
        cumulative: float64 ``(r,)``, the running sum of their probabilities.
    """

    memory: NDArray[np.uint8]
    ends: NDArray[np.int64]
    cumulative: NDArray[np.float64]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.memory.nbytes + self.ends.nbytes + self.cumulative.nbytes

    def rows(self, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
        """The rows that random numbers from [0, 1) stand for."""
        draws = uniforms * self.cumulative[-1]
        found: NDArray[np.int64] = np.searchsorted(self.cumulative[:-1], draws, side="right")
        return found


def distribution(
    compiled: Compiled,
    model: NoiseModel,
    parameters: NDArray[np.float64],
    memory_bytes: int,
    stopped: Stopped,
) -> Distribution:
    """The exact distribution of what shots end with, readout errors included.

    Args:
        parameters: float64 ``(n_parameters,)``.
        memory_bytes: what the paths' matrices may take.

    Raises:
        TaskCancelled: ``stopped`` was true.
        NotSupported: more than ``MOST_QUBITS`` qubits, or more memory is needed.
        ProgramError, LimitExceeded: the program fails on a path that has probability.
    """
    found: dict[tuple[bytes, int], float] = {}
    for path in _ends(_Walk(compiled, model, memory_bytes, False), parameters, stopped):
        assert path is not None
        bits = np.packbits(path.machine.outputs(), bitorder="little").tobytes()
        key = bits, math.ceil(max(path.free))
        found[key] = found.get(key, 0.0) + path.probability
    width = -(-compiled.circuit.num_outputs // 8)
    keys = sorted(found)
    memory = np.array([list(bits) for bits, _ in keys], dtype=np.uint8).reshape(len(keys), width)
    ends = np.array([end for _, end in keys], dtype=np.int64)
    return Distribution(memory, ends, np.cumsum([found[key] for key in keys]))


def mean(
    compiled: Compiled,
    model: NoiseModel,
    observable: PauliSum,
    parameters: NDArray[np.float64],
    memory_bytes: int,
    stopped: Stopped,
    most_paths: int | None = None,
) -> tuple[float, float] | None:
    """The exact mean of an observable at the end of the program, before its last measurements, and
    that of a shot's nanoseconds.

    Args:
        most_paths: if more are under way at once, None is returned.

    Raises:
        As ``distribution`` does.
    """
    value = ns = total = 0.0
    n = compiled.circuit.num_qubits
    walk = _Walk(compiled, model, memory_bytes, True, most_paths)
    for path in _ends(walk, parameters, stopped):
        if path is None:
            return None
        for coefficient, codes in zip(observable.coefficients, observable.paulis, strict=True):
            turned = path.rho
            for q in range(n):
                if codes[q]:
                    turned = _on_rows(turned, matrix(_PAULIS[codes[q]]), (q,))
            value += float(coefficient * np.trace(turned).real)
        ns += path.probability * max(path.free)
        total += path.probability
    return value / total, ns / total


_PAULIS = (Op.ID, Op.X, Op.Y, Op.Z)


def _ends(walk: _Walk, parameters: NDArray[np.float64], stopped: Stopped) -> Iterator[_Path | None]:
    """The paths that have ended; None, at last, where they are more than ``walk.most_paths``."""
    n = walk.compiled.circuit.num_qubits
    if n > MOST_QUBITS:
        raise NotSupported(
            f"a density matrix of {n} qubits for a program with classical control; at most "
            f"{MOST_QUBITS} are offered",
            layer="device",
            remedy='Use fewer qubits, or set method = "auto" in the profile',
            num_qubits=n,
            max_qubits=MOST_QUBITS,
        )
    rho = np.zeros((2**n, 2**n), dtype=np.complex128)
    rho[0, 0] = 1.0
    first = _Path(_Clocked(walk.compiled, parameters), rho, (0.0,) * n)
    first.advance()
    paths = {first.key: first}
    numbers = count()
    waiting = [(first.machine.pc, next(numbers), first.key)]
    while waiting:
        go_on(stopped)
        *_, key = heapq.heappop(waiting)
        path = paths.pop(key)
        if path.step is None:
            yield from walk.settled(path)
            continue
        for each in walk.take(path):
            if each.probability <= _IMPOSSIBLE:
                continue
            each.advance()
            key = each.key
            other = paths.get(key)
            if other is not None:
                other.rho = other.rho + each.rho
                other.machine.steps = max(other.machine.steps, each.machine.steps)
                continue
            paths[key] = each
            heapq.heappush(waiting, (each.machine.pc, next(numbers), key))
        if walk.most_paths is not None and len(paths) > walk.most_paths:
            yield None
            return
        if len(paths) * rho.nbytes > walk.memory_bytes:
            raise NotSupported(
                f"the program takes {len(paths)} paths at once, whose density matrices need more "
                f"than {walk.memory_bytes:.3g} bytes",
                layer="device",
                remedy='Set method = "auto" in the profile',
            )


@dataclass(frozen=True, eq=False)
class _Walk:
    """How paths go on.

    Attributes:
        memory_bytes: what their matrices may take.
        unmeasured: whether an observable stands in place of the final measurements.
        most_paths: that may be under way at once.
    """

    compiled: Compiled
    model: NoiseModel
    memory_bytes: int
    unmeasured: bool
    most_paths: int | None = None

    def settled(self, path: _Path) -> list[_Path]:
        """A path's end: where an observable is to follow, all qubits wait for the last one."""
        paths = [path]
        for qubit in sorted(path.last) if self.unmeasured else ():
            until = max(path.free)
            paths = [
                later
                for one in paths
                for later in self._waited(one, qubit, until)
                if later.probability > _IMPOSSIBLE
            ]
        return paths

    def take(self, path: _Path) -> Iterable[_Path]:
        """What becomes of a path by its next operation."""
        step = path.step
        assert step is not None
        op, qubits = step.op, step.qubits
        if self.unmeasured and self.compiled.observed.final[step.position]:
            return [path]
        start = max([path.clock, *(path.free[q] for q in qubits)])
        if self.compiled.code.waits[step.position]:
            start = max(start, path.known)
        end = self._end(path, step, start)
        path.free = tuple(end if q in qubits else free for q, free in enumerate(path.free))
        operation = Operation(op, step.controls, qubits, range(0), step.clbit)
        gates = op < Op.MEASURE and bool(qubits)
        errors = list(self.model.of_gate(operation)) if gates else []
        if not qubits or op >= Op.BARRIER or (op is Op.ID and not errors):
            return [path]
        paths = [path]
        if op is not Op.RESET:
            for q in qubits:
                paths = [later for one in paths for later in self._waited(one, q, start)]
        for one in paths:
            for q in qubits:
                one.last[q] = (end if op is Op.RESET else start, end)
        if op is Op.MEASURE:
            return [later for one in paths for later in self._measured(one, step, end)]
        for one in paths:
            self._apply(one, step, errors)
        return paths

    def _end(self, path: _Path, step: Step, start: float) -> float:
        """When an operation sets its qubits free."""
        op = step.op
        if op is Op.END_BOX:
            *outer, ends = path.boxes
            path.boxes = tuple(outer)
            if start > ends + _ROUNDING:
                raise ProgramError(
                    f"what is in the box on qubits {list(step.qubits)} takes longer than the box",
                    layer="device",
                    remedy="Give the box more time",
                )
            return ends
        if op in (Op.DELAY, Op.BOX):
            ends = start + step.angles[0]
            if op is Op.DELAY:
                return ends
            path.boxes = (*path.boxes, ends)
            return start
        operation = Operation(op, step.controls, step.qubits, range(0), step.clbit)
        return start + (timing.operation_ns(operation, self.model.profile) if step.qubits else 0)

    def _waited(self, path: _Path, qubit: int, until: float) -> list[_Path]:
        """Relaxation and leakage since a qubit's last operation began."""
        if qubit not in path.last or qubit in path.leaked:
            return [path]
        began, ended = path.last[qubit]
        for channel in self.model.of_time(qubit, until - began, until - ended):
            if channel.kind is Kind.LEAKAGE:
                (leaks,) = channel.probabilities
                away = path.copy(_channelled(path.rho * leaks, _TO_ONE, (qubit,)))
                away.leaked = path.leaked | {qubit}
                path.rho = path.rho * (1 - leaks)
                return [path, away]
            path.rho = _channelled(path.rho, noise.kraus(channel), (qubit,))
        return [path]

    def _measured(self, path: _Path, step: Step, end: float) -> Iterator[_Path]:
        path.known = max(path.known, end)
        wrong = self.compiled.code.misread[step.position]
        for outcome in (0, 1):
            kept = np.diag([1.0 - outcome, float(outcome)]).astype(np.complex128)
            rho = _channelled(path.rho, kept[np.newaxis], step.qubits)
            for written, p in ((outcome, 1 - wrong[outcome]), (1 - outcome, wrong[outcome])):
                if step.clbit < 0 and written != outcome:
                    continue
                one = path.copy(rho * (p if step.clbit >= 0 else 1.0))
                one.machine.write(step.clbit, written)
                yield one

    def _apply(self, path: _Path, step: Step, errors: list[Channel]) -> None:
        """A gate with its errors, or a reset."""
        qubits = step.qubits
        if step.op is Op.RESET:
            path.rho = _channelled(path.rho, _TO_ZERO, qubits)
            path.leaked -= set(qubits)
            return
        if path.leaked.isdisjoint(qubits):
            gate = matrix(step.op, step.angles)
            full = np.eye(len(gate) << step.controls, dtype=np.complex128)
            last = (1 << step.controls) - 1
            full[last :: 1 << step.controls, last :: 1 << step.controls] = gate
            path.rho = _channelled(path.rho, full[np.newaxis], qubits)
        for channel in errors:
            if path.leaked.isdisjoint(channel.qubits):
                path.rho = _channelled(path.rho, noise.kraus(channel), channel.qubits)
            elif channel.kind is Kind.PAULI:
                path.rho = _on_some(path.rho, channel, path.leaked)


#: What a reset does, and what is left of a qubit that leaks, which reads 1.
_TO_ZERO = np.array([[[1, 0], [0, 0]], [[0, 1], [0, 0]]], dtype=np.complex128)
_TO_ONE = np.array([[[0, 0], [1, 0]], [[0, 0], [0, 1]]], dtype=np.complex128)


def _on_some(rho: Rho, channel: Channel, leaked: frozenset[int]) -> Rho:
    """Pauli errors where some qubits have leaked: the others meet their part of each string."""
    total = rho * max(0.0, 1 - sum(channel.probabilities))
    width = len(channel.qubits)
    for number, probability in enumerate(channel.probabilities, start=1):
        string = (number,) if width == 1 else (number // 4, number % 4)
        part = rho
        for qubit, code in zip(channel.qubits, string, strict=True):
            if code and qubit not in leaked:
                part = _channelled(part, matrix(_PAULIS[code])[np.newaxis], (qubit,))
        total = total + probability * part
    return total


def _channelled(rho: Rho, operators: NDArray[np.complex128], qubits: tuple[int, ...]) -> Rho:
    """``sum(K rho K^†)`` for operators on some qubits, the first the least significant."""
    key = operators.shape, operators.tobytes()
    found = _superoperators.get(key)
    if found is None:
        if len(_superoperators) > _MOST_KEPT:
            _superoperators.clear()
        found = np.einsum("kab,kcd->acbd", operators, operators.conj())
        _superoperators[key] = found
    n, m = len(rho).bit_length() - 1, len(qubits)
    rows = [n - 1 - q for q in reversed(qubits)]
    axes = [*rows, *(n + axis for axis in rows)]
    parts = found.reshape((2,) * 4 * m)
    turned = np.tensordot(parts, rho.reshape((2,) * 2 * n), axes=(range(2 * m, 4 * m), axes))
    moved: Rho = np.moveaxis(turned, range(2 * m), axes).reshape(rho.shape)
    return moved


#: Channels as one matrix on rows and columns together, the last ones.
_superoperators: dict[tuple[tuple[int, ...], bytes], NDArray[np.complex128]] = {}
_MOST_KEPT = 1024


def _on_rows(rho: Rho, operator: NDArray[np.complex128], qubits: tuple[int, ...]) -> Rho:
    """An operator times a matrix."""
    n, m = len(rho).bit_length() - 1, len(qubits)
    tensor = rho.reshape((2,) * n + (len(rho),))
    axes = [n - 1 - q for q in reversed(qubits)]
    turned = np.tensordot(operator.reshape((2,) * 2 * m), tensor, axes=(range(m, 2 * m), axes))
    moved: Rho = np.moveaxis(turned, range(m), axes).reshape(rho.shape)
    return moved
