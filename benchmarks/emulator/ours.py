"""Our emulator, its phases apart: planning, binding, execution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.emulator.engine import Engine, Kind, Laps, Probe, Setting, Task, statistics
from openqse.program.circuit import Circuit
from openqse_emulator import density, noise, stabilizer
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector import execute, readout
from openqse_emulator.trajectories import Prepared as Trajectories


def _never() -> bool:
    return False


class Ours(Engine):
    name = "ours"
    has_density = True

    def __init__(self, precision: str, threads: int) -> None:
        self._engine = execute.Engine(execute.DTYPES[precision], threads)
        self._state: readout.State | None = None

    def settings(self, task: Task) -> Sequence[Setting]:
        return [{}]

    def run(self, task: Task, setting: Setting, lap: Laps) -> Probe:
        if self._state is not None:  # as a device does between tasks
            self._engine.give_back(self._state.numbers)
            self._state = None
        if task.kind is Kind.CLIFFORD:
            return self._stabilizer(task, lap)
        if task.kind is Kind.NOISY:
            return self._trajectories(task, lap)
        if task.kind is Kind.DENSITY:
            return self._density(task, lap)
        engine, circuit = self._engine, task.circuit
        prepared = engine.prepare(circuit)
        angles = circuit.bind(task.parameters)
        prepared.planned(angles[0], keep_phases=task.kind is not Kind.SAMPLE)
        lap("plan_s")
        if task.kind is Kind.STATE:
            state = self._state = engine.evolve(prepared, angles[0], _never)
            lap("execute_s")
            return lambda: state.amplitudes(np.array(task.indices))
        if task.observable is not None:
            values = engine.expectations(prepared, task.observable, angles, _never)
            lap("execute_s")
            return lambda: values
        memory = _memory(task)
        engine.samples(prepared, angles, lambda _: Uniforms(1), memory, _never)
        lap("execute_s")
        return lambda: _statistics(memory, circuit)

    def _stabilizer(self, task: Task, lap: Laps) -> Probe:
        sequence = list(task.circuit.operations())
        translated = stabilizer.translate(sequence, task.circuit.num_clbits, task.circuit.bind()[0])
        lap("plan_s")
        errors = np.zeros((task.circuit.num_clbits, 2))
        memory = stabilizer.sample(translated, errors, task.shots, (1, 0), _never)
        lap("execute_s")
        return lambda: _statistics(memory[np.newaxis], task.circuit)

    def _density(self, task: Task, lap: Laps) -> Probe:
        circuit = task.circuit
        sequence = _noisy(task)
        lap("plan_s")
        found = density.distribution(
            sequence, circuit.num_qubits, circuit.num_clbits, circuit.bind()[0], _never,
            self._engine.team,
        )  # fmt: skip
        memory = density.sample(found, Uniforms(1).draw(0, 0, task.shots))
        lap("execute_s")
        return lambda: _statistics(memory[np.newaxis], circuit)

    def _trajectories(self, task: Task, lap: Laps) -> Probe:
        prepared = Trajectories(self._engine, task.circuit, _noisy(task))
        lap("plan_s")
        memory = _memory(task)
        prepared.sample(task.circuit.bind()[0], Uniforms(1), memory[0], _never)
        lap("execute_s")
        return lambda: _statistics(memory, task.circuit)


def _noisy(task: Task) -> noise.Sequenced:
    """The operations with the errors after them."""
    assert task.noise is not None
    sequence: noise.Sequenced = []
    for operation in task.circuit.operations():
        sequence.append(operation)
        if operation.clbit < 0:
            p = task.noise.one if len(operation.qubits) == 1 else task.noise.two
            sequence.extend(noise.depolarising(p, operation.qubits))
    return sequence


def _memory(task: Task) -> np.ndarray:
    return np.zeros((task.batch, task.shots, -(-task.circuit.num_clbits // 8)), np.uint8)


def _statistics(memory: np.ndarray, circuit: Circuit) -> np.ndarray:
    bits = np.unpackbits(memory[0], axis=1, count=circuit.num_clbits, bitorder="little")
    return statistics(bits)
