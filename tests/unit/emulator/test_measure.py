"""What is read off a state: samples, marginals, expectations, collapses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.observable import PauliSum
from openqse_emulator.randomness import Uniforms
from openqse_emulator.statevector import execute, measure, program, readout
from openqse_emulator.statevector.readout import State

from . import reference
from .circuits import (
    TOLERANCE,
    assert_drawn_from,
    never,
    random_circuit,
    random_observable,
    registers,
)
from .conftest import Engines
from .test_engine import blocks_of

DTYPES = list(TOLERANCE)


def random_state(n: int, dtype: type, rng: np.random.Generator) -> NDArray:
    """Normalised amplitudes as the engine keeps them."""
    drawn = rng.normal(size=2 << n)
    return (drawn / np.linalg.norm(drawn)).astype(dtype)


def complex_of(numbers: NDArray) -> NDArray[np.complex128]:
    real, imaginary = np.split(numbers.astype(np.float64), 2)
    return real + 1j * imaginary


def measured(n: int, count: int, seed: int) -> Circuit:
    """A random circuit of which some qubits are measured into any bits."""
    rng = np.random.default_rng(seed)
    builder = random_circuit(n, 4 * n, rng, controls=1)
    builder.num_clbits = count
    clbits = rng.permutation(count).tolist()
    for clbit, qubit in zip(clbits, rng.permutation(n)[:count].tolist(), strict=True):
        builder.measure(qubit, clbit)
    return builder.build()


def marginals(circuit: Circuit) -> dict[int, float]:
    """The probability of each register, from the state and the measurements at the end."""
    probabilities = np.abs(reference.state(circuit)) ** 2
    found = np.zeros_like(probabilities, dtype=np.int64)
    for operation in circuit.operations():
        if operation.clbit >= 0:
            found |= (np.arange(len(found)) >> operation.qubits[0] & 1) << operation.clbit
    return dict(enumerate(np.bincount(found, weights=probabilities).tolist()))


def drawn(engine: execute.Engine, circuit: Circuit, shots: int, seed: int = 1) -> NDArray[np.uint8]:
    memory = np.zeros((shots, -(-circuit.num_clbits // 8)), np.uint8)
    found = engine.distribution(engine.prepare(circuit), circuit.bind()[0], never)
    found.sample(Uniforms(seed), memory, engine.team, never)
    return memory


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("n", "count"), [(13, 13), (13, 11), (13, 10), (12, 3), (4, 4)])
def test_samples_follow_the_state(
    engine: Engines, n: int, count: int, threads: int, dtype: type
) -> None:
    assert (count > measure.TABLE) == (count >= 11)
    circuit = measured(n, count, n * count)
    with blocks_of(9):
        memory = drawn(engine(dtype, threads), circuit, 20_000)
    assert_drawn_from(memory, marginals(circuit))


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 12), seed=st.integers(0, 2**32), dtype=st.sampled_from(DTYPES))
def test_state_and_table_hold_the_same_distribution(
    engine: Engines, n: int, seed: int, dtype: type
) -> None:
    """Outcomes in another order: so the numbers of outcomes agree, as each follows from both."""
    circuit = measured(n, n, seed)
    alone = engine(dtype, 1)
    read = alone.prepare(circuit)
    state = alone.evolve(read, circuit.bind()[0], never)
    bits = state.names[read.program.final_qubits]
    table = np.zeros(1 << n)
    chunks = readout.chunks_of(state.numbers)
    measure.tabulate(state.numbers, 0, chunks, bits, table)
    weights = np.zeros(chunks)
    measure.weigh(state.numbers, 0, chunks, weights)
    assert table.sum() == pytest.approx(weights.sum(), abs=10 * TOLERANCE[dtype])
    index = np.arange(len(state.numbers) // 2)
    outcome = sum((index >> bit & 1) << k for k, bit in enumerate(bits.tolist()))
    exact = np.bincount(outcome, weights=np.abs(complex_of(state.numbers)) ** 2)
    np.testing.assert_allclose(table, exact, atol=TOLERANCE[dtype])


def distribution_of(numbers: NDArray, places: NDArray[np.int64]) -> readout.Distribution:
    """The distribution of bits of an index, of amplitudes as the engine keeps them."""
    weights = np.empty(readout.chunks_of(numbers))
    measure.weigh(numbers, 0, len(weights), weights)
    n = (len(numbers) // 2).bit_length() - 1
    builder = CircuitBuilder(n, num_clbits=1 + int(places[:, 1].max()))
    for bit, clbit in places[:, :2].tolist():
        builder.measure(bit, clbit)
    read = program.read(builder.build())
    return readout.Distribution(State(numbers, np.arange(n), 0, 0), weights, places, read)


@pytest.mark.parametrize("sampled", [1 << 12, 40, 1])
def test_uniforms_choose_outcomes_in_order(sampled: int) -> None:
    """Equal amplitudes: the ``i``-th of equal steps stands for the ``i``-th index."""
    n = 12
    numbers = np.concatenate([np.full(1 << n, 2 ** (-n / 2)), np.zeros(1 << n)])
    places = np.stack([np.arange(n), np.arange(n), np.arange(n) % 2], axis=1)
    draws = np.random.default_rng(2).permutation((np.arange(1 << n) + 0.5) / (1 << n))[:sampled]
    memory = np.zeros((sampled, 2), np.uint8)
    distribution_of(numbers, places).draw(draws, memory)
    turned = 0b101010101010  # bits that are written the other way round
    expected = (draws * (1 << n)).astype(int) ^ turned
    assert registers(memory) == expected.tolist()


def test_bits_may_be_far_apart_and_leave_others_alone() -> None:
    n = 12
    rng = np.random.default_rng(5)
    numbers = random_state(n, np.float64, rng)
    clbits = np.sort(rng.permutation(150)[:n])
    draws = rng.random(500)
    near, far = np.zeros((500, 2), np.uint8), np.full((500, 19), 0b10101010, np.uint8)
    index = np.arange(n)
    none = np.zeros(n, np.int64)
    distribution_of(numbers, np.stack([index, index, none], axis=1)).draw(draws, near)
    distribution_of(numbers, np.stack([index, clbits, none], axis=1)).draw(draws, far)
    bits = np.unpackbits(far, axis=1, bitorder="little")
    np.testing.assert_array_equal(
        bits[:, clbits], np.unpackbits(near, axis=1, bitorder="little")[:, :n]
    )
    others = np.setdiff1d(np.arange(150), clbits)
    np.testing.assert_array_equal(bits[:, others], np.tile(others % 2, (500, 1)))


def test_outcome_without_probability_is_never_drawn() -> None:
    numbers = np.zeros(2 << 11)
    numbers[[3, 700, 1500]] = 0.6, 0.0, 0.8
    places = np.stack([np.arange(11), np.arange(11), np.zeros(11, np.int64)], axis=1)
    draws = np.array([0.0, 0.3, 0.36 - 1e-12, 0.36 + 1e-12, 1 - 2**-53])
    memory = np.zeros((5, 2), np.uint8)
    distribution_of(numbers, places).draw(draws, memory)
    assert registers(memory) == [3, 3, 3, 1500, 1500]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12),
    terms=st.integers(1, 12),
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from(DTYPES),
    threads=st.integers(1, 3),
)
def test_expectation_is_exact(
    engine: Engines, n: int, terms: int, seed: int, dtype: type, threads: int
) -> None:
    rng = np.random.default_rng(seed)
    circuit = random_circuit(n, 3 * n, rng).build()
    codes = rng.integers(0, 4, (terms, n)).astype(np.uint8)
    codes[rng.random(terms) < 0.3] &= 3 * (rng.random(n) < 0.5).astype(np.uint8)
    observable = PauliSum(rng.normal(size=terms), codes)
    team = engine(dtype, threads)
    with blocks_of(6):
        state = team.evolve(team.prepare(circuit), circuit.bind()[0], never)
    expected = reference.expectation(observable, reference.state(circuit))
    tolerance = 10 * TOLERANCE[dtype]
    found = team.expectation(state, observable, never)
    assert found == pytest.approx(expected, abs=tolerance)
    assert team.expectation_alone(state, observable) == pytest.approx(found, abs=1e-12)


def test_expectation_of_many_terms_is_their_sum(engine: Engines) -> None:
    rng = np.random.default_rng(7)
    circuit = random_circuit(11, 40, rng).build()
    observable = random_observable(11, 200, rng)
    alone = engine(np.float64, 1)
    state = alone.evolve(alone.prepare(circuit), circuit.bind()[0], never)
    each = [
        alone.expectation_alone(state, PauliSum(coefficient, codes))
        for coefficient, codes in zip(
            observable.coefficients[:, np.newaxis], observable.paulis[:, np.newaxis], strict=True
        )
    ]
    assert alone.expectation_alone(state, observable) == pytest.approx(sum(each), abs=1e-11)


@pytest.mark.parametrize("bits", range(6, 11))
def test_transform_is_its_definition(bits: int) -> None:
    values = np.random.default_rng(bits).normal(size=1 << bits)
    hadamard = np.ones((1, 1))
    for _ in range(bits):
        hadamard = np.kron([[1, 1], [1, -1]], hadamard)
    expected = hadamard @ values
    measure.transform(values)
    np.testing.assert_allclose(values, expected, atol=1e-11)


def test_odd_counts_bits() -> None:
    rng = np.random.default_rng(3)
    for bits in [0, 1, 3, 2**62, *rng.integers(0, 2**62, 50).tolist()]:
        assert measure.odd(bits) == bool(bits.bit_count() % 2)


def test_weights_of_a_bit_are_those_of_its_values() -> None:
    for dtype in DTYPES:
        numbers = random_state(12, dtype, np.random.default_rng(1))
        exact = np.abs(complex_of(numbers)) ** 2
        for bit in range(12):
            weights = np.zeros((4, 2))
            measure.weigh_bit(numbers, 0, 4, bit, weights)
            ones = np.arange(1 << 12) >> bit & 1 == 1
            expected = [exact[~ones].sum(), exact[ones].sum()]
            np.testing.assert_allclose(weights.sum(axis=0), expected, atol=TOLERANCE[dtype])


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(6, 8),
    outcome=st.booleans(),
    becomes=st.booleans(),
    seed=st.integers(0, 2**32),
    dtype=st.sampled_from(DTYPES),
)
def test_projection_keeps_an_outcome(
    n: int, outcome: bool, becomes: bool, seed: int, dtype: type
) -> None:
    rng = np.random.default_rng(seed)
    numbers, bit = random_state(n, dtype, rng), int(rng.integers(n))
    state = complex_of(numbers)
    index = np.arange(1 << n)
    expected = np.zeros_like(state)
    kept = index[index >> bit & 1 == outcome]
    to = kept & ~(1 << bit) | int(becomes) << bit
    expected[to] = 1.5 * state[kept]
    measure.project(numbers, bit, int(outcome), 1.5, int(becomes))
    np.testing.assert_allclose(complex_of(numbers), expected, atol=1e-6 * (dtype is np.float32))


def full(matrix: NDArray, bits: list[int], n: int) -> NDArray:
    """A matrix on some bits as one on all."""
    columns = np.eye(1 << n, dtype=complex).reshape((2,) * n + (1 << n,))
    axes = [n - 1 - bit for bit in reversed(bits)]
    return reference.on_axes(columns, matrix, axes).reshape(1 << n, 1 << n)


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 2), seed=st.integers(0, 2**32), dtype=st.sampled_from(DTYPES))
def test_matrix_is_multiplied_and_density_matrix_reduced(
    width: int, seed: int, dtype: type
) -> None:
    n = 7
    rng = np.random.default_rng(seed)
    numbers = random_state(n, dtype, rng)
    state = complex_of(numbers)
    bits = rng.permutation(n)[:width]
    size = 1 << width
    matrix = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))

    reduced = np.empty((size, size), dtype=np.complex128)
    measure.reduce(numbers, bits, reduced)
    for r in range(size):
        for c in range(size):
            unit = np.zeros((size, size))
            unit[c, r] = 1  # trace(|c><r| rho) = rho[r, c]
            value = np.vdot(state, full(unit, bits.tolist(), n) @ state)
            assert reduced[r, c] == pytest.approx(value, abs=1e-6)

    measure.multiply(numbers, bits, matrix)
    expected = full(matrix, bits.tolist(), n) @ state
    np.testing.assert_allclose(complex_of(numbers), expected, atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_pieces_of_a_pass_make_the_whole(engine: Engines, threads: int) -> None:
    numbers = random_state(13, np.float64, np.random.default_rng(4))
    found = engine(np.float64, threads).weigh_bit(numbers, 12, never)
    exact = np.abs(complex_of(numbers)) ** 2
    np.testing.assert_allclose(found, [exact[:4096].sum(), exact[4096:].sum()], atol=1e-12)
