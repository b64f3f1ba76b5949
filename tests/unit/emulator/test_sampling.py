"""Samples: their statistics, their layout, measurement and reset in the course of a program."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse_emulator.device import Emulator
from openqse_emulator.statevector import program

from . import reference
from .circuits import assert_drawn_from, dynamic_circuits, never, random_circuit, registers


def memory(
    emulator: Emulator, circuit: Circuit, shots: int = 4000, seed: int | None = 1
) -> np.ndarray:
    none = np.zeros((1, 0))
    return emulator.run(emulator.prepare(circuit), none, shots, seed, never).memory[0]


@pytest.mark.parametrize("seed", range(20))
def test_final_measurements_follow_the_state(emulator: Emulator, seed: int) -> None:
    rng = np.random.default_rng(seed)
    builder = random_circuit(5, 30, rng)
    for clbit, qubit in enumerate(rng.permutation(5)[:4]):
        builder.measure(int(qubit), clbit)
    circuit = builder.build()
    assert_drawn_from(memory(emulator, circuit, seed=seed), reference.outcomes(circuit))


@settings(max_examples=150, deadline=None)
@given(circuit=dynamic_circuits(), seed=st.integers(0, 2**64 - 1))
def test_dynamic_circuits_follow_the_branches(
    emulator: Emulator, circuit: Circuit, seed: int
) -> None:
    assert_drawn_from(memory(emulator, circuit, 1000, seed), reference.outcomes(circuit))


def test_bits_are_packed_least_significant_first(emulator: Emulator) -> None:
    builder = CircuitBuilder(3, num_clbits=19).x(0).x(2)
    builder.measure(0, 1).measure(1, 2).measure(2, 18)
    found = memory(emulator, builder.build(), 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [[0b10, 0, 0b100]] * 3)


def test_program_without_bits_has_empty_memory(emulator: Emulator) -> None:
    assert memory(emulator, CircuitBuilder(2).h(0).build(), 5).shape == (5, 0)


def test_teleported_state_is_found_at_the_other_end(emulator: Emulator) -> None:
    """The corrections are controlled by the measured qubits, which hold what was found."""
    builder = CircuitBuilder(3).u(1.1, 0.4, -0.7, 0).h(1).cx(1, 2).cx(0, 1).h(0)
    builder.measure(0, 0).measure(1, 1).cx(1, 2).cz(0, 2)
    # Undoing the preparation must leave zero, whatever the two measurements found.
    builder.append(Op.U, (2,), (-1.1, 0.7, -0.4)).measure(2, 2)
    values = registers(memory(emulator, builder.build()))
    assert {value >> 2 for value in values} == {0}
    assert_drawn_from(np.array(values, np.uint8)[:, np.newaxis], dict.fromkeys(range(4), 0.25))


def test_reset_of_an_entangled_qubit_leaves_its_partner_mixed(emulator: Emulator) -> None:
    builder = CircuitBuilder(2).h(0).cx(0, 1).reset(0).measure(0, 0).h(1).measure(1, 1)
    assert_drawn_from(memory(emulator, builder.build()), {0b00: 0.5, 0b10: 0.5})


def test_measured_qubit_stays_as_found(emulator: Emulator) -> None:
    builder = CircuitBuilder(1).h(0).measure(0, 0).measure(0, 1).x(0).measure(0, 2)
    assert_drawn_from(memory(emulator, builder.build()), {0b100: 0.5, 0b011: 0.5})


def test_last_write_of_a_bit_counts(emulator: Emulator) -> None:
    builder = CircuitBuilder(2).x(0).measure(0, 0).measure(1, 0)
    assert set(registers(memory(emulator, builder.build()))) == {0}
    late = CircuitBuilder(2, 2).x(0).measure(0, 0).measure(1, 0).x(1).measure(1, 1)
    assert set(registers(memory(emulator, late.build()))) == {0b10}


def test_shots_of_branches_are_mixed(emulator: Emulator) -> None:
    found = memory(emulator, CircuitBuilder(1).h(0).measure(0, 0).reset(0).measure(0, 1).build())
    changes = np.count_nonzero(np.diff(found[:, 0].astype(int)))
    assert 1800 < changes < 2200  # of 3999, if neighbours are independent: 2000 +- 32


def test_resets_of_fresh_qubits_cost_no_branch() -> None:
    read = program.read(CircuitBuilder(2).reset(0).reset(1).h(0).reset(1).measure_all().build())
    assert read.collapses == 0


@pytest.mark.parametrize("dynamic", [False, True])
def test_equal_seeds_give_equal_samples(emulator: Emulator, dynamic: bool) -> None:
    builder = random_circuit(5, 25, np.random.default_rng(5))
    if dynamic:
        builder.measure(0, 0).h(0)
    circuit = builder.measure_all().build()
    first = memory(emulator, circuit, seed=42)
    memory(emulator, circuit, seed=None)
    np.testing.assert_array_equal(memory(emulator, circuit, seed=42), first)
    assert (memory(emulator, circuit, seed=43) != first).any()
    assert (memory(emulator, circuit, seed=2**63 + 42) != first).any()


def test_unseeded_runs_differ(emulator: Emulator) -> None:
    builder = CircuitBuilder(8)
    for q in range(8):
        builder.h(q)
    circuit = builder.measure_all().build()
    first = memory(emulator, circuit, 100, None)
    assert (memory(emulator, circuit, 100, None) != first).any()
