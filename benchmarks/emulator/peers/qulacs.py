"""qulacs: double precision; neighbouring gates merged into dense blocks by its optimizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import qulacs
from qulacs import gate as make
from qulacs.circuit import QuantumCircuitOptimizer

from benchmarks.emulator.engine import (
    Engine,
    Gate,
    Kind,
    Laps,
    Probe,
    Setting,
    Task,
    Unsupported,
    angle_spans,
    bits_of,
    gates,
    noise_after,
    statistics,
    terms,
)
from openqse.program.gates import Op
from openqse.program.observable import PauliSum

_PLAIN: dict[Op, Callable[..., Any]] = {
    Op.X: make.X,
    Op.Z: make.Z,
    Op.H: make.H,
    Op.S: make.S,
    Op.SDG: make.Sdag,
    Op.T: make.T,
    Op.RX: make.RotX,
    Op.RY: make.RotY,
    Op.RZ: make.RotZ,
    Op.P: make.U1,
    Op.U: make.U3,
    Op.SWAP: make.SWAP,
}
_PARAMETRIC = {Op.RX: make.ParametricRX, Op.RY: make.ParametricRY, Op.RZ: make.ParametricRZ}
_NOISE = {1: make.DepolarizingNoise, 2: make.TwoQubitDepolarizingNoise}


class Peer(Engine):
    name = "qulacs"

    def __init__(self, precision: str, threads: int) -> None:
        if precision != "double":
            raise Unsupported("double precision alone")

    def settings(self, task: Task) -> Sequence[Setting]:
        if task.kind is Kind.CLIFFORD:
            raise Unsupported("no stabilizer engine")
        if task.kind is Kind.NOISY or task.batch > 1:
            return [{}]  # its optimizer merges neither noise nor parameters
        if task.circuit.controls.max() > 2:
            return [{"block": 0}]  # it would make a dense matrix of all that the controls span
        return [{"block": 2}, {"block": 3}, {"block": 4}, {"block": "light"}, {"block": 0}]

    def run(self, task: Task, setting: Setting, lap: Laps) -> Probe:
        if task.batch > 1:
            return self._batch(task, lap)
        circuit = qulacs.QuantumCircuit(task.num_qubits)
        for gate in gates(task.circuit, task.angles()[0]):
            circuit.add_gate(_gate(gate))
            if task.noise is not None:
                qubits, probability = noise_after(task.noise, gate)
                circuit.add_gate(_NOISE[len(qubits)](*qubits, probability))
        if task.kind is Kind.NOISY:
            lap("translate_s")
            simulator = qulacs.NoiseSimulator(circuit, qulacs.QuantumState(task.num_qubits))
            shots = simulator.execute(task.shots)
            lap("execute_s")
            return lambda: statistics(bits_of(shots, task.num_qubits))
        if setting["block"] == "light":
            QuantumCircuitOptimizer().optimize_light(circuit)
        elif setting["block"]:
            QuantumCircuitOptimizer().optimize(circuit, setting["block"])
        if task.observable is not None:
            observable = _observable(task.observable)
        lap("translate_s")
        state = qulacs.QuantumState(task.num_qubits)
        circuit.update_quantum_state(state)
        if task.observable is not None:
            value = observable.get_expectation_value(state)
            lap("execute_s")
            return lambda: [value]
        if task.kind is Kind.SAMPLE:
            shots = state.sampling(task.shots)
            lap("execute_s")
            return lambda: statistics(bits_of(shots, task.num_qubits))
        lap("execute_s")
        return lambda: state.get_vector()[list(task.indices)]

    def _batch(self, task: Task, lap: Laps) -> Probe:
        """Expectations by one parametric circuit whose parameters are set anew each time."""
        assert task.observable is not None
        angles = task.angles()
        circuit = qulacs.ParametricQuantumCircuit(task.num_qubits)
        positions: list[int] = []
        spans = angle_spans(task.circuit)
        for gate, span in zip(gates(task.circuit, angles[0]), spans, strict=True):
            if gate.op in _PARAMETRIC and not gate.controls:
                circuit.add_parametric_gate(_PARAMETRIC[gate.op](*gate.targets, 0.0))
                positions += span
            else:
                circuit.add_gate(_gate(gate))
        rows = (-angles[:, positions]).tolist()  # its rotations turn the other way
        observable = _observable(task.observable)
        state = qulacs.QuantumState(task.num_qubits)
        lap("translate_s")
        values = []
        for row in rows:
            for i, angle in enumerate(row):
                circuit.set_parameter(i, angle)
            state.set_zero_state()
            circuit.update_quantum_state(state)
            values.append(observable.get_expectation_value(state))
        lap("execute_s")
        return lambda: np.array(values)


def _gate(gate: Gate) -> Any:
    op, controls, targets, angles = gate
    if op is Op.RZZ and not controls:
        return make.PauliRotation(list(targets), [3, 3], -angles[0])
    if len(controls) == 1 and op in (Op.X, Op.Z):
        return (make.CNOT if op is Op.X else make.CZ)(*controls, *targets)
    made = _PLAIN[op](*targets, *angles)
    if controls:
        made = make.to_matrix_gate(made)
        for q in controls:
            made.add_control_qubit(q, 1)
    return made


def _observable(observable: PauliSum) -> Any:
    made = qulacs.Observable(observable.num_qubits)
    for coefficient, qubits, paulis in terms(observable):
        factors = (f"{'IXYZ'[pauli]} {q}" for q, pauli in zip(qubits, paulis, strict=True))
        made.add_operator(coefficient, " ".join(factors))
    return made
