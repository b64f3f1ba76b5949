"""Expectations by whichever engine is chosen: of noise to the end, of programs that collapse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse.errors import NotSupported
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit, Operation
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse_emulator import density, noise, profile
from openqse_emulator.device import Emulator
from openqse_emulator.noise import Kind, NoiseModel, Sequenced
from openqse_emulator.profile import Durations, Engine, Noise, Profile

from . import reference
from .circuits import add_gate, assert_drawn_from, dynamic_circuits, never, random_observable
from .test_density import probabilities, random_kraus
from .test_trajectories import leaking, misread, stepped

NONE = np.zeros((1, 0))
METHODS = ("auto", "statevector", "stabilizer", "density", "trajectories")
DURATIONS = Durations(
    z_rotation=0,
    one_qubit=100,
    two_qubit=200,
    readout=1200,
    reset=1000,
    initialisation=250_000,
    shot_overhead=10_000,
)
PROFILE = Profile("test", 20, 100_000, 4096, ("rz", "sx", "x", "cz"), DURATIONS)


def emulating(method: str = "auto", shots: int = 4096, **figures: Any) -> Emulator:
    engine = Engine(method, threads=1)  # type: ignore[arg-type]
    return Emulator(
        replace(PROFILE, engine=engine, noise=Noise(**figures), expectation_shots=shots)
    )


def expected(emulator: Emulator, circuit: Circuit, terms: dict[str, float]) -> float:
    observable = PauliSum.from_terms(terms, circuit.num_qubits)
    prepared = emulator.prepare(circuit)
    return float(emulator.expectation(prepared, observable, NONE, 7, never).values[0])


def method_of(emulator: Emulator, circuit: Circuit, terms: dict[str, float]) -> str:
    observable = PauliSum.from_terms(terms, circuit.num_qubits)
    return emulator.expectation(emulator.prepare(circuit), observable, NONE, 7, never).method


# --- noise after a qubit's last operation --------------------------------------------------------


def test_expectation_has_the_relaxation_of_the_last_gate() -> None:
    emulator = emulating(t1_ns=(100.0,))
    one = CircuitBuilder(1).ry(1.0, 0).build()
    assert expected(emulator, one, {"Z0": 1.0}) == pytest.approx(0.8308866691749706, abs=1e-12)
    two = CircuitBuilder(2).ry(1.0, 0).ry(2.0, 1).build()
    assert expected(emulator, two, {"Z0": 1.0, "Z1": 1.0}) == pytest.approx(
        2 - 2 * np.exp(-1) * (np.sin(0.5) ** 2 + np.sin(1.0) ** 2), abs=1e-12
    )


def test_clifford_program_that_relaxes_after_its_last_gate_is_no_stabilizer_program() -> None:
    loaded = profile.load("superconducting_noisy")
    plus = CircuitBuilder(1).h(0).build()
    right = (1 - 4 / 3 * 0.0003) * np.exp(-32 / 80_000)
    assert expected(Emulator(loaded), plus, {"X0": 1.0}) == pytest.approx(right, abs=1e-12)


def test_qubit_leaks_while_it_waits_for_the_others() -> None:
    emulator = emulating(shots=100_000, leakage_per_ns=0.001, one_qubit=0.01)
    circuit = CircuitBuilder(2).ry(1.0, 0).rx(0.2, 1).rx(0.2, 1).rx(0.2, 1).build()
    stays = np.exp(-0.2)
    right = stays * np.cos(1) * (1 - 0.04 / 3) - (1 - stays)
    assert expected(emulator, circuit, {"Z0": 1.0}) == pytest.approx(right, abs=0.02)
    assert method_of(emulator, circuit, {"Z0": 1.0}).startswith("trajectories: ")


def test_state_vector_refuses_an_expectation_that_only_its_end_makes_noisy() -> None:
    emulator = emulating("statevector", t1_ns=(100.0,))
    prepared = emulator.prepare(CircuitBuilder(1).ry(1.0, 0).build())
    emulator.run(prepared, NONE, 10, 1, never)  # nothing is measured, so nothing goes wrong
    with pytest.raises(NotSupported, match="there is noise"):
        emulator.expectation(prepared, PauliSum.from_terms({"Z0": 1.0}, 1), NONE, 1, never)


def test_expectation_that_its_end_does_not_make_noisy_is_not_refused() -> None:
    """The measurements that an expectation leaves out take time; a state vector can do without."""
    emulator = emulating("statevector", t1_ns=(100.0,))
    circuit = CircuitBuilder(2).rz(0.3, 0).measure(1, 0).measure(0, 1).build()
    noisy = CircuitBuilder(1).x(0).measure(0, 0).build()
    assert expected(emulator, circuit, {"Z0": 1.0}) == pytest.approx(1)
    with pytest.raises(NotSupported, match="there is noise"):
        emulator.prepare(noisy)


def test_choice_for_a_run_is_none_for_an_expectation() -> None:
    """Whichever is asked for first."""
    for order in ((0, 1), (1, 0)):
        emulator = emulating(t1_ns=(100.0,))
        prepared = emulator.prepare(CircuitBuilder(1).ry(1.0, 0).build())
        z = PauliSum.from_terms({"Z0": 1.0}, 1)
        for expectation in order:
            if expectation:
                found = emulator.expectation(prepared, z, NONE, 1, never)
                assert found.method.startswith("density")
                assert found.values[0] == pytest.approx(0.8308866691749706, abs=1e-12)
            else:
                sampled = emulator.run(prepared, NONE, 100, 1, never)
                assert sampled.method == "statevector: the program has no noise"


# --- every engine against the density matrix -----------------------------------------------------


def figures() -> st.SearchStrategy[dict[str, Any]]:
    """Noise of any kinds."""
    rng = np.random.default_rng(5)
    kraus = {
        gate: tuple(tuple(map(tuple, each)) for each in random_kraus(width, 2, rng).tolist())
        for gate, width in (("ry", 1), ("t", 1), ("cx", 2))
    }
    pauli = {
        "h": (0.05, 0.1, 0.2),
        "id": (0.2, 0.0, 0.1),
        "cx": tuple((rng.dirichlet(np.ones(16)) * 0.5)[1:].tolist()),
    }
    some = st.sampled_from
    return st.fixed_dictionaries(
        {},
        optional={
            "t1_ns": some([(150.0,), (900.0, 300.0, 700.0)]),
            "t2_ns": some([(250.0,), (100.0, 200.0, 300.0)]),
            "one_qubit": some([0.01, 0.2]),
            "two_qubit": some([0.02, 0.3]),
            "leakage_per_ns": some([1e-4, 2e-3]),
            "zero_as_one": some([(0.1,)]),
            "one_as_zero": some([(0.2, 0.05, 0.0)]),
            "pauli": st.sets(some(sorted(pauli))).map(lambda names: {g: pauli[g] for g in names}),
            "kraus": st.sets(some(["ry", "t"])).map(lambda names: {g: kraus[g] for g in names}),
        },
    )


@st.composite
def programs(draw: st.DrawFn) -> Circuit:
    """Of few layers above all, Clifford or not; with measurements at the end, anywhere, or none."""
    n = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    clifford = draw(st.booleans())
    kinds = [Op.H, Op.S, Op.X, Op.ID] if clifford else [Op.RY, Op.RX, Op.T, Op.H, Op.ID, Op.RZZ]
    builder = CircuitBuilder(n, n)
    for _ in range(draw(st.sampled_from([1, 1, 2, 5]))):
        for _ in range(n):
            op = kinds[rng.integers(len(kinds))]
            add_gate(builder, op, int(op is Op.X and rng.integers(2)), rng)
    course = draw(st.sampled_from(["none", "none", "end", "course"]))
    if course == "course":
        for op in rng.permutation([Op.MEASURE, Op.RESET, Op.RY, Op.MEASURE]).tolist():
            qubit = int(rng.integers(n))
            if op == Op.RY:
                builder.ry(0.8, qubit) if not clifford else builder.h(qubit)
            elif op == Op.RESET:
                builder.reset(qubit)
            else:
                builder.measure(qubit, int(rng.integers(n)))
    if course != "none":
        for q in range(n):
            builder.measure(q, q)
    return builder.build()


def true_value(circuit: Circuit, sequence: Sequenced, observable: PauliSum) -> float:
    """An expectation by following all that may happen."""
    if all(channel.kind is not Kind.LEAKAGE for channel in noise.channels(sequence)):
        return density.expectation(sequence, observable, circuit.bind()[0], never)
    total = 0.0
    worlds = [(reference.zero(circuit.num_qubits), frozenset[int](), 0)]
    for item in sequence:
        worlds = [after for world in worlds for after in after_item(world, item, circuit)]
    for tensor, leaked, _ in worlds:
        for q in leaked:  # it counts as 1
            flip = Operation(Op.X, 0, (q,), range(0), -1)
            tensor = reference.apply(tensor, flip, NONE[0])
        total += reference.expectation(observable, tensor.reshape(-1))
    return total


def after_item(world: Any, item: Any, circuit: Circuit) -> list[Any]:
    if isinstance(item, noise.Channel) and item.kind is not Kind.LEAKAGE:
        tensor, leaked, register = world
        if not leaked.isdisjoint(item.qubits):
            item = item_on_rest(item, leaked)
            if item is None:
                return [world]
        axes = [tensor.ndim - 1 - q for q in reversed(item.qubits)]
        return [(reference.on_axes(tensor, k, axes), leaked, register) for k in noise.kraus(item)]
    return stepped(*world, item, circuit.bind()[0])


def item_on_rest(channel: noise.Channel, leaked: frozenset[int]) -> noise.Channel | None:
    """What is left of Pauli errors on two qubits of which one has leaked; None for other errors."""
    if channel.kind is not Kind.PAULI or leaked.issuperset(channel.qubits):
        return None
    (place,) = [i for i, q in enumerate(channel.qubits) if q not in leaked]
    table = np.append([0.0], channel.probabilities).reshape(4, 4).sum(axis=1 - place)
    return noise.Channel(Kind.PAULI, (channel.qubits[place],), tuple(table[1:].tolist()))


def wide_enough(circuit: Circuit, sequence: Sequenced) -> bool:
    """Whether the slow model of leakage can follow all that may happen."""
    leaks = sum(channel.kind is Kind.LEAKAGE for channel in noise.channels(sequence))
    return not leaks or leaks + len(sequence) <= 14


@settings(max_examples=150, deadline=None)
@given(programs(), figures(), st.integers(0, 2**32))
def test_every_engine_gives_the_expectation_of_the_density_matrix(
    circuit: Circuit, figures: dict[str, Any], seed: int
) -> None:
    if "t2_ns" in figures and "t1_ns" in figures:
        del figures["t2_ns"]
    model = NoiseModel.of(replace(PROFILE, noise=Noise(**figures)))
    sequence = noise.sequence(circuit, model, measurements=False)
    if not wide_enough(circuit, sequence):
        figures.pop("leakage_per_ns")
        model = NoiseModel.of(replace(PROFILE, noise=Noise(**figures)))
        sequence = noise.sequence(circuit, model, measurements=False)
    observable = random_observable(circuit.num_qubits, 3, np.random.default_rng(seed))
    right = true_value(circuit, sequence, observable)
    shots = 1000
    spread = np.abs(observable.coefficients).sum() / np.sqrt(shots)
    for method in METHODS:
        emulator = emulating(method, shots, **figures)
        try:
            prepared = emulator.prepare(circuit)
            found = emulator.expectation(prepared, observable, NONE, seed, never)
        except NotSupported:
            assert method != "auto"
            continue
        sampled = f"the mean of {shots} trajectories" in found.method
        assert found.values[0] == pytest.approx(right, abs=6 * spread if sampled else 1e-10)
        assert sampled or not found.method.startswith("trajectories")


@settings(max_examples=80, deadline=None)
@given(programs(), figures(), st.integers(0, 2**32))
def test_every_engine_samples_the_distribution_of_the_density_matrix(
    circuit: Circuit, figures: dict[str, Any], seed: int
) -> None:
    if "t2_ns" in figures and "t1_ns" in figures:
        del figures["t2_ns"]
    model = NoiseModel.of(replace(PROFILE, noise=Noise(**figures)))
    sequence = noise.sequence(circuit, model)
    kinds = {channel.kind for channel in noise.channels(sequence)}
    if Kind.LEAKAGE in kinds and (kinds != {Kind.LEAKAGE} or not wide_enough(circuit, sequence)):
        figures.pop("leakage_per_ns")
        model = NoiseModel.of(replace(PROFILE, noise=Noise(**figures)))
        sequence = noise.sequence(circuit, model)
    if any(channel.kind is Kind.LEAKAGE for channel in noise.channels(sequence)):
        found = leaking(circuit, sequence)
    else:
        angles = circuit.bind()[0]
        found = probabilities(
            density.distribution(sequence, circuit.num_qubits, circuit.num_outputs, angles, never)
        )
    right = misread(found, noise.readout_errors(circuit, model.profile))
    for method in METHODS:
        emulator = emulating(method, **figures)
        try:
            prepared = emulator.prepare(circuit)
            samples = emulator.run(prepared, NONE, 400, seed, never)
        except NotSupported:
            assert method != "auto"
            continue
        assert_drawn_from(samples.memory[0], right)


# --- programs that collapse ----------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_expectation_after_a_reset_is_the_mean_over_its_outcomes(method: str) -> None:
    circuit = CircuitBuilder(2).h(0).cx(0, 1).reset(0).build()
    found = expected(emulating(method), circuit, {"Z0": 1.0, "Z1": 1.0})
    assert found == pytest.approx(1.0, abs=0.1 if method == "trajectories" else 1e-12)


def test_measurement_on_the_way_takes_place_and_the_last_does_not() -> None:
    emulator = emulating("statevector")
    on_the_way = CircuitBuilder(1).h(0).measure(0, 0).h(0).build()
    assert expected(emulator, on_the_way, {"X0": 1.0, "Z0": 1.0}) == pytest.approx(0, abs=1e-12)
    twice = CircuitBuilder(1).h(0).measure(0, 0).measure(0, 1).build()
    assert expected(emulator, twice, {"X0": 1.0}) == pytest.approx(0, abs=1e-12)
    last = CircuitBuilder(1).h(0).measure(0, 0).barrier().build()
    assert expected(emulator, last, {"X0": 1.0}) == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(dynamic_circuits(), st.integers(0, 2**32))
def test_expectation_over_all_outcomes_is_the_slow_sum(circuit: Circuit, seed: int) -> None:
    observable = random_observable(circuit.num_qubits, 3, np.random.default_rng(seed))
    model = NoiseModel.of(PROFILE)
    sequence = noise.sequence(circuit, model, measurements=False)
    worlds = [(reference.zero(circuit.num_qubits), frozenset[int](), 0)]
    for item in sequence:
        worlds = [w for world in worlds for w in stepped(*world, item, circuit.bind()[0])]
    right = sum(reference.expectation(observable, w[0].reshape(-1)) for w in worlds)
    for method in ("auto", "statevector", "density"):
        emulator = emulating(method, 2**14)
        found = emulator.expectation(emulator.prepare(circuit), observable, NONE, 1, never)
        assert found.values[0] == pytest.approx(right, abs=1e-10)


def resets(count: int, n: int = 1) -> Circuit:
    builder = CircuitBuilder(n)
    for q in range(n):
        builder.rx(0.3, q)
    for _ in range(count):
        builder.ry(2.0, 0).reset(0)
    return builder.ry(0.7, 0).build()


def test_method_says_whether_all_outcomes_were_followed() -> None:
    few, many = resets(3, 14), resets(8, 14)
    emulator = emulating(shots=255)
    assert method_of(emulator, few, {"Z0": 1.0}) == (
        "statevector: the program has no noise; exact, over all outcomes on the way"
    )
    assert method_of(emulator, many, {"Z0": 1.0}) == (
        "statevector: the program has no noise; the mean of 255 trajectories"
    )
    # After a reset nothing is left of the outcome, so that each trajectory has the exact value.
    for circuit in (few, many):
        assert expected(emulator, circuit, {"Z0": 1.0}) == pytest.approx(np.cos(0.7), abs=1e-12)


def test_many_outcomes_of_few_qubits_are_left_to_the_density_matrix() -> None:
    method = method_of(emulating(), resets(40), {"Z0": 1.0})
    assert method == "density: a density matrix follows all outcomes on the way"


def test_mean_of_trajectories_of_many_outcomes_is_near_the_exact_one() -> None:
    builder = CircuitBuilder(2)
    for _ in range(13):
        builder.ry(1.1, 0).cx(0, 1).measure(1, 0).ry(0.4, 1)
    circuit = builder.build()
    terms = {"Z0": 1.0, "X0 Z1": 0.5}
    right = expected(emulating("density"), circuit, terms)
    sampling = emulating("statevector", 4000)
    assert "the mean of 4000 trajectories" in method_of(sampling, circuit, terms)
    assert expected(sampling, circuit, terms) == pytest.approx(right, abs=6 * 1.5 / 4000**0.5)


def test_qpu_time_of_an_expectation_counts_what_is_measured_on_the_way() -> None:
    emulator = emulating()
    z = PauliSum.from_terms({"Z0": 1.0}, 1)
    last = emulator.prepare(CircuitBuilder(1).x(0).measure(0, 0).build())
    way = emulator.prepare(CircuitBuilder(1).x(0).measure(0, 0).x(0).measure(0, 0).build())
    more = emulator.estimate(way, 0, 1, z) - emulator.estimate(last, 0, 1, z)
    assert more == 4096 * (1200 + 100)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("circuit", "right"),
    [
        # An error of an identity turns a qubit that no gate touches: its reset undoes that.
        (CircuitBuilder(1).id(0).reset(0).measure(0, 0), 0),
        (CircuitBuilder(2).h(1).id(0).reset(0).measure(0, 0), 0),
        # What an identity does after a measurement is not in its outcome.
        (CircuitBuilder(1).measure(0, 0).id(0), 0),
        (CircuitBuilder(1).measure(0, 0).id(0).measure(0, 1), 0b10),
    ],
)
def test_errors_of_identities_happen_where_they_stand(
    method: str, circuit: CircuitBuilder, right: int
) -> None:
    emulator = emulating(method, pauli={"id": (1.0, 0.0, 0.0)})
    try:
        prepared = emulator.prepare(circuit.build())
        samples = emulator.run(prepared, NONE, 20, 1, never)
    except NotSupported:
        assert method == "statevector"
        return
    assert (samples.memory == right).all()
