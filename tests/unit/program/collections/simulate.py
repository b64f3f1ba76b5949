"""Exact distributions of circuits: plain numpy, and no part of the emulator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openqse.program.circuit import Circuit
from openqse.program.gates import Op, matrix
from openqse.program.machine import Machine, Step

#: Branches of outcomes that are followed, on six qubits; fewer on more.
MAX_BRANCHES = 20_000
#: A branch whose weight is below this is rounding.
_NOTHING = 1e-13
_NO_EFFECT = (Op.BARRIER, Op.DELAY, Op.BOX, Op.END_BOX, Op.ID)


def distribution(circuit: Circuit, parameters: ArrayLike = ()) -> dict[int, float]:
    """The probability of each value of the results' bits, bit 0 the least significant.

    Where something follows a measurement each outcome is followed by itself.

    Raises:
        OverflowError: more than ``MAX_BRANCHES`` of them.
    """
    values = np.array(parameters, dtype=float).reshape(-1)
    state = np.zeros(1 << circuit.num_qubits, dtype=complex)
    state[0] = 1
    machine = Machine(circuit, values)
    if circuit.measures_last:
        return _at_the_end(circuit, machine, state)
    found: dict[int, float] = {}
    waiting = [(machine, state)]
    branches = 0
    while waiting:
        machine, state = waiting.pop()
        branches += 1
        if branches * len(state) > MAX_BRANCHES * 64:
            raise OverflowError("too many branches of outcomes")
        while (step := machine.advance()) is not None:
            if step.op in (Op.MEASURE, Op.RESET):
                waiting += _branches(machine, state, step)
                break
            state = applied(state, step)
        else:
            key = sum(bit << i for i, bit in enumerate(machine.outputs()))
            found[key] = found.get(key, 0.0) + float(np.vdot(state, state).real)
    return found


def applied(state: NDArray, step: Step) -> NDArray:
    """The state after a gate."""
    if step.op in _NO_EFFECT:
        return state
    n = len(state).bit_length() - 1
    controls, targets = step.qubits[: step.controls], step.qubits[step.controls :]
    axes = [n - 1 - q for q in (*controls, *reversed(targets))]
    moved = np.moveaxis(state.reshape((2,) * n), axes, range(len(axes)))
    chosen = moved[(1,) * step.controls]
    gate = matrix(step.op, step.angles)
    chosen[...] = (gate @ chosen.reshape(len(gate), -1)).reshape(chosen.shape)
    return state


def _branches(machine: Machine, state: NDArray, step: Step) -> list[tuple[Machine, NDArray]]:
    (qubit,) = step.qubits
    ones = (np.arange(len(state)) >> qubit & 1).astype(bool)
    found = []
    for outcome in (0, 1):
        part = np.where(ones == bool(outcome), state, 0)
        if np.vdot(part, part).real < _NOTHING:
            continue
        other = machine.copy()
        if step.op is Op.MEASURE:
            other.write(step.clbit, outcome)
        elif outcome:
            part = applied(part, step._replace(op=Op.X))
        found.append((other, part))
    return found


def _at_the_end(circuit: Circuit, machine: Machine, state: NDArray) -> dict[int, float]:
    measured: list[tuple[int, int]] = []
    while (step := machine.advance()) is not None:
        if step.op is Op.MEASURE:
            measured.append((step.qubits[0], step.clbit))
        else:
            state = applied(state, step)
    outputs = circuit.num_outputs
    return marginal(np.abs(state) ** 2, [(q, c) for q, c in measured if 0 <= c < outputs])


def marginal(weights: NDArray, measured: Sequence[tuple[int, int]]) -> dict[int, float]:
    """The distribution of classical bits, of that of the qubits' states.

    Args:
        weights: ``(2**n,)``. measured: pairs of a qubit and the bit that it is written to.
    """
    index = np.arange(len(weights))
    wide = any(bit > 62 for _, bit in measured)
    keys = np.zeros(len(weights), dtype=object if wide else np.int64)
    for qubit, bit in measured:
        keys |= (index >> qubit & 1).astype(keys.dtype) << bit
    values, inverse = np.unique(keys, return_inverse=True)
    sums = np.bincount(inverse.reshape(-1), weights=weights)
    pairs = zip(values.tolist(), sums.tolist(), strict=True)
    return {int(value): weight for value, weight in pairs if weight > 0}
