"""scaluq: both precisions; gates merged into dense blocks; states in batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

# Kokkos under scaluq recommends these; OpenMP reads them when it is loaded.
os.environ |= {"OMP_PROC_BIND": "spread", "OMP_PLACES": "threads"}

import numpy as np
import scaluq
from scaluq import gate as make

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
    Op.RX: make.RX,
    Op.RY: make.RY,
    Op.RZ: make.RZ,
    Op.P: make.U1,
    Op.U: make.U3,
    Op.SWAP: make.Swap,
}
_PARAMETRIC = {Op.RX: make.ParamRX, Op.RY: make.ParamRY, Op.RZ: make.ParamRZ}


class Peer(Engine):
    name = "scaluq"

    def __init__(self, precision: str, threads: int) -> None:
        self._precision = "f64" if precision == "double" else "f32"

    def settings(self, task: Task) -> Sequence[Setting]:
        if task.kind is Kind.CLIFFORD:
            raise Unsupported("no stabilizer engine")
        if task.batch > 1:
            return [{"states": 1000}, {"states": 100}, {"states": 10}]
        if task.kind is Kind.NOISY:
            return [{}]
        return [{"block": 2}, {"block": 3}, {"block": 4}, {"block": 0}]

    def run(self, task: Task, setting: Setting, lap: Laps) -> Probe:
        if task.batch > 1:
            return self._batch(task, setting["states"], lap)
        circuit = scaluq.Circuit(self._precision)
        for gate in gates(task.circuit, task.angles()[0]):
            circuit.add_gate(self._gate(gate))
            if task.noise is not None:
                circuit.add_gate(self._depolarizing(*noise_after(task.noise, gate)))
        if setting.get("block"):
            circuit.optimize(setting["block"])
        if task.observable is not None:
            operator = self._operator(task.observable)
        lap("translate_s")
        state = scaluq.StateVector(task.num_qubits, self._precision)
        if task.kind is Kind.NOISY:
            shots: list[int] = []
            for outcome, count in circuit.simulate_noise(state, task.shots):
                shots += outcome.sampling(count)
            lap("execute_s")
            return lambda: statistics(bits_of(shots, task.num_qubits))
        circuit.update_quantum_state(state)
        if task.observable is not None:
            value = operator.get_expectation_value(state).real
            lap("execute_s")
            return lambda: [value]
        if task.kind is Kind.SAMPLE:
            shots = state.sampling(task.shots)
            lap("execute_s")
            return lambda: statistics(bits_of(shots, task.num_qubits))
        lap("execute_s")
        return lambda: [state.get_amplitude_at(i) for i in task.indices]

    def _batch(self, task: Task, states: int, lap: Laps) -> Probe:
        """Expectations of ``states`` states at a time, that one parametric circuit prepares."""
        assert task.observable is not None
        angles = task.angles()
        circuit = scaluq.Circuit(self._precision)
        columns: dict[str, int] = {}
        spans = angle_spans(task.circuit)
        for gate, span in zip(gates(task.circuit, angles[0]), spans, strict=True):
            if gate.op in _PARAMETRIC and not gate.controls:
                made = _PARAMETRIC[gate.op](*gate.targets, 1.0, precision=self._precision)
                columns[str(span[0])] = span[0]
                circuit.add_param_gate(made, str(span[0]))
            else:
                circuit.add_gate(self._gate(gate))
        operator = self._operator(task.observable)
        lap("translate_s")
        values: list[complex] = []
        for begin in range(0, len(angles), states):
            rows = angles[begin : begin + states]
            batch = scaluq.StateVectorBatched(len(rows), task.num_qubits, self._precision)
            parameters = {key: rows[:, column].tolist() for key, column in columns.items()}
            circuit.update_quantum_state(batch, params=parameters)
            values += operator.get_expectation_value(batch)
        lap("execute_s")
        return lambda: np.real(values)

    def _gate(self, gate: Gate) -> Any:
        op, controls, targets, angles = gate
        if op is Op.RZZ:
            pauli = self._pauli(list(targets), [3, 3], 1.0)
            return make.PauliRotation(pauli, *angles, list(controls), precision=self._precision)
        return _PLAIN[op](*targets, *angles, list(controls), precision=self._precision)

    def _depolarizing(self, qubits: tuple[int, ...], probability: float) -> Any:
        products = [
            make.Pauli(
                self._pauli(list(qubits), [code >> 2 * i & 3 for i in range(len(qubits))], 1.0),
                precision=self._precision,
            )
            for code in range(1, 4 ** len(qubits))
        ]
        weights = [probability / len(products)] * len(products)
        identity = make.I(precision=self._precision)
        return make.Probabilistic(
            [1 - probability, *weights], [identity, *products], precision=self._precision
        )

    def _operator(self, observable: PauliSum) -> Any:
        products = [
            self._pauli(qubits, paulis, coefficient)
            for coefficient, qubits, paulis in terms(observable)
        ]
        return scaluq.Operator(products, self._precision)

    def _pauli(self, qubits: list[int], paulis: list[int], coefficient: float) -> Any:
        return scaluq.PauliOperator.from_targets_and_pauli_ids(
            qubits, paulis, coefficient, self._precision
        )
