"""The engine: programs planned, bound to parameters, evolved by threads, and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from openqse.program.circuit import Circuit
from openqse.program.observable import PauliSum
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector import (
    bind,
    canonical,
    kernels,
    measure,
    plan,
    program,
    readout,
    simd,
)
from openqse_emulator.statevector.plan import Plan
from openqse_emulator.statevector.program import Program
from openqse_emulator.statevector.readout import (
    Distribution,
    State,
    Terms,
    chunks_of,
    measured_alone,
    pieces_of,
)
from openqse_emulator.statevector.team import Stopped, Team, go_on

#: Blocks after which the caller's thread asks whether to stop: some milliseconds.
_BUDGET = 8
_EVER = 2**62

#: Types of a state's numbers by the profile's word for them.
DTYPES: Mapping[str, DTypeLike] = {"double": np.float64, "single": np.float32}

#: No Pauli operators are inserted.
NO_NOISE = np.zeros((0, 3), dtype=np.int64)


def state_bytes(num_qubits: int, dtype: DTypeLike) -> int:
    """Memory that a state takes."""
    return int(2 << max(num_qubits, plan.LEAST_QUBITS)) * np.dtype(dtype).itemsize


class Workspace:
    """What one thread needs to bind a plan."""

    def __init__(self, read: Program, noisy: bool) -> None:
        n = read.num_qubits
        self.operations = read.operations
        self.operands = read.operands
        if noisy:  # a Pauli operator between gates may change what is known of their product
            self.operations = read.operations.copy()
            self.operations[:, 5] = 1
        self.items = np.zeros((read.most_items, 4), dtype=np.int64)
        self.values = np.zeros((read.most_items, 3), dtype=np.complex128)
        self.pending = np.zeros((n, 20), dtype=np.complex128)
        self.known = np.zeros((n, 4), dtype=np.int64)
        self.frame = np.array([0, 0, 0, noisy], dtype=np.int64)
        self.bound: bind.Bound | None = None
        self._written: tuple[bytes, bytes] | None = None

    def rewrite(self, angles: NDArray[np.float64], noise: NDArray[np.int64]) -> None:
        """Writes items and values for these parameters and these Pauli operators, if they are
        not there."""
        wanted = angles.tobytes(), noise.tobytes()
        if self._written == wanted:
            return
        self._written = wanted
        canonical.canonical(
            self.operations, self.operands, angles, noise,
            self.items, self.values, self.pending, self.known, self.frame,
        )  # fmt: skip

    def bind(self, planned: Plan, dtype: DTypeLike) -> bind.Bound:
        """The numbers of the plan's operations."""
        if self.bound is None:
            self.bound = bind.allocate(planned, dtype)
        bound = self.bound
        bind.fill(
            planned.stages, planned.ops, planned.records, planned.fills, planned.fill_ends,
            planned.block, planned.row, self.items[: self.frame[0]], self.values,
            bound.tangents, bound.factors, bound.tables, bound.required, bound.scales,
        )  # fmt: skip
        return bound


class Workspaces:
    """A workspace for each thread, made when the thread first needs it."""

    def __init__(self, make: Callable[[], Workspace], threads: int) -> None:
        self._make = make
        self._made: list[Workspace | None] = [None] * threads

    def __len__(self) -> int:
        return len(self._made)

    def __getitem__(self, thread: int) -> Workspace:
        found = self._made[thread]
        if found is None:
            found = self._made[thread] = self._make()
        return found


class Prepared:
    """A program of an engine: read once, planned at its first use.

    Attributes:
        program: what the plan is made from.
        num_qubits: of its state.
    """

    def __init__(self, read: Program, dtype: DTypeLike, threads: int) -> None:
        self.program = read
        self.num_qubits = max(self.program.num_qubits, plan.LEAST_QUBITS)
        self._dtype = dtype
        self._threads = threads
        self._plans: dict[tuple[bool, bool], tuple[Plan, Workspaces]] = {}

    def planned(
        self, angles: NDArray[np.float64], keep_phases: bool, noisy: bool = False
    ) -> tuple[Plan, Workspaces]:
        """The plan, and a workspace for each thread.

        Args:
            angles: any set of parameters: the plan is the same for all.
            keep_phases: whether phases matter that no outcome of a measurement depends on.
            noisy: whether Pauli operators will be inserted.
        """
        found = self._plans.get((keep_phases, noisy))
        if found is None:
            make = partial(Workspace, self.program, noisy)
            spaces = Workspaces(make, self._threads)
            spaces[0].rewrite(angles, NO_NOISE)
            block = plan.block_qubits(self.num_qubits, self._dtype)
            items = spaces[0].items[: spaces[0].frame[0]].copy()
            made = plan.plan(
                items, self.num_qubits, self._dtype, block=block, keep_phases=keep_phases
            )
            found = self._plans[keep_phases, noisy] = made, spaces
        return found


class Engine:
    """Evolves state vectors with some threads in some precision."""

    def __init__(self, dtype: DTypeLike, threads: int) -> None:
        self.dtype = np.dtype(dtype)
        self.team = Team(threads)
        self._scratch: list[NDArray[Any]] = [np.zeros(0, dtype)] * threads
        self._spare: NDArray[Any] | None = None

    def prepare(
        self, circuit: Circuit | Program, threads: int | None = None, *, observed: bool = False
    ) -> Prepared:
        """Reads a program.

        Args:
            threads: for how many threads there is to be a workspace; None means all.
            observed: of a circuit, whether an observable stands at its end (see ``program.read``).
        """
        read = circuit
        if not isinstance(read, Program):
            read = program.read(read, observed=observed)
        return Prepared(read, self.dtype, threads or self.team.threads)

    def evolve(
        self,
        prepared: Prepared,
        angles: NDArray[np.float64],
        stopped: Stopped,
        *,
        keep_phases: bool = True,
    ) -> State:
        """The state that a program without collapses prepares.

        Args:
            angles: float64 ``(n_angles,)``, a row of ``Circuit.bind``.
            keep_phases: whether phases matter that no outcome of a measurement depends on.

        Raises:
            TaskCancelled: ``stopped`` was true.
        """
        planned, spaces = prepared.planned(angles, keep_phases)
        spaces[0].rewrite(angles, NO_NOISE)
        bound = spaces[0].bind(planned, self.dtype)
        numbers = self.take(planned.num_qubits)
        self.advance(planned, bound, numbers, 0, stopped)
        return state_of(numbers, spaces[0])

    def distribution(
        self, prepared: Prepared, angles: NDArray[np.float64], stopped: Stopped
    ) -> Distribution:
        """The distribution of the final measurements of a program without collapses.

        Raises:
            TaskCancelled: ``stopped`` was true.
        """
        if len(prepared.program.final_qubits) == 0:
            return Distribution(None, np.ones(1), np.zeros((0, 3), np.int64), prepared.program)
        state = self.evolve(prepared, angles, stopped, keep_phases=False)
        found = self.measured(prepared.program, state, stopped)
        if found.state is None:
            self.give_back(state.numbers)
        return found

    def expectations(
        self,
        prepared: Prepared,
        observable: PauliSum,
        angles: NDArray[np.float64],
        stopped: Stopped,
    ) -> NDArray[np.float64]:
        """The expectations of an observable in the states that a program without collapses
        prepares: float64 ``(k,)``.

        Args:
            angles: float64 ``(k, n_angles)``, as ``Circuit.bind`` gives them.

        Raises:
            TaskCancelled: ``stopped`` was true.
        """
        values = np.empty(len(angles))
        known: dict[bytes, Terms] = {}

        def one(state: State, i: int) -> None:
            key = state.names.tobytes()
            terms = known.get(key)
            if terms is None:
                terms = known[key] = Terms.of(observable, state.names)
            values[i] = terms.expectation(state)

        if self._each_alone(prepared, angles, True, one, stopped):
            return values
        for i, row in enumerate(angles):
            state = self.evolve(prepared, row, stopped)
            values[i] = self.expectation(state, observable, stopped)
            self.give_back(state.numbers)
        return values

    def expectation_alone(self, state: State, observable: PauliSum) -> float:
        """The expectation of an observable in a state, found by one thread."""
        return Terms.of(observable, state.names).expectation(state)

    def expectation(self, state: State, observable: PauliSum, stopped: Stopped) -> float:
        """The expectation of an observable in a state."""
        terms = Terms.of(observable, state.names)
        sums = np.zeros(chunks_of(state.numbers))
        self._pass(state.numbers, lambda begin, end: terms.sum(state, begin, end, sums), stopped)
        return float(sums.sum())

    def samples(
        self,
        prepared: Prepared,
        angles: NDArray[np.float64],
        uniforms: Callable[[int], Uniforms],
        memory: NDArray[np.uint8],
        stopped: Stopped,
    ) -> None:
        """Samples a program without collapses for several sets of parameters.

        Args:
            angles: float64 ``(k, n_angles)``, as ``Circuit.bind`` gives them.
            uniforms: the random numbers of a set.
            memory: uint8 ``(k, shots, bytes)``, as in ``Samples``; written.

        Raises:
            TaskCancelled: ``stopped`` was true.
        """

        def one(state: State, i: int) -> None:
            found = measured_alone(prepared.program, state)
            found.draw(uniforms(i).draw(0, 0, len(memory[i])), memory[i])

        if len(prepared.program.final_qubits) == 0:
            return
        if len(angles) > 1 and self._each_alone(prepared, angles, False, one, stopped):
            return
        for i, row in enumerate(angles):
            found = self.distribution(prepared, row, stopped)
            found.sample(uniforms(i), memory[i], self.team, stopped)
            if found.state is not None:
                self.give_back(found.state.numbers)

    def close(self) -> None:
        """Ends the threads and frees what is kept."""
        self.team.close()
        self._spare = None
        self._scratch = [np.zeros(0, self.dtype) for _ in self._scratch]

    # --- evolution -------------------------------------------------------------------------------

    def advance(
        self, planned: Plan, bound: bind.Bound, numbers: NDArray[Any], segment: int,
        stopped: Stopped,
    ) -> None:  # fmt: skip
        """Applies the stages before a collapse, or those after all."""
        first, last = planned.segments[segment : segment + 2].tolist()
        sync = np.zeros(kernels.DONE + last - first, dtype=np.int64)

        def job(thread: int) -> bool:
            budget = _EVER if thread else _BUDGET
            return self.work(thread, planned, bound, numbers, segment, budget, sync)

        def halt() -> None:
            sync[kernels.STOPPED] = 1

        go_on(stopped)
        if planned.num_qubits == planned.block:
            while not job(0):
                go_on(stopped)
        elif first < last:
            blocks = 1 << (planned.num_qubits - planned.block)
            self.team.together(min(self.team.threads, blocks), job, stopped, halt)

    def work(
        self, thread: int, planned: Plan, bound: bind.Bound, numbers: NDArray[Any], segment: int,
        budget: int, sync: NDArray[np.int64] | None,
    ) -> bool:  # fmt: skip
        """One thread's part in the stages of a segment; all of it where ``sync`` is None."""
        first, last = planned.segments[segment : segment + 2].tolist()
        if sync is None:
            sync = np.zeros(kernels.DONE + last - first, dtype=np.int64)
        size = kernels.scratch_size(planned.block, planned.row, self.dtype)
        if len(self._scratch[thread]) < size:
            self._scratch[thread] = aligned(size, self.dtype)
        done: bool = kernels.work(
            numbers, self._scratch[thread], sync, budget, first, last, planned.block,
            planned.row, planned.stages, planned.local, planned.ops, planned.records,
            bound.tangents, bound.factors, bound.tables, bound.required, bound.scales,
        )  # fmt: skip
        return done

    def _each_alone(
        self,
        prepared: Prepared,
        angles: NDArray[np.float64],
        keep_phases: bool,
        use: Callable[[State, int], None],
        stopped: Stopped,
    ) -> bool:
        """Evolves each set of parameters in one thread and uses its state there, if a state is so
        small that it makes a single block; else returns False."""
        planned, spaces = prepared.planned(angles[0], keep_phases)
        if planned.num_qubits > planned.block or len(planned.segments) > 2:
            return False
        states = [aligned(2 << planned.num_qubits, self.dtype) for _ in range(len(spaces))]

        def job(thread: int, i: int) -> None:
            spaces[thread].rewrite(angles[i], NO_NOISE)
            bound = spaces[thread].bind(planned, self.dtype)
            self.work(thread, planned, bound, states[thread], 0, _EVER, None)
            use(state_of(states[thread], spaces[thread]), i)

        self.team.each(len(angles), job, stopped)
        return True

    def take(self, num_qubits: int) -> NDArray[Any]:
        """Room for a state: what it holds is of no matter."""
        spare, self._spare = self._spare, None
        if spare is not None and len(spare) == 2 << num_qubits:
            return spare
        del spare
        return aligned(2 << num_qubits, self.dtype)

    def give_back(self, numbers: NDArray[Any]) -> None:
        """Keeps the room of a state that is of no use any more, for the next."""
        self._spare = numbers

    # --- measurement -----------------------------------------------------------------------------

    def _pass(self, numbers: NDArray[Any], job: Any, stopped: Stopped) -> None:
        """Calls ``job(begin, end)`` for all chunks of a state."""
        pieces = pieces_of(numbers)
        self.team.each(len(pieces), lambda _, i: job(*pieces[i]), stopped)

    def measured(self, read: Program, state: State, stopped: Stopped) -> Distribution:
        """The distribution of the final measurements; keeps the state if it needs it."""
        return readout.measured(read, state, lambda job: self._pass(state.numbers, job, stopped))

    def weigh_bit(self, numbers: NDArray[Any], bit: int, stopped: Stopped) -> tuple[float, float]:
        weights = np.zeros((chunks_of(numbers), 2))
        self._pass(
            numbers,
            lambda begin, end: measure.weigh_bit(numbers, begin, end, bit, weights),
            stopped,
        )
        zero, one = weights.sum(axis=0).tolist()
        return zero, one


def state_of(numbers: NDArray[Any], space: Workspace) -> State:
    return State(numbers, space.known[:, 2].copy(), int(space.frame[1]), int(space.frame[2]))


def aligned(size: int, dtype: DTypeLike) -> NDArray[Any]:
    """Uninitialised numbers, from an address that a vector may have."""
    spare = simd.lanes(dtype)
    whole = np.empty(size + spare, dtype)
    begin = -whole.ctypes.data % simd.VECTOR_BYTES // whole.itemsize
    return whole[begin : begin + size]
