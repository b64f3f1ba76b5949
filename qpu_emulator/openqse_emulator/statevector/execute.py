"""Running plans: evolution in slices, sampling by branches, expectations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from openqse.errors import TaskCancelled
from openqse.program.observable import PauliSum
from openqse_emulator.statevector import kernels
from openqse_emulator.statevector.plan import Collapse, Plan

#: Amplitudes one kernel call may visit before ``stopped`` is asked again: some 20 ms.
_SLICE = 2**23
_SHOTS = 2**15

Stopped = Callable[[], bool]
State = NDArray[np.complex128]


def state_bytes(num_qubits: int) -> int:
    """Memory that a state takes."""
    return int(2**num_qubits * np.dtype(np.complex128).itemsize)


def evolve(plan: Plan, angles: NDArray[np.float64], stopped: Stopped) -> State:
    """The state, complex128 ``(2**n,)``, that a pure plan prepares.

    Args:
        angles: float64 ``(n_angles,)``, a row of ``Circuit.bind``.

    Raises:
        TaskCancelled: ``stopped`` was true.
    """
    state = _zero_state(plan)
    _advance(state, plan, angles, 0, len(plan.opcodes), stopped)
    return state


def distribution(plan: Plan, angles: NDArray[np.float64], stopped: Stopped) -> NDArray[np.float64]:
    """The running sum of the probabilities, float64 ``(2**n,)``, after a plan without collapses.

    Raises:
        TaskCancelled: ``stopped`` was true.
    """
    return _cumulate(evolve(plan, angles, stopped))


def sample(
    plan: Plan,
    cumulative: NDArray[np.float64],
    rng: np.random.Generator,
    memory: NDArray[np.uint8],
    stopped: Stopped,
) -> None:
    """Measures at the end: writes a plan's final measurements, drawn from ``distribution``.

    Args:
        memory: uint8 ``(shots, bytes)``, one row of ``Samples.memory``.

    Raises:
        TaskCancelled: ``stopped`` was true.
    """
    for begin in range(0, len(memory), _SHOTS):
        _go_on(stopped)
        rows = memory[begin : begin + _SHOTS]
        draws = rng.random(len(rows))
        kernels.read_out(cumulative, draws, plan.final_qubits, plan.final_clbits, rows)


def sample_branches(
    plan: Plan,
    angles: NDArray[np.float64],
    rng: np.random.Generator,
    memory: NDArray[np.uint8],
    stopped: Stopped,
) -> None:
    """Samples a plan with collapses: shots share a state for as long as their outcomes agree.

    At a collapse the number of shots that find 1 is drawn from the binomial distribution, and each
    outcome that has shots goes on by itself. The branch with fewer shots goes on first, so at most
    ``log2(shots)`` states wait.

    Args:
        memory: as in ``sample``.

    Raises:
        TaskCancelled: ``stopped`` was true.
    """
    waiting = [(_zero_state(plan), 0, memory)]
    while waiting:
        state, begun, rows = waiting.pop()
        position = plan.collapses[begun - 1].position if begun else 0
        for i, collapse in enumerate(plan.collapses[begun:], start=begun + 1):
            _advance(state, plan, angles, position, collapse.position, stopped)
            position = collapse.position
            one = float(kernels.weight(state, collapse.qubit, collapse.qubit))
            zero = float(kernels.weight(state, collapse.qubit, 0))
            ones = int(rng.binomial(len(rows), one / (one + zero)))
            fewer, more = sorted(((ones, True), (len(rows) - ones, False)))
            if fewer[0]:
                other = state.copy()
                _project(other, collapse, more[1], one if more[1] else zero)
                _write(rows[fewer[0] :], collapse, more[1])
                waiting.append((other, i, rows[fewer[0] :]))
                rows, outcome = rows[: fewer[0]], fewer[1]
            else:
                outcome = more[1]
            _project(state, collapse, outcome, one if outcome else zero)
            _write(rows, collapse, outcome)
        _advance(state, plan, angles, position, len(plan.opcodes), stopped)
        sample(plan, _cumulate(state), rng, rows, stopped)
    # Branches lie one after another in the memory; shots do not.
    rng.shuffle(memory, axis=0)


def expectation(
    plan: Plan, observable: PauliSum, angles: NDArray[np.float64], stopped: Stopped
) -> float:
    """The exact expectation of an observable in the state that a pure plan prepares.

    Raises:
        TaskCancelled: ``stopped`` was true.
    """
    state = evolve(plan, angles, stopped)
    codes = observable.paulis
    bits = np.int64(1) << np.arange(plan.num_qubits, dtype=np.int64)
    flips = ((codes == 1) | (codes == 2)) @ bits
    signs = ((codes == 2) | (codes == 3)) @ bits
    coefficients = observable.coefficients.copy()  # those off the wire are read-only: another type
    value = 0.0
    for start, stop in _slices(plan, 0, len(codes), stopped):
        value += kernels.pauli_sum(state, coefficients, flips, signs, start, stop)
    return value


def _zero_state(plan: Plan) -> State:
    state = np.zeros(2**plan.num_qubits, dtype=np.complex128)
    state[0] = 1.0
    return state


def _cumulate(state: State) -> NDArray[np.float64]:
    cumulative = np.empty(len(state), dtype=np.float64)
    kernels.cumulate(state, cumulative)
    return cumulative


def _advance(
    state: State,
    plan: Plan,
    angles: NDArray[np.float64],
    start: int,
    stop: int,
    stopped: Stopped,
) -> None:
    for begin, end in _slices(plan, start, stop, stopped):
        kernels.evolve(
            state,
            plan.opcodes,
            plan.controls,
            plan.firsts,
            plan.seconds,
            plan.angle_offsets,
            angles,
            begin,
            end,
        )


def _slices(plan: Plan, start: int, stop: int, stopped: Stopped) -> Iterator[tuple[int, int]]:
    """Cuts work items, each a pass over the state, into slices between which one can stop."""
    step = max(1, _SLICE >> plan.num_qubits)
    for begin in range(start, stop, step):
        _go_on(stopped)
        yield begin, min(begin + step, stop)


def _go_on(stopped: Stopped) -> None:
    if stopped():
        raise TaskCancelled("the task was stopped while the emulator ran it", layer="device")


def _project(state: State, collapse: Collapse, outcome: bool, weight: float) -> None:
    """Leaves of the state what agrees with an outcome of this weight, normalised; a reset then
    takes the qubit to zero."""
    bit = collapse.qubit
    kernels.scale(state, bit, bit if outcome else 0, complex(weight**-0.5))
    kernels.scale(state, bit, 0 if outcome else bit, 0j)
    if outcome and collapse.clbit < 0:
        kernels.exchange(state, bit, 0, bit)


def _write(rows: NDArray[np.uint8], collapse: Collapse, outcome: bool) -> None:
    if collapse.clbit < 0:
        return
    byte, bit = collapse.clbit >> 3, collapse.clbit & 7
    rows[:, byte] = rows[:, byte] & ~np.uint8(1 << bit) | np.uint8(outcome << bit)
