"""Qubits that nothing turns out of 0 cost nothing, and change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.errors import NotSupported
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse_emulator import profile
from openqse_emulator.device import Emulator, make
from openqse_emulator.profile import Engine, Noise

from .circuits import assert_drawn_from, dynamic_circuits, never, random_observable, registers
from .test_expectations import PROFILE

NONE = np.zeros((1, 0))


def sampled(emulator: Emulator, circuit: Circuit, shots: int = 1000) -> np.ndarray:
    return emulator.run(emulator.prepare(circuit), NONE, shots, 3, never).memory[0]


def expected(emulator: Emulator, circuit: Circuit, terms: dict[str, float]) -> float:
    observable = PauliSum.from_terms(terms, circuit.num_qubits)
    found = emulator.expectation(emulator.prepare(circuit), observable, NONE, 3, never)
    return float(found.values[0])


def turned_45() -> CircuitBuilder:
    """Fifty qubits of which one is used."""
    builder = CircuitBuilder(50).h(45)
    for _ in range(7):
        builder.t(45)
    return builder.h(45)


@pytest.mark.parametrize("name", ["superconducting", "superconducting_noisy"])
def test_wide_register_of_which_one_qubit_is_used(name: str) -> None:
    emulator = make(name)
    memory = sampled(emulator, turned_45().measure(45, 0).build(), 20_000)
    zero = np.cos(7 * np.pi / 8) ** 2
    ones = np.mean(memory[:, 0])
    misread = 0.02 if name.endswith("noisy") else 0.0
    assert ones == pytest.approx(1 - zero, abs=0.012 + misread)
    assert zero == pytest.approx(0.8536, abs=1e-4)


def test_observable_of_qubits_that_nothing_turns() -> None:
    emulator = make("superconducting")
    circuit = turned_45().build()
    cosine = np.cos(7 * np.pi / 4)
    assert expected(emulator, circuit, {"Z45": 1.0}) == pytest.approx(cosine)
    terms = {"Z0": 1.0, "Z3 Z45": 2.0, "X7": 4.0, "Y8 Z45": 8.0, "X9 Z1": 16.0, "I": 32.0}
    assert expected(emulator, circuit, terms) == pytest.approx(1 + 2 * cosine + 32)


def test_program_for_a_device_of_127_qubits_measured_whole() -> None:
    builder = CircuitBuilder(127)
    for q in range(127):
        builder.reset(q)
    builder.ry(2.0, 100).cx(100, 101).barrier().measure_all()
    for name in ("superconducting", "superconducting_noisy"):
        emulator = make(name)
        prepared = emulator.prepare(builder.build())
        assert prepared.computed.num_qubits == 2
        memory = emulator.run(prepared, NONE, 500, 1, never).memory[0]
        assert memory.shape == (500, 16)
        bits = np.unpackbits(memory, axis=1, bitorder="little")
        assert bits[:, 100:102].mean() == pytest.approx(np.sin(1.0) ** 2, abs=0.1)
        others = np.delete(bits, [100, 101], axis=1)
        assert others.any() == name.endswith("noisy")  # misread


def test_more_qubits_than_the_qpu_has_are_refused_however_few_are_used() -> None:
    emulator = make("superconducting")
    with pytest.raises(NotSupported, match="128 qubits; profile 'superconducting' has 127"):
        emulator.prepare(CircuitBuilder(128).x(3).build())


def test_unused_qubits_take_no_memory() -> None:
    small = Emulator(replace(profile.load(), engine=Engine("statevector", memory_bytes=2**20)))
    used = CircuitBuilder(40)
    for q in range(0, 32, 2):
        used.ry(0.1, q)
    small.prepare(used.build())
    with pytest.raises(NotSupported, match="computes with 17 qubits") as caught:
        small.prepare(used.ry(0.1, 39).build())
    assert caught.value.details["bytes"] == 2**21


def test_figures_of_single_qubits_stay_with_them() -> None:
    """T1 and readout errors are those of the qubit that the program names."""
    t1 = tuple(1e6 if q != 5 else 100.0 for q in range(20))
    zero_as_one = tuple(1.0 if q == 7 else 0.0 for q in range(20))
    noise = Noise(t1_ns=t1, zero_as_one=zero_as_one)
    emulator = Emulator(replace(PROFILE, noise=noise))
    circuit = CircuitBuilder(20).x(5).measure(5, 0).measure(7, 1).build()
    assert expected(emulator, circuit, {"Z5": 1.0}) == pytest.approx(1 - 2 * np.exp(-1))
    memory = sampled(emulator, circuit)
    p = np.exp(-1)
    assert_drawn_from(memory, {0b10: 1 - p, 0b11: p})


def test_unused_qubit_that_leaks_or_errs_is_used() -> None:
    emulator = Emulator(replace(PROFILE, noise=Noise(leakage_per_ns=0.01)))
    # Qubit 0 is measured, waits for qubit 1, leaks meanwhile and reads 1.
    builder = CircuitBuilder(2).measure(0, 0)
    for _ in range(40):
        builder.x(1)
    circuit = builder.barrier().measure(0, 1).build()
    leaks = 1 - np.exp(-0.01 * (4000 - 1200))
    assert_drawn_from(sampled(emulator, circuit), {0b10: leaks, 0b00: 1 - leaks})
    errs = Emulator(replace(PROFILE, noise=Noise(pauli={"id": (1.0, 0.0, 0.0)})))
    idle = CircuitBuilder(3)
    idle.append(Op.ID, (2,))
    assert registers(sampled(errs, idle.measure(2, 0).measure(1, 1).build(), 5)) == [1] * 5


def test_zero_that_is_written_over_an_outcome_stays() -> None:
    emulator = make("superconducting")
    circuit = CircuitBuilder(2).x(0).measure(0, 0).measure(1, 0).build()
    assert registers(sampled(emulator, circuit, 5)) == [0] * 5


def test_program_without_gates_runs() -> None:
    emulator = make("superconducting")
    circuit = CircuitBuilder(60).reset(3).barrier().measure_all().build()
    assert registers(sampled(emulator, circuit, 3)) == [0] * 3
    assert expected(emulator, circuit, {"Z1": 1.0, "X2": 1.0}) == pytest.approx(1)


FIGURES: list[dict[str, Any]] = [
    {},
    {"t1_ns": (700.0,), "t2_ns": (500.0,), "one_qubit": 0.05, "two_qubit": 0.1},
    {"pauli": {"h": (0.1, 0.1, 0.1), "id": (0.0, 0.3, 0.0)}, "t2_ns": (400.0,)},
]


@settings(max_examples=60, deadline=None)
@given(dynamic_circuits(), st.sampled_from(FIGURES), st.integers(0, 2**32))
def test_program_in_a_wider_register_is_the_same(
    circuit: Circuit, figures: dict[str, Any], seed: int
) -> None:
    emulator = Emulator(replace(PROFILE, noise=Noise(**figures)))
    rng = np.random.default_rng(seed)
    places = np.sort(rng.permutation(20)[: circuit.num_qubits])
    wide = replace(circuit, num_qubits=20, operands=places[circuit.operands])
    memory = sampled(emulator, circuit, 200)
    np.testing.assert_array_equal(sampled(emulator, wide, 200), memory)
    narrow = random_observable(circuit.num_qubits, 3, rng)
    codes = np.zeros((3, 20), np.uint8)
    codes[:, places] = narrow.paulis
    values = [
        emulator.expectation(emulator.prepare(each), observable, NONE, 1, never).values[0]
        for each, observable in (
            (circuit, narrow),
            (wide, PauliSum(narrow.coefficients, codes)),
        )
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-12)


def test_delays_and_boxes_make_qubits_wait() -> None:
    emulator = Emulator(replace(PROFILE, noise=Noise(t1_ns=(300.0,))))
    builder = CircuitBuilder(2, 2).x(0)
    builder.append(Op.DELAY, (0,), (300.0,)).append(Op.DELAY, (1,), (300.0,))
    circuit = builder.measure(0, 0).measure(1, 1).build()
    p = np.exp(-400 / 300)
    assert_drawn_from(sampled(emulator, circuit, 5000), {0b01: p, 0b00: 1 - p})
    assert expected(emulator, circuit, {"Z0": 1.0}) == pytest.approx(1 - 2 * p)
    prepared = emulator.prepare(circuit)
    assert emulator.estimate(prepared, 1, 1) == 250_000 + 10_000 + 400 + 1200
    boxed = CircuitBuilder(1, 1).append(Op.BOX, (0,), (1000.0,)).x(0).append(Op.END_BOX, (0,))
    assert expected(emulator, boxed.build(), {"Z0": 1.0}) == pytest.approx(
        1 - 2 * np.exp(-1000 / 300)
    )


def test_outcome_without_a_bit_collapses_and_is_told_to_nobody() -> None:
    emulator = make("superconducting")
    builder = CircuitBuilder(2, 1).x(0).measure(1, None).measure(0, 0)
    assert registers(sampled(emulator, builder.build(), 5)) == [1] * 5
    collapsed = CircuitBuilder(1, 1).h(0).measure(0, None).h(0).measure(0, 0).build()
    memory = sampled(emulator, collapsed)
    assert memory.shape == (1000, 1)
    assert_drawn_from(memory, {0: 0.5, 1: 0.5})
    assert expected(emulator, collapsed, {"Z0": 1.0}) == pytest.approx(0, abs=1e-12)
