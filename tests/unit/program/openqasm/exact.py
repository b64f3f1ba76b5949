"""The exact distribution of a circuit's results: every outcome is followed, slowly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from openqse.program.circuit import Circuit
from openqse.program.gates import Op, matrix
from openqse.program.machine import Machine, Step

State = NDArray[np.complex128]


def distribution(circuit: Circuit, parameters: Sequence[float] = ()) -> dict[str, float]:
    """Probabilities of the results as ``counts`` has them: bit 0 rightmost. complex128 amplitudes,
    qubit 0 the least significant index; outcomes below 1e-12 are dropped."""
    values = np.asarray(parameters, dtype=np.float64)
    state = np.zeros(2**circuit.num_qubits, dtype=np.complex128)
    state[0] = 1
    waiting = [(Machine(circuit, values), state, 1.0)]
    found: dict[str, float] = defaultdict(float)
    while waiting:
        machine, state, weight = waiting.pop()
        step = machine.advance()
        if step is None:
            found["".join(map(str, reversed(machine.outputs())))] += weight
        elif step.op in (Op.MEASURE, Op.RESET):
            for outcome in (0, 1):
                projected = _projected(state, step.qubits[0], outcome)
                chance = float(np.vdot(projected, projected).real)
                if chance * weight < 1e-12:
                    continue
                other = machine.copy()
                if step.op is Op.MEASURE:
                    other.write(step.clbit, outcome)
                elif outcome:
                    projected = _applied(projected, Step(0, Op.X, 0, step.qubits, -1, ()))
                waiting.append((other, projected / np.sqrt(chance), weight * chance))
        else:
            waiting.append((machine, _applied(state, step), weight))
    return dict(found)


def _projected(state: State, qubit: int, outcome: int) -> State:
    index = np.arange(len(state))
    return np.where(index >> qubit & 1 == outcome, state, 0)


def _applied(state: State, step: Step) -> State:
    if step.op in (Op.BARRIER, Op.DELAY, Op.BOX, Op.END_BOX):
        return state
    unitary = matrix(step.op, step.angles)
    controls, targets = step.qubits[: step.controls], step.qubits[step.controls :]
    result = state.copy()
    for index in range(len(state)):
        if any(not index >> q & 1 for q in controls):
            continue
        row = sum((index >> q & 1) << i for i, q in enumerate(targets))
        base = index & ~sum(1 << q for q in targets)
        result[index] = sum(
            unitary[row, column]
            * state[base | sum((column >> i & 1) << q for i, q in enumerate(targets))]
            for column in range(len(unitary))
        )
    return result
