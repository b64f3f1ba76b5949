"""CUDA-Q on the CPU: target qpp-cpu in double precision, target stim for Clifford programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cudaq
import numpy as np

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
    statistics,
    terms,
)
from openqse.program.gates import Op
from openqse.program.observable import PauliSum

_SPINS = (cudaq.spin.i, cudaq.spin.x, cudaq.spin.y, cudaq.spin.z)


class Peer(Engine):
    name = "cudaq"

    def __init__(self, precision: str, threads: int) -> None:
        if precision != "double":
            raise Unsupported("double precision alone without a GPU")

    def settings(self, task: Task) -> Sequence[Setting]:
        if task.kind is Kind.NOISY:
            raise Unsupported("no trajectories without a GPU")
        return [{"target": "stim" if task.kind is Kind.CLIFFORD else "qpp-cpu"}]

    def run(self, task: Task, setting: Setting, lap: Laps) -> Probe:
        cudaq.set_target(setting["target"])
        if task.observable is not None:
            return _expectations(task, task.observable, lap)
        kernel = cudaq.make_kernel()
        qubits = kernel.qalloc(task.num_qubits)
        for gate in gates(task.circuit, task.angles()[0]):
            _apply(kernel, qubits, gate, gate.angles)
        if task.kind is Kind.STATE:
            lap("translate_s")
            state = cudaq.get_state(kernel)
            lap("execute_s")
            return lambda: np.asarray(state)[list(task.indices)]
        kernel.mz(qubits)
        lap("translate_s")
        result = cudaq.sample(kernel, shots_count=task.shots)
        counts = dict(result.items())
        lap("execute_s")
        bits = bits_of_text(list(counts), first_is_qubit_0=True)
        return lambda: statistics(bits, list(counts.values()))


def _expectations(task: Task, observable: PauliSum, lap: Laps) -> Probe:
    """Expectations by one kernel that takes the angles as its argument."""
    angles = task.angles()
    kernel, values = cudaq.make_kernel(list[float])
    qubits = kernel.qalloc(task.num_qubits)
    spans = angle_spans(task.circuit)
    for gate, span in zip(gates(task.circuit, angles[0]), spans, strict=True):
        _apply(kernel, qubits, gate, [values[i] for i in span])
    operator = _operator(observable)
    rows = angles.tolist()
    lap("translate_s")
    found = [cudaq.observe(kernel, operator, row).expectation() for row in rows]
    lap("execute_s")
    return lambda: np.array(found)


def _apply(kernel: Any, qubits: Any, gate: Gate, angles: Sequence[Any]) -> None:
    op, controls, targets, _ = gate
    above = [qubits[q] for q in controls]
    below = [qubits[q] for q in targets]
    if op is Op.RZZ:
        a, b = below
        kernel.cx(a, b)
        kernel.rz(angles[0], b)
        kernel.cx(a, b)
    elif op is Op.U:
        kernel.u3(*angles, *below)
    elif op is Op.P:
        if controls:
            kernel.cr1(angles[0], above, *below)
        else:
            kernel.r1(angles[0], *below)
    elif controls:
        getattr(kernel, f"c{op.name.lower()}")(*angles, above, *below)
    else:
        getattr(kernel, op.name.lower())(*angles, *below)


def _operator(observable: PauliSum) -> Any:
    operator: Any = 0
    for coefficient, qubits, paulis in terms(observable):
        term: Any = coefficient
        for q, pauli in zip(qubits, paulis, strict=True):
            term *= _SPINS[pauli](q)
        operator += term
    return operator
