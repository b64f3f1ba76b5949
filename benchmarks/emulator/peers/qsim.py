"""qsim through qsimcirq: single precision; gates fused up to a size.

Circuits are put into qsim's own form by the calls that qsimcirq makes, without Cirq in between:
what Cirq takes to build a circuit is not qsim's to answer for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qsimcirq import QSimOptions, qsim

from benchmarks.emulator.engine import (
    Engine,
    Gate,
    Kind,
    Laps,
    Probe,
    Setting,
    Task,
    Unsupported,
    bits_of,
    gates,
    noise_after,
    statistics,
    terms,
)
from openqse.program.gates import Op, matrix
from openqse.program.observable import PauliSum

_FIXED = {
    Op.X: qsim.kX,
    Op.Z: qsim.kZ,
    Op.H: qsim.kH,
    Op.S: qsim.kS,
    Op.T: qsim.kT,
    Op.SWAP: qsim.kSWAP,
}
_CONTROLLED = {Op.X: qsim.kCX, Op.Z: qsim.kCZ, Op.P: qsim.kCZPowGate}
#: Gates given as powers of a Pauli, with the shift of its eigenvalues' phases.
_POWERS = {
    Op.P: (qsim.kZPowGate, 0.0),
    Op.RX: (qsim.kXPowGate, -0.5),
    Op.RY: (qsim.kYPowGate, -0.5),
    Op.RZ: (qsim.kZPowGate, -0.5),
    Op.RZZ: (qsim.kZZPowGate, -0.5),
}
_PAULIS = (np.eye(2), matrix(Op.X), matrix(Op.Y), matrix(Op.Z))
_PAULI_KINDS = (None, qsim.kX, qsim.kY, qsim.kZ)


class Peer(Engine):
    name = "qsim"

    def __init__(self, precision: str, threads: int) -> None:
        if precision != "single":
            raise Unsupported("single precision alone")
        self._threads = threads

    def settings(self, task: Task) -> Sequence[Setting]:
        if task.kind is Kind.CLIFFORD:
            raise Unsupported("no stabilizer engine")
        sizes = (3, 2) if task.kind is Kind.NOISY else (3, 4, 2)
        return [{"max_fused_gate_size": size} for size in sizes]

    def run(self, task: Task, setting: Setting, lap: Laps) -> Probe:
        options = QSimOptions(cpu_threads=self._threads, **setting).as_dict()
        if task.kind is Kind.EXPECTATION:
            return _expectations(task, options, lap)
        if task.kind is Kind.NOISY:
            return _trajectories(task, options, lap)
        options |= {"c": _circuit(task, task.angles()[0]), "s": 1}
        lap("translate_s")
        if task.kind is Kind.SAMPLE:
            shots = qsim.qsim_sample_final(options, task.shots)
            lap("execute_s")
            return lambda: statistics(bits_of(shots, task.num_qubits))
        state = qsim.qsim_simulate_fullstate(options, 0).view(np.complex64)
        lap("execute_s")
        return lambda: state[list(task.indices)]


def _expectations(task: Task, options: dict[str, Any], lap: Laps) -> Probe:
    assert task.observable is not None
    observable = [(_opstrings(task.observable), task.num_qubits)]
    values: list[complex] = []
    for row in task.angles():
        options |= {"c": _circuit(task, row), "s": 1}
        lap("translate_s")
        values += qsim.qsim_simulate_expectation_values(options, observable, 0)
        lap("execute_s")
    return lambda: np.real(values)


def _trajectories(task: Task, options: dict[str, Any], lap: Laps) -> Probe:
    options["c"] = _noisy_circuit(task)
    lap("translate_s")
    shots = []
    for seed in range(task.shots):
        options["s"] = seed
        shots.append(qsim.qtrajectory_sample(options))
    lap("execute_s")
    return lambda: statistics(shots)


def _circuit(task: Task, angles: NDArray[np.float64]) -> Any:
    circuit = qsim.Circuit()
    circuit.num_qubits = task.num_qubits
    for moment, gate in _in_moments(task, angles):
        op, controls, targets, own = gate
        if op is Op.U:
            qsim.add_matrix_gate(moment, targets, _numbers(matrix(op, own)), circuit)
        elif len(controls) == 1 and op in _CONTROLLED:
            kind, power = _CONTROLLED[op], _power(op, own)
            qsim.add_gate(kind, moment, controls + targets, power, circuit)
            continue
        else:
            kind = _POWERS[op][0] if op in _POWERS else _FIXED[op]
            qsim.add_gate(kind, moment, targets, _power(op, own), circuit)
        if controls:
            qsim.control_last_gate(controls, [1] * len(controls), circuit)
    return circuit


def _noisy_circuit(task: Task) -> Any:
    """The circuit in which noise chooses among Paulis after each gate, and its measurement."""
    assert task.noise is not None
    circuit = qsim.NoisyCircuit()
    circuit.num_qubits = task.num_qubits
    channels = {n: _depolarizing(n, p) for n, p in enumerate(task.noise, start=1)}
    time = 0
    for _, moment in groupby(_in_moments(task, task.angles()[0]), key=lambda pair: pair[0]):
        together = [gate for _, gate in moment]
        for op, controls, targets, own in together:
            if controls:
                kind, power = _CONTROLLED[op], _power(op, own)
                qsim.add_gate_channel(kind, time, controls + targets, power, circuit)
            else:
                values = _numbers(matrix(op, own))
                qsim.add_matrix_gate_channel(time, targets, values, circuit)
        for gate in together:
            qubits, _ = noise_after(task.noise, gate)
            qsim.add_channel(time + 1, qubits, channels[len(qubits)], circuit)
        time += 2
    qsim.add_gate_channel(qsim.kMeasurement, time, range(task.num_qubits), {}, circuit)
    return circuit


def _in_moments(task: Task, angles: NDArray[np.float64]) -> list[tuple[int, Gate]]:
    """The gates ordered by the earliest moment at which their qubits are free, as qsim wants."""
    free = [0] * task.num_qubits
    placed = []
    for gate in gates(task.circuit, angles):
        qubits = gate.controls + gate.targets
        moment = max(free[q] for q in qubits)
        for q in qubits:
            free[q] = moment + 1
        placed.append((moment, gate))
    return sorted(placed, key=lambda pair: pair[0])


def _power(op: Op, angles: tuple[float, ...]) -> dict[str, float]:
    if op not in _POWERS:
        return {}
    return {"exponent": angles[0] / np.pi, "global_shift": _POWERS[op][1]}


def _numbers(unitary: NDArray[np.complex128]) -> list[float]:
    """A matrix by rows, real and imaginary parts in turn."""
    values: list[float] = np.ascontiguousarray(unitary).view(np.float64).ravel().tolist()
    return values


def _depolarizing(num_qubits: int, probability: float) -> list[tuple[float, Any, bool]]:
    """Products of Paulis, each with its probability and that it is unitary."""
    choices = []
    for i, factors in enumerate(product(_PAULIS, repeat=num_qubits)):
        unitary = factors[0] if num_qubits == 1 else np.kron(*factors)
        weight = probability / (4**num_qubits - 1) if i else 1 - probability
        choices.append((weight, unitary.astype(np.complex64).ravel().view(np.float32), True))
    return choices


def _opstrings(observable: PauliSum) -> list[Any]:
    strings = []
    for coefficient, qubits, paulis in terms(observable):
        string = qsim.OpString()
        string.weight = coefficient
        for q, pauli in zip(qubits, paulis, strict=True):
            qsim.add_gate_to_opstring(_PAULI_KINDS[pauli], [q], string)
        strings.append(string)
    return strings
