"""Programs with classical control on the emulator as a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from openqse import device
from openqse.device import Work
from openqse.errors import NotSupported, TaskCancelled
from openqse.program.builder import CircuitBuilder
from openqse.program.circuit import Circuit
from openqse.program.gates import Op
from openqse.program.observable import PauliSum
from openqse_emulator import profile
from openqse_emulator.device import Emulator
from openqse_emulator.profile import Engine, Method, Noise

from ..circuits import assert_drawn_from, never
from .programs import phase_estimation, repeat_until_success, teleportation

Make = Callable[..., Emulator]
NOISE = Noise(
    one_qubit=0.01, two_qubit=0.02, t1_ns=(50_000.0,), t2_ns=(40_000.0,), zero_as_one=(0.02,)
)
EMPTY = np.zeros((1, 0))


@pytest.fixture
def make() -> Iterator[Make]:
    """Emulators by method, threads and noise."""
    made: list[Emulator] = []

    def of(
        method: Method | str = "auto", threads: int = 1, noise: Noise = NOISE, **more: Any
    ) -> Emulator:
        loaded = profile.load("superconducting")
        engine = Engine(method=method, threads=threads, **more)  # type: ignore[arg-type]
        made.append(Emulator(replace(loaded, engine=engine, noise=noise, expectation_shots=2000)))
        return made[-1]

    yield of
    for each in made:
        each.close()


def turned() -> Circuit:
    """A free angle, then as many turns back as it takes."""
    b = CircuitBuilder(2)
    b.ry(b.parameter("a"), 0).measure(0, 0)
    with b.loop():
        with b.if_(b.bits(0)):
            b.ry(b.parameter("a"), 0).delay(300, 1).measure(0, 0).continue_loop()
        b.break_loop()
    return b.h(1).cx(1, 0).measure(0, 0).measure(1, 1).build()


@pytest.mark.parametrize("method", ["trajectories", "density"])
@pytest.mark.parametrize("slice_shots", [1, 256, 700])
def test_slices_give_what_the_whole_gives(make: Make, method: str, slice_shots: int) -> None:
    emulator = make(method)
    prepared = emulator.prepare(turned())
    sets = np.array([[0.9], [2.0]])
    shots = 20 if slice_shots == 1 else 2000
    whole = emulator.run(prepared, sets, shots, 7, never)
    parts, taken = [], 0
    for i in range(2):
        for begin in range(0, shots, slice_shots):
            count = min(slice_shots, shots - begin)
            part = emulator.run(prepared, sets[i : i + 1], count, 7, never, i, begin, shots)
            parts.append(part.memory[0])
            taken += part.qpu_time_ns
    np.testing.assert_array_equal(np.concatenate(parts), whole.memory.reshape(2 * shots, -1))
    assert taken == whole.qpu_time_ns


def test_threads_change_nothing(make: Make) -> None:
    sets = np.linspace(0.1, 3, 9)[:, np.newaxis]
    one, three = (
        emulator.run(emulator.prepare(turned()), sets, 300, 3, never)
        for emulator in (make(threads=1), make(threads=3))
    )
    np.testing.assert_array_equal(one.memory, three.memory)
    assert one.qpu_time_ns == three.qpu_time_ns


def test_threads_share_the_paths_of_one_set(make: Make) -> None:
    circuit = thrown(300)
    one, three = (
        emulator.run(emulator.prepare(circuit), EMPTY, 500, 3, never)
        for emulator in (make(threads=1), make(threads=3))
    )
    np.testing.assert_array_equal(one.memory, three.memory)
    assert one.qpu_time_ns == three.qpu_time_ns


def thrown(times: int) -> Circuit:
    """A coin is thrown so many times, and the ones are counted."""
    b = CircuitBuilder(1)
    count = b.register("count", 20)
    left, ones, bit = b.integer(times), b.integer(), b.scratch(1)
    with b.loop():
        b.h(0).measure(0, bit[0])
        b.compute(Op.ADD, ones, ones, b.bits(bit[0]))
        b.compute(Op.SUB, left, left, b.constant(1))
        with b.if_(left):
            b.continue_loop()
        b.break_loop()
    return b.compute(Op.SETBITS, ones, 20, clbit=count[0]).build()


def test_seeds_give_samples_again_and_none_gives_others(make: Make) -> None:
    emulator = make()
    prepared = emulator.prepare(turned())
    first, again, other, drawn = (
        emulator.run(prepared, np.array([[1.0]]), 500, seed, never).memory
        for seed in (5, 5, 6, None)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, drawn)


def test_the_device_contract_runs_it_in_slices(make: Make) -> None:
    emulator = make()
    program = turned().program
    prepared = emulator.prepare(program)
    work = Work(program.digest, np.array([[1.3]]), 3000, 11)
    whole = device.perform(emulator, prepared, work, never).data
    join = device.Join(work)
    total = emulator.estimate(prepared, 3000, 1)
    for part in device.slices(work, total, total // 7):
        join.add(device.perform(emulator, prepared, part, never))
    joined = join.outcome().data
    assert np.array_equal(joined.memory, whole.memory)
    assert joined.qpu_time_ns == whole.qpu_time_ns


def test_a_shot_is_charged_its_own_path(make: Make) -> None:
    emulator = make(noise=Noise())
    durations = profile.load("superconducting").durations_ns
    around = durations.initialisation + durations.shot_overhead
    b = CircuitBuilder(1).h(0).measure(0, 0)
    with b.if_(b.bits(0)):
        b.delay(10_000, 0).measure(0, 0)
    prepared = emulator.prepare(b.build())
    samples = emulator.run(prepared, EMPTY, 1000, 1, never)
    ones = int(samples.memory.sum())
    short = around + durations.one_qubit + durations.readout
    longer = 10_000 + durations.readout
    assert samples.qpu_time_ns == 1000 * short + ones * longer
    assert emulator.estimate(prepared, 1000, 1) == 1000 * (short + longer)


def test_loops_are_estimated_once_and_branches_by_the_longer(make: Make) -> None:
    emulator = make(noise=Noise())
    durations = profile.load("superconducting").durations_ns
    b = CircuitBuilder(2).measure(0, 0)
    with b.loop():
        with b.if_(b.bits(0)):
            b.delay(500, 1)
        with b.else_():
            b.delay(900, 1)
        b.break_loop()
    around = durations.initialisation + durations.shot_overhead
    prepared = emulator.prepare(b.build())
    assert emulator.estimate(prepared, 1, 1) == around + durations.readout + 900


def test_a_task_stops_soon(make: Make) -> None:
    emulator = make(noise=Noise())
    prepared = emulator.prepare(thrown(100_000))
    began = time.monotonic()
    with pytest.raises(TaskCancelled):
        emulator.run(prepared, EMPTY, 10_000, 1, lambda: time.monotonic() > began + 0.2)
    assert time.monotonic() - began < 2.0


def test_results_say_how_they_were_computed(make: Make) -> None:
    circuit, _ = teleportation()
    quiet, noisy = make(noise=Noise()), make()
    ran = quiet.run(quiet.prepare(circuit), EMPTY, 10, 1, never)
    assert ran.method.startswith("statevector: ")
    ran = noisy.run(noisy.prepare(circuit), EMPTY, 10, 1, never)
    assert ran.method.startswith("trajectories: ")
    with pytest.raises(NotSupported, match="noise"):
        make("statevector").prepare(circuit)


def test_means_follow_all_paths_with_their_probabilities(make: Make) -> None:
    """Measured and turned by what was found: Z of the second qubit is cos of the free angle."""
    b = CircuitBuilder(2)
    b.ry(b.parameter("a"), 0).measure(0, 0)
    with b.if_(b.bits(0)):
        b.x(1)
    z = PauliSum.from_terms({"Z1": 1.0, "X0": 0.5}, 2)
    sets = np.array([[0.3], [1.9]])
    emulator = make(noise=Noise())
    found = emulator.expectation(emulator.prepare(b.build()), z, sets, 1, never)
    np.testing.assert_allclose(found.values, np.cos(sets[:, 0]), atol=1e-12)


def test_an_observable_stands_in_place_of_final_measurements(make: Make) -> None:
    """What a final measurement finds decides nothing; what decides a gate has collapsed."""
    b = CircuitBuilder(2).h(0).h(1).measure(1, 1)
    with b.if_(b.bits(1)):
        b.z(1)
    circuit = b.measure(0, 0).build()
    x = PauliSum.from_terms({"X0": 1.0, "X1": 10.0}, 2)
    emulator = make(noise=Noise())
    found = emulator.expectation(emulator.prepare(circuit), x, EMPTY, 1, never)
    assert found.values[0] == pytest.approx(1.0)


def test_too_many_paths_are_sampled(make: Make) -> None:
    b = CircuitBuilder(1)
    left = b.integer(40)
    with b.loop():
        b.ry(0.8, 0).measure(0, 0)
        b.compute(Op.SUB, left, left, b.constant(1))
        with b.if_(left):
            b.continue_loop()
        b.break_loop()
    with b.if_(b.bits(0)):
        b.x(0)
    emulator = make(noise=Noise())
    z = PauliSum.from_terms({"Z0": 1.0}, 1)
    found = emulator.expectation(emulator.prepare(b.build()), z, EMPTY, 1, never)
    assert "2000 shots" in found.method
    assert found.values[0] == pytest.approx(1.0)


def test_memory_is_checked_as_it_is_needed(make: Make) -> None:
    """Many qubits, few of them in superposition at once, run; all at once they are refused."""
    b = CircuitBuilder(24)
    for q in range(23):
        b.h(q).cx(q, q + 1).measure(q, q)
        with b.if_(b.bits(q)):
            b.x(q + 1)
    emulator = make(noise=Noise(), memory_bytes=2**22)
    circuit = b.measure(23, 23).build()
    samples = emulator.run(emulator.prepare(circuit), EMPTY, 1000, 1, never)
    assert not (samples.memory[..., 2] & 0x80).any()
    for q in range(24):
        b.h(q)
    for q in range(23):
        b.cp(0.1, q, q + 1).h(q)
    with pytest.raises(NotSupported, match="superposition at once"):
        emulator.run(emulator.prepare(b.measure(0, 0).build()), EMPTY, 10, 1, never)


@pytest.mark.parametrize("known", [phase_estimation, repeat_until_success])
@pytest.mark.parametrize("method", ["auto", "trajectories", "density"])
def test_known_programs_run_on_every_engine(make: Make, known: Callable, method: str) -> None:
    circuit, expected = known()
    emulator = make(method, noise=Noise())
    samples = emulator.run(emulator.prepare(circuit), EMPTY, 20_000, 9, never)
    assert_drawn_from(samples.memory[0], expected)
