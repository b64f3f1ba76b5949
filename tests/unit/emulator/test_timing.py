"""The timing model as values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse_emulator import timing
from openqse_emulator.device import Emulator
from openqse_emulator.profile import Durations, Profile

from .circuits import never

# Powers of ten, so that a duration shows what it is made of.
DURATIONS = Durations(
    z_rotation=0,
    one_qubit=1,
    two_qubit=100,
    readout=10_000,
    reset=1_000_000,
    initialisation=10**8,
    shot_overhead=10**10,
)
PROFILE = Profile("test", 8, 1000, 7, ("rz", "sx", "x", "cz", "rxx"), DURATIONS)


def ns(builder: CircuitBuilder) -> int:
    return timing.circuit_ns(builder.build(), PROFILE)


def test_gates_on_different_qubits_overlap() -> None:
    assert ns(CircuitBuilder(3).h(0).h(1).h(2)) == 1
    assert ns(CircuitBuilder(3).h(0).h(0).h(2)) == 2
    assert ns(CircuitBuilder(4).cx(0, 1).cx(2, 3)) == 100
    assert ns(CircuitBuilder(4).cx(0, 1).cx(1, 2).cx(2, 3)) == 300


def test_gate_waits_for_all_its_qubits() -> None:
    assert ns(CircuitBuilder(3).h(0).h(0).h(0).cx(0, 1).h(2)) == 103


def test_barrier_aligns_its_qubits_alone() -> None:
    assert ns(CircuitBuilder(3).h(0).h(0).barrier(0, 1).h(1).h(2)) == 3
    assert ns(CircuitBuilder(3).h(0).h(0).h(1).h(2)) == 2
    assert ns(CircuitBuilder(2).append(Op.BARRIER, ()).h(0)) == 1


def test_measurement_and_reset_take_their_time() -> None:
    assert ns(CircuitBuilder(2).h(0).measure(0, 0).reset(0).h(0).measure(1, 1)) == 1_010_002


def test_rotations_about_z_are_free_and_an_identity_waits() -> None:
    assert ns(CircuitBuilder(1).z(0).s(0).t(0).rz(0.3, 0).p(0.1, 0)) == 0
    assert ns(CircuitBuilder(1).append(Op.ID, (0,))) == 1
    assert ns(CircuitBuilder(1).append(Op.GPHASE, (), (0.3,))) == 0


@pytest.mark.parametrize(
    ("op", "counts"),
    [
        (Op.X, (0, 1, 6, 18, 30)),
        (Op.Z, (0, 1, 6, 18, 30)),
        (Op.H, (0, 2, 14, 26, 38)),
        (Op.U, (0, 2, 14, 26, 38)),
        (Op.GPHASE, (0, 0, 2, 14, 26)),
        (Op.SWAP, (3, 8, 20, 32)),
        (Op.RXX, (1, 4, 16, 28)),
        (Op.RZZ, (2, 4, 16, 28)),
        (Op.ID, (0, 0, 0)),
    ],
)
def test_controls_are_decomposed_by_the_stated_counts(op: Op, counts: tuple[int, ...]) -> None:
    found = tuple(timing.two_qubit_gates(op, c, PROFILE.native_gates) for c in range(len(counts)))
    assert found == counts


def test_decomposition_has_one_qubit_gates_in_between() -> None:
    assert ns(CircuitBuilder(3).append(Op.X, (0, 1, 2), controls=2)) == 605
    assert ns(CircuitBuilder(2).swap(0, 1)) == 302


def test_a_shot_is_initialised_run_and_wound_up() -> None:
    bell = CircuitBuilder(2).h(0).cx(0, 1).measure_all().build()
    assert timing.shot_ns(bell, PROFILE) == 10_100_010_101
    # Without its measurement; the change of basis and the readout take its place.
    assert timing.expectation_shot_ns(bell, PROFILE) == 10_100_010_102


def groups(terms: dict[str, float], num_qubits: int = 4) -> int:
    return timing.measurement_groups(
        PauliSum.from_terms(terms, num_qubits).paulis.tobytes(), num_qubits
    )


def test_terms_that_agree_on_every_qubit_are_measured_together() -> None:
    assert groups({"Z0 Z1": 1, "Z1 Z2": 1, "Z3": 1, "I": 1}) == 1
    assert groups({"Z0 Z1": 1, "X0": 1, "X1": 1, "X2": 1}) == 2
    assert groups({"X0": 1, "Y0": 1, "Z0": 1}) == 3
    assert groups({"X0 X1": 1, "Y0 Y1": 1}) == 2  # they commute, but not on each qubit
    assert groups({"X0 Z1": 1, "Z1 Y2": 1, "X0 Y2": 1}) == 1
    assert groups({"I": 1}) == 0
    assert groups({"Z0 Z9": 1, "X9": 1}, 12) == 2


@pytest.fixture
def timed() -> tuple[Emulator, Circuit]:
    return Emulator(PROFILE), CircuitBuilder(2).h(0).cx(0, 1).measure_all().build()


def test_qpu_time_of_a_run_is_shots_times_sets(timed: tuple[Emulator, Circuit]) -> None:
    emulator, bell = timed
    samples = emulator.run(emulator.prepare(bell), np.zeros((3, 0)), 11, 1, never)
    assert samples.qpu_time_ns == 3 * 11 * 10_100_010_101
    assert type(samples.qpu_time_ns) is int


def test_qpu_time_of_an_expectation_counts_groups(timed: tuple[Emulator, Circuit]) -> None:
    emulator, bell = timed
    observable = PauliSum.from_terms({"Z0 Z1": 1.0, "Z0": 1.0, "X0": 2.0}, 2)
    found = emulator.expectation(emulator.prepare(bell), observable, np.zeros((3, 0)), 1, never)
    assert found.qpu_time_ns == 3 * 2 * 7 * 10_100_010_102
    assert type(found.qpu_time_ns) is int


@given(st.integers(1, 20), st.integers(1, 5))
def test_estimate_is_what_is_charged(shots: int, sets: int) -> None:
    emulator = Emulator(PROFILE)
    bell = emulator.prepare(CircuitBuilder(2).h(0).cx(0, 1).measure_all().build())
    parameters = np.zeros((sets, 0))
    sampled = emulator.run(bell, parameters, shots, 1, never)
    assert emulator.estimate(bell, shots, sets) == sampled.qpu_time_ns
    observable = PauliSum.from_terms({"Z0 Z1": 1.0, "X0": 2.0}, 2)
    expected = emulator.expectation(bell, observable, parameters, 1, never)
    assert emulator.estimate(bell, 0, sets, observable) == expected.qpu_time_ns
