"""The engine: states in blocks and by threads, batches, subnormal numbers, memory."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
import weakref
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.errors import TaskCancelled
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse_emulator import profile, warm
from openqse_emulator.device import Emulator
from openqse_emulator.profile import Engine
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector import execute, kernels, plan

from . import reference
from .circuits import (
    FREE,
    TOLERANCE,
    add_gate,
    assert_same_state,
    never,
    parameter_values,
    random_circuit,
    random_observable,
)
from .conftest import Engines

DTYPES = st.sampled_from(list(TOLERANCE))


def blocks_of(block: int) -> mock._patch:
    """States are cut into blocks of at most this many qubits."""
    return mock.patch.object(plan, "block_qubits", lambda n, dtype: min(n, block))


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(1, 11),
    gates=st.integers(0, 50),
    seed=st.integers(0, 2**32),
    parameters=parameter_values(len(FREE)),
    dtype=DTYPES,
    block=st.integers(plan.LEAST_QUBITS, 11),
    threads=st.integers(1, 3),
)
def test_state_is_the_references(
    engine: Engines,
    n: int,
    gates: int,
    seed: int,
    parameters: list[float],
    dtype: type,
    block: int,
    threads: int,
) -> None:
    circuit = random_circuit(n, gates, np.random.default_rng(seed), free=0.3).build()
    team = engine(dtype, threads)
    with blocks_of(block):
        state = team.evolve(team.prepare(circuit), circuit.bind(parameters)[0], never)
    assert state.numbers.dtype == dtype
    assert_same_state(state.amplitudes(), reference.state(circuit, parameters), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_gates_of_two_qubits_are_fused_wherever_these_are(engine: Engines, dtype: type) -> None:
    """Within a vector's lanes, across, and beyond."""
    rng = np.random.default_rng(5)
    alone = engine(dtype, 1)
    for p, q in itertools.permutations(range(7), 2):
        builder = random_circuit(7, 12, rng)
        for _ in range(3):
            for gate in (Op.U, Op.SX):
                add_gate(builder, gate, 0, rng, among=[p])
                add_gate(builder, gate, 0, rng, among=[q])
            builder.cx(p, q)
        circuit = builder.build()
        prepared = alone.prepare(circuit)
        state = alone.evolve(prepared, circuit.bind()[0], never)
        planned, _ = prepared.planned(circuit.bind()[0], True)
        assert plan.MIX in planned.ops[:, plan.OP_KIND]
        assert_same_state(state.amplitudes(), reference.state(circuit), dtype)
        alone.give_back(state.numbers)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    sets=st.lists(parameter_values(len(FREE)), min_size=1, max_size=5),
    dtype=DTYPES,
    block=st.sampled_from([6, 9]),
    threads=st.integers(1, 3),
)
def test_expectations_of_a_batch_are_the_references(
    engine: Engines,
    n: int,
    seed: int,
    sets: list[list[float]],
    dtype: type,
    block: int,
    threads: int,
) -> None:
    rng = np.random.default_rng(seed)
    circuit = random_circuit(n, 25, rng, free=0.5).build()
    observable = random_observable(n, 5, rng)
    team = engine(dtype, threads)
    with blocks_of(block):
        prepared = team.prepare(circuit)
        found = team.expectations(prepared, observable, circuit.bind(sets), never)
    expected = [reference.expectation(observable, reference.state(circuit, s)) for s in sets]
    np.testing.assert_allclose(found, expected, atol=10 * TOLERANCE[dtype])


def test_amplitudes_are_given_by_index(engine: Engines) -> None:
    circuit = random_circuit(7, 40, np.random.default_rng(4)).build()
    alone = engine(np.float64, 1)
    state = alone.evolve(alone.prepare(circuit), circuit.bind()[0], never)
    indices = np.array([3, 127, 0, 3])
    np.testing.assert_array_equal(state.amplitudes(indices), state.amplitudes()[indices])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("block", "threads"), [(6, 1), (6, 2), (12, 1)])
def test_subnormal_amplitudes_do_no_harm(
    engine: Engines, block: int, threads: int, dtype: type
) -> None:
    """Twelve rotations by some 1e-26 each leave amplitudes of 1e-310; then all have one of 1."""
    n = 12
    builder = CircuitBuilder(n)
    tiny, large = builder.parameter("tiny"), builder.parameter("large")
    for q in range(n):
        builder.ry(tiny, q)
    for layer in range(4):
        for q in range(n - 1):
            builder.cz(q, q + 1).ry(tiny * (layer + 1), q)
    small = builder.build()
    for q in range(n):
        builder.ry(large, q).cz(q, (q + 1) % n)
    circuit = builder.build()
    team = engine(dtype, threads)
    parameters = [3e-27, 0.7]
    amplitudes = np.abs(reference.state(small, parameters))
    assert 0 < amplitudes[-1] < 2.2e-308
    with blocks_of(block):
        state = team.evolve(team.prepare(small), small.bind(parameters)[0], never)
        least = 1e-300 if dtype is np.float64 else 1e-36
        np.testing.assert_allclose(
            np.abs(state.amplitudes()), amplitudes, rtol=TOLERANCE[dtype], atol=least
        )
        state = team.evolve(team.prepare(circuit), circuit.bind(parameters)[0], never)
    assert_same_state(state.amplitudes(), reference.state(circuit, parameters), dtype)


@pytest.mark.parametrize("threads", [1, 2])
def test_subnormal_numbers_are_the_callers_again_after_a_run(engine: Engines, threads: int) -> None:
    least = np.array([5e-324])
    circuit = random_circuit(9, 40, np.random.default_rng(2)).build()
    team = engine(np.float64, threads)
    angles = circuit.bind()[0]
    with blocks_of(6):
        team.evolve(team.prepare(circuit), angles, never)
    assert (least * 1.0)[0] == 5e-324
    with blocks_of(6), pytest.raises(TaskCancelled):
        team.evolve(team.prepare(circuit), angles, lambda: True)
    assert (least * 1.0)[0] == 5e-324


def layers(n: int, measured: int) -> Circuit:
    builder = CircuitBuilder(n)
    for layer in range(3):
        for q in range(n):
            builder.ry(0.3 + q, q)
        for q in range(layer % 2, n - 1, 2):
            builder.cx(q, q + 1)
    for q in range(measured):
        builder.measure(q, q)
    return builder.build()


def peak_of(emulator: Emulator, circuit: Circuit, sets: int, shots: int = 100) -> int:
    """Bytes at most while a program runs for the first time, its plan aside."""
    prepared = emulator.prepare(circuit)
    prepared.dense.planned(circuit.bind()[0], False)
    tracemalloc.start()
    try:
        emulator.run(prepared, np.zeros((sets, 0)), shots, 1, never)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("precision", ["double", "single"])
@pytest.mark.parametrize(("n", "measured", "sets"), [(18, 18, 1), (20, 8, 1), (18, 18, 3)])
def test_run_takes_the_memory_of_one_state(
    n: int, measured: int, sets: int, precision: profile.Precision
) -> None:
    warm.compile_kernels(precision)
    settings = Engine(method="statevector", threads=2, precision=precision)
    emulator = Emulator(replace(profile.load(), engine=settings))
    dtype = {"double": np.float64, "single": np.float32}[precision]
    block = plan.block_qubits(n, dtype)
    scratch = kernels.scratch_size(block, plan.row_qubits(dtype), dtype)
    peak = peak_of(emulator, layers(n, measured), sets)
    emulator.close()
    state = execute.state_bytes(n, dtype)
    assert peak <= 1.05 * state + 2 * scratch * np.dtype(dtype).itemsize


def test_state_that_is_given_back_is_used_again(engine: Engines) -> None:
    alone = engine(np.float64, 1)
    circuit = layers(8, 3)
    prepared = alone.prepare(circuit)
    angles = circuit.bind()[0]
    state = alone.evolve(prepared, angles, never)
    alone.give_back(state.numbers)
    again = alone.evolve(prepared, angles, never)
    assert again.numbers is state.numbers
    memory = np.zeros((10, 1), np.uint8)
    alone.distribution(prepared, angles, never).sample(Uniforms(1), memory, alone.team, never)
    assert_same_state(again.amplitudes(), reference.state(circuit))


def test_program_is_gone_with_its_last_reference(engine: Engines) -> None:
    """Not at the collector's next round: till then a stream of programs would hold its plans."""
    alone = engine(np.float64, 2)
    circuit = layers(8, 3)
    prepared = alone.prepare(circuit)
    alone.give_back(alone.evolve(prepared, circuit.bind()[0], never).numbers)
    known = weakref.ref(prepared)
    gc.disable()
    try:
        del prepared
        assert known() is None
    finally:
        gc.enable()
