"""Noise on programs with classical control: trajectories, and exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse_emulator import density as plain_density
from openqse_emulator import noise, timing
from openqse_emulator.dynamic import density, paths
from openqse_emulator.dynamic.compile import compiled
from openqse_emulator.noise import NoiseModel

from ..circuits import dynamic_circuits, never, random_observable
from ..test_density import probabilities, random_kraus
from ..test_noise import model
from .programs import programs

ROOM = 2**30
_RNG = np.random.default_rng(3)


def kraus(count: int, width: int) -> tuple[Any, ...]:
    operators = random_kraus(width, count, _RNG)
    return tuple(tuple(map(tuple, operator)) for operator in operators.tolist())


KINDS: dict[str, dict[str, Any]] = {
    "gates": {"one_qubit": 0.1, "two_qubit": 0.15},
    "t1": {"t1_ns": (3000.0,)},
    "t1 and t2": {"t1_ns": (4000.0,), "t2_ns": (3000.0,)},
    "t2": {"t2_ns": (3000.0,)},
    "t1 of each qubit": {"t1_ns": tuple(1000.0 * q + 500 for q in range(8))},
    "Pauli": {"pauli": {"h": (0.1, 0.0, 0.2), "x": (0.0, 0.3, 0.0), "cx": tuple([0.03] * 15)}},
    "Kraus": {"kraus": {"h": kraus(2, 1), "ry": kraus(3, 1), "swap": kraus(3, 2)}},
    "leakage": {"leakage_per_ns": 2e-4},
    "readout": {"zero_as_one": (0.1,), "one_as_zero": (0.25,)},
    "sure misreading": {"zero_as_one": (1.0,), "one_as_zero": (1.0,)},
    "all": {
        "one_qubit": 0.05, "two_qubit": 0.05, "t1_ns": (5000.0,), "t2_ns": (4000.0,),
        "leakage_per_ns": 1e-4, "zero_as_one": (0.05,), "one_as_zero": (0.1,),
        "kraus": {"h": kraus(2, 1)},
    },
}  # fmt: skip


def assert_same(
    circuit: Circuit, noisy: NoiseModel, shots: int, seed: int, *, tableau: bool = False
) -> None:
    """Samples and their times follow the exact joint distribution of both."""
    program = compiled(circuit, noisy)
    exact = density.distribution(program, noisy, np.zeros(0), ROOM, never)
    sampled = paths.Sampled.none(program, shots)
    engine = program.stabilizer if tableau else program
    paths.sample(engine, np.zeros(0), (seed, 0), 0, sampled, ROOM, never)
    rows = {
        (row.tobytes(), end): i
        for i, (row, end) in enumerate(zip(exact.memory, exact.ends.tolist(), strict=True))
    }
    found = np.zeros(len(rows))
    for row, end in zip(sampled.memory, sampled.ends.tolist(), strict=True):
        found[rows[row.tobytes(), end]] += 1
    expected = np.diff(exact.cumulative, prepend=0.0) * shots
    rare = expected < 5
    found = np.append(found[~rare], found[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    found, expected = found[expected > 1e-6], expected[expected > 1e-6]
    if len(expected) > 1:
        assert chisquare(found, expected * found.sum() / expected.sum()).pvalue > 1e-9


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=8, deadline=None)
@given(circuit=programs(most_qubits=3), seed=st.integers(0, 2**32))
def test_trajectories_follow_density_matrices(kind: str, circuit: Circuit, seed: int) -> None:
    assert_same(circuit, model(**KINDS[kind]), 5000, seed)


@pytest.mark.parametrize("kind", ["t1", "t1 and t2", "leakage", "all"])
def test_a_qubit_relaxes_for_the_time_of_its_own_branch(kind: str) -> None:
    """The branch that waits, or turns another qubit many times, finds less of the state."""
    b = CircuitBuilder(3).x(1).h(1).h(0).measure(0, 0)
    with b.if_(b.bits(0)):
        b.delay(5000, 2)
        with b.loop():
            b.x(2).measure(2, 1)
            with b.if_(b.bits(1)):
                b.break_loop()
    with b.else_():
        b.x(2)
    b.barrier()
    assert_same(b.h(1).measure(1, 2).measure(2, 1).build(), model(**KINDS[kind]), 40_000, 5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("leakage", "all")])
@settings(max_examples=8, deadline=None)
@given(circuit=dynamic_circuits())
def test_programs_without_control_are_as_on_the_other_engines(kind: str, circuit: Circuit) -> None:
    noisy = model(**KINDS[kind])
    found = density.distribution(compiled(circuit, noisy), noisy, np.zeros(0), ROOM, never)
    assert set(found.ends.tolist()) == {timing.circuit_ns(circuit, noisy.profile)}
    sequence = noise.sequence(circuit, noisy)
    bits = circuit.num_clbits
    expected = plain_density.distribution(
        sequence, circuit.num_qubits, bits, circuit.bind()[0], never
    )
    plain = misread(probabilities(expected), circuit, noisy)
    for row, p in zip(found.memory, np.diff(found.cumulative, prepend=0.0), strict=True):
        value = int.from_bytes(row.tobytes(), "little")
        assert p == pytest.approx(plain.get(value, 0.0), abs=1e-9)


def misread(found: dict[int, float], circuit: Circuit, noisy: NoiseModel) -> dict[int, float]:
    """A distribution of registers after the readout errors of each bit's last measurement."""
    for bit, wrong in enumerate(noise.readout_errors(circuit, noisy.profile)):
        read: dict[int, float] = {}
        for value, p in found.items():
            flips = wrong[value >> bit & 1]
            for to, share in ((value, 1 - flips), (value ^ 1 << bit, flips)):
                read[to] = read.get(to, 0.0) + p * share
        found = read
    return found


@pytest.mark.parametrize("kind", ["none", *KINDS])
@settings(max_examples=5, deadline=None)
@given(circuit=programs(most_qubits=3), seed=st.integers(0, 2**32))
def test_means_of_trajectories_are_those_of_density_matrices(
    kind: str, circuit: Circuit, seed: int
) -> None:
    noisy = model(**KINDS.get(kind, {}))
    program = compiled(circuit, noisy)
    observable = random_observable(circuit.num_qubits, 3, np.random.default_rng(seed))
    value, ns = density.mean(program, noisy, observable, np.zeros(0), ROOM, never)
    found = paths.mean(program, observable, np.zeros(0), (seed, 0), 4000, ROOM, never)
    assert found is not None
    spread = np.abs(observable.coefficients).sum()
    assert found.value == pytest.approx(value, abs=6 * spread / np.sqrt(4000) + 1e-9)
    if program.quiet:
        all_paths = paths.mean(program, observable, np.zeros(0), (0, 0), 0, ROOM, never)
        assert all_paths is not None
        assert all_paths.value == pytest.approx(value, abs=1e-9)
        assert all_paths.ns == pytest.approx(ns)


def test_a_gate_that_is_left_out_of_a_branch_makes_no_error_there() -> None:
    noisy = model(pauli={"x": (0.0, 0.0, 0.0), "y": (1.0, 0.0, 0.0)})
    b = CircuitBuilder(2).h(0).measure(0, 0)
    with b.if_(b.bits(0)):
        b.append(Op.Y, (1,))
    circuit = b.measure(1, 1).build()
    program = compiled(circuit, noisy)
    found = paths.Sampled.none(program, 1000)
    paths.sample(program, np.zeros(0), (1, 0), 0, found, ROOM, never)
    assert set(found.memory[:, 0].tolist()) == {0b00, 0b01}  # the error undoes the Y
