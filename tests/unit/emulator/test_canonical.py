"""The canonical form: the same circuit, in rotations and phases that noise never changes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.program.builder import CircuitBuilder
from openqse.program.gates import Op
from openqse_emulator.statevector.canonical import FUSION, ROTATION
from openqse_emulator.statevector.execute import NO_NOISE

from . import reference
from .circuits import (
    FREE,
    assert_same_state,
    parameter_values,
    random_circuit,
    random_paulis,
    with_paulis,
)
from .items import rewritten

SEEDS = st.integers(0, 2**32)


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 6), st.integers(0, 30), SEEDS, parameter_values(len(FREE)), st.booleans())
def test_items_are_the_circuit(
    n: int, gates: int, seed: int, parameters: list[float], noisy: bool
) -> None:
    circuit = random_circuit(n, gates, np.random.default_rng(seed), free=0.5).build()
    found = rewritten(circuit, circuit.bind(parameters)[0], noisy=noisy)
    assert_same_state(found.state(), reference.state(circuit, parameters))


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 6), SEEDS, parameter_values(len(FREE)), st.integers(1, 8))
def test_pauli_operators_change_numbers_alone(
    n: int, seed: int, parameters: list[float], count: int
) -> None:
    rng = np.random.default_rng(seed)
    circuit = random_circuit(n, 20, rng, free=0.3).build()
    angles = circuit.bind(parameters)[0]
    clean = rewritten(circuit, angles, noisy=True)
    noise = random_paulis(len(circuit), n, count, rng)
    found = rewritten(circuit, angles, noise, noisy=True)
    np.testing.assert_array_equal(found.items[:, :3], clean.items[:, :3])
    assert_same_state(found.state(), reference.state(with_paulis(circuit, angles, noise)))


@settings(max_examples=120, deadline=None)
@given(
    st.integers(1, 6),
    SEEDS,
    parameter_values(len(FREE)),
    parameter_values(len(FREE)),
    st.booleans(),
)
def test_items_are_the_same_for_all_parameters(
    n: int, seed: int, one: list[float], other: list[float], noisy: bool
) -> None:
    circuit = random_circuit(n, 25, np.random.default_rng(seed), free=0.5).build()
    first, second = (
        rewritten(circuit, circuit.bind(values)[0], noisy=noisy) for values in (one, other)
    )
    np.testing.assert_array_equal(first.items[:, :3], second.items[:, :3])


def test_rotations_are_by_at_most_a_right_angle() -> None:
    builder = CircuitBuilder(3)
    for i, angle in enumerate((3.0, 0.1, -2.9, 5.0, 7.0, 3.1)):
        builder.ry(angle, 0).cz(0, 1 + i % 2)
    circuit = builder.build()
    found = rewritten(circuit, circuit.bind()[0])
    tangents = found.values[found.items[:, 0] == ROTATION, 0].real
    assert len(tangents) == 6
    assert np.abs(tangents).max() <= 1


def kinds_of(builder: CircuitBuilder) -> list[int]:
    circuit = builder.build()
    found = rewritten(circuit, circuit.bind()[0])
    assert_same_state(found.state(), reference.state(circuit))
    numbers = (found.items[:, 0] == FUSION) & (found.items[:, 3] > 0)
    return found.items[~numbers, 0].tolist()


def test_any_unitary_of_two_qubits_is_one_item_with_the_gates_beside_it() -> None:
    builder = CircuitBuilder(3).h(0).h(2)
    builder.cx(0, 2).rz(0.3, 0).ry(0.4, 2).cx(2, 0).ry(0.5, 0).cx(0, 2).h(2).t(0)
    assert kinds_of(builder) == [FUSION]


def test_a_term_of_the_heisenberg_model_is_one_item() -> None:
    builder = CircuitBuilder(2).x(0)
    for op in (Op.RXX, Op.RYY, Op.RZZ):
        builder.append(op, (0, 1), (0.3,))
    assert kinds_of(builder) == [FUSION]


def test_few_rounds_on_two_qubits_are_no_fusion() -> None:
    interaction = CircuitBuilder(2).h(0).h(1).cx(0, 1).rz(0.3, 1).cx(0, 1)
    exchanged = CircuitBuilder(2).h(0).cx(0, 1).cx(1, 0).cx(0, 1)
    phases = CircuitBuilder(2).h(0).h(1).cz(0, 1).rz(0.1, 0).cp(0.3, 1, 0).rzz(0.2, 0, 1).cz(0, 1)
    for builder in (interaction, exchanged, phases):
        assert FUSION not in kinds_of(builder)


def test_what_is_the_identity_has_no_items() -> None:
    builder = CircuitBuilder(3).h(0).h(0).s(1).s(1).z(1).x(2).y(2).z(2).swap(0, 2)
    circuit = builder.build()
    assert len(rewritten(circuit, circuit.bind()[0]).items) == 0


def test_a_phase_of_the_whole_before_a_free_rotation_may_go() -> None:
    """``(S H)^3`` is the identity up to a phase that is no real number."""
    builder = CircuitBuilder(1)
    for _ in range(3):
        builder.s(0).h(0)
    circuit = builder.ry(builder.parameter("a"), 0).build()
    for angle in (0.3, 4.0):
        found = rewritten(circuit, circuit.bind([angle])[0], NO_NOISE)
        assert_same_state(found.state(), reference.state(circuit, [angle]))
