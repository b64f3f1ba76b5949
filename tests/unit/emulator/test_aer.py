"""The emulator against another simulator, Qiskit Aer."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import library
from qiskit.circuit.gate import Gate
from qiskit_aer import AerSimulator

from openqse.program.circuit import Circuit
from openqse.program.gates import Op

from .circuits import TOLERANCE, assert_same_state, never, random_circuit
from .conftest import Engines

GATES: dict[Op, type[Gate]] = {
    Op.ID: library.IGate,
    Op.X: library.XGate,
    Op.Y: library.YGate,
    Op.Z: library.ZGate,
    Op.H: library.HGate,
    Op.S: library.SGate,
    Op.SDG: library.SdgGate,
    Op.T: library.TGate,
    Op.TDG: library.TdgGate,
    Op.SX: library.SXGate,
    Op.SXDG: library.SXdgGate,
    Op.P: library.PhaseGate,
    Op.RX: library.RXGate,
    Op.RY: library.RYGate,
    Op.RZ: library.RZGate,
    Op.U: library.UGate,
    Op.SWAP: library.SwapGate,
    Op.RXX: library.RXXGate,
    Op.RYY: library.RYYGate,
    Op.RZZ: library.RZZGate,
}


def to_qiskit(circuit: Circuit) -> QuantumCircuit:
    converted = QuantumCircuit(circuit.num_qubits)
    angles = circuit.bind()[0]
    for op, controls, qubits, at, _ in circuit.operations():
        values = angles[at.start : at.stop].tolist()
        if op is Op.GPHASE and not controls:
            converted.global_phase += values[0]
            continue
        if op is Op.GPHASE:  # under a control it is a phase of that control
            gate: Gate = library.PhaseGate(*values)
            controls -= 1
        else:
            gate = GATES[op](*values)
        converted.append(gate.control(controls, annotated=False) if controls else gate, qubits)
    return converted


@pytest.fixture(scope="module")
def aer() -> AerSimulator:
    return AerSimulator(method="statevector", max_parallel_threads=1)


def aers(aer: AerSimulator, circuit: Circuit) -> np.ndarray:
    converted = transpile(to_qiskit(circuit), aer, optimization_level=0)
    converted.save_statevector()
    return np.asarray(aer.run(converted).result().get_statevector())


@pytest.mark.parametrize("seed", range(200))
def test_state_is_aers(aer: AerSimulator, engine: Engines, seed: int) -> None:
    rng = np.random.default_rng(seed)
    circuit = random_circuit(int(rng.integers(2, 9)), 25, rng, controls=2).build()
    expected = aers(aer, circuit)
    for dtype in TOLERANCE:
        alone = engine(dtype, 1)
        state = alone.evolve(alone.prepare(circuit), circuit.bind()[0], never)
        assert_same_state(state.amplitudes(), expected, dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("n", "threads"), [(14, 2), (15, 3), (16, 1), (17, 2)])
def test_state_of_many_blocks_is_aers(
    aer: AerSimulator, engine: Engines, n: int, threads: int, dtype: type
) -> None:
    circuit = random_circuit(n, 80, np.random.default_rng(n), controls=2).build()
    team = engine(dtype, threads)
    prepared = team.prepare(circuit)
    state = team.evolve(prepared, circuit.bind()[0], never)
    assert_same_state(state.amplitudes(), aers(aer, circuit), dtype)
