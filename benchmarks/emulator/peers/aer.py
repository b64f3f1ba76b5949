"""Qiskit Aer: both precisions; gate fusion; parameter sets bound by Aer; methods for Clifford
programs and for density matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error

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
    bits_of_text,
    gates,
    noise_after,
    statistics,
    terms,
)
from openqse.program.gates import Op
from openqse.program.observable import PauliSum

_PLAIN = {
    Op.X: QuantumCircuit.x,
    Op.Z: QuantumCircuit.z,
    Op.H: QuantumCircuit.h,
    Op.S: QuantumCircuit.s,
    Op.SDG: QuantumCircuit.sdg,
    Op.T: QuantumCircuit.t,
    Op.RX: QuantumCircuit.rx,
    Op.RY: QuantumCircuit.ry,
    Op.RZ: QuantumCircuit.rz,
    Op.P: QuantumCircuit.p,
    Op.U: QuantumCircuit.u,
    Op.SWAP: QuantumCircuit.swap,
    Op.RZZ: QuantumCircuit.rzz,
}
_CONTROLLED = {Op.X: QuantumCircuit.cx, Op.Z: QuantumCircuit.cz, Op.P: QuantumCircuit.cp}
#: Sizes of fused gates, and none at all.
_FUSION: list[Setting] = [
    *({"fusion_max_qubit": size} for size in (5, 4, 3)),
    {"fusion_enable": False},
]


class Peer(Engine):
    name = "aer"
    has_density = True

    def __init__(self, precision: str, threads: int) -> None:
        # Fusion is for all sizes (Aer itself leaves circuits below 14 qubits alone), and threads
        # may share sets of parameters rather than a state, as they do shots.
        self._options = {
            "precision": precision,
            "max_parallel_threads": threads,
            "max_parallel_experiments": 0,
            "fusion_threshold": 1,
        }

    def settings(self, task: Task) -> Sequence[Setting]:
        if task.kind is Kind.CLIFFORD:
            return [{}]
        if task.kind is Kind.NOISY:
            return _FUSION[2:]
        if task.kind is Kind.DENSITY:
            return [{}, *_FUSION[1:]]  # Aer's own choice first
        if task.batch > 1:
            binding = ({"runtime_parameter_bind_enable": runtime} for runtime in (True, False))
            return [{**bound, **fusion} for bound in binding for fusion in _FUSION[:1:-1]]
        return _FUSION

    def run(self, task: Task, setting: Setting, lap: Laps) -> Probe:
        methods = {Kind.CLIFFORD: "stabilizer", Kind.DENSITY: "density_matrix"}
        method = methods.get(task.kind, "statevector")
        options = {"method": method, **self._options, **setting}
        if task.noise is not None:
            options["noise_model"] = _noise_model(task)
        circuit = QuantumCircuit(task.num_qubits, task.circuit.num_clbits)
        bindings: dict[Parameter, list[float]] = {}
        if task.batch > 1:
            bindings = _parametric(circuit, task)
        else:
            for gate in gates(task.circuit, task.angles()[0]):
                _append(circuit, gate, gate.angles)
        if task.kind is Kind.STATE:
            circuit.save_amplitudes(list(task.indices))
        elif task.observable is not None:
            everything = range(task.num_qubits)
            circuit.save_expectation_value(_operator(task.observable), everything)
        else:
            for op, _, qubits, _, clbit in task.circuit.operations():
                if op is Op.MEASURE:
                    circuit.measure(qubits[0], clbit)
        lap("translate_s")
        job = AerSimulator(**options).run(
            circuit, shots=task.shots or 1, parameter_binds=[bindings] if bindings else None
        )
        result = job.result()
        if not result.success:
            raise RuntimeError(result.status)
        lap("execute_s")
        if task.kind is Kind.STATE:
            return lambda: result.data(0)["amplitudes"]
        if task.observable is not None:
            return lambda: [result.data(i)["expectation_value"] for i in range(task.batch)]
        return lambda: _counted(result.get_counts())


def _append(circuit: QuantumCircuit, gate: Gate, angles: Sequence[float | Parameter]) -> None:
    op, controls, targets, _ = gate
    if not controls:
        _PLAIN[op](circuit, *angles, *targets)
    elif len(controls) == 1:
        _CONTROLLED[op](circuit, *angles, *controls, *targets)
    elif op is Op.Z:
        circuit.mcp(np.pi, list(controls), *targets)
    else:
        raise Unsupported(f"{op.name} under {len(controls)} controls")


def _parametric(circuit: QuantumCircuit, task: Task) -> dict[Parameter, list[float]]:
    """Appends the task's gates with all angles free; these with their value in each set."""
    angles: NDArray[np.float64] = task.angles()
    bindings: dict[Parameter, list[float]] = {}
    spans = angle_spans(task.circuit)
    for gate, span in zip(gates(task.circuit, angles[0]), spans, strict=True):
        own = [Parameter(f"a{i}") for i in span]
        bindings |= {name: angles[:, i].tolist() for name, i in zip(own, span, strict=True)}
        _append(circuit, gate, own)
    return bindings


def _noise_model(task: Task) -> NoiseModel:
    assert task.noise is not None
    model = NoiseModel()
    names = {1: set[str](), 2: set[str]()}
    for gate in gates(task.circuit, task.angles()[0]):
        qubits, _ = noise_after(task.noise, gate)
        names[len(qubits)].add("c" * len(gate.controls) + gate.op.name.lower())
    for count, probability in enumerate(task.noise, start=1):
        # Aer's figure counts the identity among the errors.
        figure = probability * 4**count / (4**count - 1)
        error = depolarizing_error(figure, count)
        if names[count]:
            model.add_all_qubit_quantum_error(error, sorted(names[count]))
    return model


def _operator(observable: PauliSum) -> SparsePauliOp:
    listed = [
        ("".join("IXYZ"[pauli] for pauli in paulis), qubits, coefficient)
        for coefficient, qubits, paulis in terms(observable)
    ]
    return SparsePauliOp.from_sparse_list(listed, num_qubits=observable.num_qubits)


def _counted(counts: dict[str, int]) -> Any:
    bits = bits_of_text(list(counts), first_is_qubit_0=False)
    return statistics(bits, list(counts.values()))
