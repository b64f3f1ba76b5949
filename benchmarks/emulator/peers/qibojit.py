"""qibojit on numba: both precisions; gates fused in pairs of qubits.

Qubit ``q`` is qibo's ``n - 1 - q``, as its qubit 0 is the most significant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

# qibojit begins with as many threads as there are cores and fails if numba has fewer.
os.environ["NUMBA_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))

import numpy as np
import qibo
from numpy.typing import NDArray
from qibo import gates as make
from qibo import symbols
from qibo.backends import get_backend
from qibo.hamiltonians import SymbolicHamiltonian

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

_PLAIN: dict[Op, Callable[..., Any]] = {
    Op.X: make.X,
    Op.Z: make.Z,
    Op.H: make.H,
    Op.S: make.S,
    Op.SDG: make.SDG,
    Op.T: make.T,
    Op.RX: make.RX,
    Op.RY: make.RY,
    Op.RZ: make.RZ,
    Op.P: make.U1,
    Op.U: make.U3,
    Op.SWAP: make.SWAP,
    Op.RZZ: make.RZZ,
}
_CONTROLLED: dict[Op, Callable[..., Any]] = {Op.X: make.CNOT, Op.Z: make.CZ, Op.P: make.CU1}
_SYMBOLS = (symbols.I, symbols.X, symbols.Y, symbols.Z)


class Peer(Engine):
    name = "qibojit"

    def __init__(self, precision: str, threads: int) -> None:
        qibo.set_backend("qibojit", platform="numba")
        qibo.set_dtype("complex128" if precision == "double" else "complex64")
        qibo.set_threads(threads)
        self._backend = get_backend()

    def settings(self, task: Task) -> Sequence[Setting]:
        if task.kind is Kind.CLIFFORD:
            raise Unsupported("its backend for Clifford programs is not measured")
        if task.kind is Kind.NOISY:
            raise Unsupported("its trajectories are not measured: a circuit for each, in Python")
        if task.kind is Kind.EXPECTATION:
            return [{}]
        return [{"max_qubits": 2}, {"max_qubits": 3}, {"max_qubits": 0}]

    def run(self, task: Task, setting: Setting, lap: Laps) -> Probe:
        n = task.num_qubits
        if task.observable is not None:
            return self._expectations(task, task.observable, lap)
        circuit = _circuit(task, task.angles()[0])
        if task.kind is Kind.SAMPLE:
            circuit.add(make.M(*range(n)))
        if setting["max_qubits"]:
            circuit = circuit.fuse(max_qubits=setting["max_qubits"])
        lap("translate_s")
        result = self._backend.execute_circuit(circuit, nshots=task.shots or None)
        if task.kind is Kind.SAMPLE:
            # Not its frequencies: for many shots these come of a random walk from outcome to
            # outcome, which hardly leaves one of a GHZ state.
            shots = result.samples()
            lap("execute_s")
            return lambda: statistics(shots[:, ::-1])
        state = result.state()
        lap("execute_s")
        return lambda: state[list(task.indices)]

    def _expectations(self, task: Task, observable: PauliSum, lap: Laps) -> Probe:
        hamiltonian = _hamiltonian(observable, self._backend)
        values = []
        for row in task.angles():
            circuit = _circuit(task, row)
            lap("translate_s")
            values.append(float(hamiltonian.expectation(circuit)))
            lap("execute_s")
        return lambda: np.array(values)


def _circuit(task: Task, angles: NDArray[np.float64]) -> Any:
    circuit = qibo.Circuit(task.num_qubits)
    for gate in gates(task.circuit, angles):
        circuit.add(_gate(gate, task.num_qubits))
    return circuit


def _gate(gate: Gate, num_qubits: int) -> Any:
    op, controls, targets, angles = gate
    above = [num_qubits - 1 - q for q in controls]
    below = [num_qubits - 1 - q for q in targets]
    if not controls:
        return _PLAIN[op](*below, *angles)
    if len(controls) == 1 and op in _CONTROLLED:
        return _CONTROLLED[op](*above, *below, *angles)
    return _PLAIN[op](*below, *angles).controlled_by(*above)


def _hamiltonian(observable: PauliSum, backend: Any) -> Any:
    n = observable.num_qubits
    form: Any = 0
    for coefficient, qubits, paulis in terms(observable):
        term: Any = coefficient
        for q, pauli in zip(qubits, paulis, strict=True):
            term *= _SYMBOLS[pauli](n - 1 - q)
        form += term
    return SymbolicHamiltonian(form, nqubits=n, backend=backend)
