"""Noise: channels, where they stand in a program, and misread bits."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.quantum_info import SuperOp
from qiskit_aer.noise import depolarizing_error, thermal_relaxation_error

from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Operation
from openqse.program.gates import Op
from openqse_emulator import noise
from openqse_emulator.noise import Channel, Kind, NoiseModel
from openqse_emulator.profile import Durations, Noise, Profile

from .reference import PAULIS

DURATIONS = Durations(
    z_rotation=0,
    one_qubit=10,
    two_qubit=100,
    readout=1000,
    reset=500,
    initialisation=0,
    shot_overhead=0,
)
T1 = {"t1_ns": (300.0,)}


def model(**figures: object) -> NoiseModel:
    profile = Profile("test", 8, 1000, 1, ("rz", "sx", "x", "cz"), DURATIONS)
    return NoiseModel.of(
        Profile(**{**vars(profile), "noise": Noise(**figures)})  # type: ignore[arg-type]
    )


def sequence(builder: CircuitBuilder, *, measurements: bool = True, **figures: object) -> list:
    return noise.sequence(builder.build(), model(**figures), measurements=measurements)


def told(sequenced: list[Operation | Channel]) -> list[tuple[object, ...]]:
    """A sequence as names and qubits; the time is read off a damping whose T1 is 300 ns."""
    names: list[tuple[object, ...]] = []
    for item in sequenced:
        if isinstance(item, Operation):
            names.append((item.op.name.lower(), *item.qubits))
        elif item.kind is Kind.DAMPING:
            ns = round(-300 * np.log1p(-item.probabilities[0]), 6)
            names.append(("relaxes", *item.qubits, ns))
        else:
            names.append((item.kind.name.lower(), *item.qubits))
    return names


def superoperator(*channels: Channel) -> np.ndarray:
    """The channels in order, written out slowly: column ``k`` is what becomes of basis matrix k."""
    size = 2 ** len(channels[0].qubits)
    columns = []
    for k in range(size**2):
        rho = np.zeros((size, size), dtype=complex)
        rho[k % size, k // size] = 1
        for channel in channels:
            rho = sum(K @ rho @ K.conj().T for K in noise.kraus(channel))
        columns.append(rho.reshape(-1, order="F"))
    return np.array(columns).T


@pytest.mark.parametrize(("t1", "t2"), [(50, 70), (50, 100), (50, 5), (50, 50)])
@pytest.mark.parametrize("ns", [0.1, 20, 5000])
def test_relaxation_is_exact(t1: float, t2: float, ns: float) -> None:
    found = superoperator(*noise.relaxation(0, ns, t1, t2))
    np.testing.assert_allclose(found, SuperOp(thermal_relaxation_error(t1, t2, ns)), atol=1e-12)


def test_relaxation_leaves_out_what_does_nothing() -> None:
    assert not list(noise.relaxation(0, 0, 50, 70))
    assert not list(noise.relaxation(0, 10, np.inf, np.inf))
    assert [c.kind for c in noise.relaxation(0, 10, 50, 100)] == [Kind.DAMPING]
    assert [c.kind for c in noise.relaxation(0, 10, np.inf, 100)] == [Kind.PAULI]


@pytest.mark.parametrize("qubits", [(0,), (0, 1)])
@pytest.mark.parametrize("times", [1, 3])
def test_depolarising_is_every_pauli_as_likely(qubits: tuple[int, ...], times: int) -> None:
    d = 4 ** len(qubits)
    once = SuperOp(depolarizing_error(0.1 * d / (d - 1), len(qubits)))
    (channel,) = noise.depolarising(0.1, qubits, times)
    np.testing.assert_allclose(superoperator(channel), once.power(times), atol=1e-12)
    if times == 1:
        assert sum(channel.probabilities) == pytest.approx(0.1)


def test_first_letter_of_a_pauli_string_is_the_first_qubit() -> None:
    xz = [float(i == 4 * 1 + 3 - 1) for i in range(15)]
    (_, *operators) = noise.kraus(Channel(Kind.PAULI, (0, 1), tuple(xz)))
    (found,) = [operator for operator in operators if operator.any()]
    np.testing.assert_allclose(found, np.kron(PAULIS[3], PAULIS[1]))  # qubit 0 is the low bit


def test_every_channel_keeps_the_trace() -> None:
    for channel in (
        Channel(Kind.PAULI, (0,), (0.1, 0.2, 0.3)),
        Channel(Kind.PAULI, (0, 1), tuple(np.arange(15) / 200)),
        Channel(Kind.DAMPING, (0,), (0.3,)),
    ):
        operators = noise.kraus(channel)
        total = sum(K.conj().T @ K for K in operators)
        np.testing.assert_allclose(total, np.eye(operators.shape[1]), atol=1e-12)
    with pytest.raises(ValueError, match="leakage"):
        noise.kraus(Channel(Kind.LEAKAGE, (0,), (0.1,)))


def test_without_noise_the_sequence_is_the_program() -> None:
    builder = CircuitBuilder(2).h(0).cx(0, 1).append(Op.ID, (0,)).barrier().measure_all()
    circuit = builder.build()
    expected = [o for o in circuit.operations() if o.op not in (Op.ID, Op.BARRIER)]
    assert noise.sequence(circuit, model()) == expected


def test_qubit_relaxes_from_the_beginning_of_its_last_operation_to_the_next() -> None:
    builder = CircuitBuilder(2).x(0).x(1).x(1).cx(0, 1).x(0)
    assert told(sequence(builder, **T1)) == [
        ("x", 0),
        ("x", 1),
        ("relaxes", 1, 10),
        ("x", 1),
        ("relaxes", 0, 20),  # 10 in its gate, 10 while it waits
        ("relaxes", 1, 10),
        ("x", 0, 1),
        ("relaxes", 0, 100),
        ("x", 0),
    ]


def test_barriers_and_identities_let_qubits_idle() -> None:
    builder = CircuitBuilder(2).x(0).x(1).append(Op.ID, (0,)).append(Op.ID, (0,))
    builder.barrier().x(1).measure(0, 0)
    assert told(sequence(builder, **T1)) == [
        ("x", 0),
        ("x", 1),
        ("relaxes", 1, 30),
        ("x", 1),
        ("relaxes", 0, 30),
        ("measure", 0),
    ]


def test_measured_qubit_relaxes_during_its_readout_and_a_reset_one_is_fresh() -> None:
    builder = CircuitBuilder(1).x(0).measure(0, 0).x(0).reset(0).x(0)
    assert told(sequence(builder, **T1)) == [
        ("x", 0),
        ("relaxes", 0, 10),
        ("measure", 0),
        ("relaxes", 0, 1000),
        ("x", 0),
        ("reset", 0),
        ("x", 0),
    ]


def test_without_measurements_all_wait_for_the_end() -> None:
    builder = CircuitBuilder(3).x(0).x(1).x(1).measure_all()
    found = told(sequence(builder, measurements=False, **T1))
    assert found == [
        ("x", 0),
        ("x", 1),
        ("relaxes", 1, 10),
        ("x", 1),
        ("relaxes", 0, 20),
        ("relaxes", 1, 10),
    ]


def test_idle_qubits_leak_and_busy_ones_do_not() -> None:
    found = sequence(CircuitBuilder(2).x(0).x(1).x(1).cx(0, 1), leakage_per_ns=0.01)
    (leaks,) = noise.channels(found)
    assert leaks.qubits == (0,)
    assert leaks.probabilities[0] == pytest.approx(1 - np.exp(-0.1))
    assert not all(item.kind is Kind.PAULI for item in noise.channels(found))


def test_gates_err_and_those_without_a_pulse_do_not() -> None:
    builder = CircuitBuilder(2).x(0).s(0).append(Op.ID, (0,)).cz(0, 1).measure(0, 0)
    found = sequence(builder, one_qubit=0.01, two_qubit=0.1)
    assert told(found) == [
        ("x", 0),
        ("pauli", 0),
        ("s", 0),
        ("z", 0, 1),
        ("pauli", 0, 1),
        ("measure", 0),
    ]
    assert all(item.kind is Kind.PAULI for item in noise.channels(found))


def test_decomposed_gate_errs_on_its_pairs_in_turns() -> None:
    found = sequence(CircuitBuilder(3).append(Op.P, (2, 0, 1), (0.3,), controls=2), two_qubit=0.01)
    pairs = list(noise.channels(found))  # of 14 two-qubit gates
    assert [channel.qubits for channel in pairs] == [(2, 0), (0, 1)]
    expected = next(noise.depolarising(0.01, (0, 1), 7)).probabilities
    assert pairs[0].probabilities == pairs[1].probabilities == expected
    (swapped,) = noise.channels(sequence(CircuitBuilder(2).swap(0, 1), two_qubit=0.01))
    assert swapped.probabilities == next(noise.depolarising(0.01, (0, 1), 3)).probabilities


def test_named_gate_has_the_error_of_its_own() -> None:
    damped = (((1, 0), (0, 0.8)), ((0, 0.6), (0, 0)))
    figures = {
        "one_qubit": 0.5,
        "two_qubit": 0.5,
        "pauli": {"cx": (0.01,) * 15, "rz": (0.1, 0.0, 0.0)},
        "kraus": {"h": damped},
    }
    found = sequence(CircuitBuilder(2).h(1).rz(0.1, 1).cx(1, 0), **figures)
    by_gate, flips, pair = noise.channels(found)
    assert (by_gate.kind, by_gate.qubits) == (Kind.KRAUS, (1,))
    np.testing.assert_array_equal(noise.kraus(by_gate), damped)
    assert flips == Channel(Kind.PAULI, (1,), (0.1, 0.0, 0.0), flips.operators)
    assert pair.qubits == (1, 0)
    assert not all(item.kind is Kind.PAULI for item in noise.channels(found))


def test_figures_are_looked_up_by_qubit() -> None:
    t1 = tuple(100.0 * (q + 1) for q in range(8))
    found = noise.channels(sequence(CircuitBuilder(2).x(0).x(1).x(0).x(1), t1_ns=t1))
    assert [c.probabilities[0] for c in found] == pytest.approx(1 - np.exp([-0.1, -0.05]))


def test_bit_is_misread_as_the_qubit_that_wrote_it_last() -> None:
    circuit = CircuitBuilder(8, 3).measure(0, 0).measure(1, 1).measure(2, 0).build()
    zero = tuple(q / 10 for q in range(8))
    errors = noise.readout_errors(circuit, model(zero_as_one=zero, one_as_zero=(0.25,)).profile)
    np.testing.assert_allclose(errors, [[0.2, 0.25], [0.1, 0.25], [0, 0]])


def test_bits_flip_where_the_uniform_is_less_than_the_error() -> None:
    errors = np.zeros((10, 2))
    errors[0], errors[9] = (0.5, 0.1), (0.0, 1.0)
    memory = np.array([[0b0, 0b10], [0b1, 0b0], [0b11, 0b10]], dtype=np.uint8)
    uniforms = np.full((3, 10), 0.3)
    uniforms[2] = 0.05
    noise.misread(memory, errors, uniforms)
    np.testing.assert_array_equal(memory, [[0b1, 0], [0b1, 0], [0b10, 0]])


def test_misread_share_is_the_error() -> None:
    rng = np.random.default_rng(1)
    memory = np.repeat(np.array([[0b01]], dtype=np.uint8), 20_000, axis=0)
    noise.misread(memory, np.array([[0.5, 0.02], [0.01, 0.5]]), rng.random((20_000, 2)))
    assert np.mean(memory & 1 == 0) == pytest.approx(0.02, abs=0.005)
    assert np.mean(memory & 2 != 0) == pytest.approx(0.01, abs=0.004)
