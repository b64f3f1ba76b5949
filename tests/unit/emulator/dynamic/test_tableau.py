"""Tableaux against state vectors, and on hundreds of qubits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from program.reference import distribution

from openqse.errors import NotSupported
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse_emulator import profile, stabilizer
from openqse_emulator.dynamic import density, paths
from openqse_emulator.dynamic.compile import compiled
from openqse_emulator.noise import NoiseModel

from ..circuits import assert_drawn_from, never, random_observable, registers
from ..test_noise import model
from .programs import programs
from .test_noise import KINDS, assert_same

QUIET = NoiseModel.of(profile.load("superconducting"))
ROOM = 2**30
NOTHING = np.zeros(0)


def sampled(circuit: Circuit, noisy: NoiseModel, shots: int, seed: int = 1) -> paths.Sampled:
    program = compiled(circuit, noisy).stabilizer
    found = paths.Sampled.none(program, shots)
    paths.sample(program, NOTHING, (seed, 0), 0, found, ROOM, never)
    assert not found.left.any()
    return found


@settings(max_examples=60, deadline=None)
@given(circuit=programs(clifford=True))
def test_tableaux_agree_with_the_reference_interpreter(circuit: Circuit) -> None:
    expected = {int(bits, 2): p for bits, p in distribution(circuit).items()}
    assert_drawn_from(sampled(circuit, QUIET, 3000).memory, expected)


@settings(max_examples=60, deadline=None)
@given(circuit=programs(clifford=True), seed=st.integers(0, 2**32))
def test_means_on_tableaux_are_those_of_state_vectors(circuit: Circuit, seed: int) -> None:
    observable = random_observable(circuit.num_qubits, 6, np.random.default_rng(seed))
    program = compiled(circuit, QUIET)
    arguments = observable, NOTHING, (0, 0), 0, ROOM, never
    found = paths.mean(program.stabilizer, *arguments)
    expected = paths.mean(program, *arguments)
    assert found is not None
    assert expected is not None
    assert found.value == pytest.approx(expected.value, abs=1e-9)


@pytest.mark.parametrize("kind", ["gates", "t2", "Pauli", "readout", "sure misreading"])
@settings(max_examples=8, deadline=None)
@given(circuit=programs(most_qubits=3, clifford=True), seed=st.integers(0, 2**32))
def test_pauli_errors_on_tableaux_follow_density_matrices(
    kind: str, circuit: Circuit, seed: int
) -> None:
    assert_same(circuit, model(**KINDS[kind]), 4000, seed, tableau=True)


@pytest.mark.parametrize("op", [Op.P, Op.RX, Op.RY, Op.RZ, Op.RXX, Op.RYY, Op.RZZ, Op.U, Op.GPHASE])
@pytest.mark.parametrize("controls", [0, 1])
@pytest.mark.parametrize("quarters", range(9))
def test_gates_at_quarter_turns_are_right_or_refused(op: Op, controls: int, quarters: int) -> None:
    """In the midst of an entangled state, whose final basis tells phases apart."""
    angles = [quarters * math.pi / 2] * (3 if op is Op.U else 1)
    targets = {Op.RXX: 2, Op.RYY: 2, Op.RZZ: 2, Op.GPHASE: 0}.get(op, 1)
    qubits = list(range(controls + targets))
    b = CircuitBuilder(4).h(0).cx(0, 1).h(1).s(1).cx(1, 2).h(3).cz(3, 0).sx(2)
    b.append(op, qubits, angles, controls=controls)
    circuit = b.h(0).cx(2, 1).s(0).h(1).h(2).cz(0, 3).h(3).build()
    program = compiled(circuit, QUIET)
    for seed in range(4):
        observable = random_observable(4, 40, np.random.default_rng(seed))
        arguments = observable, NOTHING, (0, 0), 0, ROOM, never
        expected = paths.mean(program, *arguments)
        assert expected is not None
        if controls == 1 and not stabilizer.is_clifford(circuit, circuit.bind()[0]):
            with pytest.raises(NotSupported, match="not a Clifford gate"):
                paths.mean(program.stabilizer, *arguments)
            continue
        found = paths.mean(program.stabilizer, *arguments)
        assert found is not None
        assert found.value == pytest.approx(expected.value, abs=1e-9)


def test_hundreds_of_qubits_are_kept_by_feed_forward() -> None:
    """A GHZ state of 200 qubits made by measurements of 199 others."""
    n = 200
    b = CircuitBuilder(2 * n - 1)
    for q in range(0, 2 * n - 1, 2):
        b.h(q)
    for k in range(n - 1):
        b.cx(2 * k, 2 * k + 1).cx(2 * k + 2, 2 * k + 1).measure(2 * k + 1, k)
        with b.if_(b.bits(k)):
            b.x(2 * k + 2)
    for q in range(n):
        b.measure(2 * q, n - 1 + q)
    values = [value >> (n - 1) for value in registers(sampled(b.build(), QUIET, 60).memory)]
    assert set(values) == {0, (1 << n) - 1}


def test_an_angle_that_is_not_clifford_on_its_path_is_a_typed_error() -> None:
    b = CircuitBuilder(1)
    angle = b.real(0.3)
    b.h(0).rz(b.value(angle), 0)
    with pytest.raises(NotSupported, match="rz on qubits \\[0\\] is not a Clifford gate"):
        sampled(b.measure(0, 0).build(), QUIET, 10)


def test_density_matrices_say_what_they_cannot_hold() -> None:
    circuit = CircuitBuilder(11).h(0).measure(0, 0).build()
    with pytest.raises(NotSupported, match="11 qubits"):
        density.distribution(compiled(circuit, QUIET), QUIET, NOTHING, ROOM, never)
