"""stim: Clifford programs alone."""

from __future__ import annotations

from collections.abc import Sequence

import stim

from benchmarks.emulator.engine import (
    Engine,
    Kind,
    Laps,
    Probe,
    Setting,
    Task,
    Unsupported,
    statistics,
)
from openqse.program.gates import Op

_NAMES = {Op.X: "X", Op.Z: "Z", Op.H: "H", Op.S: "S", Op.SDG: "S_DAG", Op.MEASURE: "M"}


class Peer(Engine):
    name = "stim"

    def __init__(self, precision: str, threads: int) -> None:
        """Neither has a bearing on stabilizers in one thread."""

    def settings(self, task: Task) -> Sequence[Setting]:
        if task.kind is not Kind.CLIFFORD:
            raise Unsupported("Clifford programs alone")
        return [{}]

    def run(self, task: Task, setting: Setting, lap: Laps) -> Probe:
        circuit = stim.Circuit()
        for op, controls, qubits, _, _ in task.circuit.operations():
            circuit.append("C" * controls + _NAMES[op], qubits)
        lap("translate_s")
        shots = circuit.compile_sampler().sample(task.shots)
        lap("execute_s")
        return lambda: statistics(shots)
