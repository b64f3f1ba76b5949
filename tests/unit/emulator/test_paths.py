"""Runs that differ by Pauli operators: each is the circuit with them, and shares what it can."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse_emulator.statevector import execute, kernels, paths, plan, readout
from openqse_emulator.statevector.paths import Path

from . import reference
from .circuits import (
    TOLERANCE,
    assert_same_state,
    never,
    random_circuit,
    random_paulis,
    with_paulis,
)
from .conftest import Engines
from .test_engine import blocks_of


def drawn(circuit: Circuit, count: int, rng: np.random.Generator) -> list[Path]:
    """Runs with no to five Pauli operators, in no order."""
    n, operations = circuit.num_qubits, len(circuit)
    return [
        Path(random_paulis(operations, n, int(rng.integers(6)), rng), np.array([shot]))
        for shot in range(count)
    ]


def followed(
    engine: execute.Engine, circuit: Circuit, runs: list[Path]
) -> dict[int, NDArray[np.complex128]]:
    """The state of each run, by its shot."""
    states: dict[int, NDArray[np.complex128]] = {}

    def use(state: readout.State, shots: NDArray[np.int64]) -> None:
        states[int(shots[0])] = state.amplitudes()

    prepared = engine.prepare(circuit)
    paths.follow(engine, prepared, circuit.bind()[0], runs, use, never, keep_phases=True)
    return states


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from(list(TOLERANCE)),
    block=st.sampled_from([6, 9]),
    threads=st.integers(1, 3),
)
def test_run_is_the_circuit_with_its_paulis(
    engine: Engines, n: int, seed: int, dtype: type, block: int, threads: int
) -> None:
    rng = np.random.default_rng(seed)
    circuit = random_circuit(n, 25, rng).build()
    runs = drawn(circuit, 12, rng)
    with blocks_of(block):
        states = followed(engine(dtype, threads), circuit, runs)
    assert sorted(states) == list(range(12))
    for path in runs:
        expected = reference.state(with_paulis(circuit, circuit.bind()[0], path.noise))
        assert_same_state(states[int(path.shots[0])], expected, dtype)


@pytest.mark.parametrize("block", [6, 15])
@pytest.mark.parametrize("threads", [1, 2])
def test_run_is_what_it_is_alone(engine: Engines, block: int, threads: int) -> None:
    rng = np.random.default_rng(block + threads)
    circuit = random_circuit(8, 60, rng).build()
    runs = drawn(circuit, 100, rng)
    with blocks_of(block):
        together = followed(engine(np.float64, threads), circuit, runs)
        for path in runs[::7]:
            alone = followed(engine(np.float64, 1), circuit, [path])
            shot = int(path.shots[0])
            np.testing.assert_array_equal(together[shot], alone[shot])


def test_phase_on_many_qubits_is_not_shared_across_a_flip(engine: Engines) -> None:
    """A flip of one of its qubits changes no factor of it, but the bits that it asks for."""
    builder = CircuitBuilder(3)
    for q in range(3):
        builder.ry(0.4 + q, q)
    builder.append(Op.Z, (0, 1, 2), controls=2)
    for q in range(3):
        builder.ry(0.7 + q, q)
    circuit = builder.build()
    runs = [Path(np.array([[3, q, 1]]), np.array([q])) for q in range(3)]
    for q, state in followed(engine(np.float64, 1), circuit, runs).items():
        expected = reference.state(with_paulis(circuit, circuit.bind()[0], runs[q].noise))
        assert_same_state(state, expected)


def test_what_runs_share_is_evolved_once(engine: Engines, monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[int] = []
    resume = kernels.resume

    def counted(*arguments: Any) -> None:
        applied.append(arguments[-1] - arguments[-2])
        resume(*arguments)

    monkeypatch.setattr(kernels, "resume", counted)
    builder = CircuitBuilder(4)
    for layer in range(40):
        for q in range(4):
            builder.ry(0.1 + layer + q, q)
        builder.cz(layer % 4, (layer + 1) % 4)
    circuit = builder.build()
    alone = engine(np.float64, 1)
    operations = len(alone.prepare(circuit).planned(circuit.bind()[0], True, True)[0].ops)
    late = [Path(np.array([[190 - i, 0, 1]]), np.array([i])) for i in range(20)]
    followed(alone, circuit, late)
    # Twenty runs that differ in the last tenth take less than four whole ones.
    assert sum(applied) < 4 * operations
    applied.clear()
    followed(alone, circuit, [Path(np.array([[0, 0, 1]]), np.array([i])) for i in range(20)])
    assert sum(applied) > 19 * operations - 200


def test_large_states_are_not_copied(engine: Engines) -> None:
    assert plan.block_qubits(16, np.float64) < 16
    circuit = random_circuit(16, 30, np.random.default_rng(3), controls=1).build()
    runs = drawn(circuit, 3, np.random.default_rng(4))
    states = followed(engine(np.float64, 2), circuit, runs)
    for path in runs:
        expected = reference.state(with_paulis(circuit, circuit.bind()[0], path.noise))
        assert_same_state(states[int(path.shots[0])], expected)
