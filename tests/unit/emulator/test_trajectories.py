"""Trajectories against density matrices, and against a slow model of leakage."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse_emulator import density, noise, trajectories
from openqse_emulator.device import Emulator
from openqse_emulator.noise import Channel, Kind
from openqse_emulator.profile import Engine, Noise, Profile
from openqse_emulator.randomness import Uniforms
from openqse_emulator.trajectories import Prepared

from . import reference
from .circuits import (
    FREE,
    TOLERANCE,
    add_gate,
    assert_drawn_from,
    never,
    random_circuit,
    random_observable,
)
from .conftest import Engines
from .test_density import noisy_model, probabilities, random_kraus
from .test_engine import blocks_of
from .test_noise import DURATIONS, model

Sequence = list[Operation | Channel]


def noisy_circuit(n: int, gates: int, rng: np.random.Generator, *, free: float = 0.0) -> Circuit:
    """Gates among which are those with Kraus operators of their own, two collapses, a reset."""
    builder = random_circuit(n, 0, rng, free=free)
    builder.num_clbits = n
    course = [Op.MEASURE, Op.RESET, Op.MEASURE, *[None] * gates, Op.X, Op.RXX]
    rng.shuffle(course)
    for op in course:
        qubit = int(rng.integers(n))
        if op is Op.MEASURE:
            builder.measure(qubit, int(rng.integers(n)))
        elif op is Op.RESET:
            builder.reset(qubit)
        else:
            kinds = (Op.H, Op.RY, Op.X, Op.T, Op.RX, Op.RYY, Op.SWAP, Op.U)
            drawn = op or kinds[rng.integers(len(kinds))]
            add_gate(builder, drawn, int(rng.integers(2)) if op is None else 0, rng, free)
    return builder.measure_all().build()


def sampled(
    engine: object, circuit: Circuit, sequence: Sequence, shots: int, seed: int = 1
) -> NDArray[np.uint8]:
    memory = np.zeros((shots, -(-circuit.num_clbits // 8)), np.uint8)
    prepared = Prepared(engine, circuit, sequence)  # type: ignore[arg-type]
    prepared.sample(circuit.bind()[0], Uniforms(seed), memory, never)
    return memory


def exact(circuit: Circuit, sequence: Sequence) -> dict[int, float]:
    return probabilities(
        density.distribution(
            sequence, circuit.num_qubits, circuit.num_clbits, circuit.bind()[0], never
        )
    )


@pytest.mark.parametrize(("seed", "dtype"), list(enumerate([*TOLERANCE] * 4)))
def test_samples_follow_the_density_matrix(engine: Engines, seed: int, dtype: type) -> None:
    """Pauli errors, relaxation, Kraus operators on one and two qubits, measurement, reset."""
    rng = np.random.default_rng(seed)
    circuit = noisy_circuit(2 + seed % 4, 12, rng)
    sequence = noise.sequence(circuit, noisy_model(rng))
    kinds = {channel.kind for channel in noise.channels(sequence)}
    assert kinds == {Kind.PAULI, Kind.DAMPING, Kind.KRAUS}
    memory = sampled(engine(dtype, 1 + seed % 2), circuit, sequence, 1000, seed)
    assert_drawn_from(memory, exact(circuit, sequence))


@pytest.mark.parametrize("kind", [Kind.PAULI, Kind.DAMPING])
@pytest.mark.parametrize("block", [6, 15])
@pytest.mark.parametrize("seed", range(2))
def test_shots_share_states_and_follow_the_density_matrix(
    engine: Engines, seed: int, block: int, kind: Kind
) -> None:
    """One kind of error alone; more qubits than a block has, and fewer."""
    rng = np.random.default_rng(seed)
    n = 7 if block == 6 else 4
    circuit = random_circuit(n, 15, rng).measure_all().build()
    figures: dict[str, object] = {"t1_ns": (800.0,), "t2_ns": (1600.0,)}
    if kind is Kind.PAULI:
        figures = {"one_qubit": 0.05, "two_qubit": 0.1, "t2_ns": (900.0,)}
    sequence = noise.sequence(circuit, model(**figures))
    assert {channel.kind for channel in noise.channels(sequence)} == {kind}
    with blocks_of(block):
        memory = sampled(engine(np.float64, 2), circuit, sequence, 600, seed)
    assert_drawn_from(memory, exact(circuit, sequence))


@pytest.mark.parametrize(
    "channel",
    [
        Channel(Kind.DAMPING, (7,), (0.5,)),
        Channel(Kind.KRAUS, (7,), operators=np.array([[[0, 1], [1, 0]]], complex)),
    ],
)
def test_channel_reaches_blocks_that_no_gate_has_reached(engine: Engines, channel: Channel) -> None:
    """Qubit 7 is turned by X alone, which moves no amplitude; the channel does."""
    builder = CircuitBuilder(8, 1).x(7)
    for q in range(7):
        builder.h(q)
    builder.ry(0.3, 0)
    circuit = builder.build()
    first, *others = circuit.operations()
    sequence: Sequence = [first, channel, *others]
    observable = PauliSum.from_terms({"Z0": 1.0, "X1": 2.0, "Z7": 0.01}, 8)
    with blocks_of(6):
        prepared = Prepared(engine(np.float64, 1), circuit, sequence)
        angles = circuit.bind()[0]
        found = prepared.expectation(observable, angles, Uniforms(1), 500, never)
    assert found == pytest.approx(
        density.expectation(sequence, observable, angles, never), abs=0.02
    )


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("decays", [0.01, 0.3])
def test_relaxed_qubit_stays_so_for_long(engine: Engines, dtype: type, decays: float) -> None:
    """Thousands of times nothing decays: no amplitude may vanish or overflow meanwhile."""
    gates = 3000
    builder = CircuitBuilder(2).x(0).h(1)
    for _ in range(gates):
        builder.z(0)
    circuit = builder.h(1).measure_all().build()
    sequence: Sequence = []
    for operation in circuit.operations():
        sequence.append(operation)
        if operation.op is Op.Z:
            sequence.append(Channel(Kind.DAMPING, (0,), (decays,)))
    memory = sampled(engine(dtype, 1), circuit, sequence, 30)
    assert_drawn_from(memory, {0: 1.0})


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_qubit_that_surely_decays_is_zero(engine: Engines, dtype: type) -> None:
    builder = CircuitBuilder(1)
    for _ in range(40):
        builder.x(0)
    circuit = builder.measure(0, 0).build()
    sequence = noise.sequence(circuit, model(t1_ns=(0.001,)))
    assert_drawn_from(sampled(engine(dtype, 1), circuit, sequence, 100), {0: 1.0})


FIGURES = Noise(
    one_qubit=0.02,
    two_qubit=0.05,
    t1_ns=(700.0,),
    t2_ns=(500.0,),
    zero_as_one=(0.03, 0.2, 0.0, 0.1),
    one_as_zero=(0.1, 0.05, 0.3, 0.0),
)


def emulating(method: str, **figures: object) -> Emulator:
    engine = Engine(method=method, threads=2)  # type: ignore[arg-type]
    profile = Profile("test", 4, 100_000, 2000, ("cz",), DURATIONS, engine, FIGURES)
    return Emulator(replace(profile, **figures))  # type: ignore[arg-type]


def misread(found: dict[int, float], errors: NDArray[np.float64]) -> dict[int, float]:
    """The distribution of registers after readout errors, bit by bit."""
    for bit, (zero, one) in enumerate(errors):
        after: dict[int, float] = defaultdict(float)
        for register, p in found.items():
            error = one if register >> bit & 1 else zero
            after[register] += p * (1 - error)
            after[register ^ (1 << bit)] += p * error
        found = after
    return found


@pytest.mark.parametrize("seed", range(2))
def test_device_follows_the_exact_distribution_for_each_set_of_parameters(seed: int) -> None:
    """Free parameters, readout errors, and measurements on the way, through the device."""
    rng = np.random.default_rng(seed)
    circuit = noisy_circuit(4, 8, rng, free=0.6)
    sets = rng.uniform(-4, 4, (2, len(FREE)))
    by_trajectories, by_density = emulating("trajectories"), emulating("density")
    found = by_trajectories.run(by_trajectories.prepare(circuit), sets, 800, seed, never)
    assert found.method == "trajectories: the profile asks for it"
    prepared = by_density.prepare(circuit)
    other = by_density.run(prepared, sets, 800, seed, never)
    for i, angles in enumerate(circuit.bind(sets)):
        found_exactly = density.distribution(
            prepared.sequence, 4, circuit.num_clbits, angles, never
        )
        expected = misread(probabilities(found_exactly), prepared.errors)
        assert_drawn_from(found.memory[i], expected)
        assert_drawn_from(other.memory[i], expected)


@pytest.mark.parametrize("kraus", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_expectation_is_the_density_matrix_s(engine: Engines, seed: int, kraus: bool) -> None:
    rng = np.random.default_rng(seed)
    n = 2 + seed
    circuit = random_circuit(n, 12, rng).x(0).build()
    errors = noisy_model(rng) if kraus else model(one_qubit=0.05, two_qubit=0.1, t1_ns=(900.0,))
    sequence = noise.sequence(circuit, errors, measurements=False)
    observable = random_observable(n, 4, rng)
    angles = circuit.bind()[0]
    prepared = Prepared(engine(np.float64, 2), circuit, sequence)
    means = [
        prepared.expectation(observable, angles, Uniforms(seed, i), 30, never) for i in range(12)
    ]
    expected = density.expectation(sequence, observable, angles, never)
    deviation = max(np.std(means, ddof=1) / np.sqrt(len(means)), 1e-4)  # what never happened
    assert np.mean(means) == pytest.approx(expected, abs=5 * deviation)


def test_expectation_without_chance_is_exact(engine: Engines) -> None:
    """Damping of a qubit that is 0 changes nothing, whatever else shrinks."""
    circuit = CircuitBuilder(2).ry(0.7, 1).build()
    sequence: Sequence = [Channel(Kind.DAMPING, (0,), (0.3,)), *circuit.operations()]
    prepared = Prepared(engine(np.float64, 1), circuit, sequence)
    z = PauliSum.from_terms({"Z0 Z1": 1.0}, 2)
    found = prepared.expectation(z, circuit.bind()[0], Uniforms(1), 50, never)
    assert found == pytest.approx(np.cos(0.7), abs=1e-12)


# --- leakage ---------------------------------------------------------------------------------


def leaking(circuit: Circuit, sequence: Sequence) -> dict[int, float]:
    """The distribution of registers where qubits leak, by following all that may happen.

    A qubit that leaks is traced out at that moment: it was 0 or 1, which nobody sees. Until it is
    reset it reads 1, and a gate that it takes part in does nothing at all.
    """
    n, angles = circuit.num_qubits, circuit.bind()[0]
    nothing: frozenset[int] = frozenset()
    worlds = [(reference.zero(n), nothing, 0)]
    for item in sequence:
        worlds = [after for world in worlds for after in stepped(*world, item, angles)]
    found: dict[int, float] = defaultdict(float)
    for tensor, _, register in worlds:
        found[register] += float(np.vdot(tensor, tensor).real)
    return found


def stepped(
    tensor: NDArray[np.complex128],
    leaked: frozenset[int],
    register: int,
    item: Operation | Channel,
    angles: NDArray[np.float64],
) -> list[tuple[NDArray[np.complex128], frozenset[int], int]]:
    qubit = item.qubits[0]
    halves = [reference.project(tensor, qubit, outcome) for outcome in (0, 1)]
    flip = Operation(Op.X, 0, (qubit,), range(0), -1)
    zeroed = [halves[0], reference.apply(halves[1], flip, angles)]
    if isinstance(item, Channel):
        if qubit in leaked:
            return [(tensor, leaked, register)]
        (p,) = item.probabilities
        gone = [(half * np.sqrt(p), leaked | {qubit}, register) for half in zeroed]
        return [(tensor * np.sqrt(1 - p), leaked, register), *gone]
    if item.op is Op.RESET:
        return [(half, leaked - {qubit}, register) for half in zeroed]
    if item.op is Op.MEASURE:
        bit = 1 << item.clbit
        if qubit in leaked:
            return [(tensor, leaked, register | bit)]
        return [
            (half, leaked, register & ~bit | outcome * bit) for outcome, half in enumerate(halves)
        ]
    if leaked.isdisjoint(item.qubits):
        tensor = reference.apply(tensor, item, angles)
    return [(tensor, leaked, register)]


@pytest.mark.parametrize("seed", range(12))
def test_leakage_follows_the_slow_model(engine: Engines, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 2 + seed % 2
    builder = CircuitBuilder(n, num_clbits=n + 1)
    course: list[Op | None] = [Op.MEASURE, Op.RESET, Op.MEASURE, *[None] * 9]
    rng.shuffle(course)  # type: ignore[arg-type]
    for op in course:
        qubit = int(rng.integers(n))
        if op is Op.MEASURE:
            builder.measure(qubit, int(rng.integers(n + 1)))
        elif op is Op.RESET:
            builder.reset(qubit)
        else:
            kinds = (Op.H, Op.RY, Op.X, Op.RXX, Op.U)
            add_gate(builder, kinds[rng.integers(len(kinds))], int(rng.integers(2)), rng)
    for q in range(n):
        builder.measure(q, q)
    circuit = builder.build()
    sequence: Sequence = []
    leaks = 0
    for operation in circuit.operations():
        if leaks < 5 and rng.random() < 0.5:
            sequence.append(Channel(Kind.LEAKAGE, (int(rng.integers(n)),), (0.25,)))
            leaks += 1
        sequence.append(operation)
    memory = sampled(engine(np.float64, 1), circuit, sequence, 2000, seed)
    assert_drawn_from(memory, leaking(circuit, sequence))


def test_leaked_qubit_reads_one_until_it_is_reset(engine: Engines) -> None:
    builder = CircuitBuilder(2).h(0).cx(0, 1).x(0).measure(0, 0).reset(0).measure(0, 1)
    circuit = builder.measure(1, 2).build()
    h, cx, x, *others = circuit.operations()
    sequence: Sequence = [h, cx, Channel(Kind.LEAKAGE, (0,), (1.0,)), x, *others]
    memory = sampled(engine(np.float64, 1), circuit, sequence, 1000)
    assert_drawn_from(memory, {0b001: 0.5, 0b101: 0.5})


def test_leaked_qubit_counts_as_one_in_an_expectation(engine: Engines) -> None:
    circuit = CircuitBuilder(2).h(1).build()
    sequence: Sequence = [Channel(Kind.LEAKAGE, (0,), (1.0,)), *circuit.operations()]
    prepared = Prepared(engine(np.float64, 1), circuit, sequence)
    z = PauliSum.from_terms({"Z0": 1.0}, 2)
    found = prepared.expectation(z, circuit.bind()[0], Uniforms(1), 10, never)
    assert found == pytest.approx(-1)


def test_random_kraus_operators_are_a_channel() -> None:
    operators = random_kraus(2, 3, np.random.default_rng(1))
    total = np.einsum("kji,kjl->il", operators.conj(), operators)
    np.testing.assert_allclose(total, np.eye(4), atol=1e-12)


def test_programs_of_decays_leave_nothing_behind(engine: Engines) -> None:
    builder = CircuitBuilder(4)
    for _ in range(20):
        for q in range(4):
            builder.rx(0.3 + q, q)
    circuit = builder.measure_all().build()
    sequence = noise.sequence(circuit, model(t1_ns=(50.0,)))
    prepared = Prepared(engine(np.float64, 1), circuit, sequence)
    operands = list(prepared._operands)
    for seed in range(3):
        memory = np.zeros((100, 1), np.uint8)
        prepared.sample(circuit.bind()[0], Uniforms(seed), memory, never)
    assert prepared._operands == operands
    assert 0 < len(prepared._variants) <= trajectories._MOST_VARIANTS
