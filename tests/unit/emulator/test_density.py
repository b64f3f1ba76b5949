"""Density matrices: against another simulator, and against branches of state vectors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, transpile
from qiskit.quantum_info import Kraus
from qiskit_aer import AerSimulator

from openqse.errors import NotSupported, TaskCancelled
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import Op
from openqse_emulator import density, noise
from openqse_emulator.density import fusion, multiply
from openqse_emulator.noise import Channel, Kind, NoiseModel
from openqse_emulator.profile import Noise, Profile
from openqse_emulator.statevector.team import Team

from . import reference
from .circuits import (
    add_gate,
    assert_drawn_from,
    dynamic_circuits,
    never,
    random_circuit,
    random_observable,
    registers,
)
from .test_aer import to_qiskit
from .test_noise import DURATIONS, model

NO_ANGLES = np.empty(0)


def probabilities(found: density.Distribution) -> dict[int, float]:
    p = np.diff(found.cumulative, prepend=0.0)
    return dict(zip(registers(found.registers), p.tolist(), strict=True))


def distribution(circuit: Circuit, sequence: list[Operation | Channel]) -> density.Distribution:
    angles = circuit.bind()[0]
    return density.distribution(sequence, circuit.num_qubits, circuit.num_clbits, angles, never)


def random_kraus(num_qubits: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Blocks of an isometry."""
    size = 2**num_qubits
    columns = rng.normal(size=(count * size, size)) + 1j * rng.normal(size=(count * size, size))
    return np.linalg.qr(columns)[0].reshape(count, size, size)


def noisy_model(rng: np.random.Generator) -> NoiseModel:
    """Everything that can go wrong but leakage."""
    figures = Noise(
        one_qubit=0.02,
        two_qubit=0.05,
        t1_ns=tuple(rng.uniform(300, 900, 8)),
        t2_ns=tuple(rng.uniform(200, 600, 8)),
        pauli={"h": (0.01, 0.02, 0.03), "cy": tuple(rng.dirichlet(np.ones(16))[1:])},
    )
    profile = Profile("test", 8, 1000, 1, ("cz",), DURATIONS, noise=figures)
    named = {"x": random_kraus(1, 3, rng), "rxx": random_kraus(2, 2, rng)}
    channels = {gate: Channel(Kind.KRAUS, (), operators=k) for gate, k in named.items()}
    return NoiseModel(profile, {**NoiseModel.of(profile).named, **channels})


def aer_matrix(circuit: Circuit, sequence: list[Operation | Channel]) -> np.ndarray:
    """The density matrix that Aer finds for the same gates and channels."""
    converted = QuantumCircuit(circuit.num_qubits)
    gates = iter(to_qiskit(circuit).data)
    for item in sequence:
        if isinstance(item, Channel):
            converted.append(Kraus(list(noise.kraus(item))).to_instruction(), item.qubits)
        else:
            converted.append(next(gates))
    converted.save_density_matrix()
    aer = AerSimulator(method="density_matrix", max_parallel_threads=1)
    converted = transpile(converted, aer, optimization_level=0)
    return np.asarray(aer.run(converted).result().data()["density_matrix"])


@pytest.mark.parametrize("seed", range(12))
def test_noisy_state_is_aers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 5))
    builder = CircuitBuilder(n)
    drawn = random_circuit(n, 30, rng, controls=1).build()
    for operation in drawn.operations():
        if operation.op.name not in ("GPHASE", "ID"):
            angles = drawn.angle_constants[operation.angles.start : operation.angles.stop]
            builder.append(operation.op, operation.qubits, angles, controls=operation.controls)
    circuit = builder.build()
    sequence = noise.sequence(circuit, noisy_model(rng), measurements=False)
    assert len(list(noise.channels(sequence))) > 30
    found = density.evolve(sequence, n, circuit.bind()[0], never)
    expected = aer_matrix(circuit, sequence)
    np.testing.assert_allclose(reference.matrix_of(found), expected, atol=1e-10)
    observable = random_observable(n, 6, rng)
    value = density.expectation(sequence, observable, circuit.bind()[0], never)
    total = 0.0
    for coefficient, codes in zip(observable.coefficients, observable.paulis, strict=True):
        string = np.eye(1)
        for code in codes:
            string = np.kron(reference.PAULIS[code], string)
        total += coefficient * np.trace(string @ expected).real
    assert value == pytest.approx(total, abs=1e-10)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32))
def test_without_noise_it_is_the_states_projector(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    circuit = random_circuit(n, 20, rng).build()
    state = reference.state(circuit)
    sequence = noise.sequence(circuit, model())
    found = density.evolve(sequence, n, circuit.bind()[0], never)
    expected = np.outer(state, state.conj())
    np.testing.assert_allclose(reference.matrix_of(found), expected, atol=1e-11)
    observable = random_observable(n, 5, rng)
    value = density.expectation(sequence, observable, circuit.bind()[0], never)
    assert value == pytest.approx(reference.expectation(observable, state), abs=1e-11)


@settings(max_examples=150, deadline=None)
@given(dynamic_circuits())
def test_distribution_is_that_of_the_branches(circuit: Circuit) -> None:
    found = probabilities(distribution(circuit, noise.sequence(circuit, model())))
    expected = {k: p for k, p in reference.outcomes(circuit).items() if p > 1e-12}
    assert {k for k, p in found.items() if p > 1e-12} == expected.keys()
    assert all(found[k] == pytest.approx(p, abs=1e-10) for k, p in expected.items())


@settings(max_examples=30, deadline=None)
@given(dynamic_circuits(), st.integers(0, 2**32))
def test_noise_and_branches_agree_with_all_kraus_operators(circuit: Circuit, seed: int) -> None:
    """What is left out, for no outcome depends on it, is left in by the slow sum."""
    n = circuit.num_qubits
    sequence = noise.sequence(circuit, noisy_model(np.random.default_rng(seed)))
    branches = {0: np.outer(reference.zero(n).reshape(-1), reference.zero(n).reshape(-1))}
    for item in sequence:
        branches = slowly(branches, item, n, circuit.bind()[0])
    found = probabilities(distribution(circuit, sequence))
    assert sum(found.values()) == pytest.approx(1, abs=1e-10)
    for register, rho in branches.items():
        assert found.get(register, 0.0) == pytest.approx(np.trace(rho).real, abs=1e-9)


def slowly(
    branches: dict[int, np.ndarray], item: Operation | Channel, n: int, angles: np.ndarray
) -> dict[int, np.ndarray]:
    """One step on a density matrix for each value of the register, with full-size operators."""
    if isinstance(item, Channel):
        operators = [(k, None) for k in noise.kraus(item)]
    elif item.op.name in ("MEASURE", "RESET"):
        keep, lower = np.array([[1, 0], [0, 0]]), np.array([[0, 1], [0, 0]])
        found_one = lower if item.op.name == "RESET" else np.array([[0, 0], [0, 1]])
        operators = [(keep, 0), (found_one, 1)]
    else:
        unitary = np.array(
            [
                reference.apply(column.reshape((2,) * n), item, angles).reshape(-1)
                for column in np.eye(2**n, dtype=complex)
            ]
        ).T
        return {bits: unitary @ rho @ unitary.conj().T for bits, rho in branches.items()}
    after: dict[int, np.ndarray] = {}
    axes = [n - 1 - q for q in reversed(item.qubits)]
    for operator, outcome in operators:
        columns = np.eye(2**n, dtype=complex).reshape((2,) * n + (2**n,))
        full = reference.on_axes(columns, operator, axes).reshape(2**n, 2**n)
        for bits, rho in branches.items():
            if isinstance(item, Operation) and item.clbit >= 0:
                bits = bits & ~(1 << item.clbit) | outcome << item.clbit
            after[bits] = after.get(bits, 0) + full @ rho @ full.conj().T
    return after


def multiplied_slowly(vector: np.ndarray, factor: np.ndarray, qubits: list[int]) -> np.ndarray:
    """A matrix on some digits of base 4, by tensors."""
    n = len(vector).bit_length() // 2
    axes = [n - 1 - q for q in reversed(qubits)]
    k = len(qubits)
    tensor = np.tensordot(
        factor.reshape((4,) * 2 * k), vector.reshape((4,) * n), (range(k, 2 * k), axes)
    )
    return np.moveaxis(tensor, range(k), axes).reshape(-1)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7])
def test_pass_over_two_qubits_is_the_slow_product(n: int) -> None:
    """All places of the two: rows of a tile are contiguous or not, tiles full or not."""
    rng = np.random.default_rng(n)
    factor = rng.normal(size=(16, 16))
    for low, high in itertools.combinations(range(n), 2):
        vector = rng.normal(size=4**n)
        expected = multiplied_slowly(vector, factor, [low, high])
        tiles = 4 ** max(0, n - 2 - multiply.TILE_DIGITS)
        middle = tiles // 3
        multiply.on_two(vector, factor, low, high, 0, middle)
        multiply.on_two(vector, factor, low, high, middle, tiles)
        np.testing.assert_allclose(vector, expected, atol=1e-12)


@pytest.mark.parametrize("qubits", [[0], [4], [2, 0, 3], [4, 3, 1], [0, 1, 2], [3, 0, 4, 1]])
def test_pass_over_other_numbers_of_qubits_is_the_slow_product(qubits: list[int]) -> None:
    rng = np.random.default_rng(len(qubits))
    factor, vector = rng.normal(size=(4 ** len(qubits),) * 2), rng.normal(size=4**5)
    expected = multiplied_slowly(vector, factor, qubits)
    columns = 4 ** (5 - len(qubits))
    multiply.on_some(vector, factor, np.array(qubits), 0, columns // 2)
    multiply.on_some(vector, factor, np.array(qubits), columns // 2, columns)
    np.testing.assert_allclose(vector, expected, atol=1e-11)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32))
def test_fused_passes_are_all_matrices_in_order(n: int, seed: int) -> None:
    """Gates with up to four controls, channels, measurements and resets."""
    rng = np.random.default_rng(seed)
    builder = random_circuit(n, 12, rng, controls=4)
    builder.reset(int(rng.integers(n))).measure(int(rng.integers(n)), 0)
    for _ in range(5):
        add_gate(builder, Op.RY, 0, rng)
    circuit = builder.build()
    sequence = noise.sequence(circuit, noisy_model(rng))
    angles = circuit.bind()[0]
    rho = {0: np.outer(reference.zero(n).reshape(-1), reference.zero(n).reshape(-1))}
    for item in sequence:
        rho = {0: sum(slowly(rho, item, n, angles).values())}
    found = density.evolve(sequence, n, angles, never)
    np.testing.assert_allclose(reference.matrix_of(found), rho[0], atol=1e-10)


def test_threads_share_a_pass() -> None:
    rng = np.random.default_rng(1)
    circuit = random_circuit(10, 20, rng, controls=1).build()
    sequence = noise.sequence(circuit, model(one_qubit=0.01, t1_ns=(500.0,)))
    team = Team(2)
    angles = circuit.bind()[0]
    alone = density.evolve(sequence, 10, angles, never)
    np.testing.assert_array_equal(density.evolve(sequence, 10, angles, never, team), alone)
    team.close()


def test_all_between_two_qubits_is_one_pass() -> None:
    circuit = CircuitBuilder(4).h(0).cx(0, 1).rz(0.3, 1).cx(1, 0).h(2).cx(2, 3).x(1).build()
    sequence = noise.sequence(circuit, model(one_qubit=0.01, two_qubit=0.1, t1_ns=(500.0,)))
    made = fusion.Fusion(circuit.bind()[0])
    for item in sequence:
        made.add(item)
    assert sorted(each.qubits for each in made.take()) == [(0, 1), (2, 3)]  # type: ignore[union-attr]
    assert fusion.count_passes(sequence) == 2


def test_samples_follow_the_distribution() -> None:
    rng = np.random.default_rng(3)
    circuit = random_circuit(4, 20, rng).measure(0, 9).measure_all().build()
    found = distribution(circuit, noise.sequence(circuit, noisy_model(rng)))
    memory = density.sample(found, rng.random(5000))
    assert memory.dtype == np.uint8
    assert memory.shape == (5000, 2)
    assert_drawn_from(memory, probabilities(found))


def test_uniforms_choose_shot_by_shot() -> None:
    circuit = CircuitBuilder(1).h(0).measure(0, 0).build()
    found = distribution(circuit, noise.sequence(circuit, model()))
    uniforms = np.array([0.0, 0.499, 0.501, 1 - 2**-53])
    np.testing.assert_array_equal(density.sample(found, uniforms)[:, 0], [0, 0, 1, 1])


def test_outcomes_that_are_written_over_split_nothing() -> None:
    builder = CircuitBuilder(2, 2)
    for _ in range(40):
        builder.h(0).measure(0, 0)
    circuit = builder.h(0).measure(0, 1).h(0).cx(0, 1).measure(0, 0).build()
    sequence = noise.sequence(circuit, model())
    assert density.branchings(sequence, circuit.num_outputs) == 1
    assert probabilities(distribution(circuit, sequence)) == pytest.approx(
        dict.fromkeys(range(4), 0.25)
    )


def test_program_without_bits_has_one_empty_register() -> None:
    circuit = CircuitBuilder(1).h(0).build()
    found = distribution(circuit, noise.sequence(circuit, model()))
    assert density.sample(found, np.zeros(3)).shape == (3, 0)


def test_leakage_and_wide_programs_are_refused() -> None:
    leaks = Channel(Kind.LEAKAGE, (0,), (0.1,))
    with pytest.raises(NotSupported, match="trajectories") as caught:
        density.evolve([leaks], 1, NO_ANGLES, never)
    assert caught.value.layer == "device"
    with pytest.raises(NotSupported, match="13 qubits"):
        density.evolve([], 13, NO_ANGLES, never)
    assert density.matrix_bytes(12) == 8 * 4**12


def test_it_stops_between_operations() -> None:
    circuit = CircuitBuilder(2).h(0).h(0).h(0).measure(0, 0).h(0).measure(0, 1).build()
    sequence = noise.sequence(circuit, model())
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) == 3

    for run in (
        lambda: density.distribution(sequence, 2, 2, NO_ANGLES, stopped),
        lambda: density.evolve(sequence, 2, NO_ANGLES, stopped),
    ):
        asked.clear()
        with pytest.raises(TaskCancelled):
            run()
