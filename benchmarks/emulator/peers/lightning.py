"""PennyLane Lightning (lightning.qubit): both precisions, a call for each gate.

Its state is driven through the calls that PennyLane makes, without PennyLane's queues in between.
Qubit ``q`` is wire ``n - 1 - q``, as wire 0 is the most significant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pennylane_lightning import lightning_qubit_ops as ops

from benchmarks.emulator.engine import (
    Engine,
    Gate,
    Kind,
    Laps,
    Probe,
    Setting,
    Task,
    Unsupported,
    gates,
    statistics,
    terms,
)
from openqse.program.gates import Op
from openqse.program.observable import PauliSum

_NAMES = {
    Op.X: "PauliX",
    Op.Z: "PauliZ",
    Op.H: "Hadamard",
    Op.S: "S",
    Op.T: "T",
    Op.RX: "RX",
    Op.RY: "RY",
    Op.RZ: "RZ",
    Op.P: "PhaseShift",
    Op.U: "Rot",
    Op.SWAP: "SWAP",
    Op.RZZ: "IsingZZ",
}
_CONTROLLED = {Op.X: "CNOT", Op.Z: "CZ", Op.P: "ControlledPhaseShift"}
_PAULIS = ("Identity", "PauliX", "PauliY", "PauliZ")


class Peer(Engine):
    name = "lightning"

    def __init__(self, precision: str, threads: int) -> None:
        self._suffix = "C128" if precision == "double" else "C64"

    def settings(self, task: Task) -> Sequence[Setting]:
        if task.kind is Kind.CLIFFORD:
            raise Unsupported("no stabilizer engine")
        if task.kind is Kind.NOISY:
            raise Unsupported("no trajectories")
        return [{}]

    def run(self, task: Task, setting: Setting, lap: Laps) -> Probe:
        n = task.num_qubits
        observable = None if task.observable is None else self._hamiltonian(task.observable)
        values = []
        for row in task.angles():
            calls = [_call(gate, n) for gate in gates(task.circuit, row)]
            lap("translate_s")
            state = getattr(ops, f"StateVector{self._suffix}")(n)
            for name, arguments in calls:
                getattr(state, name)(*arguments)
            measure = getattr(ops, f"Measurements{self._suffix}")(state)
            if observable is not None:
                values.append(measure.expval(observable))
            elif task.kind is Kind.SAMPLE:
                shots = measure.generate_samples(n, task.shots)
            lap("execute_s")
        if observable is not None:
            return lambda: np.array(values)
        if task.kind is Kind.SAMPLE:
            return lambda: statistics(shots.reshape(task.shots, n)[:, ::-1])
        return lambda: self._amplitudes(state, n)[list(task.indices)]

    def _amplitudes(self, state: Any, num_qubits: int) -> NDArray[np.complexfloating]:
        dtype = np.complex128 if self._suffix == "C128" else np.complex64
        amplitudes = np.empty(2**num_qubits, dtype)
        state.getState(amplitudes)
        return amplitudes

    def _hamiltonian(self, observable: PauliSum) -> Any:
        kinds = ops.observables
        factor = getattr(kinds, f"NamedObs{self._suffix}")
        together = getattr(kinds, f"TensorProdObs{self._suffix}")
        coefficients, products = [], []
        for coefficient, qubits, paulis in terms(observable):
            factors = [
                factor(_PAULIS[pauli], [observable.num_qubits - 1 - q])
                for q, pauli in zip(qubits, paulis, strict=True)
            ]
            coefficients.append(coefficient)
            products.append(factors[0] if len(factors) == 1 else together(factors))
        return getattr(kinds, f"Hamiltonian{self._suffix}")(coefficients, products)


def _call(gate: Gate, num_qubits: int) -> tuple[str, tuple[Any, ...]]:
    """The method of a state that applies a gate, and its arguments."""
    op, controls, targets, angles = gate
    if op is Op.U:
        # Rot turns about Z, Y and Z, in this order: the same but for a global phase.
        theta, phi, lam = angles
        angles = (lam, theta, phi)
    wires = [num_qubits - 1 - q for q in controls + targets]
    if not controls:
        return _NAMES[op], (wires, False, angles)
    if len(controls) == 1 and op in _CONTROLLED:
        return _CONTROLLED[op], (wires, False, angles)
    if op is Op.U:
        raise Unsupported("U under controls, as its phase matters there")
    count = len(controls)
    return _NAMES[op], (wires[:count], [True] * count, wires[count:], False, angles)
