"""Clifford programs: recognised, sampled and followed back through Pauli noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.errors import NotSupported, TaskCancelled
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import SIGNATURES, Op
from openqse_emulator import density, noise, stabilizer
from openqse_emulator.noise import Channel, Kind

from . import reference
from .circuits import UNITARY, assert_drawn_from, never, random_observable, registers
from .test_density import probabilities
from .test_noise import model

PAULI_NOISE = {
    "one_qubit": 0.05,
    "two_qubit": 0.1,
    "t2_ns": (900.0,),
    "pauli": {"cy": tuple(np.arange(15) / 300), "s": (0.0, 0.1, 0.2)},
}


def is_clifford(circuit: Circuit) -> bool:
    return stabilizer.is_clifford(circuit, circuit.bind()[0])


def gate(op: Op, *angles: float, controls: int = 0) -> Circuit:
    width = controls + (SIGNATURES[op].targets or 0)
    builder = CircuitBuilder(max(1, width))
    return builder.append(op, range(width), angles, controls=controls).build()


def sample(circuit: Circuit, shots: int = 2000, seed: int = 1, **figures: object) -> np.ndarray:
    errors = model(**figures)
    sequence = noise.sequence(circuit, errors)
    program = stabilizer.translate(sequence, circuit.num_clbits, circuit.bind()[0])
    misreads = noise.readout_errors(circuit, errors.profile)
    return stabilizer.sample(program, misreads, shots, (seed, 0), never)


def random_clifford(n: int, gates: int, rng: np.random.Generator, *, dynamic: bool) -> Circuit:
    """Whatever is Clifford among random gates at quarter turns, with up to two controls."""
    builder = CircuitBuilder(n, num_clbits=3)
    added = 0
    while added < gates:
        op = UNITARY[rng.integers(len(UNITARY))]
        controls = int(rng.integers(3))
        width = controls + (SIGNATURES[op].targets or 0)
        turns = rng.integers(-9, 10, SIGNATURES[op].angles) * math.pi / 2
        if dynamic and rng.random() < 0.2:
            qubit = int(rng.integers(n))
            if rng.random() < 0.7:
                builder.measure(qubit, int(rng.integers(3)))
            else:
                builder.reset(qubit)
        elif width <= n and is_clifford(gate(op, *turns, controls=controls)):
            qubits = rng.permutation(n)[:width].tolist()
            builder.append(op, qubits, turns.tolist(), controls=controls)
            added += 1
    return builder.build()


def maps_paulis_to_paulis(circuit: Circuit) -> bool:
    """The definition, with full matrices."""
    n = circuit.num_qubits
    unitary = np.eye(2**n, dtype=complex)
    for operation in circuit.operations():
        columns = [
            reference.apply(column.reshape((2,) * n), operation, circuit.bind()[0]).reshape(-1)
            for column in unitary.T
        ]
        unitary = np.array(columns).T
    strings = [np.eye(1)]
    for _ in range(n):
        strings = [np.kron(pauli, string) for pauli in reference.PAULIS for string in strings]
    for string in strings:
        image = unitary @ string @ unitary.conj().T
        if max(abs(np.trace(image @ other)) for other in strings) < 2**n - 1e-6:
            return False
    return True


@pytest.mark.parametrize(
    ("op", "controls"),
    [(op, c) for op in UNITARY for c in range(3) if 1 <= c + (SIGNATURES[op].targets or 0) <= 3],
)
def test_clifford_gates_are_told_by_their_definition(op: Op, controls: int) -> None:
    rng = np.random.default_rng(int(op))
    for turns in rng.integers(-8, 9, (12 if SIGNATURES[op].angles else 1, SIGNATURES[op].angles)):
        circuit = gate(op, *(turns * math.pi / 2), controls=controls)
        assert is_clifford(circuit) == maps_paulis_to_paulis(circuit)


def test_angles_are_quarter_turns_within_a_billionth() -> None:
    for turns in (-7, 0, 1, 2, 1001):
        angle = turns * math.pi / 2
        assert is_clifford(gate(Op.RX, angle + 0.9e-9))
        assert not is_clifford(gate(Op.RX, angle + 1.1e-9))
    assert not is_clifford(gate(Op.RX, math.pi / 4))
    assert is_clifford(gate(Op.GPHASE, 0.3))


def test_known_gates() -> None:
    assert is_clifford(gate(Op.P, math.pi, controls=1))
    assert is_clifford(gate(Op.RZ, 2 * math.pi, controls=1))  # a Z of its control
    assert is_clifford(gate(Op.RYY, math.pi / 2))
    assert is_clifford(gate(Op.RZZ, 2 * math.pi, controls=2))  # a CZ of its controls
    assert not is_clifford(gate(Op.P, math.pi / 2, controls=1))
    assert not is_clifford(gate(Op.SWAP, controls=1))
    assert not is_clifford(gate(Op.X, controls=2))
    assert not is_clifford(gate(Op.T))


def test_free_parameters_are_not_clifford_until_they_are_bound() -> None:
    builder = CircuitBuilder(1)
    circuit = builder.rx(builder.parameter("a"), 0).build()
    assert not stabilizer.is_clifford(circuit, None)
    assert stabilizer.is_clifford(circuit, circuit.bind([math.pi])[0])
    assert stabilizer.is_clifford(CircuitBuilder(1).h(0).build(), None)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32))
def test_samples_follow_the_branches(n: int, seed: int) -> None:
    circuit = random_clifford(n, 15, np.random.default_rng(seed), dynamic=True)
    assert_drawn_from(sample(circuit, 500, seed), reference.outcomes(circuit))


@pytest.mark.parametrize("seed", range(15))
def test_noisy_samples_follow_the_density_matrix(seed: int) -> None:
    circuit = random_clifford(4, 15, np.random.default_rng(seed), dynamic=True)
    sequence = noise.sequence(circuit, model(**PAULI_NOISE))
    assert all(item.kind is noise.Kind.PAULI for item in noise.channels(sequence))
    found = density.distribution(sequence, 4, circuit.num_clbits, circuit.bind()[0], never)
    assert_drawn_from(sample(circuit, 4000, seed, **PAULI_NOISE), probabilities(found))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.booleans(), st.integers(0, 2**32))
def test_expectation_is_the_density_matrix_s(n: int, noisy: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    circuit = random_clifford(n, 20, rng, dynamic=True)
    observable = random_observable(n, 12, rng)
    angles = circuit.bind()[0]
    sequence = noise.sequence(circuit, model(**(PAULI_NOISE if noisy else {})))
    found = stabilizer.expectation(sequence, observable, angles, never)
    exact = density.expectation(sequence, observable, angles, never)
    assert found == pytest.approx(exact, abs=1e-10)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32))
def test_expectation_without_noise_is_the_states(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    circuit = random_clifford(n, 20, rng, dynamic=False)
    observable = random_observable(n, 12, rng)
    sequence = noise.sequence(circuit, model())
    found = stabilizer.expectation(sequence, observable, circuit.bind()[0], never)
    expected = reference.expectation(observable, reference.state(circuit))
    assert found == pytest.approx(expected, abs=1e-10)


def test_bits_are_misread_as_they_are_by_the_other_engines() -> None:
    circuit = CircuitBuilder(2).x(1).measure_all().build()
    found = sample(circuit, 20_000, zero_as_one=(0.1,), one_as_zero=(0.3,))
    assert_drawn_from(found, {0b10: 0.9 * 0.7, 0b00: 0.9 * 0.3, 0b11: 0.1 * 0.7, 0b01: 0.1 * 0.3})


def test_hundreds_of_qubits_are_sampled() -> None:
    builder = CircuitBuilder(500).h(0)
    for q in range(499):
        builder.cx(q, q + 1)
    circuit = builder.measure_all().build()
    found = registers(sample(circuit, 100))
    assert set(found) == {0, 2**500 - 1}
    flipped = sample(circuit, 100, one_qubit=0.5, two_qubit=0.01)
    assert len(set(registers(flipped))) > 90


def test_last_write_of_a_bit_counts() -> None:
    circuit = CircuitBuilder(2, 10).x(0).measure(0, 9).measure(1, 9).measure(0, 3).build()
    assert set(registers(sample(circuit, 5))) == {0b1000}


def test_program_without_bits_has_empty_memory() -> None:
    assert sample(CircuitBuilder(1).h(0).build(), 3).shape == (3, 0)


def test_equal_seeds_give_equal_samples_of_different_slices() -> None:
    circuit = random_clifford(5, 40, np.random.default_rng(1), dynamic=False)
    builder = CircuitBuilder(5)
    for operation in circuit.operations():
        angles = circuit.angle_constants[operation.angles.start : operation.angles.stop]
        builder.append(operation.op, operation.qubits, angles, controls=operation.controls)
    circuit = builder.h(0).measure_all().build()
    shots = 2 * stabilizer.BLOCK + 10
    first = sample(circuit, shots, 7, **PAULI_NOISE, zero_as_one=(0.1,))
    np.testing.assert_array_equal(
        sample(circuit, shots, 7, **PAULI_NOISE, zero_as_one=(0.1,)), first
    )
    np.testing.assert_array_equal(
        sample(circuit, stabilizer.BLOCK, 7, **PAULI_NOISE, zero_as_one=(0.1,)),
        first[: stabilizer.BLOCK],
    )
    assert (first[: stabilizer.BLOCK] != first[stabilizer.BLOCK : 2 * stabilizer.BLOCK]).any()
    assert (sample(circuit, shots, 2**64 - 1, **PAULI_NOISE) != first).any()


def test_what_is_no_clifford_program_with_pauli_noise_is_refused() -> None:
    circuit = CircuitBuilder(2).cp(0.3, 0, 1).build()
    with pytest.raises(NotSupported, match="controlled p on qubits") as caught:
        stabilizer.translate(circuit.operations(), 0, circuit.bind()[0])
    assert caught.value.layer == "device"
    damped = [Channel(Kind.DAMPING, (0,), (0.1,))]
    with pytest.raises(NotSupported, match="amplitude damping"):
        stabilizer.translate(damped, 0, np.empty(0))
    with pytest.raises(NotSupported, match="amplitude damping"):
        stabilizer.expectation(
            damped, random_observable(1, 1, np.random.default_rng(1)), np.empty(0), never
        )


def test_it_stops_between_slices_and_operations() -> None:
    circuit = CircuitBuilder(2).h(0).measure_all().build()
    program = stabilizer.translate(circuit.operations(), 2, np.empty(0))
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) == 3

    with pytest.raises(TaskCancelled):
        stabilizer.sample(program, np.zeros((2, 2)), 10 * stabilizer.BLOCK, (1, 0), stopped)
    assert len(asked) == 3
    observable = random_observable(2, 9, np.random.default_rng(1))
    asked.clear()
    with pytest.raises(TaskCancelled):
        stabilizer.expectation(circuit.operations(), observable, np.empty(0), stopped)
    assert len(asked) == 3
