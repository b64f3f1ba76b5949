"""The emulator as a device: expectations, batches, limits, cancelling, its cache."""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqse import device as contract
from openqse.errors import ArgumentError, ConfigurationError, NotSupported, TaskCancelled
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import FORMAT, FORMAT_1, Circuit
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse_emulator import kept, profile, warm
from openqse_emulator.device import Emulator, make
from openqse_emulator.profile import Engine
from openqse_emulator.statevector import execute, readout

from . import reference
from .circuits import add_gate, assert_drawn_from, never, random_circuit, random_observable

NONE = np.zeros((1, 0))


def rotations() -> Circuit:
    builder = CircuitBuilder(2)
    a, b = builder.parameter("a"), builder.parameter("b")
    return builder.ry(a, 0).ry(2 * b + 0.1, 1).cx(0, 1).measure_all().build()


def deep(num_qubits: int, gates: int) -> Circuit:
    builder = CircuitBuilder(num_qubits)
    for i in range(gates):
        builder.h(i % num_qubits).cx(i % num_qubits, (i + 1) % num_qubits)
    return builder.measure_all().build()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 2**32))
def test_expectation_is_exact(emulator: Emulator, n: int, terms: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    circuit = random_circuit(n, 20, rng).build()
    observable = random_observable(n, terms, rng)
    found = emulator.expectation(emulator.prepare(circuit), observable, NONE, 1, never)
    expected = reference.expectation(observable, reference.state(circuit))
    assert found.values.dtype == np.float64
    np.testing.assert_allclose(found.values, [expected], atol=1e-11)


def test_expectation_leaves_final_measurements_out(emulator: Emulator) -> None:
    prepared = emulator.prepare(CircuitBuilder(1).reset(0).h(0).measure(0, 0).build())
    x = PauliSum.from_terms({"X0": 1.0, "I": 3.0}, 1)
    assert emulator.expectation(prepared, x, NONE, 1, never).values[0] == pytest.approx(4)


def test_observable_must_fit_the_program(emulator: Emulator) -> None:
    prepared = emulator.prepare(CircuitBuilder(2).h(0).build())
    with pytest.raises(ArgumentError, match="3 qubits"):
        emulator.expectation(prepared, PauliSum.from_terms({"Z0": 1.0}, 3), NONE, 1, never)


def test_batch_is_its_rows(emulator: Emulator) -> None:
    prepared = emulator.prepare(rotations())
    sets = np.array([[0.0, -0.05], [np.pi, -0.05], [0.0, (np.pi - 0.1) / 2]])
    samples = emulator.run(prepared, sets, 9, 1, never)
    assert samples.memory.shape == (3, 9, 1)
    np.testing.assert_array_equal(samples.memory[:, :, 0], np.repeat([[0], [3], [2]], 9, axis=1))
    single = emulator.run(prepared, sets[:1], 9, 1, never)
    assert samples.qpu_time_ns == 3 * single.qpu_time_ns

    observable = PauliSum.from_terms({"Z0": 1.0, "Z1": 2.0}, 2)
    values = emulator.expectation(prepared, observable, sets, 1, never)
    np.testing.assert_allclose(values.values, [3, -3, -1], atol=1e-12)
    one = emulator.expectation(prepared, observable, sets[1:2], 1, never)
    assert values.qpu_time_ns == 3 * one.qpu_time_ns


def test_observable_off_the_wire_runs_the_same_kernel(emulator: Emulator) -> None:
    warm.compile_kernels("double")
    before = compiled_signatures()
    observable = PauliSum.from_wire(PauliSum.from_terms({"X0 Y1": 0.5, "Z0": 1.0}, 2).to_wire())
    prepared = emulator.prepare(rotations())
    emulator.expectation(prepared, observable, np.array([[0.3, 0.4]]), 1, never)
    decoded = emulator.prepare(Circuit.decode(rotations().encoded))
    emulator.run(decoded, np.array([[0.3, 0.4]]), 5, 1, never)
    assert compiled_signatures() == before, "a kernel met types that warm did not give it"


def compiled_signatures() -> dict[str, list[object]]:
    """Of all kernels, for which types of arguments there is machine code."""
    return {
        f"{module}.{name}": list(value.signatures)
        for module, found in sorted(sys.modules.items())
        if module.startswith("openqse_emulator.")
        for name, value in vars(found).items()
        if hasattr(value, "py_func")
    }


@pytest.mark.parametrize("parameters", [np.zeros((1, 3)), np.zeros((2, 1)), [[np.nan, 0.0]]])
def test_parameters_must_fit(emulator: Emulator, parameters: object) -> None:
    prepared = emulator.prepare(rotations())
    with pytest.raises(ArgumentError):
        emulator.run(prepared, np.array(parameters), 1, 1, never)


def test_too_many_qubits_are_refused_with_the_numbers(emulator: Emulator) -> None:
    with pytest.raises(NotSupported) as caught:
        emulator.prepare(CircuitBuilder(128).h(20).build())
    error = caught.value
    assert error.layer == "device"
    assert error.details == {"num_qubits": 128, "max_qubits": 127}
    assert "128 qubits; profile 'superconducting' has 127" in error.message
    emulator.prepare(CircuitBuilder(127).h(126).build())


def test_program_that_memory_cannot_hold_is_refused_with_its_bytes() -> None:
    engine = Engine(method="statevector", memory_bytes=2**20)
    small = Emulator(replace(profile.load(), engine=engine))
    small.prepare(deep(16, 16))
    with pytest.raises(
        NotSupported, match=r"takes 2.10e\+6 bytes; a program may take 1.05e\+6"
    ) as (caught):
        small.prepare(deep(17, 17))
    assert caught.value.details == {"num_qubits": 17, "bytes": 2**21, "memory_bytes": 2**20}


def test_shots_and_seed_are_bounded(emulator: Emulator) -> None:
    prepared = emulator.prepare(CircuitBuilder(1).h(0).build())
    with pytest.raises(NotSupported, match="at most 100000"):
        emulator.run(prepared, NONE, 100_001, 1, never)
    for shots, seed in ((0, 1), (-1, 1), (1, -1), (1, 2**64)):
        with pytest.raises(ArgumentError):
            emulator.run(prepared, NONE, shots, seed, never)
    for first_shot, of_shots in ((-1, 10), (8, 9), (0, 1)):
        with pytest.raises(ArgumentError, match="2 shots from number"):
            emulator.run(prepared, NONE, 2, 1, never, first_shot=first_shot, of_shots=of_shots)


class After:
    """``stopped`` that turns true at a call, and remembers when it was asked."""

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.asked: list[float] = []

    def __call__(self) -> bool:
        self.asked.append(time.perf_counter())
        return len(self.asked) >= self.calls


def test_large_run_is_stopped_between_its_gates(emulator: Emulator) -> None:
    prepared = emulator.prepare(deep(20, 400))
    stopped = After(5)
    with pytest.raises(TaskCancelled) as caught:
        emulator.run(prepared, NONE, 10, 1, stopped)
    assert caught.value.layer == "device"
    assert len(stopped.asked) == 5
    # Some 20 ms lie between two questions; the bound leaves room for a machine that is busy.
    assert np.median(np.diff(stopped.asked)) < 0.1


@pytest.mark.parametrize("shots", [1, 100_000])
def test_run_is_stopped_between_shots_and_rows(emulator: Emulator, shots: int) -> None:
    prepared = emulator.prepare(rotations())
    with pytest.raises(TaskCancelled):
        emulator.run(prepared, np.zeros((1000, 2)), shots, 1, After(4))


@pytest.fixture
def punctual() -> Iterator[Emulator]:
    """Takes hardware's time for a task: a tenth of a second for each shot."""
    loaded = profile.load("superconducting")
    durations = replace(loaded.durations_ns, initialisation=100_000_000)
    made = Emulator(replace(loaded, durations_ns=durations, expectation_shots=2, real_time=True))
    yield made
    made.close()


def test_a_task_takes_its_qpu_time_where_the_profile_says_so(punctual: Emulator) -> None:
    prepared = punctual.prepare(CircuitBuilder(1).h(0).measure_all().build())
    began = time.monotonic()
    found = punctual.run(prepared, NONE, 3, 1, never)
    assert time.monotonic() - began >= found.qpu_time_ns * 1e-9 >= 0.3
    began = time.monotonic()
    expected = punctual.expectation(prepared, PauliSum.from_terms({"Z0": 1.0}, 1), NONE, 1, never)
    assert time.monotonic() - began >= expected.qpu_time_ns * 1e-9 >= 0.2


def test_a_task_that_takes_its_qpu_time_is_stopped_in_the_course_of_it(punctual: Emulator) -> None:
    prepared = punctual.prepare(CircuitBuilder(1).h(0).measure_all().build())
    with pytest.raises(TaskCancelled) as caught:
        punctual.run(prepared, NONE, 100_000, 1, After(20))  # hours of QPU time
    assert caught.value.layer == "device"


def test_branches_and_expectations_are_stopped(emulator: Emulator) -> None:
    builder = CircuitBuilder(12)
    for i in range(40):
        builder.h(i % 12).measure(i % 12, i % 12)
    with pytest.raises(TaskCancelled):
        emulator.run(emulator.prepare(builder.build()), NONE, 1000, 1, After(50))
    observable = random_observable(18, 100, np.random.default_rng(1))
    with pytest.raises(TaskCancelled):
        emulator.expectation(emulator.prepare(deep(18, 18)), observable, NONE, 1, After(4))


def test_waiting_branches_are_few(emulator: Emulator) -> None:
    """300 measurements that all split keep no more states than the logarithm of the shots."""
    builder = CircuitBuilder(13, 1)
    for _ in range(300):
        builder.h(0).measure(0, 0)
    prepared = emulator.prepare(builder.build())
    state = execute.state_bytes(13, np.float64)
    emulator.run(prepared, NONE, 1, 1, never)  # a plan is no state
    tracemalloc.start()
    emulator.run(prepared, NONE, 16, 1, never)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The state itself, four that wait, the copy that is being made and the running sum.
    assert peak < 7 * state


@pytest.fixture
def evolutions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every evolution of a state."""
    calls: list[int] = []
    evolve = execute.Engine.evolve

    def counted(*arguments: Any, **options: Any) -> readout.State:
        calls.append(1)
        return evolve(*arguments, **options)

    monkeypatch.setattr(execute.Engine, "evolve", counted)
    return calls


def test_second_slice_of_shots_costs_sampling_alone(
    emulator: Emulator, evolutions: list[int]
) -> None:
    prepared = emulator.prepare(rotations())
    row, other = np.array([[0.123, 0.4]]), np.array([[0.124, 0.4]])
    for parameters in (row, row, other, row, other):
        emulator.run(prepared, parameters, 10, 1, never)
    assert len(evolutions) == 2


def test_kept_distributions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LIMIT", 30_000)
    emulator = Emulator(replace(profile.load(), engine=Engine(method="statevector")))
    prepared = emulator.prepare(rotations())
    for angle in range(20):
        emulator.run(prepared, np.array([[angle, 0.0]]), 3, 1, never)
    size = emulator._kept.nbytes
    each = size // len(emulator._kept)
    assert each > 4000  # small tables are not for nothing
    assert 30_000 - each < size <= 30_000
    large = emulator.prepare(deep(12, 1))
    emulator.run(large, NONE, 3, 1, never)
    assert emulator._kept.nbytes <= 30_000


def test_slices_of_a_distribution_beyond_the_bound_find_it_once(
    monkeypatch: pytest.MonkeyPatch, evolutions: list[int]
) -> None:
    monkeypatch.setattr(kept, "LIMIT", 30_000)
    emulator = Emulator(replace(profile.load(), engine=Engine(method="statevector")))
    large, other = emulator.prepare(deep(12, 1)), emulator.prepare(rotations())
    for first in (0, 3, 6):
        emulator.run(large, NONE, 3, 1, never, first_shot=first, of_shots=9)
        emulator.run(other, np.array([[first, 0.0]]), 3, 1, never)  # another's turn
    assert len(evolutions) == 4


def test_what_is_kept_makes_room_for_another_program() -> None:
    memory = 3 * 2**20
    engine = Engine(method="statevector", memory_bytes=memory)
    emulator = Emulator(replace(profile.load(), engine=engine))
    first, other = emulator.prepare(deep(17, 17)), emulator.prepare(deep(17, 18))
    for prepared in (first, other):
        emulator.run(prepared, NONE, 3, 1, never)
        assert 2**21 < emulator._kept.nbytes < memory


def test_method_is_told_with_the_reason(emulator: Emulator, automatic: Emulator) -> None:
    bell = CircuitBuilder(2).h(0).cx(0, 1).measure_all().build()
    turned = CircuitBuilder(2).rx(0.3, 0).cx(0, 1).measure_all().build()
    expected = {
        bell: "stabilizer: the program is Clifford and has no noise",
        turned: "statevector: the program has no noise",
    }
    z = PauliSum.from_terms({"Z0": 1.0}, 2)
    for circuit, method in expected.items():
        prepared = automatic.prepare(circuit)
        assert automatic.run(prepared, NONE, 10, 1, never).method == method
        assert automatic.expectation(prepared, z, NONE, 1, never).method == method
    asked = emulator.run(emulator.prepare(bell), NONE, 10, 1, never)
    assert asked.method == "statevector: the profile asks for it"


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2**32))
def test_chosen_method_gives_what_the_state_vector_gives(
    automatic: Emulator, n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    builder = CircuitBuilder(n)
    for _ in range(12):
        op = (Op.H, Op.S, Op.X, Op.SWAP, Op.Z)[rng.integers(5)]
        add_gate(builder, op, int(rng.integers(2)) if op in (Op.X, Op.Z) else 0, rng)
    circuit = builder.measure_all().build()
    prepared = automatic.prepare(circuit)
    samples = automatic.run(prepared, NONE, 500, seed, never)
    assert samples.method.startswith("stabilizer")
    assert_drawn_from(samples.memory[0], reference.outcomes(circuit))
    observable = random_observable(n, 4, rng)
    found = automatic.expectation(prepared, observable, NONE, 1, never).values[0]
    assert found == pytest.approx(reference.expectation(observable, reference.state(circuit)))


def test_capabilities_are_the_profiles() -> None:
    offered = make("trapped_ion").capabilities
    assert (offered.num_qubits, offered.max_shots) == (12, 10_000)
    assert offered.formats == (FORMAT, FORMAT_1)
    assert offered.coupling is None
    assert offered.dynamic_circuits
    assert offered.expectation
    assert offered.seeds
    assert offered.slices
    assert contract.Capabilities.from_wire(offered.to_wire()) == offered


def test_calibration_names_the_figures() -> None:
    ids = {name: make(name).calibration().id for name in profile.names()}
    assert len(set(ids.values())) == len(ids)
    assert make("trapped_ion").calibration().id == ids["trapped_ion"]


def test_closed_device_is_offline() -> None:
    emulator = make()
    assert emulator.status().ready
    emulator.close()
    status = emulator.status()
    assert (status.ready, status.reason) == (False, "closed")


def test_installed_device_is_found_by_its_name() -> None:
    found = contract.load("emulator", "trapped_ion")
    assert found.capabilities.num_qubits == 12
    with pytest.raises(ConfigurationError, match="no profile 'nonesuch'"):
        contract.load("emulator", "nonesuch")


def quarter_turns(n: int) -> Circuit:
    builder = CircuitBuilder(n)
    angle = builder.parameter("t")
    for q in range(n):
        builder.rx(angle, q)
    return builder.measure_all().build()


def test_sets_of_one_task_have_random_numbers_of_their_own() -> None:
    wide = Emulator(replace(profile.load(), max_qubits=100))
    prepared = wide.prepare(quarter_turns(60))
    turns = np.full((2, 1), np.pi / 2)
    first = wide.run(prepared, turns, 50, 1, never)
    assert first.method.startswith("stabilizer")
    assert (first.memory[0] != first.memory[1]).any()
    assert (wide.run(prepared, turns, 50, 2, never).memory[0] != first.memory[1]).any()


@pytest.mark.parametrize("angles", [[np.pi, 0.3], [0.3, np.pi]])
def test_one_set_that_does_not_fit_refuses_the_task(angles: list[float]) -> None:
    wide = Emulator(replace(profile.load(), max_qubits=100))
    prepared = wide.prepare(quarter_turns(60))
    with pytest.raises(NotSupported, match=r"takes .* bytes"):
        wide.run(prepared, np.array([angles]).T, 5, 1, never)


def test_calibration_is_of_what_changes_results() -> None:
    loaded = profile.load()
    ids = {
        Emulator(replace(loaded, engine=engine)).calibration().id
        for engine in (Engine(), Engine(threads=1), Engine(memory_bytes=2**30))
    }
    ids.add(Emulator(replace(loaded, real_time=True)).calibration().id)
    assert len(ids) == 1
    single = Emulator(replace(loaded, engine=Engine(precision="single")))
    assert single.calibration().id not in ids
